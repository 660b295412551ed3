"""The HTTP application: routes, and the life of a request from acceptance to answer.

Photos in, depth out. Everything that can refuse a request does so before work is spent on it:
token, readiness, media types, sizes, options, then the gate.
"""

import hmac
import json
import logging
import math
import os
import re
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import TimeoutError as WaitTimeout
from importlib import resources
from typing import Any, Optional

import numpy as np
import yaml
from flask import Flask, Response, g, request

from runtime.artifact.manifest import to_json
from runtime.errors import DepthError, DeviceError, InputError
from runtime.optional import require, version_of
from runtime.photo.decode import read_photo
from serve.http import metrics
from serve.http.admission import Gate
from serve.http.batching import Batcher, Done, Lane, Task
from serve.http.model import Model
from serve.http.problems import Problem, answer, problem_of
from serve.http.request_body import Job, Photo, read_job
from serve.http.responses import (
    FOR_PHOTOS,
    FOR_SCENES,
    Answer,
    check_expected_size,
    check_size,
    choose_type,
    encode_photo,
    encode_scene,
    headers_of,
)
from serve.http.settings import MIB, Settings
from serve.http.slow_clients import SlowReads, client_has_gone
from serve.http.worker_states import DRAINING, FAILED, READY, Board

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")
OPEN = ("/ping", "/livez", "/readyz", "/", "/openapi.json")  # no token is asked for
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'"
)
PACKAGES = (
    "depth-anything-inferentia",
    "numpy",
    "Pillow",
    "flask",
    "gunicorn",
    "openvino",
    "torch",
)


