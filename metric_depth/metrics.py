"""Scores of a depth map against the truth.

numpy arrays in, numbers out; float64 inside. No disk, no model, no random number.

A relative model is right up to a scale and a shift of its disparity, so these are fitted to the
truth first, by least squares over the pixels that count. Which pixels count is the caller's choice,
``scored``: none without a known, finite depth (so no sky), none beyond the dataset's range.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.errors import InputError

MIN_PIXELS = 10
DELTA = 1.25
# A map of depth may touch zero, where disparity has no end: it is cut at this part of the median.
NEAREST_OF_MEDIAN = 1e-3


def to_disparity(prediction: np.ndarray, kind: str) -> np.ndarray:
    """Turn any model's output so that larger is nearer.

    Args:
        prediction: float (H, W).
        kind: ``disparity``, ``depth`` or ``depth_m``: ``runtime.artifact.manifest.KINDS``.
    Returns:
        float64 (H, W): the disparity itself, or 1 / depth.
    Raises:
        InputError: values that are not finite, or depth that is mostly not positive.
    """
    if not np.isfinite(prediction).all():
        bad = int((~np.isfinite(prediction)).sum())
        raise InputError(f"the prediction holds {bad} values that are not finite; nothing to score")
    values = prediction.astype(np.float64)
    if kind == "disparity":
        return values
    nearest = NEAREST_OF_MEDIAN * float(np.median(values))
    if nearest <= 0:
        raise InputError(f"the predicted {kind} is mostly not positive, expected depth above 0")
    return 1.0 / np.maximum(values, nearest)


def fit_scale_shift(
    predicted: np.ndarray, true_disparity: np.ndarray, scored: np.ndarray
) -> tuple[float, float]:
    """Least squares of ``scale * predicted + shift`` against the true disparity.

    The scale is never negative: a fit that turns near into far would give a model that is upside
    down the marks of one that is right. Where the best scale is negative, 0 and the mean are the
    best that is left.

    Args:
        predicted, true_disparity: float (H, W), larger is nearer.
        scored: bool (H, W), the pixels that count.
    Returns:
        scale and shift.
    Raises:
        InputError: the shapes differ, or fewer than ``MIN_PIXELS`` pixels count.
    """
    if not predicted.shape == true_disparity.shape == scored.shape:
        raise InputError(
            f"predicted {predicted.shape}, truth {true_disparity.shape} and scored "
            f"{scored.shape} must be one shape; bring the prediction to the photo's grid"
        )
    count = int(scored.sum())
    if count < MIN_PIXELS:
        raise InputError(
            f"{count} pixels have a true depth within range, at least {MIN_PIXELS} are needed"
        )
    x = predicted[scored].astype(np.float64)
    y = true_disparity[scored].astype(np.float64)
    spread = x - x.mean()
    constant = np.ptp(x) == 0  # not by the variance: rounding makes it a little more than 0
    scale = 0.0 if constant else max(0.0, float(spread @ (y - y.mean()) / (spread @ spread)))
    return scale, float(y.mean() - scale * x.mean())


def align_disparity(
    predicted: np.ndarray, true_disparity: np.ndarray, scored: np.ndarray
) -> np.ndarray:
    """Fit a prediction to the truth: float64 (H, W), below 0 where the fit says so.

    Arguments and errors are those of ``fit_scale_shift``.
    """
    scale, shift = fit_scale_shift(predicted, true_disparity, scored)
    return scale * predicted.astype(np.float64) + shift


def depth_scores(depth_m: np.ndarray, true_m: np.ndarray) -> dict[str, float]:
    """The usual errors and accuracies of depth.

    Args:
        depth_m, true_m: float, one value a pixel, both above 0.
    Returns:
        ``abs_rel`` mean of |d - t| / t; ``rmse`` in metres; ``log10`` mean of |log10 d - log10 t|;
        ``delta1`` to ``delta3``, the share of pixels with max(d / t, t / d) < 1.25 to the power
        of 1 to 3.
    Source: Eigen et al., 2014.
    """
    ratio = np.maximum(depth_m / true_m, true_m / depth_m)
    return {
        "abs_rel": float(np.mean(np.abs(depth_m - true_m) / true_m)),
        "rmse": float(np.sqrt(np.mean((depth_m - true_m) ** 2))),
        "log10": float(np.mean(np.abs(np.log10(depth_m) - np.log10(true_m)))),
        **{f"delta{power}": float(np.mean(ratio < DELTA**power)) for power in (1, 2, 3)},
    }


def pearson(predicted: np.ndarray, true_disparity: np.ndarray) -> Optional[float]:
    """Correlation of two lists of disparities: 0 for a constant prediction, None for such truth."""
    if np.ptp(true_disparity) == 0:
        return None
    if np.ptp(predicted) == 0:
        return 0.0
    x = predicted.astype(np.float64) - predicted.mean(dtype=np.float64)
    y = true_disparity.astype(np.float64) - true_disparity.mean(dtype=np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def score_map(
    disparity: np.ndarray, depth_m: np.ndarray, scored: np.ndarray, max_depth_m: float
) -> dict[str, Optional[float]]:
    """Scores of one predicted map after the fit of scale and shift.

    The fitted disparity is cut at ``1 / max_depth_m`` from below, so that no depth is infinite,
    negative or beyond the dataset's range.

    Args:
        disparity: float (H, W), predicted, larger is nearer, of any scale and shift.
        depth_m: float (H, W), true metres along the optical axis.
        scored: bool (H, W), the pixels that count: where 0 < depth_m <= max_depth_m.
    Returns:
        those of ``depth_scores``, and ``pearson`` of the disparities before the fit.
    Raises:
        InputError: as ``fit_scale_shift``.
    """
    true_disparity = np.zeros(depth_m.shape, np.float64)
    np.divide(1.0, depth_m, out=true_disparity, where=scored)
    aligned = align_disparity(disparity, true_disparity, scored)[scored]
    found_m = 1.0 / np.maximum(aligned, 1.0 / max_depth_m)
    return {
        **depth_scores(found_m, depth_m[scored].astype(np.float64)),
        "pearson": pearson(disparity[scored], true_disparity[scored]),
    }


def score_metres(
    found_m: np.ndarray, depth_m: np.ndarray, scored: np.ndarray, max_depth_m: float
) -> dict[str, float]:
    """Scores of a metric model's metres as they are, cut to 1 mm and the dataset's range."""
    found = np.clip(found_m[scored].astype(np.float64), 1e-3, max_depth_m)
    return depth_scores(found, depth_m[scored].astype(np.float64))


@dataclass(frozen=True)
class PairCounts:
    """Point pairs, and how many a map puts in the right order.

    Most pairs of a photo follow "lower in the picture is nearer", which needs no model; those that
    contradict it are what shows that a model sees. Pairs at the same height are neither.
    """

    total: int = 0
    right: int = 0
    following: int = 0
    following_right: int = 0
    contradicting: int = 0
    contradicting_right: int = 0

    def __add__(self, other: "PairCounts") -> "PairCounts":
        mine, others = vars(self), vars(other)
        return PairCounts(**{name: mine[name] + others[name] for name in mine})

    def scores(self) -> dict[str, Optional[float]]:
        """Shares of right answers; None where there is no such pair.

        ``lower_is_nearer`` is what that rule alone would score, on the pairs that are not level.
        """
        return {
            "ordinal_accuracy": _share(self.right, self.total),
            "contradicting_accuracy": _share(self.contradicting_right, self.contradicting),
            "following_accuracy": _share(self.following_right, self.following),
            "lower_is_nearer": _share(self.following, self.following + self.contradicting),
        }


def _share(part: int, whole: int) -> Optional[float]:
    return part / whole if whole else None


def right_pairs(disparity: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs a map orders rightly: bool (N,). A tie is wrong.

    Args:
        disparity: float (H, W), larger is nearer.
        pairs: int (N, 2, 2): nearer point, farther point; row, column.
    """
    values = disparity[pairs[..., 0], pairs[..., 1]]  # (N, 2)
    return values[:, 0] > values[:, 1]


def count_pairs(disparity: np.ndarray, pairs: np.ndarray) -> PairCounts:
    """Count the pairs of one photo; arguments as for ``right_pairs``."""
    right = right_pairs(disparity, pairs)
    nearer_row, farther_row = pairs[:, 0, 0], pairs[:, 1, 0]
    following, contradicting = nearer_row > farther_row, nearer_row < farther_row
    return PairCounts(
        total=len(pairs),
        right=int(right.sum()),
        following=int(following.sum()),
        following_right=int((right & following).sum()),
        contradicting=int(contradicting.sum()),
        contradicting_right=int((right & contradicting).sum()),
    )


def mean_scores(
    several: Iterable[Mapping[str, Optional[float]]],
) -> dict[str, Optional[float]]:
    """The mean of each score over the photos that have it; every photo counts the same."""
    found: dict[str, list[float]] = {}
    for scores in several:
        for name, value in scores.items():
            values = found.setdefault(name, [])
            if value is not None:
                values.append(value)
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}
