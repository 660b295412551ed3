"""``da3 gallery``: the gallery by itself, over HTTP or as files.

Parsed options in; a server until it is told to stop, or files, and an exit status, out.
"""

import argparse
import logging
import threading
import uuid
import webbrowser
from pathlib import Path

from apps.web.gallery_export import export_gallery
from runtime.command_line import UsageError
from runtime.errors import InputError
from runtime.files import reason

log = logging.getLogger("da3")


def run_gallery(args: argparse.Namespace) -> int:
    """Serve or export; returns the exit status.

    Raises:
        UsageError: no such folder.
        InputError: the address cannot be had.
    """
    root: Path = args.gallery_dir
    if not root.is_dir():
        raise UsageError(f"--gallery-dir {root}: no such folder")
    if args.export is not None:
        for file in export_gallery(root, args.export):
            print(file)
        return 0
    server = make_gallery_server(root, args.host, args.port)
    address = f"http://{_in_url(args.host)}:{server.server_port}/"
    log.info("gallery of %s on %s", root, address)
    if args.open_browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:  # how a person ends it
        log.info("stopped")
    finally:
        server.server_close()
    return 0


def make_gallery_server(root: Path, host: str, port: int):  # type: ignore[no-untyped-def]
    """A threaded server of a gallery, which does not run yet; ``server_port`` is its port.

    Raises:
        InputError: the address cannot be had.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Say nothing of each file."""

    try:
        return make_server(host, port, gallery_app(root), threaded=True, request_handler=Quiet)
    except (OSError, SystemExit) as error:
        said = (
            reason(error) if isinstance(error, OSError) else "it is taken, or not of this machine"
        )
        raise InputError(
            f"{host}:{port}: cannot be listened on ({said}); name another --port"
        ) from None


def gallery_app(root: Path):  # type: ignore[no-untyped-def]
    """The gallery as a WSGI application of its own."""
    from flask import Flask, Response, g

    from apps.web.gallery_routes import gallery_blueprint
    from serve.http.problems import problem_of, problem_response

    app = Flask(__name__, static_folder=None)
    routes, _ = gallery_blueprint(root)
    app.register_blueprint(routes)

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return Response(status=204)

    @app.before_request
    def begin() -> None:
        g.request_id = uuid.uuid4().hex

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        return problem_response(problem_of(error))

    return app


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
