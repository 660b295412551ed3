"""One range of values for many maps, so that a colour means the same in each of them.

Maps in, one after the other; the least and the greatest value to be painted out. What is kept is a
histogram of fixed bins, whatever the number of maps: two of them add up exactly. No disk.
"""

import math
from typing import Optional

import numpy as np

BINS = 4096
UNIT, FARTHEST = 1e-3, 1e6  # bins are even in asinh(value / UNIT), up to this on either side
SHARES = (0.02, 0.98)  # of all values, where the range begins and ends

FORGET_S = 10.0  # time constant of a running range
SPEED = 0.02  # of its own span that either end moves in a second, at most

_END = math.asinh(FARTHEST / UNIT)


class ValueHistogram:
    """How often values occur: 4,096 bins, fine near zero and in proportion far from it.

    ``least`` and ``greatest`` are exact; infinite and wrong way round while nothing was added.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS)
        self.least, self.greatest = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """Count finite values of any shape."""
        place = np.arcsinh(values.ravel() * np.float32(1 / UNIT))
        place += np.float32(_END)
        place *= np.float32(BINS / (2 * _END))
        bins = np.clip(place.astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)
        self.least = min(self.least, float(values.min()))
        self.greatest = max(self.greatest, float(values.max()))

    def merge(self, other: "ValueHistogram") -> None:
        """Add what another one has counted."""
        self.counts += other.counts
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)

    def quantile(self, share: float) -> float:
        """The value below which this share of all values lies, even within a bin.

        Raises:
            ValueError: nothing was counted.
        """
        total = self.counts.sum()
        if not total:
            raise ValueError("no value was counted")
        reached = np.cumsum(self.counts)
        place = min(int(np.searchsorted(reached, share * total)), BINS - 1)
        here = self.counts[place]
        inside = (share * total - (reached[place] - here)) / here if here else 0.0
        low, high = (
            float(np.clip(_edge(place + end), self.least, self.greatest)) for end in (0, 1)
        )
        return low + (high - low) * min(max(float(inside), 0.0), 1.0)

    def limits(self, shares: tuple[float, float] = SHARES) -> tuple[float, float]:
        """The values between which the middle of all lies."""
        return self.quantile(shares[0]), self.quantile(shares[1])


class RunningRange:
    """The same for maps that come once: the range so far, which forgets and moves slowly."""

    def __init__(self) -> None:
        self._seen = ValueHistogram()
        self._shown: Optional[tuple[float, float]] = None

    def next(self, values: np.ndarray, seconds: float) -> tuple[float, float]:
        """Count a map and give the range to paint it in.

        Args:
            seconds: since the map before.
        """
        self._seen.counts *= math.exp(-max(seconds, 0.0) / FORGET_S)
        self._seen.add(values)
        wanted = self._seen.limits()
        if self._shown is None:
            self._shown = wanted
        step = SPEED * max(seconds, 0.0) * max(self._shown[1] - self._shown[0], 1e-12)
        low, high = (
            now + min(max(then - now, -step), step) for now, then in zip(self._shown, wanted)
        )
        self._shown = low, high
        return self._shown


def _edge(place: int) -> float:
    return UNIT * math.sinh(place * 2 * _END / BINS - _END)
