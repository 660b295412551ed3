"""The HTTP application of one worker: its paths, and what happens before and after each request.

A ``Service`` in, a Flask application out. It does no work on photos itself.
"""

import hmac
import html
import json
import logging
import time
import uuid
import warnings
from collections.abc import Collection, Sequence
from importlib import resources
from typing import Any

import yaml
from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException

from runtime.artifact.manifest import to_json
from runtime.optional import version_of
from serve.http import metrics
from serve.http.broken_body import close_after_answer
from serve.http.extension import Extension
from serve.http.loading import is_for_people, loading_response
from serve.http.problems import (
    BYTES_A_SECOND,
    PROBLEM_HEADER,
    REQUEST_ID,
    REQUEST_ID_HEADERS,
    SLOWLY,
    Problem,
    problem_of,
    problem_response,
)
from serve.http.service import Service, rounded
from serve.http.settings import MIB, Settings
from serve.http.tracing import trace_requests
from serve.http.viewers import VIEWERS, viewer_response
from serve.http.worker_states import FAILED

log = logging.getLogger(__name__)

# No token is asked for
VIEWER_PATHS = tuple(f"/viewers/{name}" for name in VIEWERS)
OPEN = ("/ping", "/livez", "/readyz", "/", "/openapi.json", *VIEWER_PATHS)
UNLOGGED = ("/ping", "/livez", "/readyz", "/metrics")
PLACE_OF_LINKS = "<!--links-->"  # in page.html
TRANSFORM_MB = 100  # MaxConcurrentTransforms * MaxPayloadInMB at most: CreateTransformJob
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self' blob:"
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


def create_app(service: Service, extensions: Sequence[Extension] = ()) -> Flask:
    """The application of one worker process, with the routes that a door adds."""
    # Pillow's, about tags that it skips: Python remembers the text of each for ever
    warnings.filterwarnings("ignore", module=r"PIL\.")
    app = Flask(__name__, static_folder=None)
    settings = service.settings
    app.extensions["depth"] = service
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_body_mb * MIB)
    _around_requests(app, service, {*OPEN, *(path for one in extensions for path in one.open)})
    _add_probes(app, service)
    _add_depth(app, service)
    _add_documents(app, service, extensions)
    for one in extensions:
        app.register_blueprint(one.blueprint)
    if settings.otel:
        trace_requests(app)
    return app


def _around_requests(app: Flask, service: Service, opened: Collection[str]) -> None:
    """Id and token before a request; counts, log and errors after it."""
    token = service.settings.token

    @app.before_request
    def begin() -> None:
        g.start, g.seconds, g.problem_code = time.monotonic(), {}, ""
        asked = (request.headers.get(name, "") for name in REQUEST_ID_HEADERS)
        g.request_id = next(filter(REQUEST_ID.fullmatch, asked), "") or uuid.uuid4().hex
        if token and request.path not in opened:
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                raise Problem("unauthorized", "send Authorization: Bearer TOKEN")

    @app.after_request
    def end(response: Response) -> Response:
        took = time.monotonic() - g.start
        route = request.url_rule.rule if request.url_rule else "none"
        response.headers.setdefault("X-Request-Id", g.request_id)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if service.states.stopping or service.states.mine == FAILED:
            response.headers["Connection"] = "close"
        metrics.REQUESTS.labels(route, str(response.status_code)).inc()
        outcome = metrics.outcome_of(response.status_code)
        metrics.REQUEST_SECONDS.labels(route, outcome).observe(took)
        metrics.QUEUE_SECONDS.set(service.admission.cost_s)
        if g.problem_code:
            response.headers[PROBLEM_HEADER] = g.problem_code
            metrics.REJECTED.labels(g.problem_code).inc()
        if service.behind and g.problem_code in SLOWLY:
            response.headers["X-Accel-Limit-Rate"] = str(BYTES_A_SECOND)  # nginx keeps it
        if request.path not in UNLOGGED:
            # a front has a line of its own
            _log_request(response, took, logging.DEBUG if service.behind else logging.INFO)
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        problem = problem_of(error)
        if problem.code == "body_incomplete" or isinstance(error, ParseException):
            close_after_answer()
        response = problem_response(problem)
        if problem.code == "method_not_allowed":
            allowed = getattr(error, "valid_methods", None) or ()
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response


