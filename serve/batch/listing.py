"""Inputs as they are found, one by one: a folder, a prefix, a glob, a list or a manifest.

Streamed, whatever there are; each has a name that is its own and that its results are called after.
What is a photo, what is hidden and what is a result is decided as in ``runtime.photo.find``.
"""

import hashlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from runtime.errors import InputError, StorageError
from runtime.files import ignores_case
from runtime.names import folded, name_of_key, name_of_path
from runtime.photo.find import is_photo, iter_photos, root_of
from runtime.scene.focal import check_focal_px
from runtime.storage import SCHEME, Entry, Folder, S3Prefix, open_storage, split_address
from runtime.walk import HIDDEN, LeftOut
from serve.batch.items import FILE, Item, address_of, as_called, path_of, text_of
from serve.batch.job import BatchJob
from serve.batch.job_folder import JOB
from serve.batch.known_points import points_cell
from serve.batch.manifests import LISTS, MANIFEST_COLUMNS, MANIFESTS, Row, read_rows
from serve.batch.scratch_rows import ScratchRows

OWN = (JOB,)  # first parts of names that a job's output has for itself

FocalOfRow = Callable[[float, str], Optional[float]]


def checked_focal(focal_px: float, where: str) -> Optional[float]:
    """A row's focal length.

    Raises:
        InputError: it is not a finite number of pixels above 0.
    """
    try:
        check_focal_px(focal_px)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return focal_px


def list_inputs(
    job: BatchJob,
    focal_of_row: FocalOfRow = checked_focal,
    left_out: Optional[LeftOut] = None,
) -> Iterator[Item]:
    """The inputs of a job, or of its shard, which may be none.

    Args:
        focal_of_row: called with each focal length of a manifest and where it stands; what it
            returns is used.
        left_out: counts what is no input.
    Raises:
        InputError: there is no such input, no photo in all of it, it is also the output, or a line
            of a list cannot be used.
        StorageError: it may not be read.
    """
    index, count = job.shard
    number, item = 0, None
    counts = LeftOut() if left_out is None else left_out
    for item in _all(job, focal_of_row, counts):
        if count > 1 and _hash(item.name) % count != index:
            continue
        yield item
        number += 1
        if number == job.limit:
            return
    if item is None:
        raise InputError(f"{job.input}: no photo there{f'; {counts}' if str(counts) else ''}")


def is_list(source: str) -> bool:
    """Whether an input is a file that names photos."""
    suffix = PurePosixPath(source).suffix.lower()
    return suffix in (*LISTS, *MANIFESTS) and not Path(source).is_dir()


def _all(job: BatchJob, focal_of_row: FocalOfRow, left_out: LeftOut) -> Iterator[Item]:
    source = job.input
    fold = not job.output.startswith(SCHEME) and ignores_case(Path(job.output))
    if is_list(source):
        if source.startswith(SCHEME):
            raise InputError(f"{source}: lists are read from disk; copy it here first")
        rows = read_rows(Path(source))
        items = (_item_of_row(row, Path(source).parent, focal_of_row) for row in rows)
        return _without_repetition(items, fold)
    found = _below_prefix(job, left_out) if source.startswith(SCHEME) else _on_disk(job, left_out)
    return _without_repetition(found, fold) if fold else found  # else their names differ


def _on_disk(job: BatchJob, left_out: LeftOut) -> Iterator[Item]:
    """The photos of a folder or a pattern, or one file."""
    source = Path(job.input)
    results = () if job.output.startswith(SCHEME) else (Path(job.output),)
    root = source.parent if source.is_file() else root_of(source)
    folder = Folder(root)
    for file in iter_photos(source, recursive=True, leave_out=results, left_out=left_out):
        name = file.relative_to(root).as_posix()
        entry = _entry(folder, name)
        yield Item(
            name=name_of_key(name, OWN),
            address=address_of(str(file)),
            size=entry.size if entry else -1,
            tag=entry.tag if entry else "",
        )


