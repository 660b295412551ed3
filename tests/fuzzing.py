"""Fuzzing: random input until the time is up, the same from its beginning each time.

A test marked ``fuzz`` takes the fixture ``fuzz`` and hands it a check and the strategies of its
arguments. It runs for FUZZ_SECONDS: 1 in `make test`, 10 in `make test-all`, as long as one likes
by `make fuzz FUZZ_SECONDS=600`. What fails is shrunk and printed; put its bytes into a test.
"""

import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from marks import in_small

FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS", "")
SMALL_SECONDS, USUAL_SECONDS = 1.0, 10.0
EACH = 50  # examples of a seed

Fuzz = Callable[..., int]


def seconds(small: bool) -> float:
    """For how long a test is fuzzed."""
    return float(FUZZ_SECONDS or (SMALL_SECONDS if small else USUAL_SECONDS))


def fuzzed(check: Callable[..., None], strategies: tuple, duration: float) -> int:
    """Call the check with one seed after the other; how many seeds there was time for."""
    ends, seeds = time.monotonic() + duration, 0
    while not seeds or time.monotonic() < ends:
        one = settings(
            max_examples=EACH,
            deadline=None,
            database=None,
            derandomize=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(seed(seeds)(given(st.tuples(*strategies))(_fresh(check))))
        one()
        seeds += 1
    return seeds


def _fresh(check: Callable[..., None]) -> Callable[[tuple], None]:
    """The check as a function of its own, which hypothesis has not seen."""

    def run(arguments: tuple) -> None:
        check(*arguments)

    return run


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """``fuzz(check, *strategies)``: until the time is up."""
    duration = seconds(in_small(request.config))
    return lambda check, *strategies: fuzzed(check, strategies, duration)


def mutations(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the files with bytes changed, cut, doubled or put in; mostly near its beginning."""
    return st.builds(_mutated, st.sampled_from(originals), st.lists(_edits, min_size=1, max_size=6))


_places = st.one_of(st.integers(0, 80), st.integers(0, 1 << 20))
_edits = st.tuples(
    st.sampled_from(["set", "number", "cut", "drop", "double", "insert"]),
    _places,
    st.integers(0, 300),
    st.binary(max_size=8),
)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def _mutated(original: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    data = bytearray(original)
    for how, place, size, body in edits:
        at = place % (len(data) + 1)
        if how == "set":
            data[at : at + len(body)] = body
        elif how == "number":
            value = NUMBERS[size % len(NUMBERS)]
            width = 4 if size % 2 else 2
            order = "little" if size % 3 else "big"
            data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + size]
        elif how == "double":
            data[at:at] = data[at : at + size] * (1 + len(body))
        else:
            data[at:at] = body
    return bytes(data)


def spent(run: Callable[[], Any]) -> tuple[float, int]:
    """Seconds of CPU and the most bytes of Python and numpy that a call takes."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        run()
    finally:
        took = time.process_time() - begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return took, peak
