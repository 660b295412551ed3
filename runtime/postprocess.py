"""From the network's grid back to the photo's.

float32 depth (h, w) in; float32 depth (H, W) out. No disk, no network, no device.
"""

import numpy as np

from runtime.errors import InputError

# Rows of the result worked on at a time: keeps the intermediate in the processor's cache.
ROWS = 64


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
    top, below, weight_y = _neighbours(depth.shape[0], size_hw[0])
    left, right, weight_x = _neighbours(depth.shape[1], size_hw[1])
    # Widen once, row by row of the small map; then blend pairs of those rows into the result.
    # a + (b - a) w, not a (1 - w) + b w: a flat map stays exactly flat.
    wide = depth[:, left]  # (h, W)
    wide += (depth[:, right] - wide) * weight_x
    result = np.empty(size_hw, np.float32)
    for start in range(0, size_hw[0], ROWS):
        rows = slice(start, start + ROWS)
        above = wide[top[rows]]
        result[rows] = above + (wide[below[rows]] - above) * weight_y[rows, None]
    return result


def _neighbours(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each target index: the two source indices it lies between and the second's weight."""
    position = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    first = np.minimum(position.astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    return first, second, (position - first).astype(np.float32)
