"""Scores of a point cloud against the true one: distances to the nearest point, both ways.

Points (N, 3) of one unit and one frame in, numbers out. No disk.
Source: the measures of Tanks and Temples (Knapitsch et al., 2017) and ETH3D (Schöps et al., 2017),
as Depth Anything 3 (Lin et al., 2025) reports them.
"""

import numpy as np

from runtime.errors import InputError
from runtime.optional import require


def cloud_scores(found: np.ndarray, true: np.ndarray, threshold: float) -> dict[str, float]:
    """How near two clouds are.

    d(p, Q) is the distance from p to the nearest point of Q.

    Args:
        found: (N, 3), true: (M, 3).
        threshold: up to which a point is right, in their unit.
    Returns:
        ``accuracy`` mean of d(found, true); ``completeness`` mean of d(true, found); ``overall``
        the mean of both, which is the Chamfer distance; ``precision`` the share of found points
        with d <= threshold; ``recall`` that of true ones; ``f1`` = 2 precision recall / (precision
        + recall), 0 if both are 0.
    Raises:
        InputError: an empty cloud, points that are not finite, or a threshold not above 0.
        MissingDependency: SciPy is not installed.
    """
    for name, points in (("found", found), ("true", true)):
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise InputError(f"the {name} cloud is {points.shape}, expected (N, 3), N above 0")
        if not np.isfinite(points).all():
            raise InputError(f"the {name} cloud has points that are not finite")
    if not threshold > 0:
        raise InputError(f"threshold={threshold}: expected a distance above 0")
    to_true, to_found = nearest(found, true), nearest(true, found)
    precision, recall = (float(np.mean(d <= threshold)) for d in (to_true, to_found))
    both = precision + recall
    accuracy, completeness = float(to_true.mean()), float(to_found.mean())
    return {
        "accuracy": accuracy,
        "completeness": completeness,
        "overall": (accuracy + completeness) / 2,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
    }


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances from points (N, 3) to the nearest of others (M, 3): float64 (N,)."""
    spatial = require("scipy.spatial", "evaluate")
    distances: np.ndarray = spatial.cKDTree(others).query(points)[0]
    return distances


def thinned(points: np.ndarray, cell: float) -> np.ndarray:
    """One point for each cube of this side, the mean of those in it: (N, 3) -> (M, 3).

    Every surface then counts by its size, however near a camera stood.
    """
    if not len(points):
        return points
    places = np.floor((points - points.min(0)) / cell)
    sides = places.max(0) + 1
    if np.prod(sides) < 2.0**62:
        x, y, z = places.astype(np.int64).T
        numbers, axis = (x * int(sides[1]) + y) * int(sides[2]) + z, None
    else:  # a point is nowhere near the others; slower
        numbers, axis = places, 0
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.ravel()  # numpy 2.0 kept the shape
    sums = [np.bincount(inverse, weights=points[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / counts[:, None]