def _log_request(response: Response, took: float, level: int) -> None:
    log.log(
        level,
        "request",
        extra={
            "request_id": g.request_id,
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "code": g.problem_code or None,
            "seconds": round(took, 4),
            "stages": rounded(g.seconds),
            "bytes": response.content_length,
        },
    )


def _add_probes(app: Flask, service: Service) -> None:
    """What an orchestrator asks."""

    @app.get("/ping")
    @app.get("/readyz")
    def ping() -> Response:
        if service.states.stopping or not service.states.any_ready():
            raise Problem("not_ready", "no worker is ready", retry_after_s=1)
        return Response("ok\n", content_type="text/plain")

    @app.get("/livez")
    def alive() -> Response:
        return Response("ok\n", content_type="text/plain")

    @app.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.render(), content_type=metrics.MEDIA_TYPE)


def _add_depth(app: Flask, service: Service) -> None:
    """The work, and what SageMaker's batch transform asks about it."""

    @app.post("/invocations")
    @app.post("/v1/depth")
    @app.post("/endpoints/<name>/invocations")
    def depth(name: str = "") -> Response:
        return service.depth()

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(transform_parameters(service.settings))


def transform_parameters(settings: Settings) -> dict[str, Any]:
    """What batch transform may send at once: AWS allows 100 MB in flight."""
    payload_mb = min(TRANSFORM_MB, max(1, int(settings.max_body_mb)))
    return {
        "MaxConcurrentTransforms": max(1, min(settings.in_flight, TRANSFORM_MB // payload_mb)),
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": payload_mb,
    }


def _add_documents(app: Flask, service: Service, extensions: Sequence[Extension]) -> None:
    """What runs here, how to ask it, and a page to try it."""
    document = _openapi(service.settings, extensions)
    page = resources.files("serve.http").joinpath("page.html").read_text(encoding="utf-8")

    links = [(one.open[0].lstrip("/"), one.title) for one in extensions if one.title]
    page = page.replace(
        PLACE_OF_LINKS,
        "".join(f'<a href="{where}">{html.escape(what)}</a> ' for where, what in links),
    )

    @app.get("/info")
    def info() -> Response:
        return _json(describe_service(service))

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(document, content_type="application/json")

    app.add_url_rule("/viewers/<name>", "viewer", viewer_response)

    @app.get("/")
    def index() -> Response:
        if not service.states.stopping and not service.states.any_ready():
            if is_for_people(request.headers.get("Accept", "")):
                return loading_response()
            raise Problem("not_ready", "wait until /ping answers 200", retry_after_s=1)
        response = Response(page, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response


def describe_service(service: Service) -> dict[str, Any]:
    """What runs here, for people and programs.

    Raises:
        Problem: the model is not ready.
    """
    model, settings = service.model, service.settings
    return {
        "model": model.name,
        "target": model.target,
        "licence": model.licence,
        "warning": model.warning,
        "artifacts": [
            {"digest": one.digest, "manifest": json.loads(to_json(one.manifest))}
            for one in service.choice.artifacts
        ],
        "left_out": [
            {"artifact": one.path.name, "model": one.model or None, "reason": one.reason}
            for one in service.choice.left_out
        ],
        "streams": model.streams,
        "versions": {name: version_of(name) for name in PACKAGES},
        "limits": {
            "body_mb": settings.max_body_mb,
            "answer_mb": settings.max_answer_mb,
            "pixels": settings.max_pixels,
            "views": settings.max_views,
            "deadline_s": settings.deadline_s,
            "queue_s": settings.queue_s,
        },
        "workers": {str(pid): state for pid, state in service.states.states().items()},
    }


def _openapi(settings: Settings, extensions: Sequence[Extension]) -> bytes:
    text = resources.files("serve.http").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    document["info"]["version"] = version_of("depth-anything-inferentia")
    problem = document["paths"]["/v1/depth"]["post"]["responses"]["400"]
    document["components"]["responses"] = {"problem": problem}
    for one in extensions:
        document["paths"].update(one.paths)
    if settings.token:
        document["security"] = [{"token": []}]
    return json.dumps(document).encode()


def _json(facts: dict[str, Any]) -> Response:
    return Response(json.dumps(facts, indent=2) + "\n", content_type="application/json")
