"""nerfstudio's ``transforms.json``: a camera for each frame, by the photo's path.

JSON in; cameras out. Its poses are camera-to-world with OpenGL's axes (x right, y up, z back), so
two axes are turned; its pixels are counted from the corner. Instant-NGP and Blender write the same
with ``camera_angle_x`` instead of focal lengths.
Source: nerfstudio's documentation of its data conventions.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import inverse
from runtime.scene.known_cameras import (
    CameraFile,
    KnownCamera,
    intrinsics_matrix,
    rigid,
)

FORMAT = "transforms.json"
FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
PINHOLES = ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE")


def of_transforms(facts: Mapping[str, Any], file: Path) -> CameraFile:
    """The cameras of a parsed file.

    Raises:
        InputError: parts are missing, or are no numbers.
    """
    frames = facts.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, Mapping) for frame in frames):
        raise InputError(f"{file}: no list of frames; expected nerfstudio's transforms.json")
    return CameraFile(file, FORMAT, tuple(_camera(facts, frame, file) for frame in frames))


def _camera(facts: Mapping[str, Any], frame: Mapping[str, Any], file: Path) -> KnownCamera:
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise InputError(f"{file}: a frame without file_path")
    about = f"{file}: {name}"
    pose = rigid(frame.get("transform_matrix"), about) @ FROM_OPENGL

    def number(key: str) -> Optional[float]:
        value = frame.get(key, facts.get(key))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
            raise InputError(f"{about}: {key} is {str(value)[:40]}, expected a number")
        return float(value)

    width, height = number("w"), number("h")
    model = str(frame.get("camera_model", facts.get("camera_model", "")))
    bent = any(number(key) for key in DISTORTION)
    distortion = "" if model.upper() in PINHOLES and not bent else model or "k1, k2, p1, p2"
    size_hw = (int(height), int(width)) if width and height else None
    return KnownCamera(
        inverse(pose),
        name,
        intrinsics=_intrinsics(number, size_hw, about),
        size_hw=size_hw,
        distortion=distortion,
    )


def _intrinsics(
    number: Any, size_hw: Optional[tuple[int, int]], about: str
) -> Optional[np.ndarray]:
    """From focal lengths or angles; None if there are none, or no size to tell them by."""
    fx, fy = number("fl_x"), number("fl_y")
    for key, side in (("camera_angle_x", 1), ("camera_angle_y", 0)):
        angle = number(key)
        if angle is None or size_hw is None:
            continue
        if not 0 < angle < math.pi:
            raise InputError(f"{about}: {key} is {angle:g}, expected radians between 0 and pi")
        focal_px = size_hw[side] / 2 / math.tan(angle / 2)
        if side:
            fx = focal_px if fx is None else fx
        else:
            fy = focal_px if fy is None else fy
    fx, fy = fx if fx is not None else fy, fy if fy is not None else fx
    if fx is None or fy is None:
        return None
    cx, cy = number("cx"), number("cy")
    if size_hw is None and (cx is None or cy is None):
        raise InputError(f"{about}: focal lengths without w and h, or cx and cy")
    if size_hw is not None:
        cx = size_hw[1] / 2 if cx is None else cx
        cy = size_hw[0] / 2 if cy is None else cy
    return intrinsics_matrix(fx, fy, float(cx), float(cy))
