"""The viewers of the pages: points by three.js, splats by Spark, built by ``make viewers``.

A file's name in; its bytes, or an answer, out.
"""

from importlib import resources

from flask import Response

from serve.http.problems import Problem

VIEWERS = ("points.js", "splats.js", "LICENCES.txt")
FOLDER = "viewers"


def viewer_bytes(name: str) -> bytes:
    """One of ``VIEWERS``."""
    assert name in VIEWERS
    return resources.files("serve.http").joinpath(FOLDER).joinpath(name).read_bytes()


def viewer_response(name: str) -> Response:
    """The same for a browser.

    Raises:
        Problem: there is none of that name.
    """
    if name not in VIEWERS:
        raise Problem("not_found", "there is no such viewer")
    kind = "text/javascript" if name.endswith(".js") else "text/plain"
    response = Response(viewer_bytes(name), content_type=f"{kind}; charset=utf-8")
    response.headers["Cache-Control"] = "max-age=3600"
    return response
