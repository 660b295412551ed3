"""Camera paths through a scene, for videos of it and for pages that fly through it.

Cameras in, cameras out; float64 throughout, no drawing. A path starts from world-to-camera
matrices in OpenCV's axes and intrinsics in pixels.
Source: ``utils/camera_trj_helpers.py`` and ``utils/export/gs.py`` of Depth Anything 3.
"""

from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np

from exports.camera_moves import (
    between,
    dolly_zoom,
    interpolated,
    smoothed,
    wander,
    wobble,
)
from runtime.errors import InputError
from runtime.scene.cameras import homogeneous, inverse

WINDOW = 50  # frames that smoothing looks at
INSERTED = (36, 60)  # least and most frames of each move that ``extend`` inserts
INSERTED_ZOOM, INSERTED_DISTANCE = 0.1, 10.0


@dataclass(frozen=True, eq=False)
class Path:
    """Cameras one after the other.

    Args:
        cameras: (F, 4, 4), camera-to-world; intrinsics: (F, 3, 3), pixels.
    """

    cameras: np.ndarray
    intrinsics: np.ndarray

    def __len__(self) -> int:
        return len(self.cameras)

    def extrinsics(self) -> np.ndarray:
        """World-to-camera (F, 4, 4), inverted as rotations are, as upstream does."""
        return inverse(self.cameras)

    def joined(self, other: "Path") -> "Path":
        """This one, then another."""
        return Path(
            np.concatenate((self.cameras, other.cameras)),
            np.concatenate((self.intrinsics, other.intrinsics)),
        )

    def part(self, own: slice) -> "Path":
        """Some of its frames."""
        return Path(self.cameras[own], self.intrinsics[own])


def camera_path(
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    mode: str = "extend",
    rotations_only: bool = False,
) -> Path:
    """A path through cameras.

    Args:
        extrinsics: (N, 3 or 4, 4), world-to-camera; intrinsics: (N, 3, 3) in pixels, or (1, 3, 3)
            for all.
        mode: of ``MODES``; a single view wanders, whatever is asked, but for ``dolly_zoom``.
        rotations_only: make smoothed cameras rotations again, which upstream does not.
    Raises:
        InputError: an unknown mode, or too few cameras for it.
    """
    if mode not in MODES:
        raise InputError(f"mode={mode!r}: use one of {', '.join(MODES)}")
    cameras = inverse(homogeneous(extrinsics))
    intrinsics = np.asarray(intrinsics, np.float64)
    if len(intrinsics) == 1:
        intrinsics = np.repeat(intrinsics, len(cameras), axis=0)
    if len(intrinsics) != len(cameras):
        raise InputError(f"{len(intrinsics)} intrinsics for {len(cameras)} cameras: give one each")
    if len(cameras) == 1 and mode != "dolly_zoom":
        mode = "wander"
    path = MODES[mode](Path(cameras, intrinsics))
    return Path(_as_rotations(path.cameras), path.intrinsics) if rotations_only else path


def scaled_to(
    intrinsics: np.ndarray, size_hw: tuple[int, int], out_hw: tuple[int, int]
) -> np.ndarray:
    """The same cameras for pictures of another size: (..., 3, 3) -> float64 (..., 3, 3)."""
    result = np.array(intrinsics, np.float64)
    result[..., 0, :] *= out_hw[1] / size_hw[1]
    result[..., 1, :] *= out_hw[0] / size_hw[0]
    return result


def centred(intrinsics: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Cameras of the same fields of view that look through the middle of their picture.

    Upstream draws splats with these: the field of view is the angle between the rays to the middles
    of opposite edges, wherever the principal point is.
    """
    height, width = size_hw
    result = np.zeros((*intrinsics.shape[:-2], 3, 3))
    result[..., 2, 2] = 1
    back = np.linalg.inv(np.asarray(intrinsics, np.float64))
    for axis, side in ((0, width), (1, height)):
        ends = np.array([[width / 2, height / 2, 1]] * 2)
        ends[:, axis] = 0, side
        rays = ends @ np.swapaxes(back, -1, -2)
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        angle = np.arccos((rays[..., 0, :] * rays[..., 1, :]).sum(-1).clip(-1, 1))
        result[..., axis, axis] = side / (2 * np.tan(angle / 2))
        result[..., axis, 2] = side / 2
    return result


def splat_cameras(extrinsics: np.ndarray, scale_factor: Optional[float]) -> np.ndarray:
    """Cameras of a metric scene in the unit of its splats: (N, 3 or 4, 4) -> (N, 4, 4)."""
    poses = np.array(homogeneous(extrinsics), np.float64)
    poses[:, :3, 3] = poses[:, :3, 3] / (scale_factor or 1.0)
    return poses


def _as_rotations(cameras: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(cameras[:, :3, :3])
    result = cameras.copy()
    result[:, :3, :3] = u @ v
    return result


def _original(path: Path) -> Path:
    return path


def _smooth(path: Path) -> Path:
    return Path(smoothed(path.cameras, WINDOW), path.intrinsics)


def _interpolate(path: Path) -> Path:
    return Path(*interpolated(path.cameras, path.intrinsics))


def _interpolate_smooth(path: Path) -> Path:
    return _smooth(_interpolate(path))


def _wander(path: Path) -> Path:
    return Path(*wander(path.cameras[0], path.intrinsics[0]))


def _dolly_zoom(path: Path) -> Path:
    return Path(*dolly_zoom(path.cameras[0], path.intrinsics[0]))


def _extend(path: Path) -> Path:
    whole = _interpolate_smooth(path)
    middle = len(whole) // 2
    camera, intrinsics = whole.cameras[middle], whole.intrinsics[middle]
    frames = max(INSERTED[0], min(INSERTED[1], middle // 2))
    moves = Path(*wander(camera, intrinsics, frames)).joined(
        Path(*dolly_zoom(camera, intrinsics, frames, INSERTED_ZOOM, INSERTED_DISTANCE))
    )
    return whole.part(slice(middle)).joined(moves).joined(whole.part(slice(middle, None)))


def _wobble_inter(path: Path) -> Path:
    if len(path) < 4:
        raise InputError(f"wobble_inter goes from every third camera on: {len(path)}, need 4")
    return Path(*wobble(path.cameras, path.intrinsics))


MODES: dict[str, Callable[[Path], Path]] = {
    "original": _original,
    "smooth": _smooth,
    "interpolate": _interpolate,
    "interpolate_smooth": _interpolate_smooth,
    "wander": _wander,
    "dolly_zoom": _dolly_zoom,
    "extend": _extend,
    "wobble_inter": _wobble_inter,
}

__all__ = ["MODES", "Path", "between", "camera_path", "centred", "scaled_to", "splat_cameras"]
