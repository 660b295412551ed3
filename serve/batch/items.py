"""One input of a job: what its results are called after, where it is, and what is known of it.

Names are plain (``runtime.names``) and stay below the output; addresses lead back to the file,
whatever its bytes are.
"""

import contextlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import unquote_to_bytes

from runtime.errors import InputError
from runtime.storage import SCHEME, open_storage

FILE = "file://"
QUOTES = "\"'"


@dataclass(frozen=True)
class Item:
    """One input. ``size`` and ``tag`` are known if the listing told them; else tag is ""."""

    name: str  # plain; results are called after it
    address: str  # a file's absolute path, or s3://bucket/key; file:// if the path is no UTF-8
    size: int = -1
    tag: str = ""
    focal_px: Optional[float] = None  # given for this photo, in its pixels
    points: Optional[str] = None  # of known distance: JSON, or a file's address


def address_of(path: str) -> str:
    """A file's address: its absolute path, or as a URI if its bytes are no UTF-8.

    Raises:
        InputError: no file can be called so.
    """
    path = os.path.abspath(path)  # noqa: PTH100 Path would go on to the end of links
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        pass
    try:
        return Path(path).as_uri()
    except UnicodeEncodeError:
        raise InputError(f"{text_of(path)}: no file can have this name") from None


def path_of(address: str) -> str:
    """The path of a file's address; of ``file://`` its bytes, whatever they are.

    Raises:
        InputError: it is no text, and no bytes either.
    """
    if not address.startswith(FILE):
        return address
    try:
        return os.fsdecode(unquote_to_bytes(os.fsencode(address[len(FILE) :])))
    except UnicodeEncodeError:
        raise InputError(f"{text_of(address)}: no file can have this name") from None


def as_called(path: str, beside: Path) -> str:
    """A list's path in the form in which a file is called so; as it stands if none is.

    Looked for only if something in it is written differently by different programs: quotes around
    it, backslashes of Windows, letters in another code.

    Args:
        beside: the folder that relative paths begin at.
    """
    if path.isascii() and "\\" not in path and path[:1] not in QUOTES:
        return path
    return next((form for form in _forms(path) if _exists(beside / form)), path)


def _forms(path: str) -> Iterator[str]:
    """What a path may mean, the most literal first."""
    quoted = path[:1] in QUOTES and len(path) > 2 and path[-1] == path[0]
    for text in (path, path[1:-1]) if quoted else (path,):
        yield text
        yield text.replace("\\", "/")
        with contextlib.suppress(UnicodeEncodeError):  # half a letter: no bytes at all
            if not _is_text(text):  # bytes that are no UTF-8: a Windows program's
                text = text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
                yield text
                yield text.replace("\\", "/")
        for form in ("NFC", "NFD"):  # as Windows and as a Mac call it
            yield unicodedata.normalize(form, text).replace("\\", "/")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in it, or half a letter
        return False


def text_of(name: str) -> str:
    """Text that any file and any page takes: what is no text in it is written with escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def place_of(source: str) -> str:
    """What a job works on, spelt in one way: an absolute path, or the address in S3.

    Raises:
        InputError: no bucket is named.
    """
    return open_storage(source).address if source.startswith(SCHEME) else address_of(source)
