"""The app's page as a person uses it: Gradio's server, and Chromium before it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from backend_process import backend
from browser import browsing, colours_in, outside
from clips import make_clip
from known_scene import SIZE_HW
from served import ROOT
from tiny_scene import make_scene_artifact

from apps.web.app_engine import LOW
from runtime.errors import InputError

pytestmark = pytest.mark.skipif(
    find_spec("gradio") is None, reason="Gradio is not installed (extra app): no app is started"
)

SCENE_HW = (280, 420)
START_S = 60
# Whether a picture of a file is seen
SHOWN = """name => [...document.images].some(
  one => one.src.endsWith(name) && one.naturalWidth && one.checkVisibility())"""


@contextmanager
def app(here, *words, program=("-m", "apps.da3"), **environment):
    """``da3 gradio``; gives its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with (here / "app.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "gradio", *words, "--port", str(port)],
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Asked:
    """An engine that notes what it is asked, and finds nothing."""

    about, no_splats, scene_model, asked = "a stand-in", "", "", 0

    def check(self, photos, asked):
        return ""

    def scene(self, photos, asked, told):
        self.asked += 1
        raise InputError("found nothing")

    def video(self, video, folder, model, told):
        self.asked += 1
        raise InputError("found nothing")


def test_a_cancel_while_the_work_waits_in_line_is_not_lost(tmp_path):
    from apps.web.app_actions import App
    from apps.web.app_sessions import Sessions

    engine, sessions = Asked(), Sessions(tmp_path, 3600)
    app, key = App(engine, sessions, tmp_path / "gallery", 9), sessions.new()
    app.begin(key)
    app.stop(key)
    assert [shown[0] for shown in app.reconstruct(key, LOW, "first", False, None)] == ["Cancelled."]
    video, said = app.begin_video("a.mp4")
    assert "Waits" in said
    app.stop(video)
    assert [shown[1] for shown in app.video("a.mp4", "m", video)] == ["Cancelled."]
    assert not engine.asked
    app.begin(key)
    with pytest.raises(Exception, match="found nothing"):
        list(app.reconstruct(key, LOW, "first", False, None))
    assert engine.asked == 1, "a new start is not cancelled"


def test_a_person_finds_a_scene_looks_at_it_measures_and_keeps_it(tmp_path, save_photo):
    models = make_scene_artifact(tmp_path / "artifacts", 3, SCENE_HW).path
    photos = [save_photo(tmp_path / f"{n}.png", *SIZE_HW, seed=n) for n in range(3)]
    with (
        backend(models, tmp_path, DEPTH_FRONT="none") as running,
        app(tmp_path, "--server", running.base) as address,
        browsing(viewport={"width": 1300, "height": 1000}) as page,
    ):
        page.goto(address)
        page.set_input_files("#photos input[type=file]", [str(photo) for photo in photos])
        page.wait_for_selector("#log:has-text('3 photos')")
        page.click("button:has-text('Reconstruct')")
        page.wait_for_selector("#log:has-text('3 views')")
        cloud = page.frame_locator("#cloud iframe")
        cloud.locator("#measured:has-text('points')").wait_for()
        first = cloud.locator("#measured").inner_text()
        tasks = running_tasks(running)
        cloud.locator("canvas").press("ArrowLeft")
        page.wait_for_timeout(200)
        stood = cloud.locator("canvas").evaluate("() => viewer.view()")
        page.click("label:has-text('Filter White Background')")
        page.wait_for_selector("#log:has-text('Made in')")
        assert running_tasks(running) == tasks, "no network runs for another look"
        page.fill("input[aria-label*='Max Points']", "10")
        page.keyboard.press("Enter")
        cloud.locator("#measured:has-text('10,000 points')").wait_for()
        assert first != "10,000 points"
        stands = cloud.locator("canvas").evaluate("() => viewer.view()")
        assert stands == pytest.approx(stood, rel=1e-5), "another look, from the same place"
        page.click("button[role=tab]:has-text('Metric Depth')")
        page.locator("#rgb img").scroll_into_view_if_needed()
        page.wait_for_timeout(1000)
        box = page.locator("#rgb img").bounding_box()
        for share, said in ((0.3, "One more point"), (0.7, "relative units, not metric")):
            page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
            page.wait_for_selector(f"#measured:has-text('{said}')")
        page.fill("#metres input", "2")
        page.click("button:has-text('Set the scale')")
        page.wait_for_selector("#measured:has-text('2 m between')")
        page.click("button:has-text('Make files')")
        page.wait_for_selector("#files >> text=colmap")
        page.fill("#save-name textarea, #save-name input", "<b>room</b>")
        page.click("button:has-text('Save to gallery')")
        page.wait_for_selector("text=plain name")
        page.fill("#save-name textarea, #save-name input", "room")
        page.click("button:has-text('Save to gallery')")
        page.wait_for_selector("#saved:has-text('Saved as')")
        assert list((tmp_path / "workspace/gallery/room").glob("*_pct10/scene.glb"))
        assert not outside(page, address) and not page.wrong


def running_tasks(running):
    from apps.web.client import Client

    return running.log.count("POST") or Client(running.base, "").get("/tasks")["total_count"]


def test_a_photo_and_a_video_become_depth(tiny_served, tmp_path, save_photo):
    photo = save_photo(tmp_path / "a.png", 60, 80)
    clip = make_clip(tmp_path / "clip.mp4", [3000 * n for n in range(4)])
    with app(tmp_path, "--server", tiny_served.base) as address, browsing() as page:
        page.goto(address)
        page.click("button[role=tab]:has-text('One photo')")
        page.set_input_files("#input-photo input[type=file]", str(photo))
        page.wait_for_timeout(1000)
        page.click("button:has-text('Compute Depth'):visible")
        page.wait_for_selector("#photo-said:has-text('larger is nearer')")
        for name in ("grey", "raw", "numbers"):
            assert page.is_visible(f"#{name} a")
        page.click("button[role=tab]:has-text('A video')")
        page.set_input_files("#input-video input[type=file]", str(clip))
        page.wait_for_timeout(2000)
        page.click("button:has-text('Compute Depth'):visible")
        page.wait_for_selector("#video-log:has-text('Done')")
        page.wait_for_selector("#depth-video video")
        page.click("button[role=tab]:has-text('A scene')")
        assert "da3 backend" in page.inner_text("body"), "what does scenes is said"
        assert not outside(page, address) and not page.wrong


def test_splats_are_seen_and_flown_through_and_the_network_runs_once(tmp_path, save_photo):
    photos = [save_photo(tmp_path / f"{n}.png", 90, 120, seed=n) for n in range(3)]
    runs = tmp_path / "runs"
    program = (str(ROOT / "tests/stand_in_scene.py"),)
    with (
        app(tmp_path, program=program, STAND_IN_RUNS=str(runs)) as address,
        browsing(viewport={"width": 1300, "height": 1300}) as page,
    ):
        page.goto(address)
        page.set_input_files("#photos input[type=file]", [str(photo) for photo in photos])
        page.wait_for_selector("#log:has-text('3 photos')")
        page.click("label:has-text('Infer 3D Gaussian')")
        page.click("button:has-text('Reconstruct')")
        page.wait_for_selector("#log:has-text('3 views')")
        page.frame_locator("#cloud iframe").locator("#measured:has-text('points')").wait_for()
        assert not [url for url in page.asked if "splats.js" in url], "only when somebody looks"
        page.click("button[role=tab]:has-text('3DGS')")
        frame = page.frame_locator("#splats iframe")
        frame.locator("#count:has-text('splats')").wait_for()
        page.wait_for_timeout(1000)
        assert colours_in(page, "#splats iframe") > 200
        assert not page.is_visible("#film")
        page.click("button:has-text('Make a video')")
        page.wait_for_selector("#film-log:has-text('Made in')")
        page.wait_for_selector("#film video")
        (film,) = (tmp_path / "workspace").rglob("films/gs_video/*.mp4")
        assert film.name == "0000_interpolate_smooth.mp4"
        page.click("button:has-text('Make files')")
        page.wait_for_selector("#files >> text=splats")
        assert runs.read_text() == "x"
        assert not outside(page, address) and not page.wrong


def test_an_example_that_was_found_before_the_start_is_there_at_a_click(tmp_path, save_photo):
    for name in ("hall", "room_gs"):
        for number in range(2):
            save_photo(tmp_path / "scenes" / name / f"{number}.png", 90, 120, seed=number)
    save_photo(tmp_path / "input_images" / "one.png", 90, 120)
    words = ("--examples-dir", "scenes", "--cache-examples", "--cache-gs-tag", "GS")
    runs, program = tmp_path / "runs", (str(ROOT / "tests/stand_in_scene.py"),)
    with (
        app(tmp_path, *words, program=program, STAND_IN_RUNS=str(runs)) as address,
        browsing(viewport={"width": 1300, "height": 1300}) as page,
    ):
        page.goto(address)
        page.click("button:has-text('room_gs: 2 photos'), figure:has-text('room_gs: 2 photos')")
        page.wait_for_selector("#log:has-text('2 views')")
        page.frame_locator("#cloud iframe").locator("#measured:has-text('points')").wait_for()
        page.click("button[role=tab]:has-text('3DGS')")
        page.wait_for_selector("#film video")
        page.frame_locator("#splats iframe").locator("#count:has-text('splats')").wait_for()
        assert runs.read_text() == "xx", "once for each, before the start"
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= 390")
        page.click("button[role=tab]:has-text('One photo')")
        page.wait_for_function(f"({SHOWN})('one.png')")
        assert not outside(page, address) and not page.wrong


def test_on_a_phone_every_tab_can_be_opened(tmp_path):
    models = make_scene_artifact(tmp_path / "artifacts", 3, SCENE_HW).path
    with (
        backend(models, tmp_path, DEPTH_FRONT="none") as running,
        app(tmp_path, "--server", running.base) as address,
        browsing(viewport={"width": 390, "height": 844}) as page,
    ):
        page.goto(address)
        menu = page.locator("button[aria-label='More tabs']:visible")
        folded = page.locator(".overflow-dropdown:visible button")
        for tab in ("Metric Depth", "3DGS Rendered Novel Views"):
            menu.click()
            folded.filter(has_text=tab).click()
            page.wait_for_selector(f"button[role=tab][aria-selected=true]:has-text('{tab}')")
        page.wait_for_selector("text=da3-small finds no splats")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not outside(page, address) and not page.wrong
