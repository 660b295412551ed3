"""python -m serve: the service, as SageMaker and anybody else starts it."""

import argparse
import logging.config
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from runtime.command_line import run_command
from runtime.predict.choose import BOTH, check_licence, choose
from serve.http.scratch import scratch_folder
from serve.http.settings import Settings, from_environment, table

EXAMPLES = """examples:
  MODEL_DIR=artifacts python -m serve                     all artifacts in a folder, on port 8080
  MODEL_DIR=model.tar.gz SAGEMAKER_BIND_TO_PORT=9000 python -m serve  as `make package` wrote it
  DEPTH_WORKERS=2 DEPTH_QUEUE_S=5 python -m serve --print-settings

  curl -s --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\
      -H 'Accept: image/png' 'localhost:8080/v1/depth?png=color' > depth.png
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serve",
        description="Serve compiled artifacts over HTTP. Everything is set in the environment:\n\n"
        + table(),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # SageMaker appends the word to the image's entry point
    parser.add_argument("command", nargs="?", choices=("serve",), help=argparse.SUPPRESS)
    parser.add_argument(
        "--print-settings", action="store_true", help="print the settings in force, and end"
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status when the service has stopped."""
    return run_command(build_parser(), _run, argv)


def _run(args: argparse.Namespace) -> int:
    settings = from_environment(os.environ)
    if args.print_settings:
        print(settings.as_text())
        return 0
    with scratch_folder() as scratch:
        return _serve(settings, scratch)


def _serve(settings: Settings, scratch: Path) -> int:
    # Imported here: metrics find their folder when they are imported
    from serve.http.logs import logging_config
    from serve.http.server import model_folder
    from serve.http.start import run_service

    logging.config.dictConfig(logging_config(settings.log_level))
    choice = choose([model_folder(settings, scratch)], settings.model, BOTH, device=settings.device)
    if settings.commercial_only:
        check_licence(choice.artifacts)
    return run_service(settings, choice, scratch)


if __name__ == "__main__":
    sys.exit(main())
