"""A cloud of bounded size from any number of points: of each small cube the surest point stays.

Points, colours and confidence in, block after block; the cloud in the order of its cubes out. When
there are too many cubes they grow. No random numbers: the same blocks give the same cloud.
"""

import math

import numpy as np

CELLS = 1 << 20  # cubes from the origin on either side; what is farther out is left out
GROWTH = math.sqrt(2)
WAITING = 1 << 20  # points that are kept before they are thinned


class VoxelCloud:
    """A cloud that is being gathered.

    Args:
        budget: points, at most. side: of a cube at first, in the points' unit.
        waiting: points that are kept before they are thinned, at most.

    Attributes:
        left_out: points too far from the origin.
    """

    def __init__(self, budget: int, side: float, waiting: int = WAITING) -> None:
        self.budget, self.side, self.left_out = budget, side, 0
        self._points, self._colours = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
        self._conf = np.zeros(0, np.float32)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count, self._most = 0, min(waiting, 2 * budget)

    def add(self, points: np.ndarray, colours: np.ndarray, conf: np.ndarray) -> None:
        """Take points (P, 3), uint8 (P, 3) and (P,)."""
        block = np.asarray(points, np.float32), np.asarray(colours, np.uint8)
        self._waiting.append((*block, np.asarray(conf, np.float32)))
        self._count += len(points)
        if self._count >= self._most:
            self._thin()

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points float32 (K, 3), colours uint8 (K, 3), confidence float32 (K,)."""
        self._thin()
        return self._points, self._colours, self._conf

    def _thin(self) -> None:
        parts = [(self._points, self._colours, self._conf), *self._waiting]
        arrays = [np.concatenate([part[at] for part in parts]) for at in range(3)]
        self._waiting, self._count = [], 0
        while True:
            near = np.isfinite(arrays[0]).all(1)
            near &= (np.abs(np.nan_to_num(arrays[0])) < CELLS * self.side).all(1)
            self.left_out += int((~near).sum())
            arrays = [array[near] for array in arrays]
            kept = _surest(_keys(arrays[0], self.side), arrays[2])
            arrays = [array[kept] for array in arrays]
            if len(kept) <= self.budget:
                break
            self.side *= GROWTH
        self._points, self._colours, self._conf = arrays


def _keys(points: np.ndarray, side: float) -> np.ndarray:
    """A number for the cube of each point: int64 (P,)."""
    cells = np.floor(points.astype(np.float64) / side).astype(np.int64) + CELLS
    return np.asarray((cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2])


def _surest(keys: np.ndarray, conf: np.ndarray) -> np.ndarray:
    """Of each key the first of the surest points, by key."""
    order = np.lexsort((-conf, keys))
    ordered = keys[order]
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return np.asarray(order[first])
