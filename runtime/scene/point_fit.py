"""Two windows by their points, as Depth Anything 3's own streaming links them.

Points of the same pixels and their weights in; a similarity out. For comparison: ``links`` is
several times better where a window's depth bends, and needs no unit. numpy only.
Source: ``da3_streaming`` of Depth Anything 3: weighted fits, Huber's weights in rounds.
"""

from typing import Optional

import numpy as np

from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.links import SURE
from runtime.scene.similarity import Similarity

DELTA, ROUNDS, SAME = 0.1, 5, 1e-9  # delta is in the points' unit, as there
SAME_TURN_DEG = 0.1
FEWEST = 3  # points that a similarity is fitted to


def confident(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pixels that both windows are sure of, by confidence above 0: bool of their shape."""
    least = SURE * min(np.median(one), np.median(other))
    return (one > least) & (other > least)


def fit_maps(
    known: np.ndarray, new: np.ndarray, known_conf: np.ndarray, new_conf: np.ndarray
) -> Optional[Similarity]:
    """Maps of points of the same frames, as the earlier and the later window see them.

    Args:
        known, new: (m, H, W, 3); known_conf, new_conf: (m, H, W), at least 0.
    Returns:
        from the later to the earlier one; None if hardly a point is sure in both.
    """
    kept = confident(known_conf, new_conf) & np.isfinite(known).all(-1) & np.isfinite(new).all(-1)
    of, to = (points[kept].astype(np.float64) for points in (new, known))
    if len(of) < FEWEST or not min(np.ptp(of, 0).max(), np.ptp(to, 0).max()) > 0:
        return None
    weights = np.sqrt(known_conf[kept].astype(np.float64) * new_conf[kept])
    return fit_windows_by_points(of, to, weights)


def corner_points(
    depth: np.ndarray, intrinsics: np.ndarray, world_to_camera: np.ndarray
) -> np.ndarray:
    """Points of pixels by their upper left corners, as there: (m, H, W) -> (m, H, W, 3)."""
    v, u = np.mgrid[: depth.shape[1], : depth.shape[2]]
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.swapaxes(
        np.linalg.inv(intrinsics), 1, 2
    ).reshape(len(depth), 1, 3, 3)
    local = rays * np.asarray(depth, np.float64)[..., None]
    poses = inverse(homogeneous(world_to_camera))
    turns, centres = poses[:, None, :3, :3], poses[:, None, None, :3, 3]
    return np.asarray(local @ np.swapaxes(turns, 2, 3) + centres)


def fit_points_once(
    of: np.ndarray, to: np.ndarray, weights: np.ndarray, scaled: bool = True
) -> Similarity:
    """One weighted fit: (P, 3) onto (P, 3); the scale is the ratio of both spreads."""
    share = weights / weights.sum()
    a, b = share @ of, share @ to
    x, y = of - a, to - b
    scale = float(np.sqrt((share @ (y**2).sum(1)) / (share @ (x**2).sum(1)))) if scaled else 1.0
    u, _, v = np.linalg.svd(y.T @ (share[:, None] * x))
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return Similarity(rotation, b - scale * rotation @ a, scale)


def fit_windows_by_points(
    of: np.ndarray,
    to: np.ndarray,
    weights: np.ndarray,
    scaled: bool = True,
    delta: float = DELTA,
    rounds: int = ROUNDS,
) -> Similarity:
    """Fit, and again with far points counting less; what nearly changes nothing is not taken.

    Args:
        of: float (P, 3), points of the later window; to: of the earlier one.
        weights: (P,), not negative.
    """
    found, cost = fit_points_once(of, to, weights, scaled), np.inf
    for _ in range(rounds):
        gaps = np.linalg.norm(to - found.move_points(of), axis=1)
        own = weights * np.minimum(1, delta / np.maximum(gaps, 1e-300))
        fresh = fit_points_once(of, to, own, scaled)
        small = np.where(gaps <= delta, gaps**2 / 2, delta * (gaps - delta / 2))
        now = float((weights * small).sum())
        moved = abs(fresh.scale - found.scale) + float(
            np.linalg.norm(fresh.translation - found.translation)
        )
        cosine = (np.trace(fresh.rotation @ found.rotation.T) - 1) / 2
        turned = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        if (moved < SAME and turned < SAME_TURN_DEG) or abs(cost - now) < SAME * cost:
            break
        found, cost = fresh, now
    return found
