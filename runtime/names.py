"""Names that others chose, as places below a root: the one way from a name to a place.

A key, a list's entry, an archive's member or a file's name in; a *plain* name, or its path, out.
A plain name has forward slashes and is safe on any disk: no part is empty or a step, none holds
control characters, backslashes or a drive. What a name has of these is written as in URLs. No disk
is looked at.
"""

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote_to_bytes

from runtime.errors import InputError
from runtime.files import PARTIAL

MAX_PART_BYTES, MAX_PATH_BYTES = 255, 4095  # Linux; others hold as much or more
STEPS = {"/": "%2F", ".": "%2E", "..": "%2E%2E"}  # an empty part is called "/" here
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")


def name_of_key(key: str, own: Collection[str] = ()) -> str:
    """The plain name of a key, every part of which counts: different keys have different names.

    Args:
        own: first parts that the caller needs for itself.
    Raises:
        InputError: it is empty, or no text.
    """
    if not key:
        raise InputError("an empty name, expected one of a file")
    first, *others = (part or "/" for part in _by_bytes(key).split("/"))
    return "/".join((_plain(first, own), *(_plain(part) for part in others)))


def name_of_path(path: str, own: Collection[str] = ()) -> str:
    """The plain name of a path: what leads to a root, upwards or nowhere is left out.

    Different paths can have one name: ``a.png``, ``/a.png`` and ``../a.png``.

    Args:
        own: as for ``name_of_key``.
    Raises:
        InputError: nothing is left of it, or it is no text.
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "//", ".", "..")]
    if not parts:
        raise InputError(f"{path!r}: names no photo")
    return name_of_key("/".join(parts), own)


def below(root: Path, name: str) -> Path:
    """The place of a plain name below a root.

    Raises:
        InputError: it is not plain, or longer than a disk takes.
    """
    check_plain(name)
    place = root / name
    if len(os.fsencode(place)) > MAX_PATH_BYTES:
        raise InputError(f"{name[:40]!r}...: over {MAX_PATH_BYTES} bytes with its folder")
    return place


def check_plain(name: str) -> None:
    """Refuse a name that could lead elsewhere, or that no disk takes.

    Raises:
        InputError: it is not plain.
    """
    for part in name.split("/"):
        if part in ("", ".", "..") or _DRIVE.match(part) or _has_unsafe(part):
            raise InputError(
                f"{name!r}: leads elsewhere or has characters that are none of a name; give plain "
                "parts, as folder/photo.jpg"
            )
        if len(os.fsencode(part)) > MAX_PART_BYTES:
            raise InputError(
                f"{part[:40]!r}...: a name of over {MAX_PART_BYTES} bytes, which no disk takes; "
                "give a shorter one"
            )


def folded(name: str) -> str:
    """What two names share if a disk that ignores case takes them for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _plain(part: str, own: Collection[str] = ()) -> str:
    """A part as it is if that is plain, and else escaped, so that no two become one.

    A part that reads as another's escapes has its own percent signs escaped.
    """
    escaped = _escaped(part, own)
    if escaped != part or "%" not in part or len(part) > MAX_PART_BYTES:
        return escaped
    meant = unquote_to_bytes(part).decode("utf-8", "surrogateescape")
    return part.replace("%", "%25") if meant != part and _plain(meant, own) == part else part


def _escaped(part: str, own: Collection[str]) -> str:
    """As in URLs, if anything in it is not plain."""
    if part in STEPS:
        return STEPS[part]
    reserved = part in own or part.startswith(PARTIAL.rstrip("-"))
    if not (reserved or _DRIVE.match(part) or _UNSAFE.search(part)):
        return part
    text = _UNSAFE.sub(_in_hex, part.replace("%", "%25"))
    if reserved:
        return f"%{ord(text[0]):02X}{text[1:]}"
    return f"{text[0]}%3A{text[2:]}" if _DRIVE.match(text) else text


def _in_hex(found: "re.Match[str]") -> str:
    return quote(found[0].encode("utf-8", "surrogateescape"), safe="")


def _by_bytes(name: str) -> str:
    """The one spelling of a name's bytes; those that are no UTF-8 are halves of letters."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InputError(f"{name!a}: no text that a file could be called") from None


def _has_unsafe(part: str) -> bool:
    """Bytes that are no UTF-8 are names on this disk, if on no other."""
    return any(not "\udc80" <= one <= "\udcff" for one in _UNSAFE.findall(part))
