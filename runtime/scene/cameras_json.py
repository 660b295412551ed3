"""Our own ``cameras.json``, back to cameras.

JSON in; cameras by their photos' names out. It has world-to-camera with OpenCV's axes, and
intrinsics in pixels of the upright photo from its corner: nothing is turned.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import InputError
from runtime.scene.known_cameras import CameraFile, KnownCamera, rigid

FORMAT = "cameras.json"


def of_cameras_json(facts: Mapping[str, Any], file: Path) -> CameraFile:
    """The cameras of a parsed file.

    Raises:
        InputError: parts are missing, or are no numbers.
    """
    photos = facts.get("photos")
    if not isinstance(photos, list):
        raise InputError(f"{file}: no list of photos; expected a scene's cameras.json")
    cameras = []
    for row in photos:
        try:
            name, size = str(row["name"]), row["size"]
            size_hw = (int(size["height"]), int(size["width"]))
            intrinsics = np.asarray(row["intrinsics"], np.float64)
            pose = row["world_to_camera"]
        except (TypeError, KeyError, ValueError, OverflowError):
            raise InputError(
                f"{file}: a photo without name, size, intrinsics and world_to_camera"
            ) from None
        cameras.append(
            KnownCamera(
                rigid(pose, f"{file}: {name}"),
                name,
                intrinsics=intrinsics,
                size_hw=size_hw,
                upright=True,
            )
        )
    return CameraFile(file, FORMAT, tuple(cameras))
