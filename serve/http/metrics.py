"""What the service counts, for Prometheus; right over several worker processes.

Each process adds up in a file of its own in ``PROMETHEUS_MULTIPROC_DIR``, which must be set before
this module is imported; whoever is asked adds them all up. A worker that takes another's place goes
on in its file, which has had its room on the disk since the start: a full one stops nobody.
"""

import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

from runtime.errors import InputError
from runtime.files import reason
from serve.http.scratch import MULTIPROC_DIR

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
MEDIA_TYPE = CONTENT_TYPE_LATEST
KINDS = ("counter", "histogram", "gauge_livesum")  # as prometheus_client names its files
ROOM = 1 << 18  # bytes of a file: over a thousand values

_process = "first"  # whose file this process adds to: the first process's, or a worker's place

if MULTIPROC_DIR in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: _process)

REQUESTS = Counter("depth_requests", "Answers, by route and status", ["route", "status"])
REJECTED = Counter("depth_rejected", "Requests refused, by the problem's code", ["code"])
STAGE_SECONDS = Histogram(
    "depth_stage_seconds", "Time of one request in a stage", ["stage"], buckets=SECONDS
)
REQUEST_SECONDS = Histogram(
    "depth_request_seconds",
    "Time of one request, by route and outcome: answered, refused, failed",
    ["route", "outcome"],
    buckets=SECONDS,
)
ACCEPTED_SECONDS = Histogram(
    "depth_accepted_seconds",
    "Time of one request from its acceptance to its answer",
    buckets=SECONDS,
)
QUEUE_SECONDS = Gauge(
    "depth_queue_seconds", "Estimated work accepted and not done", multiprocess_mode="livesum"
)
BATCH_SIZE = Histogram(
    "depth_batch_size", "Photos in a call of the graph", buckets=(1, 2, 4, 8, 16, 32, 64)
)
IN_FLIGHT = Gauge(
    "depth_in_flight", "Requests accepted and not answered", multiprocess_mode="livesum"
)
READY = Gauge("depth_workers_ready", "Workers that answer", multiprocess_mode="livesum")
DEVICE_ERRORS = Counter("depth_device_errors", "Calls of the graph that failed")
RESTARTS = Counter("depth_worker_restarts", "Workers that ended and were replaced")
LIVE = (QUEUE_SECONDS, IN_FLIGHT, READY)


def outcome_of(status: int) -> str:
    """``answered``, ``refused`` or ``failed``, of an HTTP status."""
    return "answered" if status < 400 else "refused" if status < 500 else "failed"


def make_room(workers: int) -> None:
    """Take the disk space that the first process and this many workers count in.

    Raises:
        InputError: there is none.
    """
    folder = os.environ.get(MULTIPROC_DIR)
    for process in ("first", *map(str, range(workers))) if folder else ():
        for kind in KINDS:
            file = Path(str(folder)) / f"{kind}_{process}.db"
            try:
                with file.open("ab") as opened:
                    _take(opened.fileno())
            except OSError as error:
                raise InputError(
                    f"{folder}: no room to count requests in ({reason(error)}); make some, or set "
                    "TMPDIR to another folder"
                ) from None


def _take(file: int) -> None:
    if os.fstat(file).st_size == 0:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, ROOM)
        else:
            os.write(file, bytes(ROOM))


def enter(place: int) -> None:
    """This process is the worker with that number, from 0."""
    global _process
    _process = str(place)


def begin() -> None:
    """What is true of this process now is said anew: the last one in its place has gone."""
    for gauge in LIVE:
        gauge.set(0)


def forget(place: int) -> None:
    """Drop the gauges of a worker that has ended; its counts stay."""
    if MULTIPROC_DIR not in os.environ:
        return
    file = Path(os.environ[MULTIPROC_DIR]) / f"gauge_livesum_{place}.db"
    with file.open("r+b") as opened:  # emptied in its place, not removed: the next one needs it
        opened.write(bytes(8))  # its length: none


def render() -> bytes:
    """All metrics of all workers, in Prometheus's text format."""
    if MULTIPROC_DIR not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
