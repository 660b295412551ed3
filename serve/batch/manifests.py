"""Lists and manifests: files that name photos, a row each.

A .txt, .jsonl, .csv or .parquet file in; rows as dicts, each with where it stands, out. Texts may
be UTF-8 or UTF-16 with a mark, as programs on Windows save them. Bytes of a name that are neither
are kept, since a file may be called so.
"""

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from runtime.errors import InputError
from serve.batch.parquet import to_rows

LISTS, MANIFESTS = (".txt",), (".jsonl", ".csv", ".parquet")
MANIFEST_COLUMNS = ("path", "uri", "image")  # that may name a row's photo
SEPARATORS = (",", ";", "\t")
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Row(NamedTuple):
    """One row, and where it stands: ``list.csv, line 3``."""

    where: str
    facts: dict[str, Any]


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a list or manifest, one by one; empty lines are left out.

    Raises:
        InputError: it cannot be read, is damaged, or a line is not of its format.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        for number, facts in enumerate(to_rows(file, str(file)), start=1):
            yield Row(f"{file}, row {number}", facts)
        return
    read = {".csv": _csv, ".jsonl": _json_lines}.get(suffix, _lines)
    try:
        with file.open(encoding=_encoding(file), errors="surrogateescape", newline="") as text:
            yield from read(text, str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeError as error:  # of UTF-16; in UTF-8 all bytes are taken
        raise InputError(f"{file}: damaged ({error})") from None


def _encoding(file: Path) -> str:
    with file.open("rb") as data:
        return MARKS.get(data.read(2), "utf-8-sig")


def _lines(text: TextIO, file: str) -> Iterator[Row]:
    for where, line in _numbered(text, file):
        yield Row(where, {"path": line})


def _json_lines(text: TextIO, file: str) -> Iterator[Row]:
    for where, line in _numbered(text, file):
        try:
            facts = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error})") from None
        if not isinstance(facts, dict):
            raise InputError(f"{where}: no JSON object")
        yield Row(where, facts)


def _numbered(text: TextIO, file: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text, start=1):
        if line.strip():
            yield f"{file}, line {number}", line.strip()


def _csv(text: TextIO, file: str) -> Iterator[Row]:
    line = 1
    try:
        separator = _separator(text.readline(), file)
        text.seek(0)
        rows = csv.reader(text, delimiter=separator)
        names = next(rows)
        for cells in rows:
            line = rows.line_num
            if cells:
                yield Row(f"{file}, line {line}", dict(zip(names, cells)))
    except csv.Error as error:
        raise InputError(f"{file}, after line {line}: not CSV ({error})") from None


def _separator(header: str, file: str) -> str:
    """What separates the columns: a comma, half of Europe's semicolon, or a tab."""
    for separator in SEPARATORS:
        names = next(csv.reader([header], delimiter=separator), [])
        if not set(names).isdisjoint(MANIFEST_COLUMNS):
            return separator
    wanted = ", ".join(MANIFEST_COLUMNS)
    raise InputError(f"{file}, line 1: no photo named; give one of the columns {wanted}")
