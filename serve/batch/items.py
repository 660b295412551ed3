"""One input of a job: what its results are called after, where it is, and what is known of it.

Names are text and stay below the output; addresses lead back to the file, whatever its bytes are.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional
from urllib.parse import unquote_to_bytes

from runtime.errors import InputError
from runtime.storage import SCHEME, open_storage

FILE = "file://"


@dataclass(frozen=True)
class Item:
    """One input. ``size`` and ``tag`` are known if the listing told them; else tag is ""."""

    name: str  # relative, with forward slashes; results are called after it
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
    """The path of a file's address; of ``file://`` its bytes, whatever they are."""
    if not address.startswith(FILE):
        return address
    return os.fsdecode(unquote_to_bytes(address[len(FILE) :]))


def plain_name(name: str) -> str:
    """A relative name without steps upwards.

    Raises:
        InputError: nothing is left of it.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "//", ".", "..")]
    if not parts:
        raise InputError(f"{name!r}: names no photo")
    return text_of("/".join(parts))


def text_of(name: str) -> str:
    """Text that any file and any page takes: what is no text in it is written with escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def place_of(source: str) -> str:
    """What a job works on, spelt in one way: an absolute path, or the address in S3.

    Raises:
        InputError: no bucket is named.
    """
    return open_storage(source).address if source.startswith(SCHEME) else address_of(source)
