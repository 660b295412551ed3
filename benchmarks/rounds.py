"""Sides of a comparison, timed in turns until enough rounds were quiet."""

import logging
import time
from collections.abc import Callable, Sequence

from benchmarks.machine import OthersMeter, wait_until_quiet

log = logging.getLogger(__name__)

QUIET = 0.05  # share of the processor that others may take in a round that counts
WAIT_S = 60.0  # for quiet, before a round, at most
TRIES = 3  # times as many rounds as asked for, at most


def times_as_fast(others: Sequence[float], own: Sequence[float]) -> list[float]:
    """Of each round, from both sides' seconds: what the machine did to both goes out of it."""
    return [theirs / ours for theirs, ours in zip(others, own)]


def interleave(
    sides: dict[str, tuple[int, Callable[[], None]]], rounds: int, wait_s: float = WAIT_S
) -> tuple[dict[str, list[float]], list[float], int]:
    """Take turns until enough rounds were quiet.

    Args:
        sides: images of one run, and the run.
        rounds: that shall count.
        wait_s: for quiet, before a round, at most.
    Returns:
        seconds an image of each side in each round that counts, the share of the processor that
        others took in these rounds, and how many rounds were run. If too few were quiet, the
        quietest count.
    """
    done: list[tuple[float, dict[str, float]]] = []
    for number in range(rounds * TRIES + 1):
        wait_until_quiet(QUIET, wait_s)
        took, others = {}, 0.0
        for name, (images, run) in sides.items():
            meter, start = OthersMeter(), time.perf_counter()
            run()
            took[name] = (time.perf_counter() - start) / images
            others = max(others, meter.share())
        each = ", ".join(f"{name} {seconds:.3f}" for name, seconds in took.items())
        log.info("%s: %s s; others %.0f %%", number or "warm-up", each, others * 100)
        if number:
            done.append((others, took))
        if sum(others <= QUIET for others, _ in done) == rounds:
            break
    counted = sorted(done, key=lambda item: item[0])[:rounds]
    seconds = {name: [took[name] for _, took in counted] for name in sides}
    return seconds, [round(others, 3) for others, _ in counted], len(done)
