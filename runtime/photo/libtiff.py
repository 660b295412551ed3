"""What TIFF files are packed with, undone by libtiff, by way of Pillow.

Strips or tiles in, their bytes or their colours out. libtiff is given a small file that is written
here and holds these parts and nothing else, so that no tag of a foreign file reaches it.
"""

import io
import struct
from collections.abc import Sequence

import numpy as np

from runtime.photo.pillow import BAND_ROWS, opened, to_rgb

# What Pillow's libtiff has in every build; others end in a crash there, not in an error
LZW, PACKBITS, LZMA, JPEG = 5, 32773, 34925, 7
RLE, GROUP3, GROUP4 = 2, 3, 4
FAX = (RLE, GROUP3, GROUP4)
PACKED = (LZW, PACKBITS, LZMA, *FAX)

Tags = dict[int, tuple[str, Sequence[int]]]  # number -> type as struct has it, values
TYPES = {"B": 1, "H": 3, "L": 4, "U": 7}


def unpacked(
    parts: Sequence[bytes], compression: int, width: int, rows: Sequence[int], more: Tags
) -> np.ndarray:
    """The bytes of parts that have as many rows each: uint8 (all rows, bytes of a row).

    Args:
        width: bytes of a row; of a fax, pixels.
    Raises:
        OSError, ValueError: they are damaged, or end early.
    """
    fax = compression in FAX
    tags = _tags(width, sum(rows), max(rows), compression)
    tags[258] = ("H", [1 if fax else 8])
    with opened(_file(parts, {**tags, **more}), "TIFF") as image:
        image.load()
        found = np.empty((image.height, -(-width // 8) if fax else width), np.uint8)
        for top in range(0, image.height, BAND_ROWS):  # all at once would be two copies more
            band = np.asarray(image.crop((0, top, width, min(top + BAND_ROWS, image.height))))
            found[top : top + BAND_ROWS] = np.packbits(band, axis=1) if fax else band
    return found


def colours(
    parts: Sequence[bytes], compression: int, size_hw: tuple[int, int], rows: int, more: Tags
) -> np.ndarray:
    """The colours of strips, as libtiff and Pillow know them: RGB uint8 (*size_hw, 3).

    Args:
        rows: of each strip but the last.
        more: photometric kind, channels, tables, sampling.
    Raises:
        OSError, ValueError: they are damaged, or end early.
    """
    tags = _tags(size_hw[1], size_hw[0], rows, compression)
    with opened(_file(parts, {**tags, **more}), "TIFF") as image:
        return to_rgb(image)


def _tags(width: int, height: int, rows: int, compression: int) -> Tags:
    return {
        256: ("L", [width]),
        257: ("L", [height]),
        259: ("H", [compression]),
        262: ("H", [1]),
        277: ("H", [1]),
        278: ("L", [rows]),
    }


def _file(parts: Sequence[bytes], tags: Tags) -> io.BytesIO:
    """A TIFF of these strips."""
    ends = np.cumsum([8, *map(len, parts)]).tolist()
    tags = {**tags, 273: ("L", ends[:-1]), 279: ("L", [*map(len, parts)])}
    start = ends[-1] + ends[-1] % 2
    place = start + 2 + 12 * len(tags) + 4
    table, behind = b"", b""
    for number, (kind, values) in sorted(tags.items()):
        letter = "B" if kind == "U" else kind
        value = struct.pack(f"<{len(values)}{letter}", *values)
        if len(value) > 4:
            where = place + len(behind)
            behind += value + b"\0" * (len(value) % 2)
            value = struct.pack("<L", where)
        table += struct.pack("<HHL", number, TYPES[kind], len(values)) + value.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<L", start)
    gap = bytes(start - ends[-1])
    count = struct.pack("<H", len(tags))
    return io.BytesIO(b"".join((head, *parts, gap, count, table, bytes(4), behind)))
