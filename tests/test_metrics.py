"""Scores of a depth map: hand-computed values, what does not change them, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metric_depth.metrics import (
    MIN_PIXELS,
    PairCounts,
    align_disparity,
    count_pairs,
    depth_scores,
    fit_scale_shift,
    mean_scores,
    pearson,
    right_pairs,
    score_map,
    score_metres,
    to_disparity,
)
from runtime.errors import InputError

EVERYWHERE = np.ones((4, 5), bool)


def ramp(low: float = 1.0, high: float = 5.0) -> np.ndarray:
    return np.linspace(low, high, 20).reshape(4, 5)


def noisy(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).uniform(0.1, 1.0, (4, 5))


def test_depth_scores_are_those_computed_by_hand():
    found = depth_scores(np.array([1.0, 3.0, 2.0, 8.0]), np.array([1.0, 2.0, 4.0, 4.0]))
    assert found["abs_rel"] == pytest.approx((0 + 0.5 + 0.5 + 1.0) / 4)
    assert found["rmse"] == pytest.approx(math.sqrt((0 + 1 + 4 + 16) / 4))
    assert found["log10"] == pytest.approx((math.log10(1.5) + 2 * math.log10(2)) / 4)
    # ratios 1, 1.5, 2, 2 against 1.25, 1.5625 and 1.953125
    assert (found["delta1"], found["delta2"], found["delta3"]) == (0.25, 0.5, 0.5)


def test_a_ratio_of_exactly_the_limit_does_not_count():
    assert depth_scores(np.array([1.25]), np.array([1.0]))["delta1"] == 0.0


def test_fit_finds_the_line_computed_by_hand():
    predicted = np.tile([0.0, 1.0, 2.0, 3.0], 3)[None]
    truth = np.tile([1.0, 2.0, 4.0, 5.0], 3)[None]
    # means 1.5 and 3; covariance 7, variance 5
    scale, shift = fit_scale_shift(predicted, truth, np.ones((1, 12), bool))
    assert (scale, shift) == (pytest.approx(1.4), pytest.approx(0.9))


def test_fit_never_turns_near_into_far():
    scale, shift = fit_scale_shift(-ramp(), ramp(), EVERYWHERE)
    assert (scale, shift) == (0.0, pytest.approx(3.0))


def test_a_constant_prediction_fits_as_the_mean_and_correlates_with_nothing():
    constant = np.full((4, 5), 0.1)
    assert np.allclose(align_disparity(constant, ramp(), EVERYWHERE), 3.0)
    assert pearson(constant.ravel(), ramp().ravel()) == 0.0
    assert pearson(ramp().ravel(), constant.ravel()) is None


def test_pearson_is_that_of_numpy():
    x, y = noisy(1).ravel(), noisy(2).ravel()
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_a_perfect_prediction_scores_perfectly():
    scores = score_map(3 / ramp() + 2, ramp(), EVERYWHERE, 10.0)
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-12)
    assert scores["delta1"] == 1.0
    assert scores["pearson"] == pytest.approx(1)


@given(st.integers(0, 2**31), st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_scores_do_not_change_with_scale_and_shift_of_the_prediction(seed, scale, shift):
    predicted, depth_m = noisy(seed), 10 * noisy(seed + 1)
    one = score_map(predicted, depth_m, EVERYWHERE, 20.0)
    other = score_map(scale * predicted + shift, depth_m, EVERYWHERE, 20.0)
    continuous = ("abs_rel", "rmse", "log10", "pearson")
    assert [one[k] for k in continuous] == pytest.approx([other[k] for k in continuous], rel=1e-6)


def test_pixels_that_do_not_count_change_nothing():
    depth_m, scored = ramp(), EVERYWHERE.copy()
    scored[0] = False
    one = score_map(noisy(1), depth_m, scored, 10.0)
    spoiled, sky = noisy(1), depth_m.copy()
    spoiled[0], sky[0] = 1e6, [np.inf, np.nan, 0.0, -1.0, np.inf]
    assert score_map(spoiled, sky, scored, 10.0) == one


def test_fitted_disparity_is_cut_at_the_largest_depth():
    depth_m = np.array([1.0] * 10 + [10.0] * 10).reshape(4, 5)
    predicted = 1 / depth_m
    predicted[3, 4] = -1.0  # the fit takes this pixel below zero, which is no depth
    assert align_disparity(predicted, 1 / depth_m, EVERYWHERE)[3, 4] < 0
    one = score_map(predicted, depth_m, EVERYWHERE, 10.0)["rmse"]
    other = score_map(predicted, depth_m, EVERYWHERE, 1000.0)["rmse"]
    assert one < 10 < other  # there 10 m is right, 1000 m is not


def test_metres_are_scored_as_they_are():
    scores = score_metres(2 * ramp(), ramp(), EVERYWHERE, 100.0)
    assert scores["abs_rel"] == pytest.approx(1.0)
    assert score_metres(np.zeros((4, 5)), ramp(), EVERYWHERE, 100.0)["log10"] < 4


def test_depth_becomes_disparity_and_disparity_stays():
    depth = np.array([[1.0, 2.0], [4.0, 8.0]], np.float32)
    assert np.array_equal(to_disparity(depth, "disparity"), depth)
    for kind in ("depth", "depth_m"):
        assert np.array_equal(to_disparity(depth, kind), [[1, 0.5], [0.25, 0.125]])


def test_depth_that_touches_zero_stays_finite():
    assert to_disparity(np.array([[0.0, 2.0, 2.0]]), "depth").max() == pytest.approx(500)


@pytest.mark.parametrize(
    "prediction, kind, says",
    [
        (np.array([[1.0, np.nan]]), "disparity", "1 values that are not finite"),
        (np.array([[0.0, 0.0, 1.0]]), "depth_m", "mostly not positive"),
    ],
)
def test_a_prediction_that_cannot_be_depth_is_refused(prediction, kind, says):
    with pytest.raises(InputError, match=says):
        to_disparity(prediction, kind)


def test_too_few_pixels_and_other_shapes_are_refused():
    few = np.zeros((4, 5), bool)
    few.flat[: MIN_PIXELS - 1] = True
    with pytest.raises(InputError, match="9 pixels have a true depth within range"):
        fit_scale_shift(ramp(), ramp(), few)
    with pytest.raises(InputError, match="bring the prediction to the photo's grid"):
        fit_scale_shift(ramp()[1:], ramp(), EVERYWHERE)


def test_pairs_are_counted_apart_by_what_lower_is_nearer_says():
    disparity = np.array([[9.0, 1.0], [5.0, 5.0], [2.0, 8.0]])
    pairs = np.array(
        [
            [[2, 1], [0, 1]],  # 8 > 1, nearer is lower: follows, right
            [[2, 0], [1, 0]],  # 2 < 5, follows, wrong
            [[0, 0], [2, 0]],  # 9 > 2, nearer is higher: contradicts, right
            [[0, 1], [2, 1]],  # 1 < 8, contradicts, wrong
            [[1, 1], [2, 1]],  # 5 < 8, contradicts, wrong
            [[0, 0], [0, 1]],  # one row: neither, right
            [[1, 0], [1, 1]],  # one row, a tie: wrong
        ]
    )
    assert right_pairs(disparity, pairs).tolist() == [1, 0, 1, 0, 0, 1, 0]
    counts = count_pairs(disparity, pairs)
    assert counts == PairCounts(7, 3, 2, 1, 3, 1)
    assert counts.scores() == {
        "ordinal_accuracy": 3 / 7,
        "contradicting_accuracy": 1 / 3,
        "following_accuracy": 1 / 2,
        "lower_is_nearer": 2 / 5,
    }
    assert counts + counts == PairCounts(14, 6, 4, 2, 6, 2)


def test_without_pairs_there_are_counts_and_no_accuracy():
    counts = count_pairs(ramp(), np.zeros((0, 2, 2), int))
    assert counts == PairCounts()
    assert set(counts.scores().values()) == {None}


@given(st.integers(0, 2**31))
def test_a_map_and_its_opposite_never_order_the_same_pair_rightly(seed):
    random = np.random.RandomState(seed)
    pairs = np.stack([random.randint(4, size=(30, 2)), random.randint(5, size=(30, 2))], axis=-1)
    assert not (right_pairs(noisy(seed), pairs) & right_pairs(-noisy(seed), pairs)).any()


def test_means_leave_out_what_a_photo_does_not_have():
    assert mean_scores([{"a": 1.0, "b": None}, {"a": 3.0}, {}]) == {"a": 2.0, "b": None}
    assert mean_scores([]) == {}
