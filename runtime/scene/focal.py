"""The focal length of a photo, and metres from it: one rule for every door.

What was given, what intrinsics say, what EXIF says: in that order. A focal length for a model whose
depth does not depend on it is refused; only a column of a table is left unused, as it may be there
for another model.
"""

from collections.abc import Callable
from typing import Optional

import numpy as np

from runtime.errors import InputError

METRIC_FOCAL_PX = 300.0  # at which the depth of da3metric-large is in metres
MAX_FOCAL_PX = 1e7  # twenty times that of the longest lenses; metres stay numbers of float32


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
