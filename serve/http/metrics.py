"""What the service counts, for Prometheus; right over several worker processes.

Each process writes to files in ``PROMETHEUS_MULTIPROC_DIR``, which must be set before this module
is imported; whoever is asked adds them all up.
"""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from serve.http.scratch import MULTIPROC_DIR

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
MEDIA_TYPE = CONTENT_TYPE_LATEST

REQUESTS = Counter("depth_requests", "Answers, by route and status", ["route", "status"])
REJECTED = Counter("depth_rejected", "Requests refused, by the problem's code", ["code"])
STAGE_SECONDS = Histogram(
    "depth_stage_seconds", "Time of one request in a stage", ["stage"], buckets=SECONDS
)
REQUEST_SECONDS = Histogram(
    "depth_request_seconds", "Time of one request, by route", ["route"], buckets=SECONDS
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


def render() -> bytes:
    """All metrics of all workers, in Prometheus's text format."""
    if MULTIPROC_DIR not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)


def forget(pid: int) -> None:
    """Drop the gauges of a process that has ended; its counts stay."""
    if MULTIPROC_DIR in os.environ:
        multiprocess.mark_process_dead(pid)
