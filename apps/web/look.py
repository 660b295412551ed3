"""The pages of this room as responses: nothing from elsewhere, nothing of others run.

A file's name in; its text, or an answer with a policy, out.
"""

from importlib import resources

from flask import Response

# Points and splats: WebAssembly and workers that are made from what is here
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' blob: data:; worker-src blob:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'self'"
)


def read_text(name: str) -> str:
    """A file of this room."""
    return resources.files("apps.web").joinpath(name).read_text(encoding="utf-8")


def html_response(page: str) -> Response:
    """A page."""
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
