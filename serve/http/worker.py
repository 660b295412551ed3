"""gunicorn's threaded worker, with a bound on slow clients and an end that drops no request.

gunicorn alone waits for ever for a slow request, and drops connections that it has accepted but
not read when it is told to stop. Here SIGTERM makes the worker answer "draining" to newcomers for
a moment, take in whatever the kernel has accepted for it, stop listening, and finish. If nobody is
connected, there is nobody to tell and nothing to finish.
"""

import contextlib
import logging
import os
import selectors
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Optional

from gunicorn.workers.gthread import ThreadWorker

from serve.http.listener import turn_away
from serve.http.service import Service
from serve.http.worker_states import READY

log = logging.getLogger(__name__)

ANNOUNCE_S = 1.0  # newcomers are told to go elsewhere
HANDSHAKE_S = 0.5  # those that were coming in arrive
LINGER_S = 1.0  # what was accepted last is read
STUCK_S = 60.0  # beyond its deadline, after which a call of the device is given up
WORKER_FAILED = 1


class DepthWorker(ThreadWorker):
    """One process with one model."""

    sockets: list[Any]  # listening ones
    _leaving: Optional[Iterator[float]] = None
    _next_step = 0.0  # time.monotonic() of the next step of leaving

    @property
    def service(self) -> Service:
        """What this worker runs."""
        service: Service = self.wsgi.extensions["depth"]
        return service

    def handle(self, conn: Any) -> Any:
        """Handle one request, for as long as it arrives in time."""
        slow_clients = self.service.slow_clients
        slow_clients.begin(conn.sock)
        try:
            return super().handle(conn)
        finally:
            slow_clients.end(conn.sock)

    def init_process(self) -> None:
        """Begin, in the process that was forked."""
        self._woken, self._waking = os.pipe()
        for end in (self._woken, self._waking):
            os.set_blocking(end, False)
        super().init_process()

    def run(self) -> None:
        """The main loop, which waits for our pipe among other things."""
        self.poller.register(self._woken, selectors.EVENT_READ, lambda end: os.read(end, 4096))
        super().run()

    def _wake(self) -> None:
        """Give the main loop a turn now; without this it may wait for a second."""
        with contextlib.suppress(BlockingIOError):  # full: it has been woken often enough
            os.write(self._waking, b".")

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:
        """SIGTERM: begin to leave. The main loop does the rest, at its next turn."""
        if self._leaving is None:
            self._leaving = self._leave()
            self._wake()

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
        if self._leaving is None or not self.alive:
            return
        if self.service.states.mine == READY:  # at once, and if it was still loading then
            self.service.drain()
        if time.monotonic() >= self._next_step:
            wait_s = next(self._leaving, 0.0)
            self._next_step = time.monotonic() + wait_s
            threading.Timer(wait_s, self._wake).start()

    def _leave(self) -> Iterator[float]:
        """Leave step by step; yields how many seconds to wait before the next step."""
        self.cfg.set("keepalive", 0)  # each connection ends with its answer
        if self.nr_conns:
            yield ANNOUNCE_S
        if self.service.states.stopping:  # else another worker goes on listening
            for listener in self.sockets:
                turn_away(listener)
        yield HANDSHAKE_S
        self._stop_listening()
        if self.nr_conns:
            yield LINGER_S
        self.alive = False  # gunicorn waits for the requests in progress

    def _stop_listening(self) -> None:
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
