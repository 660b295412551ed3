"""``make serve``: the service on ``artifacts/``; a model that is not there is compiled first.

A model's name in; the service, in this process's place. The service itself knows no compiler.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Optional

from apps.compiled import ARTIFACTS, choose_or_compile
from apps.inference import choose_model
from compile.registry import MODELS
from runtime.command_line import run_command
from runtime.errors import ArtifactError
from runtime.predict.choose import BOTH, choose, read_artifacts

MODEL_DIR = "MODEL_DIR"

EXAMPLES = """examples:
  python -m apps.serving --model demo
  DEPTH_HOST=127.0.0.1 DEPTH_QUEUE_S=5 python -m apps.serving    what is in artifacts/
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.serving",
        description=f"Serve {ARTIFACTS}/ over HTTP; compile the model first if it is not there. "
        f"With {MODEL_DIR} set, serve that folder as it is. All settings: python -m serve --help.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", choices=list(MODELS), help="default: the one in artifacts/, or with weights"
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns only if the service cannot be started."""
    return run_command(build_parser(), serve, argv)


def serve(args: argparse.Namespace) -> None:
    """Make sure that there is something to serve, and become the service.

    Raises:
        ArtifactError: it cannot be compiled, or cannot run here.
    """
    environment = dict(os.environ)
    if not environment.get(MODEL_DIR):
        prepare(args.model)
        environment[MODEL_DIR] = str(ARTIFACTS)
    if args.model:
        environment["DEPTH_MODEL"] = args.model
    os.execve(sys.executable, [sys.executable, "-m", "serve"], environment)


def prepare(model: Optional[str]) -> None:
    """Compile a model for photos on their own, unless it is there for photos or for scenes."""
    if model is None and ARTIFACTS.is_dir() and read_artifacts([ARTIFACTS])[0]:
        return
    model = model or choose_model(ask=False)
    if not _only_for_scenes(model):
        choose_or_compile(model, [])


def _only_for_scenes(model: str) -> bool:
    try:
        return all(one.manifest.views > 1 for one in choose([ARTIFACTS], model, BOTH).artifacts)
    except ArtifactError:
        return False


if __name__ == "__main__":
    sys.exit(main())
