"""gunicorn's threaded worker, with a bound on slow clients and an end that loses nobody.

gunicorn alone waits for ever for a slow request, and drops connections that it has accepted but
not read when it is told to stop. Here SIGTERM makes the worker answer "draining" to newcomers for
a moment, take in whatever the kernel has accepted for it, close its doors, and finish.
"""

import logging
import os
import time
from types import FrameType
from typing import Any, Optional

from gunicorn.workers.gthread import ThreadWorker

from serve.http.app import Service
from serve.http.listener import turn_away

log = logging.getLogger(__name__)

ANNOUNCE_S = 1.0  # newcomers are told to go elsewhere
HANDSHAKE_S = 0.5  # those that were coming in arrive
LINGER_S = 1.0  # what was accepted last is read
STUCK_S = 60.0  # beyond its deadline, after which a call of the device is given up
WORKER_FAILED = 1


class DepthWorker(ThreadWorker):
    """One process with one model."""

    sockets: list[Any]  # listening ones
    _leaving: Optional[float] = None
    _turning_away = False
    _closed: Optional[float] = None

    @property
    def service(self) -> Service:
        """What this worker runs."""
        service: Service = self.wsgi.extensions["depth"]
        return service

    def handle(self, conn: Any) -> Any:
        """Handle one request, for as long as it arrives in time."""
        reads = self.service.reads
        reads.begin(conn.sock)
        try:
            return super().handle(conn)
        finally:
            reads.end(conn.sock)

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:
        """SIGTERM: begin to leave. The main loop does the rest, at its next turn."""
        if self._leaving is None:
            self._leaving = time.monotonic()

    def notify(self) -> None:
        """Called by the main loop at every turn."""
        super().notify()
        if not self.booted:
            return
        busy_since = self.service.batcher.busy_since
        if (
            busy_since
            and time.monotonic() - busy_since > self.service.settings.deadline_s + STUCK_S
        ):
            log.critical("the device hangs: this worker ends and is replaced")
            os._exit(WORKER_FAILED)
        if self._leaving is not None:
            self._leave(time.monotonic())

    def _leave(self, now: float) -> None:
        assert self._leaving is not None
        gone_s = now - self._leaving
        if self.service.board.mine == "ready":
            self.service.drain()
            self.cfg.set("keepalive", 0)  # each connection ends with its answer
        if gone_s >= ANNOUNCE_S and not self._turning_away:
            self._turning_away = True
            if self.service.board.stopping:  # else another worker goes on listening
                for listener in self.sockets:
                    turn_away(listener)
        if gone_s >= ANNOUNCE_S + HANDSHAKE_S and self.sockets:
            self._close_doors()
            self._closed = now
        if self._closed is not None and now - self._closed >= LINGER_S:
            self.alive = False  # gunicorn waits for the requests in progress

    def _close_doors(self) -> None:
        """Accept what the kernel has accepted, then close the listening sockets."""
        for listener in self.sockets:
            accept = self.poller.get_key(listener).data
            before = -1
            while self.nr_conns != before:
                before = self.nr_conns
                accept(listener)
            self.poller.unregister(listener)
            listener.close()
        self.sockets = []
