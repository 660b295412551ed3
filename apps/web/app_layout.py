"""The app's one file of layout: a tab for a photo, one for a scene, one for a video.

An ``App``, which does the work, in; Gradio's Blocks out. Controls are called as upstream calls
them; what they do is in ``app_actions``.
"""

from typing import Any

import gradio as gr

from apps.web.app_actions import App
from apps.web.app_cloud import NOTHING
from apps.web.app_engine import HIGH, LOW
from apps.web.app_splats import QUALITY_WORDS, TRAJECTORIES
from exports.colour import COLORMAPS
from runtime.scene.reference_view import DEFAULT_STRATEGY, STRATEGIES

TITLE = "Depth Anything"
CSS = """
.gradio-container { max-width: 1400px !important; margin: 0 auto; }
#input-photo img, #slider img { max-height: 70vh; }
footer { display: none !important; }
.switches .form { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); }
.switches .form > * { min-width: 0 !important; }
@media (max-width: 640px) {
  .grid-container { grid-template-columns: repeat(auto-fill, minmax(4.5rem, 1fr)) !important; }
  .row > .column { min-width: 100% !important; }
  main, .tabs, .tabitem, .column { min-width: 0; max-width: calc(100vw - 4rem) !important; }
  .tab-container { min-width: 0; overflow: hidden; }
}
"""
PHOTOS = ["image", ".heic", ".heif", ".avif", ".tif", ".tiff"]
HOW_TO_MEASURE = "Click two points on the picture: the text below says how far apart they are."
FONT = ["system-ui", "sans-serif"]  # of the machine: none is fetched
CACHE_LOOK_S = 600  # how often Gradio's cache is swept
WORDS_PX = 200  # of a list whose words must not be cut: two are one above the other on a phone


def make_blocks(app: App, tab: str, keep_s: float) -> gr.Blocks:
    """The page.

    Args:
        tab: that is open at first: ``photo``, ``scene`` or ``video``.
        keep_s: after which files in Gradio's cache go.
    """
    with gr.Blocks(title=TITLE, delete_cache=(CACHE_LOOK_S, int(keep_s))) as blocks:
        gr.Markdown(f"# {TITLE}\nDepth of a photo, of a scene of photos, of a video.")
        with gr.Tabs(selected=tab):
            with gr.Tab("One photo", id="photo"):
                _photo_tab(app)
            with gr.Tab("A scene", id="scene"):
                _scene_tab(app)
            with gr.Tab("A video", id="video"):
                _video_tab(app)
    return blocks


def make_theme() -> gr.themes.Base:
    """The page's looks."""
    return gr.themes.Default(font=FONT, font_mono=["ui-monospace", "monospace"])


def _photo_tab(app: App) -> None:
    gr.Markdown("Depth Prediction demo: upload a photo, and press the button.")
    with gr.Row():
        photo = gr.Image(label="Input Image", type="filepath", elem_id="input-photo")
        slider = gr.ImageSlider(
            label="Depth Map with Slider View", elem_id="slider", slider_position=50
        )
    with gr.Row():
        model = gr.Dropdown(app.engine.photo_models, value=app.engine.photo_model, label="Model")
        colours = gr.Dropdown(list(COLORMAPS), value=COLORMAPS[0], label="Colours")
    submit = gr.Button("Compute Depth", variant="primary")
    said = gr.Markdown(elem_id="photo-said")
    with gr.Row():
        grey = gr.File(label="Grayscale depth map", elem_id="grey")
        raw = gr.File(label="16-bit raw output (can be considered as disparity)", elem_id="raw")
        numbers = gr.File(label="All numbers (.npz)", elem_id="numbers")
    outputs = [slider, grey, raw, numbers, said]
    submit.click(app.photo, [photo, model, colours], outputs, concurrency_id="device")
    examples = app.photo_examples()
    if examples:
        gr.Examples(
            [[str(one)] for one in examples],
            [photo],
            label="Examples",
            cache_examples=False,
        )


