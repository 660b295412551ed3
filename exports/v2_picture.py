"""Depth to the picture that Depth Anything V2's own scripts write, pixel for pixel.

A map and its photo in; uint8 (H, W, 3) RGB out. Each map is stretched from its own least to its own
greatest value and cut to whole levels.
"""

from typing import Any, Optional

import cv2
import numpy as np

from exports.colour import colorize, spectral, stamp_warning
from runtime.predict.found import Prediction

GAP_COLUMNS = 50  # white, between photo and depth


def v2_picture(
    found: Prediction,
    rgb: Optional[np.ndarray] = None,
    grayscale: bool = False,
    colormap: Optional[str] = None,
) -> np.ndarray:
    """Paint a prediction as ``run.py``, or ``metric_depth/run.py`` if it is in metres.

    Args:
        rgb: the photo, uint8 (H, W, 3), to be put on the left; None: depth alone.
        grayscale: the levels themselves, as three equal channels.
        colormap: of ``exports.colour.COLORMAPS``, instead of upstream's palette.
    Returns:
        uint8 (H, W, 3), or (H, 2 W + 50, 3) with the photo; stamped if the numbers mean nothing.
    Source: ``run.py`` and ``metric_depth/run.py`` of Depth Anything V2.
    """
    if grayscale:
        painted = np.repeat(levels(found.depth)[..., None], 3, axis=-1)
    elif colormap is not None:
        painted = colorize(found.depth, found.output, colormap, found.value_range)
    else:
        table = spectral(reversed_map=found.output.larger_is_nearer)
        painted = cv2.applyColorMap(levels(found.depth), np.ascontiguousarray(table[:, None]))
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


def levels(depth: np.ndarray) -> np.ndarray:
    """Stretch a map to 0..255 and cut it: uint8 (H, W); zeros if it is constant."""
    low, high = depth.min(), depth.max()
    if low == high:
        return np.zeros(depth.shape, np.uint8)
    return ((depth - low) / (high - low) * 255.0).astype(np.uint8)


def beside(rgb: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Photo, white columns, depth: uint8 (H, 2 W + 50, 3)."""
    gap = np.full((len(rgb), GAP_COLUMNS, 3), 255, np.uint8)
    return np.concatenate((rgb, gap, painted), axis=1)
