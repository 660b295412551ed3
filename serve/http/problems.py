"""Errors as clients see them: ``application/problem+json`` (RFC 9457) with a code that stays.

An exception in, one HTTP response out; never a traceback.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Optional

from flask import Response, g
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from runtime.errors import DepthError, DeviceError, InputError, LimitError, MissingDependency

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 1000  # characters: sentences may hold what was sent
PROBLEM_HEADER = "X-Depth-Problem"  # its code, for who logs headers only
# Refusals that a front ends a second after their head: who asks again at once would cost as much as
# work does. So many bytes a second; head and body are a little more.
SLOWLY, BYTES_A_SECOND = ("overloaded", "worker_lost"), 512
# What may be a request's id, and who may give it, in turn: a client, SageMaker
REQUEST_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")
REQUEST_ID_HEADERS = ("X-Request-Id", "X-Amzn-SageMaker-Inference-Id")
SHOWN = 80  # characters of what was sent, in a sentence about it

# code -> (status, title)
CODES = {
    "bad_request": (400, "The request cannot be understood"),
    "bad_photo": (400, "The photo or an option cannot be used"),
    "body_incomplete": (400, "The body ended early"),
    "unauthorized": (401, "The token is missing or wrong"),
    "forbidden_bucket": (403, "Photos may not come from that bucket"),
    "forbidden_path": (403, "Files may not be at that place"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "That method does not go with this path"),
    "not_acceptable": (406, "None of the accepted media types can be made"),
    "read_timeout": (408, "The request came too slowly"),
    "too_large": (413, "The request is larger than a limit"),
    "answer_too_large": (413, "The answer would be larger than the limit"),
    "uri_too_long": (414, "The address is too long"),
    "unsupported_media_type": (415, "Photos cannot be read from this media type"),
    "overloaded": (429, "More work than can be done in time"),
    "internal": (500, "Something failed here"),
    "storage_failed": (502, "The photo's storage did not give it"),
    "worker_lost": (502, "The worker ended before it answered"),
    "not_ready": (503, "The model is not ready"),
    "draining": (503, "This instance is about to stop"),
    "no_room": (503, "There is no room to hold the request"),
    "device_failed": (503, "The device failed; the worker is being replaced"),
    "deadline_passed": (504, "The deadline passed before the work was done"),
}
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class Problem(Exception):
    """Ends a request with this answer.

    Args:
        code: one of ``CODES``.
        detail: what was wrong and what to do, in a sentence.
        retry_after_s: seconds after which to try again.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        retry_after_s: Optional[int] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.code, self.detail, self.retry_after_s = code, detail[:MAX_DETAIL], retry_after_s
        self.status, self.title = CODES[code]


def problem_of(error: BaseException) -> Problem:
    """What to tell a client about an exception; what is our fault is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, LimitError):
        return Problem("too_large", str(error))
    if isinstance(error, InputError):
        return Problem("bad_photo", str(error))
    if isinstance(error, ParseException):  # found while the body is read
        return Problem("bad_request", f"broken HTTP ({error})")
    if isinstance(error, DeviceError):
        log.error("device failed", exc_info=error)
        return Problem("device_failed", "try again", retry_after_s=1)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        code = HTTP_CODES.get(error.code, "bad_request")
        return Problem(code, error.description or CODES[code][1])
    log.error("request failed", exc_info=error)
    if isinstance(error, (DepthError, MissingDependency)):
        return Problem("internal", str(error))
    return Problem("internal", "the log has more under this request's id")


def problem_body(code: str, detail: str, request_id: str) -> str:
    """A problem as JSON. ``message`` is what boto3 shows of an answer that SageMaker hands on."""
    status, title = CODES[code]
    facts = {
        "type": f"urn:depth:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "message": f"{title}: {detail}",
        "code": code,
        "request_id": request_id,
    }
    return json.dumps(facts) + "\n"


def problem_response(problem: Problem) -> Response:
    """The response to the current request."""
    body = problem_body(problem.code, problem.detail, g.get("request_id", ""))
    response = Response(body, problem.status, content_type=MEDIA_TYPE)
    response.headers.update(problem.headers)
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    g.problem_code = problem.code
    return response


def shown(value: Any) -> str:
    """What was sent, as short as a sentence bears."""
    if isinstance(value, str):
        return repr(value[:SHOWN]) + ("..." if len(value) > SHOWN else "")
    return repr(value)[:SHOWN] if isinstance(value, (int, float)) else type(value).__name__
