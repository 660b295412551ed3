"""What the app's controls do: sessions and an engine behind them, nothing of the layout.

Values of controls in; values of controls out. An error becomes a sentence on the page.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import gradio as gr
import numpy as np

from apps import da3_video
from apps.web.app_cloud import NOTHING, cloud_frame, lay_out_viewer
from apps.web.app_engine import Engine, FoundScene, SceneAsked, Stopped
from apps.web.app_examples import Examples
from apps.web.app_measure import mark, measure
from apps.web.app_said import said
from apps.web.app_sessions import Session, Sessions, ViewAsked, save_to_gallery, take_photos
from apps.web.app_splat_actions import SplatActions
from apps.web.app_words import in_thread, meaning, painted, photos_in, scene_meaning, thumbnail
from exports.colour import paint
from exports.files import SUFFIXES, FileOptions, depth_files
from exports.png import png_bytes
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.photo.decode import read_photo
from runtime.photo.find import is_photo
from runtime.photo.frame_times import spread
from runtime.predict.found import Prediction

EXAMPLES = "examples"
WAITS = "Waits for its turn …"
SHOWN_VIEWS = 60  # in the preview


class App:
    """The controls' work.

    Args:
        engine: who computes.
        gallery: where scenes are saved to.
        max_views: of a scene.
        examples: a folder of folders of photos; None: ``examples`` of the workspace.
    """

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        gallery: Path,
        max_views: int,
        examples: Optional[Path] = None,
    ) -> None:
        self.engine, self.sessions, self.gallery = engine, sessions, gallery
        self.max_views, self.splats = max_views, SplatActions(engine, sessions)
        root = examples or sessions.workspace / EXAMPLES
        self.examples = Examples(root, sessions.workspace, engine)
        lay_out_viewer(sessions.workspace)

    # --- one photo

    @said
    def photo(self, photo: Optional[str], model: str, colours: str) -> tuple[Any, ...]:
        """Depth of a photo: slider, three files, and what they are."""
        if not photo:
            raise InputError("upload a photo first")
        begun = time.perf_counter()
        place = Path(photo)
        found = self.engine.photo(place, model)
        took = time.perf_counter() - begun
        picture, rgb = paint(found, colours), read_photo(place)
        files = self._photo_files(found, place)
        return (rgb, picture), *files, f"{meaning(found)} {took:.1f} s."

    def _photo_files(self, found: Prediction, photo: Path) -> list[str]:
        """Grey, 16 bits and numbers; in a session's folder, so that they go with it."""
        folder = self.sessions.find(self.sessions.new()).folder
        base = photo.stem[:100] or "photo"
        grey = folder / f"{base}.grey.png"
        write_whole(grey, png_bytes(paint(found, "gray"), found.facts()))
        made = {}
        for suffix, data in depth_files(found, base, FileOptions(("png16", "npz"))):
            made[suffix] = folder / f"{base}{suffix}"
            write_whole(made[suffix], data)
        return [str(grey), str(made[SUFFIXES["png16"]]), str(made[SUFFIXES["npz"]])]

    def photo_examples(self) -> list[Path]:
        """Photos to try."""
        here = Path("input_images")
        found = here.iterdir() if here.is_dir() else ()
        return sorted(one for one in found if is_photo(one.name))[:6]

    # --- a scene

    @said
    def take(
        self, key: Optional[str], video: Optional[str], photos: Optional[list[str]], fps: float
    ) -> tuple[Any, ...]:
        """Uploads to a session's photos: session, preview, log."""
        files = [Path(one) for one in photos or []]
        if not files and not video:
            return key, [], "Upload photos or a video of one scene."
        key = self.sessions.new()
        session = self.sessions.find(key)
        taken = take_photos(session, files)
        said_more = ""
        if video:
            frames, said_more = self._frames(session, Path(video), fps, len(taken))
            taken += frames
        return self._taken(key, session, taken, said_more)

    def _frames(
        self, session: Session, video: Path, fps: float, before: int
    ) -> tuple[list[Path], str]:
        plan = da3_video.plan_video(video, fps, None)
        count, room = len(plan.places), max(1, self.max_views - before)
        if count > room:
            places = tuple(spread(list(plan.places), room))
            plan = da3_video.VideoPlan(plan.path, plan.times, places, plan.fps, plan.size_hw)
        scene, _ = da3_video.extract(plan, session.folder / "images", lambda: None)
        less = f" {count} frames at {fps:g} a second; {room} of them, spread evenly, are taken."
        return list(scene.photos), less if count > room else ""

    def _taken(self, key: str, session: Session, taken: list[Path], more: str) -> tuple[Any, ...]:
        if not taken:
            raise InputError("not one photo among these files")
        if len(taken) > self.max_views:
            raise InputError(f"{len(taken)} photos, and {self.max_views} are taken; send fewer")
        session.photos = sorted(taken)
        shown = [thumbnail(photo) for photo in session.photos[:SHOWN_VIEWS]]
        cost = self.engine.check(session.photos, SceneAsked()) if self.engine.scene_model else ""
        cost = f", {cost}" if cost else ""
        return key, shown, f"{len(taken)} photos{cost}.{more} Press Reconstruct."

    @said
    def begin(self, key: Optional[str]) -> str:
        """Before a scene is found, and before it waits in line: from now on it can be stopped."""
        self.sessions.find(key).stop.clear()
        return WAITS

    @said
    def reconstruct(
        self,
        key: Optional[str],
        method: str,
        strategy: str,
        splats: bool,
        focal: Optional[float],
        *looks: Any,
    ) -> Iterator[tuple[Any, ...]]:
        """Find the scene: log, cloud, views to choose from, the first of them, splats, no video."""
        kept = [gr.skip()] * 7
        session = self.sessions.find(key)
        asked = SceneAsked(method, bool(splats), strategy, focal or None)
        self.engine.check(session.photos, asked)

        def work(told: Callable[[str], None]) -> FoundScene:
            return self.engine.scene(session.photos, asked, told)

        found: Optional[FoundScene] = None
        try:
            for one in in_thread(session.stop, work):
                if isinstance(one, FoundScene):
                    found = one
                else:
                    yield f"{one} …", *kept
        except Stopped:
            yield "Cancelled.", *kept
            return
        assert found is not None
        session.keep(found)
        found = None  # its splats are on the disk now
        yield self._scene(session, looks)

    def _scene(self, session: Session, looks: tuple[Any, ...]) -> tuple[Any, ...]:
        """A scene that was found: as ``reconstruct``."""
        assert session.found is not None
        cloud, note = self._cloud(session, ViewAsked(*looks))
        views = [photo.name for photo in session.found.photos]
        choice = gr.Dropdown(choices=list(zip(views, range(len(views)))), value=0)
        log, shown = f"{scene_meaning(session.scene())} {note}", self._view_of(session, 0)
        splats = self.splats.shown(session)
        return log, cloud, choice, *shown, "", splats, self.splats.latest_film(session)

    @said
    def stop(self, key: Optional[str]) -> str:
        """End what runs, at its next step."""
        self.sessions.find(key).stop.set()
        return "Stops at the next step …"

    @said
    def view(self, key: Optional[str], *looks: Any) -> tuple[Any, str]:
        """The cloud, shown in another way: no network is run."""
        if key is None or self.sessions.find(key).found is None:
            return gr.skip(), gr.skip()
        begun = time.perf_counter()
        session = self.sessions.find(key)
        cloud, note = self._cloud(session, ViewAsked(*looks))
        took = time.perf_counter() - begun
        return cloud, f"{scene_meaning(session.scene())} {note} Made in {took:.2f} s."

    def _cloud(self, session: Session, asked: ViewAsked) -> tuple[str, str]:
        scene = session.scene()
        if "cameras" not in scene.gives:
            return NOTHING, "This model finds no cameras: there is no cloud of several photos."
        unit, name = scene.found.unit, f"{session.folder.name} {session.scale or 1:g}"
        return cloud_frame(self.sessions.workspace, session.view(asked), unit, name), ""

    @said
    def clear(self, key: Optional[str]) -> tuple[Any, ...]:
        """An empty page; what was uploaded is removed."""
        if key is not None:
            with_session = self.sessions.find(key)
            with_session.stop.set()
            with_session.stop_film.set()
            self.sessions.forget(key)
        views = gr.Dropdown(choices=[], value=None)
        return (
            None,
            None,
            None,
            [],
            NOTHING,
            views,
            None,
            None,
            "",
            None,
            "Upload photos or a video.",
            self.splats.empty(),
            self.splats.no_film(),
        )

    @said
    def show_view(self, key: Optional[str], view: Optional[int]) -> tuple[Any, ...]:
        """Picture, depth, no measure, no points."""
        session = self.sessions.find(key)
        return *self._view_of(session, view or 0), "", []

    @said
    def step_view(self, key: Optional[str], view: Optional[int], step: int) -> tuple[Any, ...]:
        """The same of the next view, or the one before."""
        session = self.sessions.find(key)
        number = ((view or 0) + step) % session.scene().views
        return number, *self._view_of(session, number), "", []

    def _view_of(self, session: Session, view: int) -> tuple[np.ndarray, np.ndarray]:
        scene = session.scene()
        return scene.image(view), painted(scene, view)

    @said
    def measure(
        self, key: Optional[str], view: Optional[int], places: list[Any], at: gr.SelectData
    ) -> tuple[Any, ...]:
        """A point more; with two of them, how far apart they are."""
        session = self.sessions.find(key)
        scene, number = session.scene(), view or 0
        known = [] if len(places) >= 2 else [tuple(one) for one in places]
        known.append((int(at.index[0]), int(at.index[1])))
        text = "One more point." if len(known) < 2 else measure(scene, number, known).text()
        return mark(scene.image(number), known), text, known

    @said
    def set_length(
        self, key: Optional[str], view: Optional[int], places: list[Any], metres: Optional[float]
    ) -> tuple[Any, str]:
        """Scale the scene so that two points are so far apart."""
        session = self.sessions.find(key)
        if len(places) != 2 or not metres or metres <= 0:
            raise InputError("click two points, and give the length between them in metres")
        known = [tuple(one) for one in places]
        now = measure(session.scene(), view or 0, known).distance
        session.scale = (session.scale or 1.0) * metres / now
        text = measure(session.scene(), view or 0, known).text()
        return painted(session.scene(), view or 0), f"{text} By the length that you set."

    @said
    def downloads(self, key: Optional[str], *looks: Any) -> tuple[list[str], str]:
        """Files of the scene."""
        files = self.sessions.find(key).downloads(ViewAsked(*looks))
        return [str(file) for file in files], ""

    @said
    def save(self, key: Optional[str], name: str, *looks: Any) -> str:
        """The scene into the gallery."""
        session, asked = self.sessions.find(key), ViewAsked(*looks)
        place = save_to_gallery(session, self.gallery, name, asked, datetime.now())
        return f"Saved as `{place.relative_to(self.gallery)}`; `da3 gallery` shows it."

    # --- examples

    @said
    def take_example(self, key: Optional[str], at: gr.SelectData, *looks: Any) -> tuple[Any, ...]:
        """An example's photos, and what was found of them: session, preview, and a scene."""
        folder = self.examples.folders[int(at.index)]
        key = self.sessions.new()
        session = self.sessions.find(key)
        taken = take_photos(session, photos_in(folder))
        key, preview, log = self._taken(key, session, taken, "")
        known = self.examples.found(folder)
        if known is None:
            empty = (NOTHING, gr.Dropdown(choices=[], value=None), None, None, "")
            return key, preview, log, *empty, self.splats.empty(), self.splats.no_film()
        session.take_over(*known)
        return key, preview, *self._scene(session, looks)

    # --- a video

    @said
    def begin_video(self, video: Optional[str]) -> tuple[str, str]:
        """Before a video waits in line: session, by which it can be stopped from now on; log."""
        if not video:
            raise InputError("upload a video first")
        return self.sessions.new(), WAITS

    @said
    def video(
        self, video: Optional[str], model: str, key: Optional[str]
    ) -> Iterator[tuple[Any, str]]:
        """A video's depth: the video, log."""
        if not video:
            raise InputError("upload a video first")
        session = self.sessions.find(key)

        def work(told: Callable[[str], None]) -> Path:
            return self.engine.video(Path(video), session.folder, model, told)

        try:
            for one in in_thread(session.stop, work):
                if isinstance(one, Path):
                    yield str(one), "Done."
                else:
                    yield gr.skip(), f"{one} …"
        except Stopped:
            yield gr.skip(), "Cancelled."
