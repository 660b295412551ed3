"""WebP: its chunks walked here, its pixels by OpenCV.

Bytes in, RGB uint8 (H, W, 3) out, as stored. OpenCV is given one chunk of pixels, which it decodes
straight into the result: Pillow would hold four copies of the picture. Of several frames the first
is taken, on a black canvas if it is smaller. Alpha is dropped.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np

from runtime.photo.exif import MAX_BLOCK, read_exif
from runtime.photo.header import Header, count_part

LOSSY, LOSSLESS, EXTENDED, FRAME = b"VP8 ", b"VP8L", b"VP8X", b"ANMF"


@dataclass(frozen=True)
class Pixels:
    """A chunk of pixels: its kind, where it lies, and the size that it has."""

    kind: bytes
    start: int
    end: int
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class WebpHeader(Header):
    """``place``: top and left of the pixels on the canvas."""

    pixels: Optional[Pixels] = None
    place: tuple[int, int] = (0, 0)


def is_webp(data: bytes) -> bool:
    """Whether these bytes begin as WebP does."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read_header(data: bytes) -> WebpHeader:
    """Walk all chunks: EXIF stands behind the pixels.

    Raises:
        LimitError: too many chunks.
        ValueError: no WebP, or a damaged one.
    """
    canvas: Optional[tuple[int, int]] = None
    pixels: Optional[Pixels] = None
    place, framed, exif, xmp = (0, 0), False, b"", b""
    for kind, start, end in _chunks(data, 12, len(data)):
        if kind == EXTENDED and canvas is None and end - start >= 10:
            canvas = _three(data, start + 7) + 1, _three(data, start + 4) + 1
        elif kind in (LOSSY, LOSSLESS) and pixels is None:
            pixels = _pixels(kind, data, start, end)
        elif kind == FRAME and pixels is None and end - start >= 16:
            place, framed = (2 * _three(data, start + 3), 2 * _three(data, start)), True
            for inner, first, last in _chunks(data, start + 16, end):
                if inner in (LOSSY, LOSSLESS):
                    pixels = _pixels(inner, data, first, last)
                    break
        elif kind == b"EXIF" and not exif:
            exif = data[start : min(end, start + MAX_BLOCK)]
        elif kind == b"XMP " and not xmp:
            xmp = data[start : min(end, start + MAX_BLOCK)]
    if pixels is None:
        raise ValueError("no pixels in it")
    size_hw = canvas or pixels.size_hw
    if any(at + side > most for at, side, most in zip(place, pixels.size_hw, size_hw)):
        raise ValueError("its pixels are larger than its canvas")
    if not framed and pixels.size_hw != size_hw:
        raise ValueError("its pixels are of another size than its canvas")
    return WebpHeader(size_hw, read_exif(exif, xmp), pixels=pixels, place=place)


def _chunks(data: bytes, here: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk that is whole."""
    parts = 0
    while here + 8 <= stop:
        parts += 1
        count_part(parts, "chunks in a WebP")
        kind, length = data[here : here + 4], struct.unpack_from("<L", data, here + 4)[0]
        start, end = here + 8, here + 8 + length
        if end > stop:
            return
        yield kind, start, end
        here = end + length % 2


def _pixels(kind: bytes, data: bytes, start: int, end: int) -> Pixels:
    """The size that pixels have, by their own first bytes."""
    head = data[start : min(end, start + 10)]
    if kind == LOSSY and len(head) == 10 and head[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 6))
    elif kind == LOSSLESS and len(head) >= 5 and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise ValueError("its pixels do not begin as WebP does")
    return Pixels(kind, start, end, (height, width))


def decode(data: bytes, header: WebpHeader) -> np.ndarray:
    """Its pixels, or those of its first frame.

    Raises:
        ValueError: they are damaged.
    """
    pixels = header.pixels
    assert pixels is not None
    length = pixels.end - pixels.start
    head = struct.pack("<4sL4s4sL", b"RIFF", 12 + length + length % 2, b"WEBP", pixels.kind, length)
    file = np.empty(len(head) + length + length % 2, np.uint8)
    file[: len(head)] = np.frombuffer(head, np.uint8)
    file[len(head) : len(head) + length] = np.frombuffer(data, np.uint8, length, pixels.start)
    rgb = cv2.imdecode(file, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if rgb is None or rgb.shape[:2] != pixels.size_hw:
        raise ValueError("its pixels cannot be decoded")
    cv2.cvtColor(rgb, cv2.COLOR_BGR2RGB, dst=rgb)
    if pixels.size_hw == header.size_hw:
        return rgb
    canvas = np.zeros((*header.size_hw, 3), np.uint8)
    top, left = header.place
    canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return canvas


def _three(data: bytes, here: int) -> int:
    return int.from_bytes(data[here : here + 3], "little")
