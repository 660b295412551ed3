"""The focal length of a photo, and metres from it: one rule for every door.

What was given, what intrinsics say, what EXIF says: in that order. A focal length for a model whose
depth does not depend on it is refused; only a column of a table is left unused, as it may be there
for another model. Points need a camera in any case: without one, upstream's.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Optional, Union

import numpy as np

from runtime.errors import InputError

METRIC_FOCAL_PX = 300.0  # at which the depth of da3metric-large is in metres
MAX_FOCAL_PX = 1e7  # twenty times that of the longest lenses; metres stay numbers of float32
UPSTREAM_FOCAL_PX = 470.4  # of depth_to_pointcloud.py of Depth Anything V2, whatever the camera

log = logging.getLogger(__name__)


def check_focal_px(focal_px: Optional[float]) -> None:
    """Refuse a focal length that is none.

    Raises:
        InputError: it is not above 0, or above ``MAX_FOCAL_PX``.
    """
    if focal_px is not None and not 0 < focal_px <= MAX_FOCAL_PX:
        raise InputError(
            f"focal_px={focal_px}: give the focal length in pixels, above 0 and up to "
            f"{MAX_FOCAL_PX:,.0f}"
        )


def refuse_useless_focal(
    model: str, needs_focal: bool, given: bool, name: str = "focal_px"
) -> None:
    """Refuse a focal length that would change nothing.

    Args:
        needs_focal: whether the model's depth becomes metres by it.
        given: whether the caller gave one.
        name: what the caller calls it.
    Raises:
        InputError: it was given, and the model's depth does not depend on it.
    """
    if given and not needs_focal:
        raise InputError(f"{name}: the depth of {model} does not depend on it; leave it out")


def focal_of(
    given: Optional[float],
    intrinsics: Optional[np.ndarray],
    exif: Callable[[], Optional[float]],
) -> Optional[float]:
    """The focal length of a photo's camera in pixels of the upright photo; None if nobody knows.

    Args:
        given: by the caller, for this photo or for all.
        intrinsics: (3, 3), in pixels of the photo; the mean of its two focal lengths counts.
        exif: asks the file; only called if nothing else says it.
    Raises:
        InputError: a focal length that is not above 0.
    """
    if given is None and intrinsics is not None:
        given = float(intrinsics[0, 0] + intrinsics[1, 1]) / 2
    check_focal_px(given)
    return exif() if given is None else given


def focal_of_input(focal_px: float, photo_hw: tuple[int, int], input_hw: tuple[int, int]) -> float:
    """The focal length in pixels of a photo resized to ``input_hw``: the mean of both axes."""
    return focal_px * sum(new / old for new, old in zip(input_hw, photo_hw)) / 2


def metres(
    depth: np.ndarray, focal_px_of_input: np.ndarray, metric_focal_px: float = METRIC_FOCAL_PX
) -> np.ndarray:
    """Depth of a metric network to metres: depth * focal length / ``metric_focal_px``.

    Args:
        depth: float32 (..., H, W).
        focal_px_of_input: float or (...), in pixels of the network's input.
    Returns:
        float32 (..., H, W), metres.
    Source: ``model/da3.py`` of Depth Anything 3.
    """
    scale = np.asarray(np.asarray(focal_px_of_input) / metric_focal_px, np.float32)
    return np.asarray(depth) * scale[..., None, None]


@dataclass(frozen=True)
class PhotoCamera:
    """The pinhole that a photo's points are shot through.

    Args:
        focal_px: along x and y, in pixels of the upright photo.
        principal: x and y of the axis; 0, 0 is the middle of the first pixel. None: the middle of
            the photo.
        how: where the focal length comes from.
        known: False if nobody said it, and it is upstream's.
    Raises:
        InputError: as for ``check_focal_px``; or an axis that is no place.
    """

    focal_px: tuple[float, float]
    principal: Optional[tuple[float, float]] = None
    how: str = "given"
    known: bool = True

    def __post_init__(self) -> None:
        for focal_px in self.focal_px:
            check_focal_px(focal_px)
        if self.principal is not None and not all(map(math.isfinite, self.principal)):
            raise InputError(f"principal point {self.principal}: give pixels")

    @property
    def mean_px(self) -> float:
        """One focal length for both axes."""
        return sum(self.focal_px) / 2

    def resized(self, photo_hw: tuple[int, int], size_hw: tuple[int, int]) -> "PhotoCamera":
        """The same in pixels of the photo resized to ``size_hw``."""
        scale = (size_hw[1] / photo_hw[1], size_hw[0] / photo_hw[0])
        principal = self.principal
        if principal is not None:  # from the corner, not from the first pixel's middle
            x, y = ((place + 0.5) * by - 0.5 for place, by in zip(principal, scale))
            principal = (x, y)
        focal_px = (self.focal_px[0] * scale[0], self.focal_px[1] * scale[1])
        return replace(self, focal_px=focal_px, principal=principal)


def focal_of_fov(fov_deg: float, width: int) -> float:
    """The focal length in pixels at which a photo of this width is this many degrees wide.

    Raises:
        InputError: not between 0 and 180 degrees.
    """
    if not 0 < fov_deg < 180:
        raise InputError(f"fov={fov_deg:g}: give degrees from side to side, between 0 and 180")
    return width / 2 / math.tan(math.radians(fov_deg) / 2)


def fov_of(focal_px: float, width: int) -> float:
    """How many degrees a photo is wide."""
    return math.degrees(2 * math.atan(width / 2 / focal_px))


def say_if_assumed(camera: PhotoCamera, name: str, width: int, remedy: str) -> None:
    """Warn of a camera that nobody knows and of what it does to points.

    Args:
        name: of the photo. width: its pixels. remedy: the flags that say the camera.
    """
    if not camera.known:
        log.warning(
            "%s: its focal length is not known: taken for %g pixels, so for %.0f degrees from side "
            "to side, as upstream does; the points are bent if that is wrong. Give %s",
            name,
            camera.mean_px,
            fov_of(camera.mean_px, width),
            remedy,
        )


def camera_of(
    photo_hw: tuple[int, int],
    exif: Callable[[], Optional[float]],
    given: Union[PhotoCamera, float, None] = None,
    fov_deg: Optional[float] = None,
) -> PhotoCamera:
    """The camera of a photo: given, by its field of view, by EXIF, else upstream's.

    Args:
        exif: asks the file for a focal length in pixels; only called if nothing else says it.
        given: by a file of intrinsics, or one focal length in pixels.
        fov_deg: from side to side.
    Raises:
        InputError: a focal length or a field of view that is none.
    """
    if isinstance(given, PhotoCamera):
        return given
    if given is not None:
        return PhotoCamera((given, given))
    if fov_deg is not None:
        focal_px = focal_of_fov(fov_deg, photo_hw[1])
        return PhotoCamera((focal_px, focal_px), how=f"field of view of {fov_deg:g} degrees")
    found = exif()
    if found is not None:
        return PhotoCamera((found, found), how="EXIF")
    return PhotoCamera((UPSTREAM_FOCAL_PX,) * 2, how="upstream's default", known=False)
