"""What the app keeps of each person: photos, the scene that was found, and files made of it.

A workspace's folder in; sessions by a number that only the server knows, out. A scene is inferred
once and kept as arrays; every view of it is made from them. What is old goes.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.web.app_engine import FoundScene
from apps.web.app_kept import write_found
from apps.web.app_splats import FILMS, films_in, link_file
from apps.web.archive import archive
from exports.depth16 import to_uint16
from exports.png import encode_png
from exports.scene import Scene, scene_of
from exports.scene_files import DESCRIPTION, SCENE_FORMATS, asked_formats
from exports.scene_splat_video import FOLDER as VIDEOS
from exports.scene_splats import FILE as SPLATS_FILE
from exports.write import write_scene
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.names import check_plain, name_of_path
from runtime.photo.find import is_photo
from runtime.predict.found import ScenePrediction

INPUTS, IMAGES, VIEWS = "input_images", "images", "views"
MOST_GB = 20.0  # of all sessions; the oldest go
MOST_VIEWS = 8  # GLB files of a session that are kept


@dataclass(frozen=True)
class ViewAsked:
    """How a scene's points are shown: upstream's switches, and ours."""

    show_cameras: bool = True
    filter_black: bool = False
    filter_white: bool = False
    percentile: float = 10.0
    max_points_k: float = 1000.0
    keep_sky: bool = False

    def options(self) -> dict[str, Any]:
        """As ``GlbOptions`` has them."""
        return {
            "show_cameras": self.show_cameras,
            "filter_black_bg": self.filter_black,
            "filter_white_bg": self.filter_white,
            "conf_thresh_percentile": float(self.percentile),
            "num_max_points": max(1, int(self.max_points_k * 1000)),
            "keep_sky": self.keep_sky,
        }


@dataclass
class Session:
    """One person's scene.

    Attributes:
        stop: set by a person who does not want to wait for a scene any more.
        stop_film: the same for a video of its splats.
        scale: by which lengths were made metres; None: as they were found.
    """

    folder: Path
    photos: list[Path] = field(default_factory=list)
    found: Optional[FoundScene] = None
    scale: Optional[float] = None
    stop: threading.Event = field(default_factory=threading.Event)
    stop_film: threading.Event = field(default_factory=threading.Event)

    def keep(self, found: FoundScene) -> None:
        """Take a scene, and write its arrays down; splats are read from the disk from now on."""
        self.stop_film.set()
        self.found, self.scale = write_found(found, self.folder), None

    def take_over(self, found: FoundScene, films: Sequence[Path]) -> None:
        """Take a scene that is kept elsewhere, and may be others' too, with its videos."""
        self.found, self.scale = found, None
        for film in films:
            link_file(film, self.folder / FILMS / VIDEOS / film.name)

    def scene(self) -> Scene:
        """What was found, as the formats read it.

        Raises:
            InputError: nothing has been.
        """
        if self.found is None:
            raise InputError("there is no scene yet: upload photos, and press Reconstruct")
        prediction = self.found.scene
        if self.scale is not None:
            prediction = scaled(prediction, self.scale)
        return scene_of(prediction, self.found.photos)

    def view(self, asked: ViewAsked) -> Path:
        """A GLB file of the scene as it is asked for.

        Raises:
            InputError: there is no scene, or no point of it is left.
        """
        folder = self.folder / VIEWS / uuid.uuid4().hex[:12]
        options = {"glb": {**asked.options(), "export_depth_vis": False}}
        write_scene(self.scene(), folder, asked_formats("glb", options))
        older = sorted((self.folder / VIEWS).iterdir(), key=lambda one: one.stat().st_mtime)
        for one in older[:-MOST_VIEWS]:
            shutil.rmtree(one, ignore_errors=True)
        return folder / "scene.glb"

    def downloads(self, asked: ViewAsked) -> list[Path]:
        """Files for a person: points, splats, arrays, COLMAP, 16-bit depth, what they are."""
        folder = self.folder / "downloads"
        shutil.rmtree(folder, ignore_errors=True)
        scene = self.scene()
        works = [name for name in ("glb", "ply", "npz", "colmap", "gs_ply") if _works(name, scene)]
        cloud = {key: value for key, value in asked.options().items() if key != "show_cameras"}
        sky = {"keep_sky": asked.keep_sky, "conf_thresh_percentile": float(asked.percentile)}
        glb = {**asked.options(), "export_depth_vis": True}
        options = {"glb": glb, "ply": cloud, "colmap": sky}
        made = write_scene(
            scene, folder, asked_formats(works, {name: options.get(name, {}) for name in works})
        )
        singles = [file for file in made if file.name in ("scene.glb", "scene.ply", "scene.json")]
        singles += [file for file in made if file.suffix == ".npz"]
        if "gs_ply" in works:
            link_file(folder / SPLATS_FILE, folder / "splats.ply")
            singles.append(folder / "splats.ply")
        if "colmap" in works:
            facts = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            inner = [folder / name for name in facts["formats"]["colmap"]["files"]]
            singles.append(_zipped(folder, "colmap.zip", inner))
        singles.append(_zipped(folder, "depth_16bit.zip", _depth_pngs(scene, folder)))
        return [file for file in singles if file.is_file()]


