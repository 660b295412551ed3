"""The life of a request, from acceptance to response, in one worker process.

A request over HTTP in, depth out. Everything that can refuse a request does so before work is spent
on it: readiness, media types, sizes, options, then admission by cost.
"""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as WaitTimeout
from contextlib import contextmanager
from typing import Any, Optional

import numpy as np
from flask import Response, g, request

from runtime.errors import DepthError, DeviceError, InputError, LimitError
from runtime.photo.decode import read_photo
from runtime.predict.choose import Choice
from serve.http import metrics
from serve.http.admission import Admission
from serve.http.arrays import SentArray
from serve.http.batching import Batcher, Done, Lane, Task
from serve.http.extension import Served
from serve.http.growth import Growth
from serve.http.handlers import Handler
from serve.http.options import CUSTOM_ATTRIBUTES, TIME_LIMIT, time_limit_in
from serve.http.problems import Problem, shown
from serve.http.request_body import DepthRequest, SentPhoto, read_request
from serve.http.responses import (
    DepthResponse,
    check_expected_size,
    check_size,
    choose_type,
    headers_of,
)
from serve.http.settings import MIB, Settings
from serve.http.worker_states import FAILED, READY, WorkerStates

GROWTH = 8  # bodies of the largest size that all requests together may unpack to
WATCH_S, STUCK_S = 1.0, 60.0  # beyond its deadline, after which a call of the device is given up
WORKER_FAILED = 1  # exit status
LONG_WORK_S = 1.0  # of a processor for one photo, beyond which it is the photo that is slow

log = logging.getLogger(__name__)


