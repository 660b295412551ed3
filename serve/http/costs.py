"""What a call of a graph costs: device seconds, as measured at the start and on every call since.

A key a graph in, a running estimate out: what a call adds to the time that all calls need.
"""

import logging
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LATEST = 0.2  # weight of the newest measurement in the estimate


class Costs:
    """Estimated seconds of one call, by key; a key that was never measured costs nothing."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._lock, self._running = threading.Lock(), 0

    def __getitem__(self, key: Hashable) -> float:
        """The estimate."""
        return self._seconds.get(key, 0.0)

    def start(self, key: Hashable, seconds: float) -> None:
        """Begin with a measurement on a warm graph."""
        self._seconds[key] = seconds
        log.info("warm", extra={"lane": str(key), "seconds": round(seconds, 4)})

    @contextmanager
    def timed(self, key: Hashable, passes: int = 1) -> Iterator[None]:
        """Learn from the block, a call of so many passes; calls at the same time share theirs."""
        with self._lock:
            self._running += 1
            at_first = self._running
        begun = time.perf_counter()
        try:
            yield
            seconds = time.perf_counter() - begun
        finally:
            with self._lock:
                at_last = self._running
                self._running -= 1
        self.learn(key, seconds / passes / ((at_first + at_last) / 2))

    def learn(self, key: Hashable, seconds: float) -> None:
        """Move the estimate towards a measurement."""
        with self._lock:
            before = self._seconds.get(key, seconds)
            self._seconds[key] = (1 - LATEST) * before + LATEST * seconds
