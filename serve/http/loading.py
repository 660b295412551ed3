"""The page that people see while the model loads; programs get the problem ``not_ready``.

What a client accepts in; whether it is a person's browser, and the page, out.
"""

from importlib import resources

from flask import Response, g

from serve.http.problems import CODES, PROBLEM_HEADER

CODE = "not_ready"
ACCEPTED = "text/html"  # what a browser names, and no program that wants JSON
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Cache-Control": "no-store",
    "Retry-After": "1",
}


def loading_page() -> str:
    """HTML that asks again by itself."""
    text = resources.files("serve.http").joinpath("loading.html").read_text(encoding="utf-8")
    assert not set("'$\\") & set(text), "it stands in nginx's configuration"
    return text


def is_for_people(accept: str) -> bool:
    """Whether an ``Accept`` header is a browser's that shows a page."""
    return ACCEPTED in accept.lower()


def loading_response() -> Response:
    """The page, with the status of the problem."""
    g.problem_code = CODE
    response = Response(loading_page(), CODES[CODE][0], content_type="text/html; charset=utf-8")
    response.headers.update({**HEADERS, PROBLEM_HEADER: CODE})
    return response
