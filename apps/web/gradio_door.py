"""``da3 gradio`` and ``python app.py``: the app in a browser.

Parsed options in; a page until it is told to stop, and an exit status, out.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Optional

from runtime.command_line import UsageError, run_command
from runtime.errors import InputError, MissingDependency
from runtime.optional import require

EVERYWHERE = "0.0.0.0"
ON_SPACES = "SPACE_ID"  # Hugging Face sets it
NEWEST_OLD = (3, 10)
QUEUE = 20
MAX_UPLOAD = "2gb"

log = logging.getLogger("da3")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """``python app.py``: the same options; the photo's tab is open."""
    from apps.da3_options import build_parser

    words = ["gradio", *(sys.argv[1:] if argv is None else argv)]

    def work(args: argparse.Namespace) -> int:
        if os.environ.get(ON_SPACES) and "--host" not in words:
            args.host = EVERYWHERE
        return run_gradio(args, "photo")

    return run_command(build_parser(), work, words)


def run_gradio(args: argparse.Namespace, tab: str = "scene") -> int:
    """Serve until told to stop; returns the exit status.

    Args:
        tab: that is open at first.
    Raises:
        MissingDependency: Python or Gradio is too old, or not there.
        UsageError: a folder of examples that is none.
        InputError: the address cannot be had.
    """
    check_python()
    if args.examples_dir is not None and not args.examples_dir.is_dir():
        raise UsageError(f"--examples-dir {args.examples_dir}: no such folder")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    workspace = args.workspace_dir.absolute()
    os.environ.setdefault("GRADIO_TEMP_DIR", str(workspace / "cache"))
    require("gradio", "app")
    from apps.web.app_actions import App
    from apps.web.app_layout import CSS, make_blocks, make_theme
    from apps.web.app_sessions import Sessions

    if not args.debug:
        logging.getLogger("httpx").setLevel(logging.WARNING)
    keep_s = args.keep_hours * 3600
    gallery = args.gallery_dir.absolute()
    gallery.mkdir(parents=True, exist_ok=True)
    sessions, examples = Sessions(workspace, keep_s), args.examples_dir
    app = App(_engine(args), sessions, gallery, args.max_views, examples and examples.absolute())
    log.info("%s", app.engine.about)
    if args.cache_examples:
        app.examples.find_all(args.cache_gs_tag)
    if args.share:
        log.warning("--share: Gradio downloads a program, and this page gets a public address")
    blocks = make_blocks(app, tab, keep_s).queue(max_size=QUEUE)
    try:
        blocks.launch(
            server_name=args.host,
            server_port=args.port,
            share=args.share,
            debug=args.debug,
            show_error=True,
            ssr_mode=False,
            max_file_size=MAX_UPLOAD,
            allowed_paths=[str(workspace)],
            css=CSS,
            theme=make_theme(),
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise InputError(
            f"{args.host}:{args.port}: cannot be listened on ({error}); name another --port"
        ) from None
    with contextlib.suppress(KeyboardInterrupt):
        blocks.block_thread()
    return 0


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """Refuse a Python that no Gradio 6 runs on.

    Raises:
        MissingDependency: says what to do instead.
    """
    if version < NEWEST_OLD:
        raise MissingDependency(
            f"the app needs Python 3.10 or newer, and this is {version[0]}.{version[1]}: use the "
            "page of `make serve` instead, or run `da3 gradio --server URL` under a newer Python "
            "with this machine's `da3 backend` as URL"
        )


def _engine(args: argparse.Namespace) -> Any:
    if args.server:
        from apps.web.app_remote import RemoteEngine

        return RemoteEngine(args.server)
    from apps.web.app_local import LocalEngine

    return LocalEngine(args.model_dir, args.device, args.seeded_weights)
