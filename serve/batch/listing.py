"""Inputs as they are found, one by one: a folder, a prefix, a glob, a list or a manifest.

Streamed, whatever there are; each has a name that is its own and that its results are called after.
"""

import csv
import glob
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from runtime.errors import InputError
from runtime.photo.decode import SUFFIXES
from runtime.storage import SCHEME, S3Options, open_storage, split_address
from serve.batch.job import JOB, BatchJob
from serve.batch.parquet import to_rows

LISTS, MANIFESTS = (".txt",), (".jsonl", ".csv", ".parquet")
COLUMNS = ("path", "uri", "image")  # where a manifest's photo may be named


@dataclass(frozen=True)
class Item:
    """One input. ``size`` and ``tag`` are known where listing told them; tag is "" elsewhere."""

    name: str  # relative, with forward slashes; results are called after it
    address: str  # a file, or s3://bucket/key
    size: int = -1
    tag: str = ""
    focal_px: Optional[float] = None


def list_inputs(job: BatchJob) -> Iterator[Item]:
    """The inputs of a job, or of its shard, which may be none.

    Raises:
        InputError: there is no such input, no photo in all of it, or a line of a list that cannot
            be used.
    """
    index, count = job.shard
    number, item = 0, None
    for item in _all(job):
        if count > 1 and _hash(item.name) % count != index:
            continue
        yield item
        number += 1
        if number == job.limit:
            return
    if item is None:
        raise InputError(f"{job.input}: no photo there")


def _all(job: BatchJob) -> Iterator[Item]:
    source = job.input
    suffix = PurePosixPath(source).suffix.lower()
    if suffix in (*LISTS, *MANIFESTS):
        rows = _rows(source, suffix, job.s3)
        yield from _without_repetition(_of_row(row, Path(source).parent) for row in rows)
    elif source.startswith(SCHEME) or Path(source).is_dir():
        yield from _below(source, job)
    elif Path(source).is_file():
        yield Item(Path(source).name, source)
    elif glob.has_magic(source):
        root = Path(*_fixed_part(Path(source)))
        for found in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 absolute, too
            if Path(found).is_file() and Path(found).suffix.lower() in SUFFIXES:
                yield Item(_text(Path(found).relative_to(root).as_posix()), _text(found))
    else:
        raise InputError(f"{source}: no such file, folder, or pattern")


def _below(source: str, job: BatchJob) -> Iterator[Item]:
    storage = open_storage(source, job.s3)
    base = storage.address.rstrip("/")
    for entry in storage.list():
        inside = f"{base}/{entry.name}"
        ours = inside.startswith(job.output.rstrip("/") + "/") or f"/{JOB}/" in f"/{entry.name}"
        if PurePosixPath(entry.name).suffix.lower() in SUFFIXES and not ours:
            yield Item(_text(entry.name), _text(inside), entry.size, entry.tag)


def _rows(source: str, suffix: str, options: S3Options) -> Iterator[dict[str, Any]]:
    file = Path(source)
    if source.startswith(SCHEME):
        raise InputError(f"{source}: lists are read from disk; copy it here first")
    if not file.is_file():
        raise InputError(f"{source}: no such file")
    if suffix == ".parquet":
        yield from to_rows(source)
        return
    with file.open(encoding="utf-8", newline="") as lines:
        if suffix == ".csv":
            yield from csv.DictReader(lines)
            return
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            if suffix in LISTS:
                yield {"path": line.strip()}
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{source}, line {number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise InputError(f"{source}, line {number}: no JSON object")
            yield row


def _of_row(row: dict[str, Any], beside: Path) -> Item:
    address = next((str(row[name]) for name in COLUMNS if row.get(name)), "")
    if not address:
        raise InputError(f"{row}: no photo named; give one of {', '.join(COLUMNS)}")
    if address.startswith(SCHEME):
        name = "/".join(split_address(address))
    else:
        name = address
        if not Path(address).is_absolute():
            address = str(beside / address)
    name = _plain(str(row.get("name") or name))
    focal = row.get("focal_px")
    try:
        return Item(name, address, focal_px=float(focal) if focal else None)
    except (TypeError, ValueError):
        raise InputError(f"{name}: focal_px {focal!r} is no number") from None


def _plain(name: str) -> str:
    """A relative name without steps upwards."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".", "..")]
    if not parts:
        raise InputError(f"{name!r}: names no photo")
    return "/".join(parts)


def _without_repetition(items: Iterable[Item]) -> Iterator[Item]:
    """Refuse a name that comes twice; names seen are kept on disk, whatever their number."""
    with tempfile.NamedTemporaryFile(prefix="depth-names-") as file:
        seen = sqlite3.connect(file.name)
        seen.execute("PRAGMA journal_mode=OFF")
        seen.execute("CREATE TABLE names (name TEXT PRIMARY KEY, address TEXT) WITHOUT ROWID")
        for item in items:
            try:
                seen.execute("INSERT INTO names VALUES (?, ?)", (item.name, item.address))
            except sqlite3.IntegrityError:
                (first,) = seen.execute(
                    "SELECT address FROM names WHERE name = ?", (item.name,)
                ).fetchone()
                raise InputError(
                    f"{item.address} and {first} would have results of one name, {item.name}; give "
                    "them a name column that differs"
                ) from None
            yield item
        seen.close()


def _fixed_part(pattern: Path) -> list[str]:
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _text(name: str) -> str:
    """A name that is no text is written with escapes; its file is then not found, and said so."""
    return name.encode("utf-8", "backslashreplace").decode()


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