def _entry(folder: Folder, name: str) -> Optional[Entry]:
    """None if the file is gone or refused: its record will say why."""
    try:
        return folder.stat(name)
    except StorageError:
        return None


def _below_prefix(job: BatchJob, left_out: LeftOut) -> Iterator[Item]:
    """The photos below a prefix of a bucket, without those of an output that lies in it."""
    photos = open_storage(job.input, job.s3)
    assert isinstance(photos, S3Prefix)
    results = _below(photos, job.open().output)
    for entry in photos.list():
        parts = entry.name.split("/")
        if results and entry.name.startswith(results):
            continue
        if any(part.startswith(".") and part not in (".", "..") for part in parts):
            left_out.add(HIDDEN)
        elif not is_photo(parts[-1]):
            left_out.add_file(parts[-1])
        else:
            yield Item(
                name=name_of_key(entry.name, OWN),
                address=text_of(photos.address + entry.name),
                size=entry.size,
                tag=entry.tag,
            )


def _below(photos: S3Prefix, output: object) -> str:
    """What the names of an output's objects begin with, seen from the photos' prefix.

    Empty if it lies elsewhere; so it does above the photos, too.

    Raises:
        InputError: it is the same prefix.
    """
    if not isinstance(output, S3Prefix) or output.bucket != photos.bucket:
        return ""
    if output.prefix == photos.prefix:
        raise InputError(f"{photos.address}: is both input and output; name another prefix")
    inside = output.prefix.startswith(photos.prefix)
    return output.prefix[len(photos.prefix) :] if inside else ""


def _item_of_row(row: Row, beside: Path, focal_of_row: FocalOfRow) -> Item:
    """The input that a list's row names; relative paths begin at the list's folder."""
    facts = row.facts
    given = next((facts[one] for one in MANIFEST_COLUMNS if facts.get(one)), "")
    if not given:
        raise InputError(f"{row.where}: no photo named; give one of {', '.join(MANIFEST_COLUMNS)}")
    try:
        if not isinstance(given, (str, int)):
            raise InputError(f"{str(given)[:40]!r}: no text that names a photo")
        given = str(given)
        if given.startswith(SCHEME):
            name, address = "/".join(split_address(given)), text_of(given)
        else:
            name = as_called(path_of(given), beside)
            path = str(beside / name)
            address = address_of(path)
            _check_bytes(path, address)
        name = name_of_path(str(facts.get("name") or name), OWN)
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from None
    focal_px = _focal_px(facts.get("focal_px"), row.where)
    if focal_px is not None:
        focal_px = focal_of_row(focal_px, row.where)
    points = points_cell(facts.get("points"), row.where, beside)
    return Item(name=name, address=address, focal_px=focal_px, points=points)


def _check_bytes(path: str, address: str) -> None:
    """Of bytes that are no UTF-8, say so unless a file is called so: the list is in another code.

    Raises:
        InputError: no such file.
    """
    if address.startswith(FILE) and not os.path.lexists(path):
        raise InputError(
            f"{text_of(path)}: not UTF-8, and no file has this name; save the list as UTF-8"
        )


def _focal_px(given: Any, where: str) -> Optional[float]:
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    try:
        return math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: focal_px {repr(given)[:40]} is no number") from None


def _without_repetition(items: Iterable[Item], fold: bool) -> Iterator[Item]:
    """Refuse a name that comes twice, on a disk that ignores case in whatever case.

    Names seen are kept on disk, whatever their number.
    """
    seen = ScratchRows(
        "names", "CREATE TABLE names (name TEXT PRIMARY KEY, address TEXT) WITHOUT ROWID"
    )
    try:
        for item in items:
            name = folded(item.name) if fold else item.name
            try:
                seen.execute("INSERT INTO names VALUES (?, ?)", (name, item.address))
            except sqlite3.IntegrityError:
                found = seen.execute("SELECT address FROM names WHERE name = ?", (name,))
                raise InputError(
                    f"{item.address} and {found.fetchone()[0]} would have results of one name, "
                    f"{item.name}; give them a name column that differs"
                ) from None
            yield item
    finally:
        seen.close()


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
