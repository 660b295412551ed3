"""Splats of the app's scenes: kept on the disk, shown in a frame, flown through.

A session's folder and splats in; splats that take no memory, HTML, and videos out. The network
found them once; all else is made from what is kept. Needs neither torch nor Gradio.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.web.app_cloud import FOLDER, address_of, frame
from apps.web.app_engine import FoundScene, Told
from exports.scene import Scene, Stage, as_array
from exports.scene_files import asked_formats
from exports.scene_splat_video import FOLDER as VIDEOS
from exports.scene_splat_video import QUALITIES, GsVideoOptions
from exports.scene_splats import FILE
from exports.trajectories import MODES
from exports.write import write_scene
from runtime.errors import InputError
from runtime.scene.gaussians import PARTS, Gaussians

KEPT, SHOWN, FILMS = "splats", "splats_shown", "films"  # folders of a session
IN_BROWSER = {"gs_views_interval": None}  # of many views about twelve
# Upstream calls the first two so; all others are ours
TRAJECTORIES = [("smooth", "interpolate_smooth"), ("extend", "extend")]
TRAJECTORIES += [
    (mode if mode != "smooth" else "smooth, own cameras", mode)
    for mode in MODES
    if mode not in ("extend", "interpolate_smooth")
]
QUALITY_WORDS = tuple(QUALITIES)
DOING = {"splats": "draws", "encoding": "encodes"}  # of ``exports.scene_splat_video``


@dataclass(frozen=True)
class FilmAsked:
    """A flight through splats, as the app's controls say it.

    Args:
        trajectory: of ``TRAJECTORIES``; quality: of ``QUALITY_WORDS``.
        small: half the sides. depth: shown beside the colours.
    """

    trajectory: str = TRAJECTORIES[0][1]
    quality: str = QUALITY_WORDS[0]
    small: bool = True
    depth: bool = True

    def options(self) -> dict[str, Any]:
        """As ``GsVideoOptions`` has them."""
        return {
            "trj_mode": self.trajectory,
            "video_quality": self.quality,
            "preview": self.small,
            "vis_depth": "hcat" if self.depth else None,
        }


def keep_splats(found: FoundScene, folder: Path) -> FoundScene:
    """The same scene with its splats on the disk, read from there when they are needed.

    Args:
        folder: a session's; splats of an earlier scene in it go.
    """
    shutil.rmtree(folder / KEPT, ignore_errors=True)
    for made in (SHOWN, FILMS):
        shutil.rmtree(folder / made, ignore_errors=True)
    if found.scene.gaussians is None:
        return found
    (folder / KEPT).mkdir(parents=True)
    for name in PARTS:
        file = folder / KEPT / f"{name}.npy"
        np.save(file, as_array(getattr(found.scene.gaussians, name)), allow_pickle=False)
    return replace(found, scene=replace(found.scene, gaussians=kept_splats(folder)))


def kept_splats(folder: Path) -> Optional[Gaussians]:
    """The splats that ``keep_splats`` kept, read from the disk when they are needed."""
    if not (folder / KEPT).is_dir():
        return None
    files = [folder / KEPT / f"{name}.npy" for name in PARTS]
    return Gaussians(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))


def splats_frame(workspace: Path, folder: Path, scene: Scene) -> str:
    """A frame that shows a scene's splats; nothing is loaded before the frame is seen.

    Args:
        folder: a session's; the file that is shown is written there.
    """
    write_scene(scene, folder / SHOWN, asked_formats("gs_ply", {"gs_ply": IN_BROWSER}))
    values = {
        "viewer": address_of(workspace / FOLDER / "splats.js"),
        "file": f"{address_of(folder / SHOWN / FILE)}?{time.time_ns()}",
    }
    return frame("Splats", "splats.html", values)


def make_film(scene: Scene, folder: Path, asked: FilmAsked, told: Told) -> Path:
    """A video of a flight through a scene's splats.

    Args:
        folder: a session's.
        told: said after each frame; what it raises ends the work.
    Raises:
        InputError: there are no splats, or too few views for the path.
        MissingDependency: PyAV is not installed.
    """
    if "gaussians" not in scene.gives:
        raise InputError(
            "this scene has no splats: tick Infer 3D Gaussian Splatting, and press Reconstruct"
        )
    formats = asked_formats("gs_video", {"gs_video": asked.options()})
    options: GsVideoOptions = formats["gs_video"]
    write_scene(replace(scene, stage=_stage(told)), folder / FILMS, formats)
    return folder / FILMS / options.file(scene.views)


def films_in(folder: Path) -> list[Path]:
    """The videos of a session, by name."""
    return sorted((folder / FILMS / VIDEOS).glob("*.mp4"))


def link_file(file: Path, target: Path) -> None:
    """The same file under another name, without a copy if the disk can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _stage(told: Told) -> Stage:
    @contextlib.contextmanager
    def stage(name: str, unit: str, total: int) -> Iterator[Callable[[], object]]:
        begun, done = time.monotonic(), 0
        told(f"{DOING.get(name, name)} {total} {unit}s")

        def step() -> None:
            nonlocal done
            done += 1
            left = (time.monotonic() - begun) / done * (total - done)
            about = f", about {left:.0f} s more" if left >= 1 else ""
            told(f"{DOING.get(name, name)} {unit} {done} of {total}{about}")

        yield step

    return stage