class Service:
    """One worker process: its model, its device's thread, and how much it has taken in.

    Args:
        choice: the artifacts that the model is made of, and those that it is not.
        load: makes the model; called by ``load`` and ``reload``.
        states: where the workers see each other.
        stop: called when the device has failed, to end this process once its requests are answered.
        behind: True if a front hands requests on, and logs them.
    """

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        load: Callable[[], Served],
        states: WorkerStates,
        stop: Callable[[], None],
        behind: bool = False,
    ) -> None:
        self.settings, self.choice, self.states, self.behind = settings, choice, states, behind
        self._load, self._stop = load, stop
        self._model: Optional[Served] = None
        self.batcher = Batcher(settings.batch_window_ms / 1000, self._device_failed)
        self.admission = Admission(settings.queue_s, settings.in_flight)
        self.growth = Growth(int(GROWTH * settings.max_body_mb * MIB))
        self._host = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    def load(self) -> None:
        """Load the model, warm it up, and be ready."""
        model = self._load()
        model.warm_up()
        self._model = model
        self.batcher.start(model.streams["at_once"])
        threading.Thread(target=self._watch_device, name="watch", daemon=True).start()
        self.states.set(READY)
        metrics.READY.set(1)
        log.info("ready")

    def reload(self) -> None:
        """Load the model anew, on the thread that has the device; the old one goes first.

        Meanwhile there is none: requests are told to wait. If it cannot be loaded, this worker ends
        and is replaced.

        Raises:
            Whatever loading does.
        """
        self._model = None
        try:
            model = self._load()
            model.warm_up()
        except BaseException:
            log.critical("the model cannot be loaded again: this worker ends and is replaced")
            self._fail()
            raise
        self._model = model

    @property
    def model(self) -> Served:
        """The model, once it is ready.

        Raises:
            Problem: it is not, or not any more.
        """
        if self.states.stopping:
            raise Problem("draining", "send it to another instance", retry_after_s=1)
        if self.states.mine == FAILED:
            raise Problem("device_failed", "try again", retry_after_s=1)
        model = self._model
        if model is None:
            again = self.states.mine == READY
            what = "the model is being loaded anew" if again else "wait until /ping answers 200"
            raise Problem("not_ready", what, retry_after_s=1)
        return model

    def depth(self) -> Response:
        """Answer the current request with depth."""
        model, deadline = self.model, g.start + self._time_limit()
        begun = time.thread_time()
        with self.growth.claims() as claim:
            asked = read_request(request, self.settings, claim.more)
            check_work(begun, deadline)
            return self._answer(model, asked, deadline)

    def _answer(self, model: Served, asked: DepthRequest, deadline: float) -> Response:
        """Depth for a request that has been read."""
        settings, seconds = self.settings, {"read": time.monotonic() - g.start}
        handler = model.handler_of(asked)
        media_type = choose_type(request.accept_mimetypes, handler.media_types)
        handler.check(asked, media_type)
        check_expected_size(handler.values(asked, media_type), media_type, settings.max_answer_mb)
        accepted = time.monotonic()
        with self.admission.accepted(handler.cost_s(asked), deadline - accepted):
            metrics.IN_FLIGHT.inc()
            try:
                found = self._work(handler, asked, media_type, deadline, seconds)
            finally:
                metrics.IN_FLIGHT.dec()
                metrics.ACCEPTED_SECONDS.observe(time.monotonic() - accepted)
        check_size(found, settings.max_answer_mb)
        for stage, took in seconds.items():
            metrics.STAGE_SECONDS.labels(stage).observe(took)
        g.seconds = seconds
        response = Response(found.body, content_type=found.media_type)
        response.headers.update(headers_of(found, g.request_id, seconds, asked.others))
        return response

    def _work(
        self,
        handler: Handler,
        asked: DepthRequest,
        media_type: str,
        deadline: float,
        seconds: dict[str, float],
    ) -> DepthResponse:
        """Decode, run, encode; ``seconds`` gets what each took."""
        with self._on_host("decode", deadline, seconds):
            begun = time.thread_time()
            try:
                task = handler.prepare(asked, self._decode, media_type)
                check_work(begun, deadline)
            finally:
                forget_arrays(asked.photos)
        done = self._run(handler.lane(task), task, deadline)
        seconds.update(queue=done.queued_s, infer=done.took_s)
        with self._on_host("encode", deadline, seconds):
            more = {"request_id": g.request_id, "seconds": rounded(seconds)}
            return handler.encode(asked, task, done.result, media_type, more)

    def _decode(self, photo: SentPhoto) -> np.ndarray:
        if isinstance(photo, SentArray):
            return photo.rgb()
        return read_photo(photo, self.settings.max_pixels)

    def _run(self, lane: Lane, payload: Any, deadline: float) -> Done:
        connection = request.environ.get("gunicorn.socket")
        gone = (lambda: client_has_gone(connection)) if connection else (lambda: False)
        task = Task(lane=lane, payload=payload, deadline=deadline, gone=gone)
        future = self.batcher.submit(task)
        try:
            done = future.result(max(0.0, deadline - time.monotonic()))
        except WaitTimeout:
            future.cancel()
            raise Problem("deadline_passed", "it was not finished in time") from None
        metrics.BATCH_SIZE.observe(done.batched)
        return done

    @contextmanager
    def _on_host(self, stage: str, deadline: float, seconds: dict[str, float]) -> Iterator[None]:
        """One of the few places for work on the CPU, waited for until the deadline, and timed.

        Raises:
            Problem: none became free in time.
        """
        if not self._host.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Problem("deadline_passed", "it waited too long for its turn")
        begun = time.monotonic()
        try:
            yield
        finally:
            self._host.release()
        seconds[stage] = time.monotonic() - begun

    def _time_limit(self) -> float:
        name = "X-Request-Timeout"
        asked = request.headers.get(name)
        if asked is None:
            name = TIME_LIMIT
            asked = time_limit_in(request.headers.get(CUSTOM_ATTRIBUTES, ""))
        if asked is None:
            return self.settings.deadline_s
        try:
            seconds = float(asked)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise Problem("bad_request", f"{name} {shown(asked)}: give seconds, above 0")
        return min(seconds, self.settings.deadline_s)

    def _watch_device(self) -> None:
        """Show signs of life, until a call of the device lasts longer than anybody waits for it."""
        while True:
            time.sleep(WATCH_S)
            self.states.beat()
            since = self.batcher.busy_since
            if since and time.monotonic() - since > self.settings.deadline_s + STUCK_S:
                log.critical("the device hangs: this worker ends and is replaced")
                os._exit(WORKER_FAILED)

    def _device_failed(self, error: BaseException) -> None:
        if isinstance(error, InputError):
            return  # the request's fault
        metrics.DEVICE_ERRORS.inc()
        if isinstance(error, DeviceError) or not isinstance(error, DepthError):
            log.error("the device failed: this worker ends and is replaced")
            self._fail()

    def _fail(self) -> None:
        self.states.set(FAILED)
        metrics.READY.set(0)
        self._stop()


def forget_arrays(photos: Iterable[SentPhoto]) -> None:
    """Give back what was unpacked of arrays: requests wait for the device without their pixels."""
    for photo in photos:
        if isinstance(photo, SentArray):
            photo.packed.forget()


def check_work(begun: float, deadline: float) -> None:
    """Refuse a photo that took so long to read or decode that its request's time is over.

    Args:
        begun: the thread's processor time when the work began.
    Raises:
        LimitError: it is over, and not because the work had to wait.
    """
    took = time.thread_time() - begun
    if took > LONG_WORK_S and time.monotonic() > deadline:
        raise LimitError(
            f"photo: {took:.1f} s of a processor to read it, more than the request has; send a "
            "smaller or simpler one"
        )


def client_has_gone(connection: socket.socket) -> bool:
    """True if the other side has closed; nothing is read."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """To ten microseconds, for people and logs."""
    return {name: round(value, 5) for name, value in seconds.items()}
