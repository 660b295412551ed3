"""Depth to the picture that Depth Anything V2's own scripts write, pixel for pixel.

A map and its photo in; uint8 (H, W, 3) RGB out. A map is stretched from its own least to its own
greatest value, or over a range that many share, and cut to whole levels.
"""

import functools
from typing import Any, Optional

import cv2
import numpy as np

from exports.colour import colorize, spectral, stamp_warning
from runtime.predict.found import Prediction

Limits = tuple[float, float]

GAP_COLUMNS = 50  # white, between photo and depth


def v2_picture(
    found: Prediction,
    rgb: Optional[np.ndarray] = None,
    grayscale: bool = False,
    colormap: Optional[str] = None,
    limits: Optional[Limits] = None,
) -> np.ndarray:
    """Paint a prediction as ``run.py``, or ``metric_depth/run.py`` if it is in metres.

    Args:
        rgb: the photo, uint8 (H, W, 3), to be put on the left; None: depth alone.
        grayscale: the levels themselves, as three equal channels.
        colormap: of ``exports.colour.COLORMAPS``, instead of upstream's palette.
        limits: what becomes the first and the last level; values beyond them get these levels.
            None: the map's own least and greatest value.
    Returns:
        uint8 (H, W, 3), or (H, 2 W + 50, 3) with the photo; stamped if the numbers mean nothing.
    Source: ``run.py`` and ``metric_depth/run.py`` of Depth Anything V2.
    """
    limits = limits or found.value_range
    if grayscale:
        painted = np.repeat(levels(found.depth, limits)[..., None], 3, axis=-1)
    elif colormap is not None:
        low, high = (np.float32(limit) for limit in limits)
        painted = colorize(np.clip(found.depth, low, high), found.output, colormap, limits)
    else:
        table = _palette(found.output.larger_is_nearer)
        painted = cv2.applyColorMap(levels(found.depth, limits), table)
    stamp_warning(painted, found.provenance.warning)
    return painted if rgb is None else beside(rgb, painted)


def v2_picture_facts(found: Prediction, grayscale: bool, colormap: Optional[str]) -> dict[str, Any]:
    """What the picture's description says of its colours."""
    upstreams = "Spectral_r" if found.output.larger_is_nearer else "Spectral"
    low, high = found.value_range
    return {
        "colormap": "gray" if grayscale else colormap or upstreams,
        "bright_is": "the greatest value" if grayscale else None,
        "near_is": None if grayscale else "the warm or bright end",
        "range": {"of": "this map alone", "min": low, "max": high},
        "levels": "256, cut",
    }


@functools.lru_cache(maxsize=2)
def _palette(larger_is_nearer: bool) -> np.ndarray:
    """Upstream's colours, as OpenCV takes them: uint8 (256, 1, 3), RGB."""
    return np.ascontiguousarray(spectral(reversed_map=larger_is_nearer)[:, None])


def levels(depth: np.ndarray, limits: Limits) -> np.ndarray:
    """Stretch a range to 0..255 and cut: uint8 (H, W); zeros if the range is empty."""
    low, high = (np.float32(limit) for limit in limits)
    if not low < high:
        return np.zeros(depth.shape, np.uint8)
    scaled = np.clip(depth, low, high)
    scaled -= low
    scaled /= high - low
    scaled *= np.float32(255)
    return scaled.astype(np.uint8)


def beside(rgb: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Photo, white columns, depth: uint8 (H, 2 W + 50, 3)."""
    gap = np.full((len(rgb), GAP_COLUMNS, 3), 255, np.uint8)
    return np.concatenate((rgb, gap, painted), axis=1)
