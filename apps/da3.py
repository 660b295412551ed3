"""``da3``, Depth Anything 3's command: photos, videos and COLMAP projects to scenes as files.

Everything is checked before anything is touched or inferred; then the network runs once, and all
files appear at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Optional

from apps.da3_options import build_parser
from apps.scene_options import window_options_of
from apps.web.options import COMMANDS
from runtime.command_line import LOG_LEVEL, UsageError, run_command

LEVEL_VARIABLE = "DA3_LOG_LEVEL"
LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}
LEVELS["DEBUG"] = logging.DEBUG


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)

    def work(args: argparse.Namespace) -> int:
        args.words = words
        return run(args)

    return run_command(build_parser(), work, words, "stopped; nothing has been written")


def run(args: argparse.Namespace) -> int:
    """Do a command. What it needs is imported here, not for ``--help``."""
    _set_level(args.quiet)
    if args.command in COMMANDS:
        from apps.web.commands import run_web

        return run_web(args)
    asked = window_options_of(args)
    if asked and not getattr(args, "sequence", False):
        raise UsageError(
            f"{', '.join(asked)}: of a sequence alone; add --sequence, or leave it out"
        )
    if args.use_backend:
        from apps.web.use_backend import run_on_backend

        return run_on_backend(args)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # as upstream
    if getattr(args, "sequence", False):
        from apps.da3_sequence import run_sequence_job

        return run_sequence_job(args)
    from apps.da3_job import run_job

    return run_job(args)


def _set_level(quiet: bool) -> None:
    """Upstream's variable counts if ours is not set."""
    level = LEVELS.get(os.environ.get(LEVEL_VARIABLE, "").upper())
    if level is not None and LOG_LEVEL not in os.environ:
        logging.getLogger().setLevel(level)
    elif quiet:
        logging.getLogger().setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
