"""Metres of a whole sequence, from windows that each claim metres of their own.

Scales of windows and how their links chain in; what each window's scale is to be multiplied by,
out. Links drift, claims jump; together they are far better than either. numpy only.
"""

import math
from collections.abc import Sequence

import numpy as np

CLAIM, DRIFT = 0.05, 0.005  # deviations of a window's claim, and of a link's scale
FEW_WINDOWS = 50  # below, one factor keeps the scene rigid
WILD = 2.0  # deviations from which a claim counts less
ROUNDS = 20


class ScaleFilter:
    """What the chain must be multiplied by, as far as it is known: for live numbers."""

    def __init__(self, claim: float = CLAIM, drift: float = DRIFT) -> None:
        self._claim, self._drift = claim**2, drift**2
        self.log_factor, self._variance, self._begun = 0.0, claim**2, False

    def next(self, log_ratio: float) -> float:
        """Take a window's claim; the factor.

        Args:
            log_ratio: log of what the window claims over what the chain says.
        """
        if not self._begun:
            self._begun, self.log_factor = True, log_ratio
            return math.exp(self.log_factor)
        self._variance += self._drift
        error, whole = log_ratio - self.log_factor, self._variance + self._claim
        clipped = min(1.0, WILD * math.sqrt(whole) / max(abs(error), 1e-300))
        self.log_factor += self._variance / whole * clipped * error
        self._variance *= 1 - self._variance / whole
        return math.exp(self.log_factor)


def scale_factors(
    log_ratios: Sequence[float], claim: float = CLAIM, drift: float = DRIFT
) -> np.ndarray:
    """What each window's scale is to be multiplied by: (K,).

    Args:
        log_ratios: of each window, log of what it claims over what the chain says.
    Returns:
        one factor for all of a short sequence; of a long one, factors that follow slowly.
    """
    ratios = np.asarray(log_ratios, np.float64)
    if not len(ratios):
        return np.ones(0)
    if len(ratios) < FEW_WINDOWS:
        return np.full(len(ratios), math.exp(float(np.median(ratios))))
    found, stiff = np.full(len(ratios), float(np.median(ratios))), 1 / drift**2
    for _ in range(ROUNDS):
        off = np.abs(ratios - found) / claim
        weights = np.minimum(1.0, WILD / np.maximum(off, 1e-12)) / claim**2
        fresh = _tridiagonal(weights, stiff, weights * ratios)
        if np.abs(fresh - found).max() < 1e-9:
            break
        found = fresh
    return np.asarray(np.exp(fresh))


def _tridiagonal(own: np.ndarray, between: float, right: np.ndarray) -> np.ndarray:
    """Solve for values that are near their own and near each other (Thomas's algorithm)."""
    count = len(own)
    diagonal = own + between * (np.arange(count) > 0) + between * (np.arange(count) < count - 1)
    found = right.astype(np.float64).copy()
    for at in range(1, count):
        factor = between / diagonal[at - 1]
        diagonal[at] -= factor * between
        found[at] += factor * found[at - 1]
    found[-1] /= diagonal[-1]
    for at in range(count - 2, -1, -1):
        found[at] = (found[at] + between * found[at + 1]) / diagonal[at]
    return found
