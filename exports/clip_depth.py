"""Depth of a clip to colours: one range for all of its frames, near is red, far is violet.

Depth maps in; the two ends of their logarithms, then uint8 pictures out.
Source: ``utils/export/gs.py`` of Depth Anything 3; its colours but for pixels that nothing covers,
which are black here and near there.
"""

from collections.abc import Iterable

import numpy as np

from exports.colour import spectral

NEAR, FAR = 0.01, 0.99  # quantiles of what is covered, and of all
COUNTED = 16_000_000  # values, the first of each, whose quantiles are taken
LEAST_RANGE = 1e-6

Limits = tuple[float, float]  # logarithms of the nearest and the farthest depth


def limits_of(depths: Iterable[np.ndarray]) -> Limits:
    """Between which depths colours change: (H, W) each, 0 where nothing is; 0, 0 if all is so."""
    every, covered = _First(), _First()
    for depth in depths:
        every.add(depth.reshape(-1))
        covered.add(depth[depth > 0])
    positive = covered.values()
    if not len(positive):
        return 0.0, 0.0
    near, far = np.quantile(positive, NEAR), np.quantile(every.values(), FAR)
    if far < near:  # nearly nothing is covered
        far = positive.max()
    return float(np.log(near)), float(np.log(far))


def paint(depth: np.ndarray, limits: Limits) -> np.ndarray:
    """Depth (H, W), larger is farther, to uint8 (H, W, 3); black where it is not above 0."""
    near, far = limits
    covered = depth > 0
    logs = np.log(depth, out=np.full(depth.shape, near, np.float32), where=covered)
    share = ((logs - near) / max(far - near, LEAST_RANGE)).clip(0, 1)
    table = spectral(reversed_map=False)
    painted = table[np.minimum(share * 256, 255).astype(np.uint8)]
    painted[~covered] = 0
    return painted


class _First:
    """The first ``COUNTED`` of many values."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._room = COUNTED

    def add(self, values: np.ndarray) -> None:
        taken = values[: self._room]
        if len(taken):
            self._parts.append(np.array(taken))
            self._room -= len(taken)

    def values(self) -> np.ndarray:
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)
