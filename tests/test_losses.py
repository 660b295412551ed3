"""What training descends: hand values, and blindness to scale and shift."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metric_depth.losses import depth_loss, gradient_loss, normalise, ranking_loss, ssi_loss


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def maps(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 32, 48, generator=seeded(seed))


def test_normalising_takes_the_median_off_and_divides_by_the_mean_deviation():
    row = torch.tensor([[[0.0, 1.0, 2.0, 3.0, 9.0]]])  # median 2; deviations 2 1 0 1 7, mean 2.2
    expected = (row - 2) / 2.2
    torch.testing.assert_close(normalise(row), expected)


def test_ssi_loss_is_the_mean_difference_of_normalised_maps():
    one = torch.tensor([[[0.0, 1.0, 2.0]]])  # median 1, deviation 2/3: -1.5 0 1.5
    other = torch.tensor([[[2.0, 1.0, 0.0]]])  # 1.5 0 -1.5
    assert ssi_loss(one, other).item() == pytest.approx(2.0)


def test_gradient_loss_of_a_ramp_against_a_level_map_is_its_slope_at_every_scale():
    ramp = torch.arange(16.0).expand(1, 16, 16)  # mean deviation from the median 7 or 8
    level = torch.zeros(1, 16, 16)
    deviation = (ramp - ramp.flatten().median()).abs().mean()
    expected = sum(2**scale / deviation for scale in range(4))
    assert gradient_loss(ramp, level).item() == pytest.approx(expected.item(), rel=1e-5)


@given(st.floats(0.05, 50), st.floats(-20, 20))
@settings(max_examples=25, deadline=None)
def test_scale_and_shift_of_the_prediction_change_nothing(scale, shift):
    predicted, true = maps(1).double(), maps(2).double()
    loss = depth_loss(predicted, true, seeded(), 2.0, 0.5)
    moved = depth_loss(scale * predicted + shift, true, seeded(), 2.0, 0.5)
    torch.testing.assert_close(moved, loss, rtol=1e-6, atol=1e-6)


def test_the_truth_itself_up_to_scale_and_shift_has_no_shape_loss():
    true = maps(3)
    assert ssi_loss(3 * true + 1, true).item() == pytest.approx(0, abs=1e-5)
    assert gradient_loss(3 * true + 1, true).item() == pytest.approx(0, abs=1e-4)


def test_ranking_prefers_the_truth_to_its_reverse_and_to_nothing():
    true = maps(4) + 0.1
    right, wrong = (ranking_loss(sign * true, true, seeded()).item() for sign in (1, -1))
    level = ranking_loss(torch.zeros_like(true), true, seeded()).item()
    assert right < level < wrong
    assert level == pytest.approx(math.log(2), rel=1e-4)


def test_lower_is_nearer_earns_nothing_from_ranking():
    """A map that is only the row number is right on half of the weight, wrong on the other."""
    true = maps(5, batch=8) + 0.1
    rows = torch.arange(32.0).view(1, 32, 1).expand_as(true)
    level = ranking_loss(torch.zeros_like(true), true, seeded(1), pairs=4096)
    assert ranking_loss(rows, true, seeded(1), pairs=4096) > level


def test_lower_is_nearer_earns_something_where_it_is_usually_right():
    true = maps(5, batch=8) + 0.1
    rows = torch.arange(32.0).view(1, 32, 1).expand_as(true)
    fair, usual = (
        ranking_loss(rows, true, seeded(1), contradicting=share, pairs=4096)
        for share in (0.5, 0.12)
    )
    assert usual < fair


def test_an_even_prediction_still_has_a_gradient():
    predicted = torch.full((1, 32, 48), 1.0, requires_grad=True)
    depth_loss(predicted, maps(6, batch=1), seeded(), 2.0, 0.5).backward()
    assert torch.isfinite(predicted.grad).all() and predicted.grad.abs().sum() > 0