def _scene_tab(app: App) -> None:
    engine = app.engine
    session, points = gr.State(None), gr.State([])
    gr.Markdown(engine.about)
    with gr.Row():
        with gr.Column(scale=2):
            video = gr.Video(label="Upload Video", sources=["upload"], elem_id="scene-video")
            fps = gr.Slider(0.1, 60, value=10, step=0.1, label="Sampling FPS")
            photos = gr.File(
                file_count="multiple", file_types=PHOTOS, label="Upload Images", elem_id="photos"
            )
            preview = gr.Gallery(label="Preview", columns=4, height=300, elem_id="preview")
        with gr.Column(scale=4):
            log = gr.Markdown("Upload photos or a video of one scene.", elem_id="log")
            with gr.Tabs():
                with gr.Tab("Point Cloud & Cameras"):
                    model = gr.HTML(NOTHING, elem_id="cloud")
                with gr.Tab("Metric Depth", id="depth"):
                    rgb, depth, measured, view = _measure_part(app, session, points)
                with gr.Tab("3DGS Rendered Novel Views", id="splats"):
                    splats, film = _splats_part(app, session)
            controls = _scene_controls(app)
            with gr.Row():
                start = gr.Button("Reconstruct", variant="primary")
                stop = gr.Button("Cancel")
                clear = gr.Button("Clear")
            looks = _looks()
            files = _files_part(app, session, looks)
    inputs = [session, video, photos, fps]
    for change in (video.change, photos.change, fps.change):
        change(
            app.take,
            inputs,
            [session, preview, log],
            concurrency_id="input",
            trigger_mode="always_last",
        )
    done = start.click(app.begin, [session], [log], queue=False).success(
        app.reconstruct,
        [session, *controls, *looks],
        [log, model, view, rgb, depth, measured, splats, film],
        concurrency_id="device",
    )
    stop.click(app.stop, [session], [log], queue=False)
    for look in looks:
        look.change(
            app.view,
            [session, *looks],
            [model, log],
            concurrency_id="views",
            trigger_mode="always_last",  # of a slider that is dragged
        )
    everything = [session, video, photos, preview, model, view, rgb, depth, measured, files, log]
    everything += [splats, film]
    clear.click(app.clear, [session], everything, queue=False)
    done.then(lambda: [], None, [points])
    scene = [log, model, view, rgb, depth, measured, splats, film]
    _scene_examples(app, [session, *looks], [session, preview, *scene])


def _scene_examples(app: App, given: list[Any], shown: list[Any]) -> None:
    """Scenes to try, if there are some; at a click they are there, if they were found before."""
    if not app.examples.folders:
        return
    thumbnails = gr.Gallery(
        app.examples.thumbnails,
        label="Example Scenes",
        columns=4,
        height=240,
        object_fit="contain",
        allow_preview=False,
    )
    thumbnails.select(app.take_example, given, shown, concurrency_id="input")


def _measure_part(app: App, session: Any, points: Any) -> tuple[Any, Any, Any, Any]:
    gr.Markdown(HOW_TO_MEASURE)
    with gr.Row():
        before = gr.Button("Previous")
        view = gr.Dropdown([], label="View", elem_id="view", interactive=True)
        after = gr.Button("Next")
    with gr.Row():
        rgb = gr.Image(label="RGB", interactive=False, elem_id="rgb", height=275)
        depth = gr.Image(label="Depth", interactive=False, elem_id="depth", height=275)
    measured = gr.Markdown(elem_id="measured")
    with gr.Row():
        metres = gr.Number(label="Set this distance to ... m", minimum=0, elem_id="metres")
        set_length = gr.Button("Set the scale")
    shown = [view, rgb, depth, measured, points]
    view.input(app.show_view, [session, view], shown[1:], queue=False)
    before.click(lambda key, one: app.step_view(key, one, -1), [session, view], shown, queue=False)
    after.click(lambda key, one: app.step_view(key, one, 1), [session, view], shown, queue=False)
    rgb.select(app.measure, [session, view, points], [rgb, measured, points], queue=False)
    set_length.click(
        app.set_length, [session, view, points, metres], [depth, measured], queue=False
    )
    return rgb, depth, measured, view


