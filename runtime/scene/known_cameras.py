"""Cameras that somebody knows, as a file has them, whatever its format.

World-to-camera poses with OpenCV's axes (x right, y down, z forward); intrinsics in pixels from the
picture's upper left corner. What a format leaves open stays open: names, sizes, focal lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError
from runtime.files import read_whole
from runtime.scene.focal import MAX_FOCAL_PX

MAX_BYTES = 256 << 20
MAX_SIDE = 1 << 20  # pixels; pictures have less
RIGID = 1e-2  # by which a rotation's products may be off those of a rotation


@dataclass(frozen=True, eq=False)
class KnownCamera:
    """One camera.

    Args:
        world_to_camera: float64 (4, 4).
        name: of its photo, as the file has it; "": the file has none.
        time_s: when it was there, if the file says it.
        intrinsics: (3, 3); None: the file has none.
        size_hw: of the picture that they are of; None: the photo's own, whatever it is.
        distortion: what makes it no pinhole; "": it is one.
        upright: whether the picture is as EXIF turns it, not as its pixels are stored.
    Raises:
        InputError: a size or a focal length that is none.
    """

    world_to_camera: np.ndarray
    name: str = ""
    time_s: Optional[float] = None
    intrinsics: Optional[np.ndarray] = None
    size_hw: Optional[tuple[int, int]] = None
    distortion: str = ""
    upright: bool = False

    def __post_init__(self) -> None:
        if self.size_hw is not None and not all(0 < side <= MAX_SIDE for side in self.size_hw):
            raise InputError(
                f"{self.name}: a camera of {self.size_hw[1]} x {self.size_hw[0]} pixels"
            )
        k = self.intrinsics
        if k is None:
            return
        focal = k.shape == (3, 3) and np.isfinite(k).all() and k[2].tolist() == [0, 0, 1]
        if not focal or not (0 < k[0, 0] <= MAX_FOCAL_PX and 0 < k[1, 1] <= MAX_FOCAL_PX):
            raise InputError(f"{self.name}: {k.tolist()} are no intrinsics")


@dataclass(frozen=True)
class CameraFile:
    """The cameras of a file.

    Args:
        place: the file or folder; format: what it is.
    """

    place: Path
    format: str
    cameras: tuple[KnownCamera, ...]


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Four numbers to (3, 3)."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def rigid(matrix: Any, about: str) -> np.ndarray:
    """A pose, (3 or 4, 4), as float64 (4, 4).

    Args:
        about: what errors call it.
    Raises:
        InputError: it is no rotation and translation.
    """
    try:
        pose = np.asarray(matrix, np.float64)
    except (TypeError, ValueError, OverflowError):
        pose = np.zeros(0)
    if pose.shape not in ((3, 4), (4, 4)) or not np.isfinite(pose).all():
        raise InputError(f"{about}: no pose of 3 x 4 or 4 x 4 numbers")
    turn = pose[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > RIGID or np.linalg.det(turn) < 0:
        raise InputError(f"{about}: its upper left 3 x 3 is no rotation (scaled, or mirrored)")
    return np.vstack((pose[:3], [0.0, 0.0, 0.0, 1.0]))


def read_text(file: Path) -> str:
    """A file of cameras as text.

    Raises:
        InputError: it cannot be read, or is none.
        LimitError: it is too large.
    """
    try:
        return read_whole(file, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: no text") from None


def numbers(words: Sequence[str], about: str) -> list[float]:
    """Words as finite numbers.

    Raises:
        InputError: one is none.
    """
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [float("nan")]
    if not np.isfinite(values).all():
        raise InputError(f"{about}: expected numbers, not {' '.join(words)[:60]!r}")
    return values
