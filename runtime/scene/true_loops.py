"""Which loops are true: what is likelier than that the network is mistaken.

A chain of windows and loops in; loops that are believed, and how much links drift, out. Loops are
all that tells how much links really drift. A true one is off by what the links between may add up
to, whatever that is; a false one by anything. numpy only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.scene.pose_graph import (
    FREE,
    REJECTED,
    SIGMAS,
    Edge,
    Solved,
    close_loops,
    gap_covariance,
    loosened,
    residual,
)
from runtime.scene.similarity import Similarity

DRIFTS = tuple(2 ** (step / 2) for step in range(9))  # that links may have: 1 to 16 times
USUAL = 0.8  # deviation of the logarithm of a drift
BENT = 0.1  # of a gap, by which what is true for small ones may be off
FALSE_TURN, FALSE_SCALE = 0.5, 0.3  # deviations of false loops, from any chain


@dataclass(frozen=True, eq=False)
class _Off:
    """By how much loops are off, and may be: by links, by themselves, and if they are false.

    ``gap`` (L, 7); ``links`` (L, 7, L, 7), for links as sure as they say; ``own`` and ``false``
    (L, 7), squares.
    """

    gap: np.ndarray
    links: np.ndarray
    own: np.ndarray
    false: np.ndarray

    def likely(self, at: int, drift: float = 1.0) -> float:
        """Log density of a true loop's being off by this."""
        spread = drift**2 * self.links[at, :, at] + np.diag(self.own[at])
        return _log_density(self.gap[at], spread)

    def unlikely(self, at: int) -> float:
        """Log density of a false loop's being off by this."""
        return _log_density(self.gap[at], np.diag(self.false[at]))

    def odds(self, at: int) -> float:
        """Logarithm of: that it is true, over that it is false; as often one as the other."""
        return self.likely(at) - self.unlikely(at)

    def beside(self, at: int) -> float:
        """The odds of a loop and of all that agree with it, were it closed."""
        whole = self.odds(at)
        if whole <= 0:
            return whole
        own = self.links[at, :, at] + np.diag(self.own[at])
        for other in range(len(self.gap)):
            if other != at:
                gain = np.linalg.solve(own, self.links[at, :, other]).T
                gap = self.gap[other] - gain @ self.gap[at]
                open_ = self.links[other, :, other] - gain @ self.links[at, :, other]
                bent = np.diag((BENT * self.gap[at]) ** 2 + self.own[other])
                whole += max(0.0, _log_density(gap, open_ + bent) - self.unlikely(other))
        return whole


def close_true_loops(windows: Sequence[Similarity], edges: Sequence[Edge]) -> Solved:
    """Close the loops that are believed; others weigh nothing.

    Args:
        windows, edges: as for ``pose_graph.close_loops``.
    """
    links = [edge for edge in edges if not edge.loop]
    loops = [edge for edge in edges if edge.loop]
    if not loops:
        return close_loops(windows, links)
    drift = _usual_drift(_off(windows, links, loops))
    links = [loosened(link, drift) for link in links]
    believed, found = list[int](), list(windows)
    left, together = list(range(len(loops))), 1
    while left:
        inside = [*links, *(loops[at] for at in believed)]
        off = _off(found, inside, [loops[at] for at in left])
        odds = [off.odds(at) for at in range(len(left))]
        if not believed:  # what most others agree with comes first
            odds = [off.beside(at) for at in range(len(left))]
        order = sorted(range(len(left)), key=lambda at: -odds[at])
        best = [left[at] for at in order[:together] if odds[at] > 0]
        if not best:
            break
        believed += best
        together = max(1, len(believed))  # what is closed makes the next ones surer
        left = [at for at in left if at not in best]
        found = close_loops(found, [*links, *(loops[at] for at in believed)], False).windows
    return _agreed(found, links, loops, sorted(believed), drift)


def _usual_drift(off: _Off) -> float:
    """How many times as unsure links are as they say: what is likeliest, given all loops."""

    def likely(drift: float) -> float:
        usual = -((math.log(drift) / USUAL) ** 2) / 2
        each = (np.logaddexp(off.likely(at, drift), off.unlikely(at)) for at in range(len(off.gap)))
        return usual + float(sum(each))

    return max(DRIFTS, key=likely)


def _agreed(
    windows: Sequence[Similarity],
    links: Sequence[Edge],
    loops: Sequence[Edge],
    believed: Sequence[int],
    drift: float,
) -> Solved:
    """In rounds, until no loop is left that contradicts the others."""
    while True:
        solved = close_loops(windows, [*links, *(loops[at] for at in believed)])
        kept = [at for at, weight in zip(believed, solved.weights) if weight >= REJECTED]
        if len(kept) == len(believed):
            break
        believed = kept
    weights = np.zeros(len(loops))
    weights[list(believed)] = solved.weights
    return Solved(solved.windows, weights.tolist(), solved.cost, drift)


def _off(windows: Sequence[Similarity], closed: Sequence[Edge], among: Sequence[Edge]) -> _Off:
    """How far loops are off windows that agree with links and with loops that are closed."""
    spread, own, false = _extent(windows), [], []
    for edge in among:
        shift, turn, scale = edge.sigmas
        own.append([*[shift] * 3, *[turn] * 3, scale])
        far = max(shift / SIGMAS[0], spread / windows[edge.j].scale)
        false.append([*[far] * 3, *[FALSE_TURN] * 3, FALSE_SCALE])
    return _Off(
        np.stack([residual(edge, windows) for edge in among]),
        gap_covariance(windows, closed, among),
        np.square(own),
        np.square(false) + np.square(own),
    )


def _extent(windows: Sequence[Similarity]) -> float:
    """How far windows are apart, in the first one's unit."""
    places = np.stack([window.translation for window in windows])
    return float(np.sqrt(((places - places.mean(0)) ** 2).sum(1).mean()))


def _log_density(gap: np.ndarray, covariance: np.ndarray) -> float:
    _, log_size = np.linalg.slogdet(covariance)
    within = float(gap @ np.linalg.solve(covariance, gap))
    return -(within + float(log_size) + len(FREE) * math.log(2 * math.pi)) / 2
