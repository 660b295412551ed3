"""The summary of docs/performance.md and the README's table, from numbers that runs kept.

    python -m benchmarks.summary benchmarks/results/*.json        # prints both
    python -m benchmarks.summary benchmarks/results/*.json --doc  # and writes them

Files of ``python -m benchmarks`` in; a row for each thing that was measured, a column for each
Python that it was measured with. Of runs that say the same, the last one named counts.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks.commands import load
from benchmarks.document import DOCS, markdown_table, read_numbers, update_page
from benchmarks.headline import Headline
from benchmarks.latency_sides import COMPARED
from benchmarks.machine import slug
from benchmarks.options import SQUARE_HW
from runtime.command_line import run_command
from runtime.errors import InputError

PAGE, SECTION = DOCS / "performance.md", "summary"
README, SPEED = Path("README.md"), "speed"
README_MODEL = "vits"

Numbers = dict[str, Any]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.summary",
        description="The summary of docs/performance.md and the README's table, from numbers that "
        "runs of python -m benchmarks kept.",
        epilog="example: python -m benchmarks.summary benchmarks/results/*.json --doc",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="numbers of a run")
    parser.add_argument("--doc", action="store_true", help="write them into the pages, too")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(build_parser(), run, argv)


def run(args: argparse.Namespace) -> None:
    """Print both tables; write them if so asked.

    Raises:
        InputError: a file holds no numbers, or a page has no place for a table.
    """
    runs = [read_numbers(file) for file in args.files]
    for page, section, text in (
        (PAGE, SECTION, summary(runs)),
        (README, SPEED, speed(runs)),
    ):
        print(f"{text}\n")
        if args.doc:
            update_page(page, section, text)
            print(page)


def summary(runs: Iterable[Numbers]) -> str:
    """A table for each group of headlines, and what it was measured on.

    Raises:
        InputError: none of the runs has headlines.
    """
    rows: dict[tuple[str, str, str], dict[str, Headline]] = {}
    machines: dict[str, None] = {}
    for one in runs:
        for headline in _headlines(one):
            python = _python(one)
            rows.setdefault(headline.row, {})[python] = headline
            machines[_where(one)] = None
    if not rows:
        raise InputError("none of these files has a line for the summary")
    groups = dict.fromkeys(group for group, _, _ in rows)
    parts = [_table(group, {row: rows[row] for row in rows if row[0] == group}) for group in groups]
    return "\n\n".join([*parts, "\n".join(f"- {machine}" for machine in machines)])


def _table(group: str, rows: dict[tuple[str, str, str], dict[str, Headline]]) -> str:
    """A group's rows; columns that would be empty are left out."""
    pythons = sorted({python for cells in rows.values() for python in cells}, key=_newest)
    is_beside = any(beside for _, _, beside in rows)
    body = [
        [
            what,
            *([beside] if is_beside else []),
            *(cells[python].cell if python in cells else "" for python in pythons),
        ]
        for (_, what, beside), cells in rows.items()
    ]
    header = [group, *(["beside"] if is_beside else []), *(f"Python {one}" for one in pythons)]
    return markdown_table(header, body)


def speed(runs: Iterable[Numbers]) -> str:
    """Milliseconds an image of every package: the last run of ``vits`` with the newest Python.

    Raises:
        InputError: there is no such run.
    """
    wanted = ("latency", README_MODEL, list(SQUARE_HW))
    fitting = [one for one in runs if (one["name"], one.get("model"), one.get("size_hw")) == wanted]
    if not fitting:
        raise InputError(f"no numbers of: python -m benchmarks latency --model {README_MODEL}")
    chosen = min(reversed(fitting), key=lambda one: _newest(_python(one)))
    sides: dict[str, dict[str, str]] = {}
    for side in chosen["sides"]:
        took = statistics.median(side["seconds_an_image"]) * 1e3
        mark = "**" if side["ours"] else ""
        sides.setdefault(side["side"], {})[side["precision"]] = f"{mark}{took:,.0f}{mark}"
    body = [[name, *(cells.get(one, "") for one in COMPARED)] for name, cells in sides.items()]
    height, width = chosen["size_hw"]
    header = [f"`{README_MODEL}`, {height}x{width}, ms an image", *COMPARED]
    return f"{markdown_table(header, body)}\n\n{_where(chosen)}"


def _headlines(numbers: Numbers) -> list[Headline]:
    own = getattr(load(numbers["name"]), "headlines", None)
    return list(own(numbers)) if own else []


def _python(numbers: Numbers) -> str:
    return ".".join(numbers["machine"]["python"].split(".")[:2])


def _newest(python: str) -> int:
    return -int(python.split(".")[1])


def _where(numbers: Numbers) -> str:
    machine = numbers["machine"]
    return (
        f"`{numbers['command']}`: {slug(machine)}, {machine['cores']} cores, Python "
        f"{machine['python']}, {machine['date']}"
    )


if __name__ == "__main__":
    sys.exit(main())
