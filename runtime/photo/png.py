"""PNG: its chunks walked here, its pixels by Pillow.

Bytes in, RGB uint8 (H, W, 3) out, as stored. Pillow is given the chunks that pixels need, joined to
one; texts, profiles and whatever else lies around are passed over, sound or not. Alpha is dropped.
"""

import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from PIL import Image

from runtime.errors import InputError
from runtime.photo.exif import MAX_BLOCK, Exif, read_exif
from runtime.photo.header import Header, Joined, Piece, count_part
from runtime.photo.inflate import inflated
from runtime.photo.pillow import opened, to_rgb

MAGIC = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}  # of those that pixels depend on
APPLES = b"CgBI"
# Interlaced: top, left, and the steps down and across of each pass
PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)
XMP = b"XML:com.adobe.xmp"
MAGICKS = b"Raw profile type exif"  # where ImageMagick puts EXIF, as hexadecimal text
HEXED = re.compile(rb"^\s*\w+\s+\d+\s+([0-9a-fA-F\s]*)")


@dataclass(frozen=True)
class PngHeader(Header):
    """``pixels``: where the chunks of pixels lie, from and to; ``kept``: what comes before them."""

    bits: int = 8
    colour: int = RGB
    interlaced: bool = False
    kept: bytes = b""
    pixels: tuple[tuple[int, int], ...] = ()


def read_header(data: bytes) -> PngHeader:
    """Walk all chunks: EXIF may stand behind the pixels.

    Raises:
        InputError: a kind of PNG that is not read.
        LimitError: too many chunks.
        ValueError: no PNG, or a damaged one.
    """
    if data[12:16] == APPLES:
        raise InputError(
            "a PNG that Apple's tools packed for telephones; save it as an ordinary one"
        )
    facts = data[16:29]
    if data[8:16] != b"\0\0\0\rIHDR" or zlib.crc32(data[12:29]) != _number(data, 29):
        raise ValueError("its first chunk is no header")
    width, height, bits, colour, packing, filters, interlaced = struct.unpack(">LLBBBBB", facts)
    if bits not in DEPTHS.get(colour, ()) or packing or filters or interlaced > 1:
        raise ValueError(f"no PNG has {bits} bits of colour type {colour}")
    chunks = _Chunks(data)
    kept = data[8:33]
    if colour == PALETTE:
        if not chunks.palette:
            raise ValueError("its palette is missing")
        kept += chunk(b"PLTE", chunks.palette.ljust(3 << bits, b"\0"))
    return PngHeader(
        (height, width),
        chunks.read_exif(),
        bits=bits,
        colour=colour,
        interlaced=bool(interlaced),
        kept=kept,
        pixels=tuple(chunks.pixels),
    )


class _Chunks:
    """What lies in the chunks of a PNG; nothing is unpacked."""

    def __init__(self, data: bytes) -> None:
        self.pixels: list[tuple[int, int]] = []
        self.palette = self.exif = self.xmp = self.magicks = b""
        here, parts = len(MAGIC), 0
        while here + 8 <= len(data):
            parts += 1
            count_part(parts, "chunks in a PNG")
            length, kind = _number(data, here), data[here + 4 : here + 8]
            body, here = here + 8, here + 12 + length
            if kind == b"IDAT":
                self.pixels.append((body, min(body + length, len(data))))
            elif kind == b"IEND" or body + length > len(data):
                return
            else:
                self._take(kind, data, body, length)

    def _take(self, kind: bytes, data: bytes, body: int, length: int) -> None:
        if kind == b"PLTE":
            self.palette = self.palette or data[body : body + min(length, 768)]
        elif kind == b"eXIf":
            self.exif = self.exif or data[body : body + min(length, MAX_BLOCK)]
        elif kind == b"iTXt":
            if data.startswith(XMP + b"\0", body):
                self.xmp = self.xmp or data[body : body + min(length, MAX_BLOCK)]
        elif kind in (b"tEXt", b"zTXt"):
            if data.startswith(MAGICKS + b"\0", body):
                self.magicks = self.magicks or data[body : body + min(length, MAX_BLOCK)]
        elif not kind[0] & 0x20 and kind not in KNOWN:
            name = kind.decode("latin-1")
            raise InputError(f"a PNG whose chunk {name!r} is needed and not known; save it again")

    def read_exif(self) -> Exif:
        """Of the block made for it; else of ImageMagick's, else of XMP."""
        block = self.exif
        if not block and self.magicks:
            text = self.magicks[len(MAGICKS) + 1 :]
            hexed = HEXED.match(_inflated(text[1:]) if text[:1] == b"\0" else text)
            digits = b"".join(hexed[1].split()) if hexed else b""
            block = bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
        packed, xmp = self.xmp[len(XMP) + 1 :][:1] == b"\1", self.xmp[len(XMP) + 3 :]
        if packed:  # behind its language and its translated name
            xmp = _inflated(xmp.split(b"\0", 2)[-1])
        return read_exif(block, xmp)


def _inflated(packed: bytes) -> bytes:
    """The first bytes of what was deflated; empty if it was not."""
    try:
        return zlib.decompressobj().decompress(packed, MAX_BLOCK)
    except zlib.error:
        return b""


def decode(data: bytes, header: PngHeader) -> np.ndarray:
    """Its pixels.

    Raises:
        ValueError, OSError: they are damaged, or some are missing.
    """
    view = memoryview(data)
    spans = [view[start:end] for start, end in header.pixels]
    start = struct.pack(">L", sum(map(len, spans))) + b"IDAT"
    pieces: list[Piece] = [MAGIC, header.kept, start, *spans, bytes(4), chunk(b"IEND", b"")]
    with opened(Joined(pieces), "PNG") as image:
        rgb = to_rgb(image)
        _check_all_there(image, header, spans)
    return rgb


def _check_all_there(image: Image.Image, header: PngHeader, spans: list[memoryview]) -> None:
    """Refuse pixels that end early: Pillow leaves the rest of the picture at zero."""
    height, width = header.size_hw
    corner = image.crop((max(0, width - 2), max(0, height - 2), width, height))
    if np.asarray(corner).all():
        return  # the last pixels of the last passes are not zero, hence they were there
    expected = _raw_bytes(header)
    if sum(map(len, inflated(spans, expected))) < expected:
        raise ValueError("its pixels end early")


def _raw_bytes(header: PngHeader) -> int:
    """Bytes of all rows before they were deflated."""
    height, width = header.size_hw
    each = header.bits * CHANNELS[header.colour]
    total = 0
    for top, left, down, across in PASSES if header.interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        if rows > 0 and columns > 0:
            total += rows * (1 + -(-columns * each // 8))
    return total


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and its checksum."""
    checked = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", checked)


def _number(data: bytes, here: int) -> int:
    return int.from_bytes(data[here : here + 4], "big")
