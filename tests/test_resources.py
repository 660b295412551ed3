"""Estimates for Inf1: the arithmetic, and that they are called estimates."""

import json
import math

import pytest
import torch
from torch import nn

from compile.__main__ import main
from compile.resources import UTILISATION, needs_of, plans_for
from compile.trace import trace
from runtime.engines.inferentia import INF1
from runtime.errors import InputError


@pytest.fixture(scope="module")
def needs():
    """A layer of exactly 16 GFLOP: one millisecond at the peak of a core."""
    layer = nn.Linear(1000, 1000, bias=False).eval()
    return needs_of(trace(layer, torch.zeros(1, 1, 8000, 1000)), "layer")


def test_times_follow_from_the_published_peak_and_band(needs):
    assert needs.gflop == pytest.approx(16)
    assert needs.least_ms == pytest.approx(1)
    assert needs.compute_ms == pytest.approx((1 / UTILISATION[0], 1 / UTILISATION[1]))
    assert needs.crossing_mb == pytest.approx(64) and needs.transfer_ms == pytest.approx(64)
    slow, fast = needs.core_rate
    assert slow == pytest.approx(1e3 / (5 + 64)) and fast == pytest.approx(1e3 / 64)


def test_plans_serve_the_rate_and_cost_what_the_instances_do(needs):
    for plan, instance in zip(plans_for(needs, 1000), INF1):
        assert plan.instance is instance
        assert plan.rate == pytest.approx(tuple(instance.cores * r for r in needs.core_rate))
        for rate, count, dollars in zip(plan.rate, plan.count, plan.dollars_h):
            assert count == math.ceil(1000 / rate)
            assert dollars == pytest.approx(count * instance.dollars_h)
        assert plan.dollars_per_million[0] >= plan.dollars_per_million[1]


@pytest.mark.parametrize("rate", [0, -5, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(needs, rate):
    with pytest.raises(InputError, match="images a second"):
        plans_for(needs, rate)


def test_plan_prints_estimates_and_calls_them_so(capsys):
    arguments = ["plan", "--model", "demo", "--size", "56x84", "--rate", "2000"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "ESTIMATES, not measured on Inf1" in printed and "inf1.24xlarge" in printed
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["estimate"] is True and len(facts["plans"]) == len(INF1)