def _splats_part(app: App, session: Any) -> tuple[Any, Any]:
    there = not app.engine.no_splats
    splats = gr.HTML(app.splats.empty(), elem_id="splats")
    with gr.Row(visible=there, elem_classes="switches"):
        trajectory = gr.Dropdown(TRAJECTORIES, value=TRAJECTORIES[0][1], label="Trajectory")
        quality = gr.Dropdown(list(QUALITY_WORDS), value=QUALITY_WORDS[0], label="Video Quality")
        small = gr.Checkbox(True, label="Half size, quicker")
        depth = gr.Checkbox(True, label="Depth beside it")
    with gr.Row(visible=there):
        make = gr.Button("Make a video", variant="primary")
        stop = gr.Button("Cancel the video")
    log = gr.Markdown(elem_id="film-log", visible=there)
    film = gr.Video(
        label="Novel views", interactive=False, elem_id="film", height=520, visible=False
    )
    asked = [session, trajectory, quality, small, depth]
    make.click(app.splats.begin_film, [session], [log], queue=False).success(
        app.splats.film, asked, [film, log], concurrency_id="film"
    )
    stop.click(app.splats.stop_film, [session], [log], queue=False)
    return splats, film


def _scene_controls(app: App) -> list[Any]:
    """What is asked of the network; the order is that of ``App.reconstruct``."""
    engine = app.engine
    with gr.Row():
        method = gr.Dropdown(
            [HIGH, LOW], value=LOW, label="Image Processing Method", min_width=WORDS_PX
        )
        strategy = gr.Dropdown(
            list(STRATEGIES),
            value=DEFAULT_STRATEGY,
            label="Reference View Strategy",
            min_width=WORDS_PX,
        )
    with gr.Row():
        splats = gr.Checkbox(
            False, label="Infer 3D Gaussian Splatting", visible=not engine.no_splats
        )
        focal = gr.Number(
            label="Focal length in pixels, for metres", visible=engine.takes_focal, minimum=0
        )
    return [method, strategy, splats, focal]


def _looks() -> list[Any]:
    """What changes the picture without the network; the order is that of ``ViewAsked``."""
    with gr.Row(elem_classes="switches"):
        cameras = gr.Checkbox(True, label="Show Camera")
        black = gr.Checkbox(False, label="Filter Black Background")
        white = gr.Checkbox(False, label="Filter White Background")
        sky = gr.Checkbox(False, label="Keep sky")
    with gr.Row():
        percentile = gr.Slider(0, 100, value=10, step=1, label="Filter Percentage")
        most = gr.Slider(1, 10_000, value=1000, step=1, label="Max Points (K points)")
    return [cameras, black, white, percentile, most, sky]


def _files_part(app: App, session: Any, looks: list[Any]) -> Any:
    with gr.Row():
        make = gr.Button("Make files to download")
        name = gr.Textbox(label="Name in the gallery", placeholder="a name", elem_id="save-name")
        save = gr.Button("Save to gallery")
    files = gr.Files(label="Files", elem_id="files", interactive=False)
    saved = gr.Markdown(elem_id="saved")
    make.click(app.downloads, [session, *looks], [files, saved], concurrency_id="views")
    save.click(app.save, [session, name, *looks], [saved], concurrency_id="views")
    return files


def _video_tab(app: App) -> None:
    gr.Markdown("A video's depth as a video: every frame at its time, with its sound.")
    with gr.Row():
        video = gr.Video(label="Input Video", sources=["upload"], elem_id="input-video")
        result = gr.Video(label="Depth", interactive=False, elem_id="depth-video")
    model = gr.Dropdown(app.engine.photo_models, value=app.engine.photo_model, label="Model")
    with gr.Row():
        start = gr.Button("Compute Depth", variant="primary")
        stop = gr.Button("Cancel")
    log, session = gr.Markdown(elem_id="video-log"), gr.State(None)
    start.click(app.begin_video, [video], [session, log], queue=False).success(
        app.video, [video, model, session], [result, log], concurrency_id="device"
    )
    stop.click(app.stop, [session], [log], queue=False)
