"""One range of depth for a whole video, and maps that are made to agree in time."""

import math

import numpy as np
import pytest

from exports.colour_range import BINS, SPEED, RunningRange, ValueHistogram
from runtime.photo.steady import LeakyFit

DRAW = np.random.RandomState(0)


def counted(*maps):
    histogram = ValueHistogram()
    for values in maps:
        histogram.add(values.astype(np.float32))
    return histogram


@pytest.mark.parametrize(
    "values",
    [
        DRAW.gamma(2, 5, 200_000),
        DRAW.normal(0, 0.02, 200_000),
        80 + DRAW.rand(200_000),
        1e4 * DRAW.rand(200_000) ** 4,
    ],
    ids=["disparity", "around zero", "far from zero", "long tail"],
)
def test_limits_are_the_quantiles_of_all_values(values):
    low, high = counted(*values.reshape(8, -1)).limits()
    truth = np.quantile(values, (0.02, 0.98))
    np.testing.assert_allclose((low, high), truth, atol=0.005 * (truth[1] - truth[0]))


def test_parts_of_a_video_add_up_to_the_whole_exactly():
    maps = DRAW.gamma(2, 5, (6, 30, 40))
    whole, first, second = counted(*maps), counted(*maps[:2]), counted(*maps[2:])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, whole.counts)
    assert first.limits() == whole.limits() and len(whole.counts) == BINS
    assert (first.least, first.greatest) == (whole.least, whole.greatest)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e9])
def test_a_flat_video_has_an_empty_range_at_its_value(value):
    low, high = counted(np.full((4, 4), value)).limits()
    assert low == high == np.float32(value)


def test_nothing_has_no_range():
    with pytest.raises(ValueError, match="no value"):
        ValueHistogram().limits()


def test_a_running_range_moves_slowly_to_where_the_values_are():
    running = RunningRange()
    near, far = DRAW.rand(50, 50).astype(np.float32), 10 * DRAW.rand(50, 50).astype(np.float32)
    first = running.next(near, 0.0)
    np.testing.assert_allclose(first, np.quantile(near, (0.02, 0.98)), rtol=0.02)
    shown = [first] + [running.next(far, 0.5) for _ in range(250)]
    spans = np.diff(shown, axis=1).ravel()
    steps = np.abs(np.diff(shown, axis=0)).max(axis=1)
    assert (steps <= SPEED * 0.5 * spans[:-1] * 1.0001).all() and spans[2] < 1.1
    np.testing.assert_allclose(shown[-1], np.quantile(far, (0.02, 0.98)), rtol=0.05)


def walk(jitter, drift=0.1, frames=120, seed=0):
    """Disparity of a scene that comes 20 % nearer; each map has a scale and a shift of its own."""
    draw = np.random.RandomState(seed)
    scene = draw.gamma(2, 2, (60, 80))
    real = 1 + 0.2 * np.linspace(0, 1, frames)
    scale = (1 + drift * np.linspace(0, 1, frames)) * np.exp(jitter * draw.normal(size=frames))
    shift = jitter * scene.mean() * draw.normal(size=frames)
    noise = 0.01 * scene.mean()
    maps = [
        (a * near * scene + b + noise * draw.normal(size=scene.shape)).astype(np.float32)
        for a, b, near in zip(scale, shift, real)
    ]
    return maps


def surface(maps, affine):
    """The mean of the map as it is shown, over time."""
    return np.array([a * one.mean() + b for one, (a, b) in zip(maps, affine)])


def shaking(values):
    return float(np.sqrt(np.mean(np.diff(values, 2) ** 2)) / values.mean())


def test_steadying_takes_the_shaking_and_leaves_what_changes():
    maps = walk(jitter=0.03)
    fit = LeakyFit(0.5)
    affine = [fit.next(one, 1 / 30) for one in maps]
    plain = surface(maps, [(1.0, 0.0)] * len(maps))
    steady = surface(maps, affine)
    assert affine[0] == (1.0, 0.0) and fit.restarts == []
    assert shaking(steady) < shaking(plain) / 15
    assert steady[-1] / steady[0] > 1.1  # it came nearer, and still does


def test_without_a_leak_what_comes_near_would_be_taken_out():
    maps = walk(jitter=0.0)
    fit = LeakyFit(1e6)
    steady = surface(maps, [fit.next(one, 1 / 30) for one in maps])
    assert abs(steady[-1] / steady[0] - 1) < 0.02


def test_a_cut_starts_anew():
    draw = np.random.RandomState(1)
    before, after = (draw.gamma(2, 2, (60, 80)).astype(np.float32) for _ in range(2))
    fit = LeakyFit(0.5)
    affine = [fit.next(one, 1 / 30) for one in [before, 1.05 * before, after, after * 3]]
    assert affine[1][0] < 1 and affine[2:] == [(1.0, 0.0)] * 2 and fit.restarts == [2, 3]


def test_flat_maps_have_no_scale_but_a_shift():
    fit = LeakyFit(0.5)
    affine = [fit.next(np.full((8, 8), value, np.float32), 0.0) for value in (2.0, 2.5, 2.5)]
    assert affine == [(1.0, 0.0), (1.0, -0.5), (1.0, -0.5)]


def test_the_fit_is_forgotten_with_time_not_with_frames():
    maps = walk(jitter=0.03, frames=2)
    scale = {}
    for since in (1 / 60, 1 / 30):
        fit = LeakyFit(0.5)
        fit.next(maps[0], 0.0)
        scale[since] = fit.next(maps[1], since)[0]
    logs = math.log(scale[1 / 30]), math.log(scale[1 / 60])
    assert logs[0] / logs[1] == pytest.approx(math.exp(-1 / 30), rel=1e-6)


def test_a_time_constant_is_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        LeakyFit(0)
