"""Bounds on what the header of a photo makes a decoder do, checked before one reads it.

Encoded bytes in, nothing out, or one sentence about what is wrong. A header of a few kilobytes can
name the same megabytes thousands of times, or hold a million parts that a decoder takes one by one,
so the parts are walked here first, and counted. No pixel is looked at, and nothing is copied.
"""

import re
import struct
from collections.abc import Iterator

from runtime.errors import InputError, LimitError

MAX_PARTS = 20_000  # segments of a JPEG, chunks of a PNG, tags of a TIFF
MAX_SCANS = 100  # a progressive JPEG comes in about ten, and decoding takes time for each
MAX_EXIF_SEGMENTS = 16  # of 64 kB each, which a decoder joins one after the other
MAX_FILLING = 1 << 16  # bytes between the segments of a JPEG, which a decoder skips singly

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
TIFF = (b"MM\0*", b"II*\0", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")  # as lenient as Pillow is
EXIF = b"Exif\0\0"
EXIF_IFD = 0x8769

# JPEG markers
SCAN, END = 0xDA, 0xD9
ALONE = {0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}  # those without a length
IN_SCANS = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # what is neither data nor a restart

# TIFF types -> bytes, and those that can hold the place of a directory
TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
PLACES = {3: "H", 4: "L", 8: "h", 9: "l", 13: "L"}


def check_header(data: bytes, name: str) -> None:
    """Refuse a photo whose header costs more than a photo's does.

    Args:
        data: a whole encoded image; a format that is not known here passes.
        name: of the photo, for the sentence.
    Raises:
        InputError: tags that name more bytes than there are.
        LimitError: too many parts.
    """
    if data.startswith(JPEG):
        _check_jpeg(data, name)
    elif data.startswith(PNG):
        _check_png(data, name)
    elif data.startswith(TIFF):
        check_tags(data, name)


def check_tags(block: bytes, name: str) -> None:
    """Refuse a TIFF, or EXIF, which is one, whose tags name the same bytes again and again.

    Raises:
        InputError: they hold over twice what there is.
        LimitError: there are too many.
    """
    while block.startswith(EXIF):
        block = block[len(EXIF) :]
    if len(block) < 16 or not block.startswith(TIFF):
        return
    order = ">" if block.startswith(b"MM") else "<"
    big = block[2] == 43
    (first,) = struct.unpack_from(order + "Q", block, 8) if big else _at(order + "L", block, 4)
    held, directories = 0, [first]
    for start in directories:
        for tag, kind, size, value in _tags(block, start, order, big, name):
            held += size
            if held > 2 * len(block) + 65_536:
                raise InputError(f"{name}: damaged image (its tags hold more than the file)")
            if tag == EXIF_IFD and kind in PLACES and len(directories) == 1:
                directories.append(_at(order + PLACES[kind], value, 0)[0])


def _tags(
    block: bytes, start: int, order: str, big: bool, name: str
) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, bytes of its value, and the value or its place; ends where a decoder gives up."""
    counted, entry, inline = (8, "HHQ8s", 8) if big else (2, "HHL4s", 4)
    if not 0 <= start <= len(block) - counted:
        return
    (count,) = _at(order + ("Q" if big else "H"), block, start)
    if count > MAX_PARTS:
        raise LimitError(f"{name}: {count:,} tags, limit {MAX_PARTS:,}")
    one = struct.calcsize(order + entry)
    for index in range(count):
        here = start + counted + index * one
        if here + one > len(block):
            return
        tag, kind, length, value = struct.unpack_from(order + entry, block, here)
        size = length * TYPES.get(kind, 0)
        if size > inline:
            (place,) = _at(order + ("Q" if big else "L"), value, 0)
            if place + size > len(block):
                return
        yield tag, kind, size, value


def _check_jpeg(data: bytes, name: str) -> None:
    """Walk the segments up to the first scan, as Pillow does, then from scan to scan."""
    here, parts, filling = 2, 0, 0
    exif: list[bytes] = []
    while True:
        found = data.find(b"\xff", here)
        filling += (found if found >= 0 else len(data)) - here
        if filling > MAX_FILLING:
            raise LimitError(f"{name}: over {MAX_FILLING:,} bytes between the segments of a JPEG")
        if found < 0 or found + 4 > len(data):
            return
        marker = data[found + 1]
        if marker in (0x00, 0xFF):
            filling += 1
            here = found + 1 + (marker == 0x00)
            continue
        parts += 1
        if parts > MAX_PARTS:
            raise LimitError(f"{name}: over {MAX_PARTS:,} segments in a JPEG")
        if marker < 0xC0:
            return
        here = found + 2
        if marker in ALONE:
            continue
        (length,) = _at(">H", data, here)
        body, here = here + 2, here + max(2, length)
        if here > len(data):
            return
        if marker == 0xE1 and data.startswith(EXIF, body):
            exif.append(data[body + len(EXIF) : here])
            if len(exif) > MAX_EXIF_SEGMENTS:
                raise LimitError(f"{name}: EXIF in over {MAX_EXIF_SEGMENTS} segments of a JPEG")
        elif marker == 0xE2 and data.startswith(b"MPF\0", body):
            check_tags(data[body + 4 : here], name)
        elif marker == SCAN:
            break
    check_tags(b"".join(exif), name)
    _check_scans(data, here, name)


def _check_scans(data: bytes, here: int, name: str) -> None:
    """Count the scans up to the end of the picture: what follows it is not decoded."""
    scans = parts = 1
    while (found := IN_SCANS.search(data, here)) and data[found.end() - 1] != END:
        parts += 1
        scans += data[found.end() - 1] == SCAN
        if scans > MAX_SCANS or parts > MAX_PARTS:
            raise LimitError(
                f"{name}: over {MAX_SCANS} scans in one JPEG; save it again as an ordinary one"
            )
        here = found.end()
        if data[here - 1] not in ALONE and here + 2 <= len(data):
            here += max(2, _at(">H", data, here)[0])


def _check_png(data: bytes, name: str) -> None:
    here = len(PNG)
    for _ in range(MAX_PARTS):
        if here + 8 > len(data) or data[here + 4 : here + 8] == b"IEND":
            return
        here += 12 + int(_at(">L", data, here)[0])
    raise LimitError(f"{name}: over {MAX_PARTS:,} chunks in a PNG")


def _at(layout: str, data: bytes, here: int) -> tuple[int, ...]:
    return struct.unpack_from(layout, data, here)
