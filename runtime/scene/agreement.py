"""Whether two windows that are put into one scene show one place, by what both of them see.

Depth, confidence, cameras and intrinsics of both in one gauge in; shares of pixels out. Nothing is
compared with where a drifting path has got to, and no unit matters. numpy only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.links import SURE, SharedFrames, on_surface

SAME = 0.1  # by which the logarithm of a depth may be off, and be of one surface
PIXELS = 1500  # of each frame that are looked at, about


@dataclass(frozen=True)
class Agreement:
    """Of two windows.

    Args:
        seen: share of one window's pixels that the other one sees, too; the lesser of both ways.
        agree: share of those whose depth is the other one's; what hides behind a surface does not
            count, and what hangs before one speaks against it.
    """

    seen: float
    agree: float


def agreement(
    one: SharedFrames,
    one_intrinsics: np.ndarray,
    other: SharedFrames,
    other_intrinsics: np.ndarray,
) -> Agreement:
    """How far two windows in one gauge show the same surfaces.

    Args:
        one_intrinsics, other_intrinsics: (m, 3, 3).
    """
    ways = [
        _one_way(one, one_intrinsics, other, other_intrinsics),
        _one_way(other, other_intrinsics, one, one_intrinsics),
    ]
    total = [sum(counts) for counts in ways]
    agreeing = sum(counts[0] for counts in ways)
    told = agreeing + sum(counts[1] for counts in ways)
    seen = min(counts[0] / whole if whole else 0.0 for counts, whole in zip(ways, total))
    return Agreement(seen, agreeing / told if told else 0.0)


def _one_way(
    one: SharedFrames, of: np.ndarray, other: SharedFrames, to: np.ndarray
) -> tuple[int, int, int]:
    """Points that agree with a frame of the other window, that contradict all, that none tells."""
    agreeing = against = unseen = 0
    sure = _sure(other)
    for points in _points(one, of):
        same, wrong = (np.zeros(len(points), bool) for _ in range(2))
        for at, pose in enumerate(homogeneous(other.extrinsics)):
            inside, far, depth = _looked_up(points, pose, to[at], other.depth[at], sure[at])
            off = np.log(far / depth)
            same[inside] |= np.abs(off) < SAME
            wrong[inside] |= off < -SAME  # seen through
        agreeing += int(same.sum())
        against += int((wrong & ~same).sum())
        unseen += int((~wrong & ~same).sum())
    return agreeing, against, unseen


def _points(seen: SharedFrames, intrinsics: np.ndarray) -> Iterator[np.ndarray]:
    """Some of the sure pixels of each frame, in the gauge of its cameras."""
    sure, poses = _sure(seen), inverse(homogeneous(seen.extrinsics))
    for at, own in enumerate(sure):
        rows, columns = np.nonzero(own)
        step = max(1, len(rows) // PIXELS)
        rows, columns = rows[::step], columns[::step]
        pixels = np.stack((columns + 0.5, rows + 0.5, np.ones(len(rows))), -1)
        depth = np.asarray(seen.depth[at], np.float64)[rows, columns]
        local = pixels @ np.linalg.inv(intrinsics[at]).T * depth[:, None]
        yield local @ poses[at, :3, :3].T + poses[at, :3, 3]


def _sure(seen: SharedFrames) -> np.ndarray:
    """Which pixels may be compared: bool (m, H, W)."""
    depth, excess = np.asarray(seen.depth, np.float64), seen.excess()
    there = ~seen.is_sky() & np.isfinite(depth) & (depth > 0) & np.isfinite(excess)
    if not there.any():
        return there
    return there & (excess > SURE * np.median(excess[there])) & on_surface(depth)


def _looked_up(
    points: np.ndarray,
    pose: np.ndarray,
    intrinsics: np.ndarray,
    depth: np.ndarray,
    sure: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points a frame sees, how far off they are from it, and what depth it has there."""
    local = points @ pose[:3, :3].T + pose[:3, 3]
    far = local[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = np.floor((local @ intrinsics.T)[:, :2] / far[:, None])
    height, width = depth.shape
    inside = (far > 0) & (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    columns, rows = np.where(inside[:, None], pixels, 0).astype(np.int64).T
    inside &= sure[rows, columns]
    return inside, far[inside], np.asarray(depth, np.float64)[rows, columns][inside]
