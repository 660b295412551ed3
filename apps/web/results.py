"""The files of a task or a scene as a client gets them.

A folder and a plain name in; a response out, with ranges and tags.
"""

import json
from pathlib import Path
from typing import Any

from flask import Response, send_file

from runtime.errors import InputError
from runtime.names import below
from runtime.storage import media_type
from serve.http.problems import Problem

# What others wrote is shown, never run
FILE_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
)


def json_response(facts: Any, status: int = 200) -> Response:
    """Facts as JSON."""
    text = json.dumps(facts, allow_nan=False) + "\n"
    return Response(text, status, content_type="application/json")


def find_file(folder: Path, name: str) -> Path:
    """A file below a folder; links that lead out of it are none.

    Raises:
        Problem: there is none of that name.
    """
    try:
        file = below(folder, name).resolve()
        inside = folder.resolve() in file.parents
        if inside and file.is_file():
            return file
    except (InputError, OSError, ValueError):
        pass
    raise Problem("not_found", "there is no such file")


def file_response(file: Path) -> Response:
    """A file, whole or a range of it; it is asked for anew each time, and sent if it has changed.

    Raises:
        Problem: it cannot be read.
    """
    try:
        response = send_file(file, media_type(file.name), conditional=True, etag=True, max_age=0)
    except OSError:
        raise Problem("not_found", "that file has gone") from None
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = FILE_POLICY
    return response
