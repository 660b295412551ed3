"""nginx's configuration: settings in, text out.

Every bound on clients is here: how long they may take, how many they may be, how large what they
send and get. It starts nothing.
"""

import grp
import json
import os
import pwd
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Optional

from jinja2 import Environment, StrictUndefined

from serve.http.listener import BACKLOG
from serve.http.loading import ACCEPTED, loading_page
from serve.http.loading import CODE as LOADING
from serve.http.loading import HEADERS as LOADING_HEADERS
from serve.http.problems import (
    BYTES_A_SECOND,
    CODES,
    MEDIA_TYPE,
    PROBLEM_HEADER,
    REQUEST_ID,
    REQUEST_ID_HEADERS,
    SLOWLY,
    problem_body,
)
from serve.http.settings import MIB, Settings

ELSEWHERE = ("/usr/sbin/nginx", "/usr/local/sbin/nginx")  # not on the path of everybody
PLAIN = re.compile(r"[\w./+=@,-]+")
LONGEST_SOCKET = 100  # bytes of a Unix socket's name; Linux takes 107
LEAST_ROOM = MIB  # for one answer on the disk; with less, none goes there
WHOLE_ANSWERS = 256  # that clients may leave lying at once, each as large as one can be
GRACE_S = 5.0  # beyond the deadline, for the service to say itself that it has passed
LOGGED = ("DEBUG", "INFO")  # levels at which requests are

# nginx's own statuses -> what the service says instead, as its code, in words, and after which
# seconds to try again. Nginx alone knows 494, a line of the head that is too long; ours is 590.
PROBLEMS: tuple[tuple[tuple[int, ...], str, str, Optional[int]], ...] = (
    (
        (400, 494, 501, 505),
        "bad_request",
        "no HTTP/1.1 that can be read, or a line of its head over 8 kB, or a transfer coding other "
        "than chunked",
        None,
    ),
    ((403, 404), "not_found", "there is nothing at this address; /openapi.json says what is", None),
    ((405,), "method_not_allowed", "that method is none of this service", None),
    ((408,), "read_timeout", "it did not arrive in time; send it faster", None),
    ((413,), "too_large", "the body is over {body_bytes:,} bytes", None),
    ((414,), "uri_too_long", "the address is over 8 kB; send options in the body", None),
    ((429,), "overloaded", "too many requests are coming in or waiting at once; try again", 1),
    ((500,), "no_room", "the disk that bodies wait on is full; try again, or elsewhere", 1),
    ((502,), "worker_lost", "its worker ended; try again", 1),
    ((503,), "not_ready", "wait until /ping answers 200", 1),
    ((590,), "draining", "send it to another instance", 1),
    ((504,), "deadline_passed", "it was not finished in time", None),
)
MORE_HEADERS = {"method_not_allowed": {"Allow": "GET, HEAD, POST"}}


@dataclass(frozen=True)
class Place:
    """Where nginx runs, and what it finds there.

    Args:
        folder: its own, writable.
        socket: on which gunicorn listens.
        address: where clients ask, as ``127.0.0.1:8080``.
        files: that one process may open.
        room_bytes: free on the disk below ``folder``.
        workers: of gunicorn.
    """

    folder: Path
    socket: Path
    address: str
    files: int
    room_bytes: int
    workers: int

    @property
    def ready(self) -> Path:
        """A file that is there while requests can be answered."""
        return self.folder / "ready"

    @property
    def draining(self) -> Path:
        """A file that is there once the service is about to stop."""
        return self.folder / "draining"

    @property
    def status_socket(self) -> Path:
        """Where nginx says how many are connected."""
        return self.folder / "status"


