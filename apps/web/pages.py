"""The pages of this room, and what a backend adds to the service in all.

Files of this folder in; responses with their policy, and extensions of the service, out.
"""

from pathlib import Path
from typing import Any

import yaml
from flask import Blueprint, Response

from apps.web.backend_routes import make_blueprint
from apps.web.backend_state import Backend
from apps.web.gallery_routes import gallery_blueprint
from apps.web.look import html_response, read_text
from serve.http.extension import Extension

DASHBOARD = "/dashboard"


def backend_extensions(backend: Backend, gallery: Path) -> list[Extension]:
    """Tasks, the dashboard, and the gallery if its folder is there."""
    paths: dict[str, Any] = yaml.safe_load(read_text("openapi.yaml"))["paths"]
    found = [
        Extension(make_blueprint(backend), paths=paths),
        Extension(_dashboard(), open=(DASHBOARD,), title="Tasks"),
    ]
    if gallery.is_dir():
        routes, opened = gallery_blueprint(gallery, "/gallery")
        found.append(Extension(routes, open=opened, title="Gallery"))
    return found


def _dashboard() -> Blueprint:
    routes, page = Blueprint("dashboard", __name__), read_text("dashboard.html")

    @routes.get(DASHBOARD)
    def dashboard() -> Response:
        return html_response(page)

    return routes
