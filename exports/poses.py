"""Cameras of a sequence to the lines and rows that others read: TUM, KITTI, transforms.json.

A world-to-camera pose with OpenCV's axes in; text or JSON values out. What is written here reads
back by ``runtime.scene.camera_files``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from runtime.scene.cameras import homogeneous, inverse, quaternion_from_rotation
from runtime.scene.transforms_json import FROM_OPENGL


def tum_line(time_s: float, world_to_camera: np.ndarray) -> str:
    """Time, place and quaternion x y z w of the camera in the world."""
    pose = inverse(homogeneous(world_to_camera))
    return f"{time_s:.6f} {_words((*pose[:3, 3], *quaternion_from_rotation(pose[:3, :3])))}\n"


def kitti_line(world_to_camera: np.ndarray) -> str:
    """Camera-to-world, 3 x 4, row by row."""
    return f"{_words(inverse(homogeneous(world_to_camera))[:3].ravel())}\n"


def matrix_line(world_to_camera: np.ndarray) -> str:
    """Camera-to-world, 4 x 4, row by row: a line of Depth Anything 3's ``camera_poses.txt``."""
    return f"{_words(inverse(homogeneous(world_to_camera)).ravel())}\n"


def intrinsics_line(intrinsics: np.ndarray) -> str:
    """fx fy cx cy: a line of Depth Anything 3's ``intrinsic.txt``."""
    return f"{_words(_four(intrinsics))}\n"


def transforms_row(
    name: str, photo_hw: tuple[int, int], intrinsics: np.ndarray, world_to_camera: np.ndarray
) -> dict[str, Any]:
    """A frame of nerfstudio's ``transforms.json``: camera-to-world with OpenGL's axes."""
    pose = inverse(homogeneous(world_to_camera)) @ FROM_OPENGL
    focal = dict(zip(("fl_x", "fl_y", "cx", "cy"), _four(intrinsics)))
    size = {"w": photo_hw[1], "h": photo_hw[0]}
    return {"file_path": name, **size, **focal, "transform_matrix": pose.tolist()}


def _four(intrinsics: np.ndarray) -> tuple[float, ...]:
    places = ((0, 0), (1, 1), (0, 2), (1, 2))
    return tuple(float(intrinsics[at]) for at in places)


def _words(values: Iterable[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)