class Service:
    """One worker process: its model, its device's thread, and how much it has taken in.

    Args:
        load: makes the model; called once, in the background or by ``load``.
        board: where the workers see each other.
        stop: called when the device has failed, to end this process once its requests are answered.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Model],
        board: Board,
        stop: Callable[[], None],
    ) -> None:
        self.settings, self.board = settings, board
        self._load, self._stop = load, stop
        self._model: Optional[Model] = None
        self.batcher = Batcher(settings.batch_window_ms / 1000, self._device_failed)
        self.gate = Gate(settings.queue_s, settings.in_flight)
        self.reads = SlowReads(settings.read_timeout_s)
        self.host = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))

    def load(self) -> None:
        """Load the model, warm it up, and be ready."""
        model = self._load()
        model.warm_up()
        self._model = model
        self.batcher.start()
        self.board.set(READY)
        metrics.READY.set(1)
        log.info("ready")

    def drain(self) -> None:
        """Take nothing new from now on."""
        self.board.set(DRAINING)
        metrics.READY.set(0)

    @property
    def model(self) -> Model:
        """The model, once it is ready.

        Raises:
            Problem: it is not, or not any more.
        """
        if self.board.mine == DRAINING:
            raise Problem("draining", "send it to another instance", retry_after_s=1)
        if self.board.mine == FAILED:
            raise Problem("device_failed", "try again", retry_after_s=1)
        if self._model is None:
            raise Problem("not_ready", "wait until /ping answers 200", retry_after_s=1)
        return self._model

    def depth(self) -> Response:
        """Answer the current request with depth."""
        model = self.model
        start: float = g.start
        limit_s = self._time_limit()
        job = read_job(request, self.settings)
        self.finish_read()
        seconds = {"read": time.monotonic() - start}
        scene = model.is_scene(job)
        media_type = choose_type(request.accept_mimetypes, FOR_SCENES if scene else FOR_PHOTOS)
        if not scene and job.options.size != "model":
            check_expected_size(job.sizes_hw[0], media_type, self.settings.max_answer_mb)
        deadline = start + limit_s
        with self.gate.accepted(model.cost_s(job), deadline - time.monotonic()):
            metrics.IN_FLIGHT.inc()
            try:
                make = self._scene if scene else self._photo
                answered = make(model, job, media_type, deadline, seconds)
            finally:
                metrics.IN_FLIGHT.dec()
        check_size(answered, self.settings.max_answer_mb)
        for stage, took in seconds.items():
            metrics.STAGE_SECONDS.labels(stage).observe(took)
        g.seconds = seconds
        response = Response(answered.body, content_type=answered.media_type)
        response.headers.update(headers_of(answered, g.request_id, seconds))
        return response

    def _photo(
        self,
        model: Model,
        job: Job,
        media_type: str,
        deadline: float,
        seconds: dict[str, float],
    ) -> Answer:
        assert model.predictor is not None
        (photo,), options = job.photos, job.options
        focal_px = options.focal_px
        with self._host(deadline):
            begun = time.monotonic()
            focal_px = model.predictor.focal_px(
                focal_px,
                photo if isinstance(photo, bytes) else None,
                None if job.intrinsics is None else job.intrinsics[0],
            )
            prepared = model.predictor.prepare(self._decoded(photo), focal_px)
            seconds["decode"] = time.monotonic() - begun
        done = self._run(model.photo_lane(prepared.bucket), prepared, deadline)
        seconds.update(queue=done.queued_s, infer=done.took_s)
        with self._host(deadline):
            begun = time.monotonic()
            grid = "model" if options.size == "model" else "photo"
            depth, took = done.result
            prediction, _ = model.predictor.finish(prepared, depth, took, grid)
            more = {"request_id": g.request_id, "seconds": _rounded(seconds)}
            found = encode_photo(prediction, media_type, options, more)
            seconds["encode"] = time.monotonic() - begun
        return found

    def _scene(
        self,
        model: Model,
        job: Job,
        media_type: str,
        deadline: float,
        seconds: dict[str, float],
    ) -> Answer:
        size_hw, views = model.scene_size(job), []
        scene = model.scenes[size_hw]
        with self._host(deadline):
            begun = time.monotonic()
            for photo in job.photos:
                views.append(scene.view(self._decoded(photo)))
            seconds["decode"] = time.monotonic() - begun
        arguments = {
            "views": views,
            "extrinsics": job.extrinsics,
            "intrinsics": job.intrinsics,
            "use_ray_pose": job.options.use_ray_pose,
            "ref_view_strategy": job.options.ref_view_strategy,
        }
        done = self._run(model.scene_lane(size_hw), arguments, deadline)
        seconds.update(queue=done.queued_s, infer=done.took_s)
        with self._host(deadline):
            begun = time.monotonic()
            manifest, artifact = model.manifest, scene.artifacts[0]
            facts = {
                "model": manifest.model,
                "artifact": {"name": artifact.manifest.name, "digest": artifact.digest},
                "licence": manifest.weights.licence,
                "request_id": g.request_id,
                "seconds": _rounded(seconds),
            }
            found = encode_scene(done.result, views, facts, media_type, job.options)
            seconds["encode"] = time.monotonic() - begun
        return found

    def _decoded(self, photo: Photo) -> np.ndarray:
        return (
            photo if isinstance(photo, np.ndarray) else read_photo(photo, self.settings.max_pixels)
        )

    def _run(self, lane: Lane, payload: Any, deadline: float) -> Done:
        connection = request.environ.get("gunicorn.socket")
        gone = (lambda: client_has_gone(connection)) if connection else (lambda: False)
        future = self.batcher.submit(Task(lane, payload, deadline, gone))
        try:
            done = future.result(max(0.0, deadline - time.monotonic()))
        except WaitTimeout:
            future.cancel()
            raise Problem("deadline_passed", "it was not finished in time") from None
        metrics.BATCH_SIZE.observe(done.batched)
        return done

    def _host(self, deadline: float) -> "_Slot":
        return _Slot(self.host, deadline)

    def _time_limit(self) -> float:
        asked = request.headers.get("X-Request-Timeout")
        if asked is None:
            return self.settings.deadline_s
        try:
            seconds = float(asked)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise Problem("bad_request", f"X-Request-Timeout {asked!r}: give seconds, above 0")
        return min(seconds, self.settings.deadline_s)

    def finish_read(self) -> None:
        """The request has been read: the clock on its arrival stops.

        Raises:
            Problem: it was cut off for being late.
        """
        connection = request.environ.get("gunicorn.socket")
        if connection is not None and self.reads.end(connection):
            raise Problem(
                "read_timeout",
                f"it did not arrive within {self.settings.read_timeout_s:g} s; send it faster",
            )

    def _device_failed(self, error: BaseException) -> None:
        if isinstance(error, InputError):
            return  # the request's fault
        metrics.DEVICE_ERRORS.inc()
        if isinstance(error, DeviceError) or not isinstance(error, DepthError):
            log.error("the device failed: this worker ends and is replaced")
            self.board.set(FAILED)
            metrics.READY.set(0)
            self._stop()


class _Slot:
    """One of the few places for work on the CPU, waited for until the deadline."""

    def __init__(self, places: threading.BoundedSemaphore, deadline: float) -> None:
        self.places, self.deadline = places, deadline

    def __enter__(self) -> None:
        if not self.places.acquire(timeout=max(0.0, self.deadline - time.monotonic())):
            raise Problem("deadline_passed", "it waited too long for its turn")

    def __exit__(self, *_: object) -> None:
        self.places.release()


def create_app(service: Service) -> Flask:
    """The application of one worker process."""
    # Pillow's, about tags that it skips: Python remembers the text of each for ever
    warnings.filterwarnings("ignore", module=r"PIL\.")
    app = Flask(__name__, static_folder=None)
    settings = service.settings
    app.extensions["depth"] = service
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_body_mb * MIB)
    app.config["MAX_FORM_MEMORY_SIZE"] = 1 << 20
    app.config["MAX_FORM_PARTS"] = 4 * settings.max_views + 16
    document = _openapi(settings)
    page = resources.files("serve.http").joinpath("page.html").read_text(encoding="utf-8")

    @app.before_request
    def begin() -> None:
        g.start, g.seconds, g.problem_code = time.monotonic(), {}, ""
        asked = request.headers.get("X-Request-Id", "")
        g.request_id = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        if settings.token and request.path not in OPEN:
            given = request.headers.get("Authorization", "")
            expected = f"Bearer {settings.token}"
            if not hmac.compare_digest(given.encode(), expected.encode()):
                raise Problem("unauthorized", "send Authorization: Bearer TOKEN")

    @app.after_request
    def end(response: Response) -> Response:
        took = time.monotonic() - g.start
        route = request.url_rule.rule if request.url_rule else "none"
        response.headers.setdefault("X-Request-Id", g.request_id)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if service.board.mine in (DRAINING, FAILED):
            response.headers["Connection"] = "close"
        metrics.REQUESTS.labels(route, str(response.status_code)).inc()
        metrics.REQUEST_SECONDS.observe(took)
        if g.problem_code:
            metrics.REJECTED.labels(g.problem_code).inc()
        if request.path not in ("/ping", "/livez", "/readyz", "/metrics"):
            log.info(
                "request",
                extra={
                    "request_id": g.request_id,
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "code": g.problem_code or None,
                    "seconds": round(took, 4),
                    "stages": _rounded(g.seconds),
                    "bytes": response.content_length,
                },
            )
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        found = problem_of(error)
        connection = request.environ.get("gunicorn.socket")
        if connection is not None and service.reads.end(connection):
            found = problem_of(
                Problem("read_timeout", f"it took over {settings.read_timeout_s:g} s to arrive")
            )
        response = answer(found)
        if found.code == "method_not_allowed":
            allowed = getattr(error, "valid_methods", None) or ()
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.get("/ping")
    @app.get("/readyz")
    def ping() -> Response:
        if service.board.mine == DRAINING or not service.board.any_ready():
            raise Problem("not_ready", "no worker is ready", retry_after_s=1)
        return Response("ok\n", content_type="text/plain")

    @app.get("/livez")
    def alive() -> Response:
        return Response("ok\n", content_type="text/plain")

    @app.post("/invocations")
    @app.post("/v1/depth")
    @app.post("/endpoints/<name>/invocations")
    def depth(name: str = "") -> Response:
        return service.depth()

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        facts = {
            "MaxConcurrentTransforms": settings.in_flight,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": max(1, int(settings.max_body_mb)),
        }
        return _json(facts)

    @app.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.render(), content_type=metrics.MEDIA_TYPE)

    @app.get("/info")
    def info() -> Response:
        return _json(describe_service(service))

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(document, content_type="application/json")

    @app.get("/")
    def index() -> Response:
        response = Response(page, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response

    if settings.otel:
        tracing(app)
    return app


def describe_service(service: Service) -> dict[str, Any]:
    """What runs here, for people and programs."""
    model, settings = service.model, service.settings
    return {
        "model": model.manifest.model,
        "target": model.manifest.target,
        "licence": model.manifest.weights.licence,
        "artifacts": [
            {"digest": one.digest, "manifest": json.loads(to_json(one.manifest))}
            for one in model.artifacts
        ],
        "versions": {name: version_of(name) for name in PACKAGES},
        "limits": {
            "body_mb": settings.max_body_mb,
            "answer_mb": settings.max_answer_mb,
            "pixels": settings.max_pixels,
            "views": settings.max_views,
            "deadline_s": settings.deadline_s,
            "queue_s": settings.queue_s,
        },
        "workers": {str(pid): state for pid, state in service.board.states().items()},
    }


def tracing(app: Flask) -> None:
    """OpenTelemetry spans of every request, exported as its own variables say."""
    trace = require("opentelemetry.trace", "otel")
    sdk = require("opentelemetry.sdk.trace", "otel")
    export = require("opentelemetry.sdk.trace.export", "otel")
    flask = require("opentelemetry.instrumentation.flask", "otel")
    provider = sdk.TracerProvider()
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "console":
        provider.add_span_processor(export.SimpleSpanProcessor(export.ConsoleSpanExporter()))
    else:
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
        provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    flask.FlaskInstrumentor().instrument_app(app, excluded_urls="ping,livez,readyz,metrics")


def _openapi(settings: Settings) -> bytes:
    text = resources.files("serve.http").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    document["info"]["version"] = version_of("depth-anything-inferentia")
    if settings.token:
        document["security"] = [{"token": []}]
    return json.dumps(document).encode()


def _json(facts: dict[str, Any]) -> Response:
    return Response(json.dumps(facts, indent=2) + "\n", content_type="application/json")


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in seconds.items()}
