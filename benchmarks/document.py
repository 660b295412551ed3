"""Generated tables inside hand-written pages, and the numbers behind them.

A page, a section's name and its text in; the page with that section replaced out. What stands
outside the markers is never touched.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from runtime.errors import InputError
from runtime.files import write_whole

DOCS = Path("docs")
RESULTS = Path("benchmarks/results")


def put_section(page: str, name: str, body: str) -> str:
    """Replace what stands between a section's markers.

    Raises:
        InputError: the page does not hold exactly one pair of markers of this name.
    """
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end) or begin in tail or end in tail:
        raise InputError(f"the page needs one pair of lines {begin} and {end}")
    return f"{head}{begin}\n\n{body.strip()}\n\n{end}{tail}"


def update_page(file: Path, name: str, body: Optional[str] = None) -> None:
    """The same for a file; without a body, only check that it could be done.

    Raises:
        InputError: no such file, or no such section in it.
    """
    try:
        page = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; run this from the repository's root") from None
    try:
        page = put_section(page, name, body or "")
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if body is not None:
        write_whole(file, page.encode())


def read_numbers(file: Path, command: Optional[str] = None) -> dict[str, Any]:
    """What a run kept: its command, its machine, and what it measured.

    Args:
        command: that the numbers must be of.
    Raises:
        InputError: no such file, or it holds no such numbers.
    """
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        found = facts["command"].split("benchmarks ")[1].split()[0]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{file}: holds no numbers of a benchmark") from None
    if command not in (None, found):
        raise InputError(f"{file}: numbers of '{found}', expected those of '{command}'")
    return {"name": found, **facts}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
