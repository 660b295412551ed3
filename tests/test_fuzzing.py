"""The frame of the fuzz tests: it runs until its time is up, repeats itself, and finds faults."""

import time

import pytest
from fuzzing import fuzzed, mutations, spent
from hypothesis import strategies as st


def test_it_runs_for_its_time_and_begins_the_same_each_time():
    seen: list[list[int]] = [[], []]
    for some in seen:
        begun = time.monotonic()
        assert fuzzed(some.append, (st.integers(),), 0.3) >= 1
        assert 0.2 < time.monotonic() - begun < 10
    shorter = min(map(len, seen))
    assert shorter > 10 and seen[0][:shorter] == seen[1][:shorter]


def test_a_fault_is_found_and_made_small():
    def check(number: int, text: str) -> None:
        assert number < 1000

    with pytest.raises(AssertionError, match="1000"):
        fuzzed(check, (st.integers(), st.text()), 20)


def test_mutations_are_near_a_file():
    found: list[bytes] = []
    fuzzed(found.append, (mutations([b"a" * 200]),), 0.1)
    assert len(set(found)) > 10
    assert max(one.count(b"a") for one in found) > 150 > min(len(one) for one in found)


def test_what_a_call_takes_is_told():
    took, peak = spent(lambda: bytearray(5_000_000))
    assert took < 5 and 5_000_000 <= peak < 6_000_000
