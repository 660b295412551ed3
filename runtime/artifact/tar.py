"""The entries of a tar that nobody has to trust, as people and programs make them.

An unpacked stream in; one entry after the other out, whose bytes the caller reads before it asks
for the next. Folders, and what macOS and PAX add, are read and left out. Links, devices and sparse
files are refused, and so is a claim of any size before it is believed.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Callable

from runtime.errors import ArtifactError

PADDING_BYTES = 1 << 20  # zeros after the last entry; tar itself pads to 10 kB
EXTENDED_BYTES = 1 << 20  # of a header that extends another: long names, attributes of macOS
HEADERS_A_FILE = 10  # a Mac writes four
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
PAX, PAX_GLOBAL = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), tarfile.XGLTYPE
KINDS = {
    tarfile.LNKTYPE: "a hard link, pack with --hard-dereference",
    tarfile.SYMTYPE: "a link, pack with -h",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file, pack without -S",
}
LEFT_BEHIND = (".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini")  # by file managers
RESOURCES = "._"  # what macOS adds to files that have attributes


@dataclass
class Entry:
    """A plain file: its parts, without a leading ``./``, and the bytes that follow."""

    parts: list[str]
    size: int


def entries(
    stream: BinaryIO, what: str, limit_files: int, claim: Callable[[int], None]
) -> Iterator[Entry]:
    """The plain files of a tar; the caller reads the bytes of each with ``blocks``.

    Args:
        what: the archive's name, for errors.
        limit_files: most files.
        claim: called with the bytes of each entry before they are read; raises if these are too
            many.
    Raises:
        ArtifactError: an entry that is no plain file, too many, or bytes behind the end.
        EOFError, tarfile.HeaderError: it is cut short, or no tar.
    """
    files, extended = 0, {}  # type: int, dict[str, str]
    for _ in range(HEADERS_A_FILE * (limit_files + 1)):
        block = exactly(stream, tarfile.BLOCKSIZE)
        if block.count(0) == tarfile.BLOCKSIZE:
            return _check_end(stream, what)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in (*PAX, PAX_GLOBAL, tarfile.GNUTYPE_LONGNAME):
            extended = _extended(stream, info, what, claim) or extended
            continue
        name, size = extended.pop("path", info.name), _size(info, extended, what)
        extended = {}
        if info.type == tarfile.DIRTYPE and size == 0:
            _parts(name.rstrip("/"), what)
            continue
        if info.type not in FILES or size < 0:
            kind = KINDS.get(info.type, f"type {info.type!r}")
            raise _no_place(what, name, kind if size >= 0 else f"of {size} bytes")
        claim(size)
        parts = _parts(name, what)
        if parts and (parts[-1].startswith(RESOURCES) or not set(parts).isdisjoint(LEFT_BEHIND)):
            for _block in blocks(stream, size):
                pass
            continue
        files += 1
        if files > limit_files:
            break
        yield Entry(parts, size)
    raise ArtifactError(f"{what}: more than {limit_files} files in it")


def blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """An entry's bytes, and past what it is padded with."""
    left = size
    while left:
        block = exactly(stream, min(left, 1 << 20))
        left -= len(block)
        yield block
    exactly(stream, -size % tarfile.BLOCKSIZE)


def exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or EOFError."""
    block = stream.read(size)
    if len(block) < size:
        raise EOFError("it ends too early")
    return block


def _check_end(stream: BinaryIO, what: str) -> None:
    rest = stream.read(PADDING_BYTES + 1)  # to the end: only there gzip compares its checksum
    if len(rest) > PADDING_BYTES or any(rest):
        raise ArtifactError(f"{what}: bytes after its end; make it again")


def _extended(
    stream: BinaryIO, info: tarfile.TarInfo, what: str, claim: Callable[[int], None]
) -> dict[str, str]:
    """What a header says of the entry behind it; nothing if it speaks of all."""
    if not 0 <= info.size <= EXTENDED_BYTES:
        raise ArtifactError(f"{what}: an extended header of {info.size:,} bytes; make it again")
    claim(info.size)
    data = b"".join(blocks(stream, info.size))
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found, place = {}, 0
    while place < len(data):  # "27 path=folder/graph.onnx\n", the length in it
        length, space, _ = data[place : place + 20].partition(b" ")
        end = place + int(length) if length.isdigit() and space else 0
        key, equals, value = data[place + len(length) + 1 : end].partition(b"=")
        if end <= place + len(length) + 1 or end > len(data) or not equals:
            raise ArtifactError(f"{what}: an extended header that is damaged; make it again")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        place = end
    if any(key.startswith("GNU.sparse") for key in found):
        raise _no_place(what, found.get("path", info.name), KINDS[tarfile.GNUTYPE_SPARSE])
    return {} if info.type == PAX_GLOBAL else found


def _size(info: tarfile.TarInfo, extended: dict[str, str], what: str) -> int:
    """As the entry says, or before it what speaks of it: 8 GiB and more have no place in it."""
    given = extended.get("size")
    if given is None:
        return info.size
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise ArtifactError(f"{what}: {info.name!r} of {given[:20]!r} bytes; make it again")
    return int(given)


def _parts(name: str, what: str) -> list[str]:
    """The parts of a name as ``tar`` writes it, with or without ``./`` in front."""
    parts = name.split("/")
    while parts[:1] == ["."]:
        parts = parts[1:]
    if any(part in ("", ".", "..") for part in parts):
        raise _no_place(what, name, "which leads elsewhere")
    return parts


def _no_place(what: str, name: str, kind: str) -> ArtifactError:
    return ArtifactError(
        f"{what}: {name!r} ({kind}) does not belong in it, only plain files named "
        "<artifact>/<file>; make it with `python -m serve.sagemaker package`"
    )
