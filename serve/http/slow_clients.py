"""A bound on how long a request may take to arrive: head and body, however slowly they trickle.

A timeout of each read is not enough, since one byte a second keeps it happy. So one thread watches
all sockets that are being read, and closes the reading side of those that are late; whoever reads
then finds the end.
"""

import contextlib
import socket
import threading
import time
from typing import Optional

EVERY_S = 0.25


class SlowClients:
    """Sockets that are being read, and until when they may be.

    Args:
        limit_s: for a whole request.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._until: dict[socket.socket, float] = {}
        self._late: set[socket.socket] = set()
        self._thread: Optional[threading.Thread] = None

    def begin(self, connection: socket.socket) -> None:
        """From now on, until ``end``, it is being read."""
        with self._lock:
            self._until[connection] = time.monotonic() + self.limit_s
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="slow-clients", daemon=True
                )
                self._thread.start()

    def end(self, connection: socket.socket) -> bool:
        """It has been read; returns True if it was cut off for being late."""
        with self._lock:
            self._until.pop(connection, None)
            late = connection in self._late
            self._late.discard(connection)
            return late

    def _watch(self) -> None:
        while True:
            time.sleep(EVERY_S)
            now = time.monotonic()
            with self._lock:
                late = [one for one, until in self._until.items() if until < now]
                for connection in late:
                    del self._until[connection]
                    self._late.add(connection)
                    with contextlib.suppress(OSError):  # it has gone already
                        connection.shutdown(socket.SHUT_RD)


def client_has_gone(connection: socket.socket) -> bool:
    """True if the other side has closed; nothing is read."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
