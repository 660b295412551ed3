"""python -m benchmarks: measure, print a table, keep the numbers, rewrite the documentation."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks.commands import NAMES, load, menu, page_of, section_of
from benchmarks.document import DOCS, RESULTS, read_numbers, update_page
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
    earlier = "print the table of these numbers, which an earlier run kept; measure nothing"
    parser.add_argument("--numbers", type=Path, metavar="FILE", help=earlier)
    parser.add_argument("--doc", action="store_true", help="rewrite the table in docs/ too")
    module.add_options(parser)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    words = shlex.join(["python", "-m", "benchmarks", *_without_place(arguments)])
    parser = build_parser(arguments[0] if arguments else None)
    return run_command(parser, lambda args: run(args, words), arguments)


def _without_place(words: Sequence[str]) -> Iterator[str]:
    """A command line without where its numbers went, which is nobody else's place."""
    left = iter(words)
    for word in left:
        if word == "--json":
            next(left, None)
        elif not word.startswith("--json="):
            yield word


def run(args: argparse.Namespace, words: str) -> None:
    """Measure as the command line says, or take the numbers that an earlier run kept.

    Args:
        words: the command line, for whoever measures it again.
    Raises:
        DepthError: what the benchmark says, or docs/ has no place for its table.
    """
    if args.numbers is not None:
        facts = read_numbers(args.numbers, args.command)
        earlier = build_parser(args.command).parse_args(shlex.split(facts["command"])[3:])
        return show(earlier, facts, write=args.doc)
    machine = describe_machine()  # before the run: its load average must not be our own
    module = load(args.command)
    if args.doc:  # minutes before it is needed: fails now if it must
        update_page(DOCS / page_of(module), section_of(module, args, slug(machine)))
    facts = {"command": words, "machine": machine, **module.measure(args)}
    file = args.json or RESULTS / f"{args.command}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    write_whole(file, (json.dumps(facts, indent=2) + "\n").encode())
    print(file)
    return show(args, facts, write=args.doc)


def show(args: argparse.Namespace, facts: dict[str, Any], write: bool) -> None:
    """Print the table of numbers and what they were measured on; into docs/ too if so asked.

    Raises:
        DepthError: docs/ has no place for it.
    """
    module, machine = load(args.command), facts["machine"]
    text = f"{module.table(facts)}\n\n{machine_line(machine, facts['command'])}\n"
    print(text)
    if write:
        if hasattr(module, "draw"):
            module.draw(facts)
        page = DOCS / page_of(module)
        update_page(page, section_of(module, args, slug(machine)), text)
        print(page)


if __name__ == "__main__":
    sys.exit(main())