def find_nginx(settings: Settings, folder: Path) -> tuple[str, str]:
    """The program, or an empty text and why there is no front."""
    if settings.front == "none":
        return "", "DEPTH_FRONT=none"
    found = shutil.which("nginx") or next(filter(shutil.which, ELSEWHERE), "")
    if not found:
        return "", "nginx is not installed"
    if not PLAIN.fullmatch(str(folder)):
        return "", f"{folder} has signs that nginx reads as its own: set TMPDIR to a plainer name"
    if len(os.fsencode(folder)) > LONGEST_SOCKET - len("/nginx/status"):
        return "", f"{folder} is too long a name for a socket in it: set TMPDIR to a shorter one"
    return found, ""


def places_of(settings: Settings, files: int) -> tuple[int, int]:
    """How many connections nginx holds, and how many of them may be requests for depth.

    A request has up to two connections and two files, and a third of all places is left to others.
    """
    places = max(32, min(4 * settings.connections + 64, files // 2 - 32))
    return places, max(1, min(settings.connections, places // 3))


def bytes_of_an_answer(settings: Settings, requests: int, room_bytes: int) -> int:
    """How much of an answer may wait on the disk for its client; 0: none.

    What does not fit waits in its worker, which then has a thread less.
    """
    share = room_bytes * 3 // 4 // max(1, min(WHOLE_ANSWERS, requests))
    return 0 if share < LEAST_ROOM else min(share, int(settings.max_answer_mb * MIB) + MIB)


def render(settings: Settings, place: Place) -> str:
    """The configuration."""
    places, requests = places_of(settings, place.files)
    body_bytes = int(settings.max_body_mb * MIB)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = resources.files("serve.http").joinpath("nginx.conf.j2").read_text(encoding="utf-8")
    facts: dict[str, Any] = {
        "folder": place.folder,
        "socket": place.socket,
        "ready": place.ready,
        "draining": place.draining,
        "status_socket": place.status_socket,
        "address": place.address,
        "backlog": BACKLOG,
        "user": user_of(os.geteuid()),
        "files": place.files,
        "places": places,
        "requests": requests,
        "client_requests": settings.client_connections,
        "at_once": place.workers * (settings.threads - settings.spare // 2),
        "body_bytes": body_bytes,
        "answer_bytes": bytes_of_an_answer(settings, requests, place.room_bytes),
        "read_ms": _ms(settings.read_timeout_s),
        "send_ms": _ms(settings.send_timeout_s),
        "keep_alive_ms": int(1000 * settings.keep_alive_s),
        "answer_ms": _ms(settings.deadline_s + GRACE_S),
        "drain_s": max(1, int(settings.drain_s)),
        "error_level": "info" if settings.log_level == "DEBUG" else "crit",
        "access_log": settings.log_level in LOGGED,
        "trusted": settings.trusted_proxies,
        "id_headers": [name.lower().replace("-", "_") for name in REQUEST_ID_HEADERS],
        "id_pattern": REQUEST_ID.pattern,
        "media_type": MEDIA_TYPE,
        "problem_header": PROBLEM_HEADER,
        "page_accepted": ACCEPTED,
        "page": loading_page(),
        "page_headers": LOADING_HEADERS,
        "page_problem": LOADING,
        "problems": [_problem(*one, body_bytes=body_bytes) for one in PROBLEMS],
    }
    return environment.from_string(text).render(facts)


def user_of(number: int) -> str:
    """Who nginx's worker is: whoever starts it. Only root has to say so."""
    return f"{pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name}" if number == 0 else ""


def _problem(
    statuses: tuple[int, ...], code: str, detail: str, retry_s: Optional[int], body_bytes: int
) -> dict[str, Any]:
    body = problem_body(code, detail.format(body_bytes=body_bytes), "$id")
    assert "'" not in body and json.loads(body)["status"] == CODES[code][0]
    headers = {**MORE_HEADERS.get(code, {})}
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    return {
        "statuses": statuses,
        "status": CODES[code][0],
        "code": code,
        "headers": headers,
        "body": body,
        "rate": BYTES_A_SECOND if code in SLOWLY else 0,
    }


def _ms(seconds: float) -> int:
    return max(1, int(1000 * seconds))
