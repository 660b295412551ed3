"""Exact percentiles of more numbers than fit into memory.

Blocks of float32 in, read twice; numbers out. The memory is a table of 65,536 counts, however many
numbers there are: the first pass counts their upper 16 bits, the second the lower 16 bits of those
that matter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Optional

import numpy as np

Blocks = Callable[[], Iterable[np.ndarray]]
HALF = 16
COUNTS = 1 << HALF


def percentiles(blocks: Blocks, wanted: Sequence[float]) -> Optional[np.ndarray]:
    """Percentiles between neighbours by linear interpolation, as ``np.percentile`` has them.

    Args:
        blocks: called twice; gives float32 arrays (P,) or (P, C), the same both times; of each of
            the C columns for itself. NaN does not count.
        wanted: 0 to 100.
    Returns:
        float64 (Q,) or (Q, C); None if there are no numbers at all.
    """
    upper: dict[int, np.ndarray] = {}
    several = False
    for column, keys, several in _keys(blocks):  # noqa: B007 the last one's counts
        counts = np.bincount(keys >> HALF, minlength=COUNTS)
        upper[column] = upper[column] + counts if column in upper else counts
    if not upper or not all(counts.any() for counts in upper.values()):
        return None
    ranks = {column: _ranks(counts, wanted) for column, counts in upper.items()}
    values = _at_ranks(blocks, upper, ranks)
    found = np.empty((len(wanted), len(upper)))
    for column, counts in upper.items():
        last = int(counts.sum()) - 1
        for at, q in enumerate(wanted):
            position = last * q / 100
            below = int(np.floor(position))
            low, high = (values[column][rank] for rank in (below, min(below + 1, last)))
            found[at, column] = low if low == high else low + (high - low) * (position - below)
    return found if several else found[:, 0]


def _ranks(counts: np.ndarray, wanted: Sequence[float]) -> list[int]:
    """Which places of all sorted numbers matter."""
    last = int(counts.sum()) - 1
    below = [int(np.floor(last * q / 100)) for q in wanted]
    return sorted({rank for low in below for rank in (low, min(low + 1, last))})


def _at_ranks(
    blocks: Blocks, upper: dict[int, np.ndarray], ranks: dict[int, list[int]]
) -> dict[int, dict[int, float]]:
    """The numbers at these places if all of a column were sorted."""
    reached = {column: np.cumsum(counts) for column, counts in upper.items()}
    bins = {
        column: {rank: int(np.searchsorted(reached[column], rank, side="right")) for rank in some}
        for column, some in ranks.items()
    }
    lower = {
        (column, one): np.zeros(COUNTS, np.int64)
        for column, some in bins.items()
        for one in some.values()
    }
    for column, keys, _ in _keys(blocks):
        high = keys >> HALF
        for one in set(bins[column].values()):
            counts = np.bincount(keys[high == one] & (COUNTS - 1), minlength=COUNTS)
            lower[column, one] += counts
    found: dict[int, dict[int, float]] = {}
    for column, some in bins.items():
        for rank, one in some.items():
            within = rank - int(reached[column][one] - upper[column][one])
            low = int(np.searchsorted(np.cumsum(lower[column, one]), within, side="right"))
            found.setdefault(column, {})[rank] = _value((one << HALF) | low)
    return found


def _keys(blocks: Blocks) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Numbers of a column as integers of the same order, and whether there are columns."""
    for block in blocks():
        columns = block.ndim == 2
        for column in range(block.shape[1] if columns else 1):
            values = np.array(block[:, column] if columns else block, np.float32).reshape(-1)
            bits = values[~np.isnan(values)].view(np.uint32)
            keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
            yield column, keys.astype(np.int64), columns


def _value(key: int) -> float:
    bits = key ^ (1 << 31) if key >> 31 else key ^ 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))
