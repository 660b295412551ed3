"""Marks: with a reason that holds on the machine at hand, and those that are slow by a list."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch

NEEDED_GIB = 12
_HERE_GIB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30

# vitg alone: 1.26 billion float32 weights, twice while they are set
large = pytest.mark.skipif(
    _HERE_GIB < NEEDED_GIB,
    reason=f"needs {NEEDED_GIB} GiB of memory, this machine has {_HERE_GIB:.0f}",
)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

COLLECTED = pytest.StashKey[list[str]]()  # names of all tests, before -m leaves some out
LIST = Path(__file__).parent / "slow_tests.txt"


@dataclass(frozen=True)
class Slow:
    """A line of the list: what is slow, and the small test that keeps its promise."""

    pattern: str
    small: str


def slow_tests(text: str) -> list[Slow]:
    """The lines of ``slow_tests.txt``."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line.split("<-") for line in lines if line and not line.startswith("#")]
    return [Slow(pattern.strip(), small.strip()) for pattern, small in told]


def is_named(name: str, pattern: str) -> bool:
    """Whether a pattern, as ``test_depth[vits-*]``, means a test, as ``test_depth[vits-28x42]``."""
    function, _, parameters = name.partition("[")
    wanted, bracket, shape = pattern.partition("[")
    return function == wanted and (
        not bracket or fnmatchcase(parameters, shape.replace("[", "[[]"))
    )


def without_a_test(names: Sequence[str], listed: Sequence[Slow]) -> list[str]:
    """What the list names wrongly: tests that nobody has, small ones that are slow themselves."""
    faults = []
    for one in listed:
        if not any(is_named(name, one.pattern) for name in names):
            faults.append(f"{one.pattern}: no test is called so")
        kept = [name for name in names if is_named(name, one.small)]
        if not kept:
            faults.append(f"{one.small}: no test is called so, but it is to be the small one")
        elif all(any(is_named(name, slow.pattern) for slow in listed) for name in kept):
            faults.append(f"{one.small}: is slow itself, but it is to be the small one")
    return faults


def in_small(config: pytest.Config) -> bool:
    """Whether the slow tests are left out, as by `make test`."""
    return "not slow" in config.option.markexpr
