"""Metres from relative depth: a scale and a shift, fitted to points whose distance is known.

A map, what its numbers are, and known points in; the fit, and metres by it, out. Of a disparity map
1 / metres = scale * disparity + shift, of a depth map metres = scale * depth + shift. numpy only;
the same input gives the same bits.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import InputError
from runtime.scene.known_points import KnownPoints

DISPARITY, DEPTH = "disparity", "depth"
TOLERANCE = 0.2  # share of its distance that a point which agrees may be off
SMALL = 0.01  # an error that tells two lines apart
SOFT = 0.1  # of the median distance (or inverse distance), added to that distance: see ``_size_of``
TUKEY = 4.685  # standard deviations from which on a point does not count
LEAST_DEVIATION = 2e-3  # metres are not known better than this share
TO_DEVIATION = 1.4826  # from the median error of a normal distribution
LEAST_SPREAD = 2e-3  # of the map's range, that the points must cover
MOST_BEHIND = 0.75  # of the map, that may lie at or beyond infinity
FAR = 10.0  # times the farthest point used: nothing is put farther away
ALL_PAIRS, PAIRS = 45, 1000  # points of which every pair is tried; pairs drawn of more
FEW = 20  # points of which half must agree, not a third
SCORED = 10_000  # points that pairs are tried on
AT_ONCE = 1 << 18  # points times pairs
STEPS = 50
BAND_ROWS = 64  # turned into metres at a time

Line = tuple[float, float]  # scale and shift


@dataclass(frozen=True)
class Fit:
    """How relative numbers become metres.

    Args:
        fitted_in: ``disparity``: 1 / metres = scale * value + shift; ``depth``: metres = the same.
        points, used: how many were given, and how many count: they agree.
        median_m, rms_m, median_rel, rms_rel: errors of those that were used, in metres and as a
            share of their distance.
        far_m: metres that no pixel is put beyond.
    """

    fitted_in: str
    scale: float
    shift: float
    points: int
    used: int
    median_m: float
    rms_m: float
    median_rel: float
    rms_rel: float
    far_m: float

    def metres(self, values: np.ndarray) -> np.ndarray:
        """Metres of a map of the same model.

        Args:
            values: float32 (H, W), as the model gave them.
        Returns:
            float32 (H, W), finite: at most ``far_m``, which is also what a disparity gets that is
            at infinity or beyond. 0, no distance, where a fit in depth would lie behind the camera.
        """
        result = np.empty(values.shape, np.float32)
        for start in range(0, len(values), BAND_ROWS):
            rows = slice(start, start + BAND_ROWS)
            result[rows] = self._metres(values[rows].astype(np.float64))
        return result

    def _metres(self, values: np.ndarray) -> np.ndarray:
        fitted = self.scale * values + self.shift
        if self.fitted_in == DEPTH:
            return np.clip(fitted, 0.0, self.far_m)
        return 1.0 / np.maximum(fitted, 1.0 / self.far_m)

    def facts(self) -> dict[str, Any]:
        """The same as JSON values."""
        return dataclasses.asdict(self)


def fit_points(values: np.ndarray, kind: str, points: KnownPoints) -> Fit:
    """Fit scale and shift robustly: the pair of points that most others agree with (RANSAC), then
    least squares in which large errors count less (Tukey's biweight).

    Args:
        values: float32 (H, W), on the photo's own pixels.
        kind: ``disparity``, ``depth`` or ``depth_m``.
    Raises:
        InputError: points outside of the photo, all at one value of the map, or that contradict
            each other or the map.
    """
    points.check_inside((values.shape[0], values.shape[1]))
    x = sample(values, points.xy)
    fitted_in = DISPARITY if kind == DISPARITY else DEPTH
    y = 1.0 / points.metres if fitted_in == DISPARITY else points.metres
    low, high = float(values.min()), float(values.max())
    _check_spread(x, high - low, fitted_in)
    scale, shift = _refine(x, y, _best_pair(x, y), fitted_in)
    errors = _errors(x, y, scale, shift)
    used = errors <= _limit(errors[_agreeing(errors)])
    _check_spread(x[used], high - low, fitted_in)
    behind = float(np.mean(scale * values.astype(np.float64) + shift <= 0))
    if fitted_in == DISPARITY and behind > MOST_BEHIND:
        raise InputError(
            f"points: with them {behind:.0%} of the photo would lie beyond infinity (disparity not "
            "above 0); check their metres, or give points farther away"
        )
    metres = points.metres[used]
    fitted = scale * x[used] + shift
    errors = np.abs((1.0 / fitted if fitted_in == DISPARITY else fitted) - metres)
    return Fit(
        fitted_in=fitted_in,
        scale=scale,
        shift=shift,
        points=len(x),
        used=int(used.sum()),
        median_m=float(np.median(errors)),
        rms_m=float(np.sqrt(np.mean(errors**2))),
        median_rel=float(np.median(errors / metres)),
        rms_rel=float(np.sqrt(np.mean((errors / metres) ** 2))),
        far_m=FAR * float(metres.max()),
    )


def sample(values: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """The map at some places, between its pixels bilinearly.

    Args:
        values: float32 (H, W).
        xy: float64 (N, 2), x and y; 0, 0 is the middle of the first pixel.
    Returns:
        float64 (N,).
    """
    height, width = values.shape
    x, y = np.clip(xy[:, 0], 0, width - 1), np.clip(xy[:, 1], 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)

    def row(index: np.ndarray) -> np.ndarray:
        start = values[index, left].astype(np.float64)
        return start + (values[index, right].astype(np.float64) - start) * (x - left)

    above = row(top)
    return np.asarray(above + (row(bottom) - above) * (y - top))


def _check_spread(x: np.ndarray, extent: float, fitted_in: str) -> None:
    if np.ptp(x) <= LEAST_SPREAD * extent or extent <= 0:
        raise InputError(
            f"points: the model gives all {len(x)} that agree one {fitted_in} ({x.min():.4g} to "
            f"{x.max():.4g}); give points on things that are nearer and farther"
        )


def _size_of(y: np.ndarray) -> np.ndarray:
    """What an error is measured by: the value itself, and a little, so that the least do not rule.

    A model's noise does not shrink with disparity: without that little, the farthest points of a
    photo would outweigh all others.
    """
    return y + SOFT * np.median(y)


def _errors(x: np.ndarray, y: np.ndarray, scale: Any, shift: Any) -> np.ndarray:
    """Of each point as a share of its size; infinite if it is put at infinity or behind.

    ``scale`` and ``shift``: numbers, or (P, 1) for (P, N) errors of as many lines.
    """
    fitted = scale * x + shift
    return np.where(fitted > 0, np.abs(fitted - y) / _size_of(y), np.inf)


def _agreeing(errors: np.ndarray) -> np.ndarray:
    """Which points agree; refused if too few do: bool (N,).

    A line through few points has others near it by accident: half of them must agree, of many a
    third.
    """
    used, count = errors <= TOLERANCE, len(errors)
    least = max(min(3, count), math.ceil(count / 2) if count <= FEW else math.ceil(count / 3))
    if used.sum() < least:
        raise InputError(
            f"points: only {int(used.sum())} of {len(errors)} agree on one scale and shift within "
            f"{TOLERANCE:.0%}, expected {least} or more; check x, y and metres"
        )
    return np.asarray(used)


def _best_pair(x: np.ndarray, y: np.ndarray) -> Line:
    """The line through two points that all others agree with best.

    Small errors tell lines apart as large ones do (their logarithm counts): the line that most
    points are on wins over one that all are near.
    """
    random = np.random.RandomState(0)
    if len(x) > SCORED:
        some = random.permutation(len(x))[:SCORED]
        x, y = x[some], y[some]
    first, second = _pairs(len(x), random)
    apart = x[first] != x[second]
    first, second = first[apart], second[apart]
    scales = (y[second] - y[first]) / (x[second] - x[first])
    shifts = y[first] - scales * x[first]
    badness = []
    for start in range(0, len(scales), max(1, AT_ONCE // len(x))):
        own = slice(start, start + max(1, AT_ONCE // len(x)))
        errors = _errors(x, y, scales[own, None], shifts[own, None])
        badness.append(np.log1p(np.minimum(errors, TOLERANCE) / SMALL).sum(axis=1))
    best = int(np.argmin(np.concatenate(badness)))
    return float(scales[best]), float(shifts[best])


def _pairs(count: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of few points, some of many."""
    if count <= ALL_PAIRS:
        first, second = np.triu_indices(count, 1)
        return first, second
    first = random.randint(0, count, PAIRS)
    return first, (first + random.randint(1, count, PAIRS)) % count


def _limit(errors: np.ndarray) -> float:
    """The error from which on a point does not count, by those of the points that agree.

    But for the two least: a line goes through any two points.
    """
    middle = float(np.median(np.sort(errors)[2:])) if len(errors) > 2 else 0.0
    return min(TUKEY * max(TO_DEVIATION * middle, LEAST_DEVIATION), TOLERANCE)


def _refine(x: np.ndarray, y: np.ndarray, line: Line, fitted_in: str) -> Line:
    """Least squares, the less of a point the larger its error, until nothing changes.

    Tukey's weights, not Huber's: those would let one wrong point far from all others turn the line.
    """
    for _ in range(STEPS):
        errors = _errors(x, y, *line)
        used = _agreeing(errors)
        limit = _limit(errors[used])
        weights = np.maximum(1 - (np.minimum(errors, limit) / limit) ** 2, 0) ** 2
        before, line = line, _solve(x, y, weights / _size_of(y) ** 2, line)
        if np.allclose(line, before, rtol=1e-12, atol=0):
            break
    if line[0] <= 0:
        near = "nearer" if fitted_in == DISPARITY else "farther"
        raise InputError(
            f"points: by their metres, what the model sees as {near} would not be {near}; check "
            "that x goes right and y down from the upper left corner, and that metres are distances"
        )
    return line


def _solve(x: np.ndarray, y: np.ndarray, weights: np.ndarray, otherwise: Line) -> Line:
    """The line with the least sum of weighted squares."""
    total = weights.sum()
    middle_x, middle_y = (weights * x).sum() / total, (weights * y).sum() / total
    spread = (weights * (x - middle_x) ** 2).sum()
    if spread == 0:
        return otherwise
    scale = float((weights * (x - middle_x) * (y - middle_y)).sum() / spread)
    return scale, float(middle_y - scale * middle_x)
