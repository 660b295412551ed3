"""How much work is taken in: a bound on its estimated cost, and on the number of requests.

Seconds of device time in, a permit or a refusal out. What is refused costs nothing but its reading.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serve.http.problems import Problem


class Admission:
    """Counts the work between acceptance and answer.

    Args:
        limit_s: estimated seconds of device time; one request alone may exceed it.
        requests: how many at once, whatever they cost.
    """

    def __init__(self, limit_s: float, requests: int) -> None:
        self.limit_s, self.requests = limit_s, requests
        self._lock = threading.Lock()
        self._cost_s, self._count = 0.0, 0

    @property
    def cost_s(self) -> float:
        """Seconds of work that are accepted and not answered."""
        return self._cost_s

    @property
    def count(self) -> int:
        """Requests that are accepted and not answered."""
        return self._count

    @contextmanager
    def accepted(self, cost_s: float, deadline_s: float, bound: bool = True) -> Iterator[None]:
        """Hold a place while a request is worked on.

        Args:
            cost_s: estimated device time of it.
            deadline_s: seconds that it may take in all.
            bound: False for what was accepted before, as by a process that has ended: it counts.
        Raises:
            Problem: ``overloaded``, with the seconds after which there should be room.
        """
        with self._lock:
            waiting = self._cost_s
            full = self._count >= self.requests or waiting + cost_s > self.limit_s
            if bound and self._count and (full or waiting + cost_s > deadline_s):
                raise Problem(
                    "overloaded",
                    f"{waiting:.1f} s of work are waiting in {self._count} requests; try again "
                    "later, or elsewhere",
                    retry_after_s=max(1, math.ceil(waiting / 2)),
                )
            self._cost_s += cost_s
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                self._cost_s = self._cost_s - cost_s if self._count else 0.0
