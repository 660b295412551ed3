"""python -m benchmarks: measure, print a table, keep the numbers, rewrite the documentation."""

import argparse
import importlib
import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from benchmarks.commands import COMMANDS, menu
from benchmarks.document import DOCS, RESULTS, update_page
from benchmarks.machine import describe_machine, machine_line, slug
from runtime.errors import DepthError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s COMMAND [options]",
        description="Measure on this machine. The table goes to stdout, the numbers as JSON to "
        "benchmarks/results/.",
        epilog=f"{menu()}\n\neach has its own --help: python -m benchmarks latency --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--input", type=Path, default=Path("input_images"), help="photos; default input_images/"
    )
    shared.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    shared.add_argument("--doc", action="store_true", help="rewrite the table in docs/ too")
    # no help here: the menu lists them in groups
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help="one of those below"
    )
    for command in COMMANDS.values():
        own = commands.add_parser(
            command.name,
            parents=[shared],
            prog=f"python -m benchmarks {command.name}",
            description=command.description,
            epilog=f"example: python -m benchmarks {command.name} {command.example}",
        )
        for option in command.options:
            own.add_argument(option.flag, **option.settings)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    machine = describe_machine()  # before the run: its load average must not be our own
    words = shlex.join(["python", "-m", "benchmarks", *arguments])
    command = COMMANDS[args.command]
    page, section = DOCS / command.page, command.section(args, slug(machine))
    try:
        if args.doc:
            update_page(page, section)  # minutes before it is needed: fails now if it must
        module = importlib.import_module(f"benchmarks.{command.module}")
        numbers = command.measure(module, args)
        text = f"{command.table(module, numbers)}\n\n{machine_line(machine, words)}\n"
        print(text)
        file = args.json or RESULTS / f"{args.command}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        facts = {"command": words, "machine": machine, **numbers}
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        print(file)
        if args.doc:
            command.after(module, numbers)
            update_page(page, section, text)
            print(page)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
