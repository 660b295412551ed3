"""python -m benchmarks: measure, print a table, keep the numbers, rewrite the documentation."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from benchmarks.commands import NAMES, load, menu, page_of, section_of
from benchmarks.document import DOCS, RESULTS, update_page
from benchmarks.machine import machine_line, slug
from runtime.command_line import run_command
from runtime.files import write_whole
from runtime.machine import describe_machine


def build_parser(asked: Optional[str] = None) -> argparse.ArgumentParser:
    """The command line.

    Args:
        asked: the command whose options are wanted; the others are names in a menu.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s COMMAND [options]",
        description="Measure on this machine. The table goes to stdout, the numbers as JSON to "
        "benchmarks/results/.",
        epilog=f"{menu()}\n\neach has its own --help: python -m benchmarks latency --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # no help here: the menu lists them in groups
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help="one of those below"
    )
    for name in NAMES:
        own = commands.add_parser(name, prog=f"python -m benchmarks {name}")
        if name == asked:
            _add_options(own, name)
    return parser


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of all benchmarks, then a benchmark's own."""
    module = load(name)
    parser.description = module.DESCRIPTION
    parser.epilog = f"example: python -m benchmarks {name} {module.EXAMPLE}"
    parser.add_argument(
        "--input", type=Path, default=Path("input_images"), help="photos; default input_images/"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers go")
    parser.add_argument("--doc", action="store_true", help="rewrite the table in docs/ too")
    module.add_options(parser)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    words = shlex.join(["python", "-m", "benchmarks", *arguments])
    parser = build_parser(arguments[0] if arguments else None)
    return run_command(parser, lambda args: run(args, words), arguments)


def run(args: argparse.Namespace, words: str) -> None:
    """Measure as the command line says.

    Args:
        words: the command line, for whoever measures it again.
    Raises:
        DepthError: what the benchmark says, or docs/ has no place for its table.
    """
    machine = describe_machine()  # before the run: its load average must not be our own
    module = load(args.command)
    page, section = DOCS / page_of(module), section_of(module, args, slug(machine))
    if args.doc:
        update_page(page, section)  # minutes before it is needed: fails now if it must
    numbers = module.measure(args)
    text = f"{module.table(numbers)}\n\n{machine_line(machine, words)}\n"
    print(text)
    file = args.json or RESULTS / f"{args.command}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    facts = {"command": words, "machine": machine, **numbers}
    write_whole(file, (json.dumps(facts, indent=2) + "\n").encode())
    print(file)
    if args.doc:
        if hasattr(module, "draw"):
            module.draw(numbers)
        update_page(page, section, text)
        print(page)


if __name__ == "__main__":
    sys.exit(main())