def scaled(found: ScenePrediction, scale: float) -> ScenePrediction:
    """A scene in metres, by a length that somebody knows."""
    extrinsics = None
    if found.extrinsics is not None:
        extrinsics = np.array(found.extrinsics, copy=True)
        extrinsics[:, :3, 3] *= scale
    depth = (found.depth * scale).astype(np.float32)
    before = found.scale_factor or 1.0
    return replace(
        found, depth=depth, extrinsics=extrinsics, kind="depth_m", scale_factor=before * scale
    )


class Sessions:
    """All of them.

    Args:
        workspace: their folder.
        keep_s: how long one is kept after it was last used.
    """

    def __init__(self, workspace: Path, keep_s: float) -> None:
        self.workspace, self._keep_s = workspace, keep_s
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        (workspace / INPUTS).mkdir(parents=True, exist_ok=True)

    def new(self) -> str:
        """A session; returns its number, which never leaves the server."""
        self.sweep()
        name = datetime.now().strftime("session_%Y%m%d_%H%M%S_%f")
        folder = self.workspace / INPUTS / name
        (folder / IMAGES).mkdir(parents=True)
        key = uuid.uuid4().hex
        with self._lock:
            self._sessions[key] = Session(folder)
        return key

    def find(self, key: Optional[str]) -> Session:
        """A session.

        Raises:
            InputError: it is none any more.
        """
        with self._lock:
            session = self._sessions.get(key or "")
        if session is None or not session.folder.is_dir():
            raise InputError("upload photos or a video first (what is old has been removed)")
        (session.folder / IMAGES).touch()
        return session

    def forget(self, key: str) -> None:
        """Remove a session, with its files."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            shutil.rmtree(session.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what has not been used for long, and the oldest of too much."""
        folders = [one for one in (self.workspace / INPUTS).glob("session_*") if one.is_dir()]
        used = {one: _last_used(one) for one in folders}
        newest_first = sorted(folders, key=lambda one: used[one], reverse=True)
        total, then = 0.0, time.time() - self._keep_s
        for place, one in enumerate(newest_first):
            total += _bytes_in(one) / 1e9
            if used[one] < then or (place and total > MOST_GB):
                shutil.rmtree(one, ignore_errors=True)
        with self._lock:
            gone = [key for key, one in self._sessions.items() if not one.folder.is_dir()]
            for key in gone:
                del self._sessions[key]


def take_photos(session: Session, files: Iterable[Path]) -> list[Path]:
    """Copy photos into a session, under their own names; what is no photo is left out."""
    taken: list[Path] = []
    for number, file in enumerate(sorted(files, key=lambda one: one.name)):
        if not is_photo(file.name):
            continue
        name = name_of_path(file.name)
        target = session.folder / IMAGES / name
        if target.exists():
            target = target.with_name(f"{number:04d}-{name}")
        shutil.copyfile(file, target)
        taken.append(target)
    return taken


def save_to_gallery(
    session: Session, gallery: Path, name: str, asked: ViewAsked, now: datetime
) -> Path:
    """Write a scene to a gallery, two levels deep as it wants it: ``<name>/<time>_pct<N>/``.

    Raises:
        InputError: a name that is none, or a scene that is there already.
    """
    name = name.strip() or "saved"
    check_plain(name)
    if "/" in name or name.startswith("."):
        raise InputError(f"{name!r}: give a plain name, without slashes")
    target = gallery / name / f"{now:%Y%m%d_%H%M%S}_pct{asked.percentile:.0f}"
    if target.exists():
        raise InputError(f"{target}: there already; save it again in a second")
    scene = session.scene()
    works = [one for one in ("glb", "depth_vis", "gs_ply") if _works(one, scene)]
    write_scene(scene, target, asked_formats(works, {"glb": asked.options()}))
    for film in films_in(session.folder):
        link_file(film, target / VIDEOS / film.name)
    facts = {"timestamp": now.isoformat(), "num_images": scene.views, "gallery_name": name}
    write_whole(target / "metadata.json", (json.dumps(facts, indent=2) + "\n").encode())
    return target


def _works(name: str, scene: Scene) -> bool:
    return set(SCENE_FORMATS[name].needs) <= scene.gives


def _depth_pngs(scene: Scene, folder: Path) -> list[Path]:
    files = []
    output = OutputSpec(scene.found.kind)
    for view in range(scene.views):
        stored, how = to_uint16(np.ascontiguousarray(scene.found.depth[view], np.float32), output)
        facts = {**scene.found.facts(), "png16": vars(how)}
        files.append(folder / "depth_16bit" / f"{view:04d}.png")
        write_whole(files[-1], encode_png(stored, facts))
    return files


def _zipped(folder: Path, name: str, files: Sequence[Path]) -> Path:
    named = [(file.relative_to(folder).as_posix(), file) for file in files]
    write_whole(folder / name, archive(named))
    return folder / name


def _bytes_in(folder: Path) -> int:
    """Of all files; somebody may remove some meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_size
    return total


def _last_used(folder: Path) -> float:
    """0 for one that somebody has removed meanwhile."""
    for place in (folder / IMAGES, folder):
        with contextlib.suppress(FileNotFoundError):
            return place.stat().st_mtime
    return 0.0
