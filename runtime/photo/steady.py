"""Maps of a video, each known up to a scale and a shift of its own, made to agree in time.

A map and the seconds since the one before in; a scale and a shift out. They follow the maps before,
with a leak: shaking goes, what really changes stays, with a lag. Pure.
"""

import math
from typing import Optional

import numpy as np

ROUNDS = 4
HUBER = 1.345 * 1.4826  # times the median residual
LARGEST = 20_000  # pixels of a map that are looked at
SCALES = (0.7, 1.4)  # outside of these the maps are not of one scene
SPREAD = 0.1  # median residual over the middle half's spread, likewise

Affine = tuple[float, float]


class LeakyFit:
    """Scale and shift of each map, so that ``scale * map + shift`` agrees with what was before.

    Args:
        seconds: time constant: after so long, a real change is followed by two thirds.
    Attributes:
        restarts: indices of the maps that agreed with nothing before them, as after a cut.
    Source: leaky affine fit by iteratively reweighted least squares with Huber's weights.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds={seconds}: expected a number above 0")
        self._seconds = seconds
        self._before: Optional[np.ndarray] = None
        self._count = 0
        self.restarts: list[int] = []

    def next(self, depth: np.ndarray, since: float) -> Affine:
        """The scale and the shift of the next map.

        Args:
            depth: float32 (h, w), finite; of the same shape each time.
            since: seconds since the map before.
        """
        values = _some(depth)
        scale, shift = 1.0, 0.0
        if self._before is not None:
            found = _fit(values, self._before)
            if found is None:
                self.restarts.append(self._count)
            else:
                leak = math.exp(-max(since, 0.0) / self._seconds)
                scale, shift = found[0] ** leak, found[1] * leak
        self._before = scale * values + shift
        self._count += 1
        return scale, shift


def _some(depth: np.ndarray) -> np.ndarray:
    """Pixels on an even grid, few enough: float64 (n,)."""
    step = max(1, math.ceil(math.sqrt(depth.size / LARGEST)))
    return depth[::step, ::step].astype(np.float64).ravel()


def _fit(values: np.ndarray, target: np.ndarray) -> Optional[Affine]:
    """Scale and shift from values to target; None if they are not of one scene."""
    weight = np.ones_like(values)
    scale, shift, middle = 1.0, 0.0, 0.0
    for _ in range(ROUNDS):
        total = weight.sum()
        mean_x, mean_y = weight @ values / total, weight @ target / total
        x = values - mean_x
        spread = weight @ (x * x)
        if spread <= 0:  # a flat map tells no scale
            return 1.0, float(mean_y - mean_x)
        scale = float(weight @ (x * (target - mean_y)) / spread)
        shift = float(mean_y - scale * mean_x)
        residual = np.abs(scale * values + shift - target)
        middle = float(np.median(residual))
        limit = HUBER * middle
        if limit <= 0:
            break
        weight = np.minimum(1.0, limit / np.maximum(residual, 1e-300))
    low, high = np.percentile(target, (25, 75))
    same = SCALES[0] <= scale <= SCALES[1] and middle <= SPREAD * (high - low)
    return (scale, shift) if same or (middle == 0 and scale > 0) else None
