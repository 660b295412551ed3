"""python -m compile: checkpoint to artifact, and what is known before and after."""

import sys
from collections.abc import Sequence
from typing import Optional

from compile import ahead, commands
from compile.options import BUILD, build_parser, with_command
from runtime.command_line import run_command

COMMANDS = {
    "build": commands.build,
    "fetch": commands.fetch,
    "list": commands.list_models,
    "audit": ahead.audit,
    "numerics": ahead.numerics,
    "plan": ahead.plan,
    "verify": commands.verify,
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    words = with_command(sys.argv[1:] if argv is None else argv)
    stopped = "stopped; the artifacts done so far stay" if words[0] == BUILD else "stopped"
    return run_command(build_parser(), lambda args: COMMANDS[args.command](args), words, stopped)


if __name__ == "__main__":
    sys.exit(main())
