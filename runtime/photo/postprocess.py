"""From the network's grid back to the photo's.

float32 depth (h, w) in; float32 depth (H, W) out. No disk, no network, no device.
"""

from typing import Optional

import cv2
import numpy as np

from runtime.errors import InputError

BAND_ROWS = 64
BAND_VALUES = 1 << 22  # of a map of the photo's width and the network's height, made at a time


def resize_to_photo(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a map bilinearly with aligned corners.

    The first and last pixel centres of both grids coincide, as in upstream's ``infer_image``.
    OpenCV's linear resize aligns pixel edges instead, and its ``remap`` rounds weights to 1/32,
    so neither can stand in.

    Args:
        depth: float32 (h, w).
        size_hw: height and width of the photo in pixels.
    Returns:
        float32 (*size_hw), in the unit of ``depth``.
    Raises:
        InputError: depth is not two-dimensional.
    """
    if depth.ndim != 2:
        raise InputError(f"depth is {depth.shape}, expected (H, W); drop the batch axis")
    if depth.shape == tuple(size_hw):
        return depth.astype(np.float32)
    height, width = size_hw
    # columns first, which are few as long as the map is low; each as a row of the turned map
    turned = cv2.transpose(np.ascontiguousarray(depth, np.float32))  # (w, h)
    columns = _places(depth.shape[1], width)
    rows = _places(depth.shape[0], height)
    result = np.empty((height, width), np.float32)
    band = max(1, BAND_VALUES // depth.shape[0])
    for left in range(0, width, band):
        some = tuple(part[left : left + band] for part in columns)
        wide = cv2.transpose(_between(turned, *some))  # (h, columns of the band)
        _between(wide, *rows, out=result[:, left : left + band])
    return result


def value_range(depth: np.ndarray) -> tuple[float, float]:
    """The least and the greatest value of a map."""
    return float(depth.min()), float(depth.max())


def _between(
    depth: np.ndarray, above: np.ndarray, weight: np.ndarray, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """Rows, each between a row of a map and the next: float32 (rows, W).

    Some rows are made at a time, so that they stay in the processor's cache.
    """
    result = np.empty((len(above), depth.shape[1]), np.float32) if out is None else out
    below = np.minimum(np.arange(len(depth)) + 1, len(depth) - 1)
    step = depth[below] - depth
    for start in range(0, len(above), BAND_ROWS):
        rows = slice(start, start + BAND_ROWS)
        # a + (b - a) w, not a (1 - w) + b w: a flat map stays exactly flat
        some = np.multiply(weight[rows, None], step[above[rows]], out=result[rows])
        some += depth[above[rows]]
    return result


def _places(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each target index: the source index that it lies at or behind, and how far behind."""
    position = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    first = np.minimum(position.astype(np.int64), source - 1)
    return first, (position - first).astype(np.float32)
