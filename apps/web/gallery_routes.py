"""The gallery over HTTP: upstream's page, manifests and files, below any prefix.

A folder in; a blueprint out, for the backend or for a server of its own.
"""

from pathlib import Path

from flask import Blueprint, Response

from apps.web.gallery import group_manifest, manifest
from apps.web.look import html_response, read_text
from apps.web.results import file_response, json_response
from runtime.errors import InputError
from runtime.names import check_plain
from serve.http.problems import Problem, shown
from serve.http.viewers import VIEWERS, viewer_response

OURS = "_viewers"  # below the gallery, where its page finds the viewers


def gallery_blueprint(root: Path, prefix: str = "") -> tuple[Blueprint, tuple[str, ...]]:
    """The routes, and which of them hold no scene.

    Args:
        root: the gallery. prefix: of its addresses, without a slash at its end.
    """
    routes = Blueprint("gallery", __name__)
    page = read_text("gallery.html")
    pages = (f"{prefix}/", f"{prefix}/index.html", *([prefix] if prefix else []))

    def index() -> Response:
        return html_response(page)

    def groups() -> Response:
        return _fresh(json_response(manifest(root)))

    def group(name: str) -> Response:
        try:
            return _fresh(json_response(group_manifest(root, name, f"{prefix}/")))
        except InputError as error:
            raise Problem("bad_request", str(error)) from None

    def file(name: str) -> Response:
        return file_response(place_of(root, name))

    for number, path in enumerate(pages):
        options = {"strict_slashes": False} if path == prefix else {}
        routes.add_url_rule(path, f"index{number}", index, **options)
    routes.add_url_rule(f"{prefix}/manifest.json", "groups", groups)
    routes.add_url_rule(f"{prefix}/manifest/<path:name>.json", "group", group)
    routes.add_url_rule(f"{prefix}/{OURS}/<name>", "viewer", viewer_response)
    routes.add_url_rule(f"{prefix}/<path:name>", "file", file)
    return routes, (*pages, *(f"{prefix}/{OURS}/{name}" for name in VIEWERS))


def place_of(root: Path, name: str) -> Path:
    """The file of an address.

    Raises:
        Problem: 400 for a name that is none, 403 for one that leads out, 404 if there is none.
    """
    try:
        check_plain(name)
    except InputError as error:
        raise Problem("bad_request", str(error)) from None
    hidden = any(part.startswith(".") for part in name.split("/"))
    try:
        file = (root / name).resolve()
        if hidden or not file.is_file():
            raise Problem("not_found", "there is no such file in the gallery")
    except (OSError, ValueError):
        raise Problem("not_found", "there is no such file in the gallery") from None
    if root.resolve() not in file.parents:
        raise Problem("forbidden_path", f"{shown(name)} leads out of the gallery")
    return file


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
