"""Known points of a manifest's row: a list in the row itself, or a file's address.

A cell in, one text out that a plan can hold; the points, when the photo's turn comes.
"""

import json
from pathlib import Path
from typing import Any, Optional

from runtime.errors import InputError
from runtime.scene.known_points import MAX_BYTES, KnownPoints, points_of_bytes, points_of_rows
from runtime.storage import SCHEME, S3Options
from serve.batch.items import address_of, path_of, text_of
from serve.batch.places import place_of_file

LIST = "["  # begins a list, and no address


def points_cell(given: Any, where: str, beside: Path) -> Optional[str]:
    """A cell of the column ``points``: JSON of [[x, y, metres], ...], or a file's address.

    Args:
        given: a list, the same as JSON text, a path or s3://bucket/key; None or "" for none.
        where: the row, for errors.
        beside: the folder that relative paths begin at.
    Raises:
        InputError: it is none of these, or such points cannot be used.
    """
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    try:
        if isinstance(given, str) and not given.lstrip().startswith(LIST):
            given = given.strip()
            return text_of(given) if given.startswith(SCHEME) else address_of(str(beside / given))
        rows = _parsed(given) if isinstance(given, str) else given
        points_of_rows(rows)
        return json.dumps(rows)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_known_points(text: str, s3: S3Options, per_metre: float) -> KnownPoints:
    """The points that a cell stands for.

    Raises:
        InputError: they cannot be used, or the file holds none.
        StorageError: the file cannot be read.
    """
    if text.startswith(LIST):
        return points_of_rows(json.loads(text))
    storage, name = place_of_file(text, s3)
    return points_of_bytes(storage.read(name, MAX_BYTES), path_of(text), per_metre)


def tag_of_points(text: str, s3: S3Options) -> str:
    """What tells these points from others; for a file, this content of it, asked for now."""
    if text.startswith(LIST):
        return text
    storage, name = place_of_file(text, s3)
    found = storage.stat(name)
    return f"{text}|{found.tag if found else ''}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"points: not JSON ({error})") from None
