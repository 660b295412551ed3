"""One photo with a known answer, and the point pairs that true depth gives.

Arrays in, arrays out; the same pairs for the same depth on every machine. No disk.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar

import numpy as np

from runtime.errors import InputError

MIN_DEPTH_M = 1e-3
# Pairs drawn from true depth: this many a photo, the farther point at least this much farther.
PAIRS = 200
PAIR_RATIO = 1.15
PAIRS_ABOUT = f"{PAIRS} random pairs a photo, depths apart by a ratio of {PAIR_RATIO} or more"


Some = TypeVar("Some")


def no_pairs() -> np.ndarray:
    """Pairs of a photo that has none: int (0, 2, 2)."""
    return np.zeros((0, 2, 2), np.int64)


@dataclass(frozen=True)
class Sample:
    """A photo and what is known about it, all on the photo's own pixels.

    rgb: uint8 (H, W, 3).
    depth_m: float32 (H, W), metres along the optical axis; +inf is sky, NaN is not known.
    scored: bool (H, W), pixels that count for depth: known, in range, inside the dataset's crop.
    max_depth_m: the end of that range.
    pairs: int (N, 2, 2), nearer point then farther point, each row and column.
    """

    rgb: np.ndarray
    depth_m: Optional[np.ndarray] = None
    scored: Optional[np.ndarray] = None
    max_depth_m: float = math.inf
    pairs: np.ndarray = field(default_factory=no_pairs)


@dataclass(frozen=True)
class Entry:
    """One sample, not read yet. ``load`` raises InputError or OSError if it cannot be used."""

    name: str
    load: Callable[[], Sample]


def evenly(entries: Sequence[Some], count: Optional[int]) -> list[Some]:
    """``count`` entries, evenly spaced from the first on; all where there are no more."""
    if count is None or count >= len(entries):
        return list(entries)
    return [entries[index * len(entries) // count] for index in range(count)]


def draw_pairs(
    depth_m: np.ndarray, scored: np.ndarray, seed: int, count: int = PAIRS
) -> np.ndarray:
    """Draw point pairs whose order is certain.

    Both points are uniform over the pixels that count; kept are pairs in which one depth is at
    least ``PAIR_RATIO`` times the other.

    Args:
        depth_m: float (H, W).
        scored: bool (H, W).
    Returns:
        int (N, 2, 2), N at most ``count``: nearer point, farther point; row, column. The same for
        the same arguments, on every machine.
    """
    candidates = np.flatnonzero(scored)
    if not len(candidates):
        return no_pairs()
    random = np.random.RandomState(seed)
    drawn = random.randint(len(candidates), size=(8 * count, 2), dtype=np.int64)
    points = candidates[drawn]
    depths = depth_m.ravel()[points]
    order = np.argsort(depths, axis=1)
    points = np.take_along_axis(points, order, axis=1)
    depths = np.take_along_axis(depths, order, axis=1)
    points = points[depths[:, 1] >= PAIR_RATIO * depths[:, 0]][:count]
    return np.stack(np.divmod(points, depth_m.shape[1]), axis=-1).astype(np.int64)


def with_depth(name: str, rgb: np.ndarray, depth_m: np.ndarray, max_m: float, crop: Any) -> Sample:
    """A sample of a photo and its depth map, its pairs drawn from that.

    Args:
        depth_m: float32 (H, W), metres; +inf sky, NaN not known.
        crop: what indexes the rows and columns that count.
    Raises:
        InputError: the photo and the map have different sizes.
    """
    if depth_m.shape != rgb.shape[:2]:
        raise InputError(f"{name}: the depth map is {depth_m.shape}, the photo {rgb.shape[:2]}")
    scored = np.zeros(depth_m.shape, bool)
    scored[crop] = True
    with np.errstate(invalid="ignore"):
        scored &= (depth_m > MIN_DEPTH_M) & (depth_m <= max_m)
    pairs = draw_pairs(depth_m, scored, zlib.crc32(name.encode("utf-8", "surrogateescape")))
    return Sample(rgb=rgb, depth_m=depth_m, scored=scored, max_depth_m=max_m, pairs=pairs)
