"""The simulation of Inferentia's cores: where one thing sets the pace, the answer is arithmetic."""

import pytest

from benchmarks.chip import IMBALANCE, Plan, call_of, simulate
from compile.resources import Needs
from runtime.engines.inferentia import INF1

XLARGE, TWICE, SIX = INF1[:3]


def needs(compute_ms=30.0, transfer_ms=0.0, weight_mb=1.0):
    band = (compute_ms, compute_ms)
    return Needs(
        model="x", shape=(1, 3, 28, 28), gflop=1, attention_gflop=0, weight_mb=weight_mb,
        activation_mb=1, crossing_mb=1, least_ms=1, compute_ms=band, transfer_ms=transfer_ms,
    )  # fmt: skip


def test_four_cores_do_four_times_as_much_if_nothing_else_holds_them():
    rate = simulate(needs(), Plan(1, 1), XLARGE, 0.01, 1)
    assert rate == pytest.approx(4 / 0.030, rel=0.03)
    assert simulate(needs(), Plan(1, 1), SIX, 0.01, 1) == pytest.approx(16 / 0.030, rel=0.06)


def test_a_batch_is_as_fast_and_each_image_waits_longer():
    alone, four = (simulate(needs(), Plan(batch, 1), XLARGE, 0.01, 1) for batch in (1, 4))
    assert four == pytest.approx(alone, rel=0.05)
    waits = [call_of(needs(), Plan(batch, 1), 1.0, 1).alone_ms for batch in (1, 4)]
    assert waits == pytest.approx([31.0, 124.0])


def test_the_host_sets_the_pace_where_it_is_slower():
    for instance in (XLARGE, TWICE):
        rate = simulate(needs(), Plan(1, 1), instance, 100.0, 1)
        assert rate == pytest.approx(instance.vcpus / 0.100, rel=0.05)


def test_the_link_sets_the_pace_of_its_chip():
    rate = simulate(needs(transfer_ms=20.0), Plan(1, 1), XLARGE, 0.01, 1)
    assert rate == pytest.approx(1 / 0.020, rel=0.03)
    rate = simulate(needs(transfer_ms=20.0), Plan(1, 1), SIX, 0.01, 1)
    assert rate == pytest.approx(4 / 0.020, rel=0.06)


def test_a_pipeline_that_is_even_is_as_fast_as_cores_apart_and_an_uneven_one_is_not():
    even = simulate(needs(), Plan(1, 4), XLARGE, 0.01, 1)
    assert even == pytest.approx(4 / 0.030, rel=0.05)
    uneven = simulate(needs(), Plan(1, 4), XLARGE, 0.01, 0)
    assert uneven == pytest.approx(even / IMBALANCE[0], rel=0.05)


def test_weights_that_take_longer_than_the_work_are_hidden_by_a_batch_or_kept_by_a_pipeline():
    heavy = needs(compute_ms=1.0, weight_mb=1000.0)  # 37 ms of reading
    assert call_of(heavy, Plan(1, 1), 0, 1).part_ms > 30
    assert call_of(heavy, Plan(4, 1), 0, 1).part_ms == call_of(heavy, Plan(1, 1), 0, 1).part_ms
    assert call_of(heavy, Plan(1, 4), 0, 1).part_ms == pytest.approx(0.25)
