"""Files of a prediction on disk, each there whole or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

import numpy as np

from exports.files import FileOptions, depth_files
from exports.scene import Scene
from exports.scene_files import Asked, scene_files
from runtime.files import write_whole
from runtime.names import below
from runtime.predict.found import Prediction
from runtime.scene.focal import PhotoCamera


def write_prediction(
    found: Prediction,
    base: Path,
    options: Optional[FileOptions],
    rgb: Optional[np.ndarray] = None,
    seconds: Optional[Mapping[str, float]] = None,
    camera: Optional[PhotoCamera] = None,
) -> list[Path]:
    """Write what ``depth_files`` makes.

    Args:
        base: path of the files without their last suffix; ends with the photo's name.
        rgb, seconds, camera: as for ``depth_files``.
    Returns:
        the files written, the description last.
    Raises:
        InputError: a name that is not plain, or longer than a disk takes.
        OSError: the disk refuses.
    """
    written = []
    for suffix, data in depth_files(found, base.name, options, rgb, seconds, camera=camera):
        written.append(below(base.parent, base.name + suffix))
        write_whole(written[-1], data)
    return written


def write_scene(
    scene: Scene, folder: Path, asked: Asked, told: Callable[[Path], None] = lambda file: None
) -> list[Path]:
    """Write what ``scene_files`` makes; every file is there when this returns.

    Args:
        folder: made if it is not there; other files in it stay.
        asked: of ``asked_formats``.
        told: called with each file before it is written.
    Returns:
        the files written, the description last.
    Raises:
        InputError: a format that the scene has not what it takes for; nothing is written then.
        OSError: the disk refuses.
    """
    written = []
    for name, blocks in scene_files(scene, asked):
        written.append(folder / name)
        told(written[-1])
        write_whole(written[-1], blocks)
    return written
