"""A budget of memory for what bodies unpack to, shared by all requests of a worker.

Bytes that are about to be unpacked in, or a refusal out. A body of 25 kB may hold 25 MB: what one
request may cost is its limit, what many cost together is bounded here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serve.http.problems import Problem


class Growth:
    """Bytes that bodies may grow by together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._held = 0

    @contextmanager
    def claims(self) -> Iterator["Claim"]:
        """What one request claims; all of it comes back at the end."""
        claim = Claim(self)
        try:
            yield claim
        finally:
            self.add(-claim.held)

    def add(self, count: int) -> bool:
        """Take bytes, or give them back; False if there are not as many."""
        with self._lock:
            if count > 0 and self._held + count > self.limit_bytes:
                return False
            self._held += count
            return True


class Claim:
    """The bytes that one request holds of a budget."""

    def __init__(self, growth: Growth) -> None:
        self._growth, self.held = growth, 0

    def more(self, count: int) -> None:
        """Claim some more.

        Raises:
            Problem: other requests hold the rest.
        """
        if not self._growth.add(count):
            raise Problem(
                "overloaded",
                "other requests are being unpacked; try again, or send it as it is",
                retry_after_s=1,
            )
        self.held += count
