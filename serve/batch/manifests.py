"""Lists and manifests: files that name photos, a row each.

A .txt, .csv, .tsv, .json, .jsonl or .parquet file in; rows as dicts, each with where it stands,
out. Texts may be UTF-8, UTF-16 or UTF-32 as programs on Windows save them, and their lines end as
on any system. Bytes of a name that are none of these are kept, since a file may be called so.
"""

import codecs
import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from runtime.errors import InputError, LimitError
from runtime.photo.find import is_photo
from serve.batch.parquet import to_rows

JSON = (".json", ".jsonl", ".ndjson")
LISTS, MANIFESTS = (".txt",), (*JSON, ".csv", ".tsv", ".parquet")
MANIFEST_COLUMNS = ("path", "uri", "image")  # that may name a row's photo
SEPARATORS = (",", ";", "\t")
NO_SEPARATOR = "\x1f"
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as that of UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
HEAD_BYTES = 4096  # that tell the code of a text without a mark
WHOLE_CHARACTERS = 256 << 20  # of JSON that is no line a row, and is read at once
DECIMAL_COMMA = re.compile(r"\d+,\d+")


class Row(NamedTuple):
    """One row, and where it stands: ``list.csv, line 3``."""

    where: str
    facts: dict[str, Any]


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a list or manifest, one by one; empty ones are left out.

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
    read = _csv if suffix in (".csv", ".tsv") else _json if suffix in JSON else _lines
    try:
        with file.open(encoding=_encoding(file), errors="surrogateescape", newline="") as text:
            yield from read(text, str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeError as error:  # of UTF-16; in UTF-8 all bytes are taken
        raise InputError(f"{file}: damaged ({error})") from None


def _encoding(file: Path) -> str:
    """By the mark; without one, UTF-16 if every other byte of its letters is 0, else UTF-8."""
    with file.open("rb") as data:
        head = data.read(HEAD_BYTES)
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    first, second = head[0::2].count(0), head[1::2].count(0)
    many = max(4, len(head) // 8)
    if second >= many and not first:
        return "utf-16-le"
    return "utf-16-be" if first >= many and not second else "utf-8-sig"


def _lines(text: TextIO, file: str) -> Iterator[Row]:
    for number, line in _numbered(text):
        yield Row(f"{file}, line {number}", {"path": line})


def _numbered(text: TextIO) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, without the space around them."""
    for number, line in enumerate(text, start=1):
        if line.strip():
            yield number, line.strip()


def _json(text: TextIO, file: str) -> Iterator[Row]:
    """An object or a path a line; or values of any layout, in arrays or not."""
    lines = _numbered(text)
    for number, line in itertools.islice(lines, 1):
        if isinstance(_value(line), (dict, str)):
            lines = itertools.chain([(number, line)], lines)
        else:
            yield from _json_at_once(line, text, number, file)
            return
    for number, line in lines:
        where = f"{file}, line {number}"
        try:
            yield _row(where, json.loads(line))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where}: not JSON ({error})") from None


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _json_at_once(first: str, text: TextIO, number: int, file: str) -> Iterator[Row]:
    whole = f"{first}\n{text.read(WHOLE_CHARACTERS)}"
    if text.read(1):
        raise LimitError(
            f"{file}: over {WHOLE_CHARACTERS:,} characters of JSON at once; give an object a line"
        )
    count, place, decode = 0, 0, json.JSONDecoder().raw_decode
    while place < len(whole):
        try:
            value, place = decode(whole, place)
        except (ValueError, RecursionError) as error:
            line = number - 1 + getattr(error, "lineno", 1)
            raise InputError(f"{file}, line {line}: not JSON ({error})") from None
        for one in value if isinstance(value, list) else [value]:
            count += 1
            yield _row(f"{file}, item {count}", one)
        place = _after_space(whole, place)


def _after_space(text: str, place: int) -> int:
    found = re.compile(r"[\s,]*").match(text, place)
    return found.end() if found else place


def _row(where: str, value: Any) -> Row:
    if isinstance(value, str):
        return Row(where, {"path": value})
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object")
    return Row(where, value)


def _csv(text: TextIO, file: str) -> Iterator[Row]:
    line = 1
    try:
        lines = _without_nul(text)
        line, header, separators = _header(lines)
        separator = _separator(header, separators)
        before = line - 1
        rows = csv.reader(itertools.chain([header], lines), delimiter=separator or NO_SEPARATOR)
        if separator:
            names = [name.strip().lower() for name in next(rows)]
        elif is_photo(header.strip().strip('"')):  # a list that was saved as .csv
            names = [MANIFEST_COLUMNS[0]]
        else:
            wanted = ", ".join(MANIFEST_COLUMNS)
            raise InputError(
                f"{file}, line {line}: no photo named; give one of the columns {wanted}"
            )
        for cells in rows:
            line = before + rows.line_num
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                facts = dict(zip(names, stripped))
                yield Row(f"{file}, line {line}", _numbers(facts, separator))
    except csv.Error as error:
        raise InputError(f"{file}, after line {line}: not CSV ({error})") from None


def _without_nul(text: TextIO) -> Iterator[str]:
    for line in text:
        if "\0" in line:
            raise csv.Error("a NUL in it")
        yield line


def _header(lines: Iterator[str]) -> tuple[int, str, tuple[str, ...]]:
    """The number of the line that names the columns, the line, and what may separate them.

    Excel's ``sep=;`` before it is taken at its word.
    """
    separators: tuple[str, ...] = SEPARATORS
    for number, line in enumerate(lines, start=1):
        hint = line.rstrip("\r\n").strip('"')
        if hint.lower().startswith("sep=") and len(hint) == 5:
            separators = (hint[4],)
        elif line.strip():
            return number, line, separators
    return 1, "", separators


def _separator(header: str, separators: tuple[str, ...]) -> str:
    """A comma, half of Europe's semicolon, or a tab: what makes a column of it that names photos.

    Empty if nothing does.
    """
    for separator in separators:
        names = next(csv.reader([header], delimiter=separator), [])
        if not {name.strip().lower() for name in names}.isdisjoint(MANIFEST_COLUMNS):
            return separator
    return ""


def _numbers(facts: dict[str, Any], separator: str) -> dict[str, Any]:
    """Where semicolons separate columns, commas are in numbers."""
    given = facts.get("focal_px")
    if separator == ";" and given and DECIMAL_COMMA.fullmatch(given):
        facts["focal_px"] = given.replace(",", ".")
    return facts
