"""The options of ``da3 backend``, ``da3 gallery`` and ``da3 gradio``."""

import argparse
import os
from pathlib import Path
from typing import Any

from apps.scene_options import add_scene_model
from runtime.command_line import above_zero, positive

BACKEND, GALLERY, GRADIO = COMMANDS = ("backend", "gallery", "gradio")
GALLERY_VARIABLE = "DA3_GALLERY_DIR"
WORKSPACE_VARIABLE = "DA3_WORKSPACE_DIR"
GALLERY_DIR = "workspace/gallery"


def add_web_commands(commands: Any) -> None:
    """Add the three commands to the parser of ``da3``."""
    about = {
        BACKEND: "a server that does tasks: scenes over HTTP, with a dashboard",
        GALLERY: "a web page of the scenes in a folder",
        GRADIO: "the app in a browser: photos, scenes, videos",
    }
    parsers = {
        name: commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for name, text in about.items()
    }
    for name, parser in parsers.items():
        parser.set_defaults(parser=parser, use_backend=False, quiet=False)
        port = {BACKEND: 8008, GALLERY: 8007, GRADIO: 7860}[name]
        parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
        parser.add_argument("--port", type=port_number, default=port, help=f"default {port}")
        parser.add_argument(
            "--gallery-dir",
            type=Path,
            default=Path(os.environ.get(GALLERY_VARIABLE) or GALLERY_DIR),
            metavar="FOLDER",
            help=f"default ${GALLERY_VARIABLE}, else {GALLERY_DIR}",
        )
    for name in (BACKEND, GRADIO):
        add_scene_model(parsers[name])
    _add_backend(parsers[BACKEND])
    _add_gallery(parsers[GALLERY])
    _add_gradio(parsers[GRADIO])


def port_number(text: str) -> int:
    """Argument type: a port; 0 is any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: give a port, 0 to 65535")
    return int(text)


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="paths in requests lie in it; default: the working folder",
    )
    parser.add_argument(
        "--workspace-dir",
        type=Path,
        default=Path("workspace/backend"),
        metavar="FOLDER",
        help="of tasks, uploads and results; default workspace/backend",
    )
    parser.add_argument(
        "--queue-s",
        type=above_zero,
        default=3600.0,
        metavar="S",
        help="estimated seconds of tasks that may wait; more is a 429; default 3600",
    )
    parser.add_argument(
        "--keep-hours",
        type=above_zero,
        default=24.0,
        metavar="H",
        help="after which a task that has ended is forgotten, with its results; default 24",
    )
    parser.epilog = (
        "Token, limits and all else: the environment variables of `python -m serve --help`. "
        "More: docs/backend.md."
    )


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--open-browser", action="store_true", help="show it at once")
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FILE.html|FOLDER",
        help="write the gallery as files that open from the disk, and end",
    )


def _add_gradio(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get(WORKSPACE_VARIABLE) or "workspace/gradio"
    parser.add_argument(
        "--workspace-dir",
        type=Path,
        default=Path(default),
        metavar="FOLDER",
        help=f"of uploads and scenes; default ${WORKSPACE_VARIABLE}, else workspace/gradio",
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="ask a running `da3 backend` or `make serve`: no torch and no weights are needed then",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="a public address for a week; Gradio downloads a program for it",
    )
    parser.add_argument("--debug", action="store_true", help="say more, and show errors")
    parser.add_argument(
        "--examples-dir",
        type=Path,
        metavar="FOLDER",
        help="of example scenes, a folder of photos each; default WORKSPACE/examples",
    )
    parser.add_argument(
        "--cache-examples",
        action="store_true",
        default=os.environ.get("DA3_CACHE_EXAMPLES", "").lower() in ("1", "true", "yes"),
        help="find them before the start, once; default $DA3_CACHE_EXAMPLES",
    )
    parser.add_argument(
        "--cache-gs-tag",
        default=os.environ.get("DA3_CACHE_GS_TAG", ""),
        metavar="TAG",
        help="of these, those with TAG in their names in full size, and with splats and a video of "
        "them; default $DA3_CACHE_GS_TAG",
    )
    parser.add_argument(
        "--keep-hours",
        type=above_zero,
        default=24.0,
        metavar="H",
        help="after which what was uploaded is removed; default 24",
    )
    parser.add_argument(
        "--max-views", type=positive, default=100, metavar="N", help="of a scene; default 100"
    )
