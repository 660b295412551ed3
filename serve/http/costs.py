"""What a call of a graph costs: device seconds, as measured at the start and on every call since.

A key a graph in, a running estimate out. It measures nothing itself.
"""

import logging
import threading
from collections.abc import Hashable

log = logging.getLogger(__name__)

LATEST = 0.2  # weight of the newest measurement in the estimate


class Costs:
    """Estimated seconds of one call, by key; a key that was never measured costs nothing."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: Hashable) -> float:
        """The estimate."""
        return self._seconds.get(key, 0.0)

    def start(self, key: Hashable, seconds: float) -> None:
        """Begin with a measurement on a warm graph."""
        self._seconds[key] = seconds
        log.info("warm", extra={"lane": str(key), "seconds": round(seconds, 4)})

    def learn(self, key: Hashable, seconds: float) -> None:
        """Move the estimate towards a measurement."""
        with self._lock:
            before = self._seconds.get(key, seconds)
            self._seconds[key] = (1 - LATEST) * before + LATEST * seconds
