"""JPEG: its header walked segment by segment, its pixels by simplejpeg or Pillow.

Bytes in, RGB uint8 (H, W, 3) out, as stored. Both are given the segments that pixels need, and the
scans; EXIF is read here, and profiles, previews and comments are passed over, sound or not. Where
simplejpeg is installed it takes sound colour photos, in two thirds of the time and with the same
pixels; what it complains of is Pillow's to read, or to refuse.
"""

import functools
import importlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Optional

import numpy as np

from runtime.errors import InputError, LimitError
from runtime.photo.exif import NAME as EXIF
from runtime.photo.exif import read_exif
from runtime.photo.header import Header, Joined, Piece, count_part
from runtime.photo.pillow import opened, to_rgb

MAGIC = b"\xff\xd8\xff"
MAX_SCANS = 100  # a progressive JPEG comes in about ten, and each of them goes over all pixels
MAX_SCANNED = 2_000_000_000  # pixels, each counted for every scan
MAX_JOINED = 32_000_000  # bytes of a file that is copied for simplejpeg
MAX_HELD = 700_000_000  # bytes of a file and its coefficients, which stay until the last scan

START, END, SCAN, APP0, APP1, ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
TABLES = {0xC4, 0xCC, 0xDB, 0xDD}  # Huffman, arithmetic, quantisation, restarts
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
READ = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended, progressive; arithmetic
PROGRESSIVE = {0xC2, 0xCA}
PROCESSES = {0xC3: "lossless", 0xCB: "lossless arithmetic"}
HIERARCHICAL = {0xDE, 0xDF}
ALONE = {0x01, 0xC8, *range(0xD0, 0xDA)}  # markers without a length
NEXT = re.compile(rb"\xff[\x01-\xfe]")
IN_SCANS = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # what is neither data nor a restart
XMP = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True)
class JpegHeader(Header):
    """``kept``: the segments that pixels need; ``scan``: where the first scan begins."""

    channels: int = 3
    kept: bytes = b""
    scan: int = 0


def read_header(data: bytes) -> JpegHeader:
    """Walk the segments up to the first scan, then count the scans.

    Raises:
        InputError: a process or a depth that is not read.
        LimitError: a header, or scans, made to take long.
        ValueError: no JPEG, or a damaged one.
    """
    found = _Segments(data)
    frame = found.frame
    if frame is None or len(frame) < 8:
        raise ValueError("no frame before its first scan")
    marker, (bits, height, width, channels) = frame[0], struct.unpack_from(">BHHB", frame, 3)
    if marker not in READ:
        name = PROCESSES.get(marker, "hierarchical")
        raise InputError(f"a JPEG of the {name} process; save it as an ordinary one, or as PNG")
    if bits != 8:
        raise InputError(f"a JPEG of {bits} bits a channel, expected 8; save it as PNG of 16 bits")
    if channels not in (1, 3, 4):
        raise InputError(f"a JPEG of {channels} channels, expected 1, 3 or 4")
    if not height and width:
        raise InputError("a JPEG that tells its height behind its pixels; save it again")
    header = JpegHeader(
        (height, width),
        read_exif(found.exif, found.xmp),
        channels=channels,
        kept=b"".join(found.kept),
        scan=found.here,
    )
    # all channels in one scan, row by row: a decoder stops behind it
    if marker in PROGRESSIVE or data[found.here + 4 : found.here + 5] != bytes([channels]):
        _check_held(frame, len(data))
        _check_scans(data, found.here, height * width)
    return header


class _Segments:
    """What stands before the first scan, which begins at ``here``."""

    def __init__(self, data: bytes) -> None:
        self.frame: Optional[bytes] = None  # its marker, and the segment
        self.exif = self.xmp = b""
        self.kept: list[bytes] = []
        self.here, parts = 2, 0
        while True:
            found = NEXT.search(data, self.here)
            if found is None:
                raise ValueError("it ends before its first scan")
            marker, self.here = data[found.end() - 1], found.start()
            if marker == SCAN:
                return
            if marker == END:
                raise ValueError("it has no scan")
            parts += 1
            count_part(parts, "segments in a JPEG")
            if marker in HIERARCHICAL:
                raise InputError("a JPEG of the hierarchical process; save it as an ordinary one")
            if marker in ALONE or marker < 0xC0:
                self.here += 2
                continue
            length = int.from_bytes(data[self.here + 2 : self.here + 4], "big")
            end = self.here + 2 + length
            if length < 2 or end > len(data):
                raise ValueError("it ends within its header")
            self._take(marker, data[self.here : end])
            self.here = end

    def _take(self, marker: int, segment: bytes) -> None:
        body = segment[4:]
        if marker in FRAMES:
            if self.frame is not None:
                raise ValueError("it has two frames")
            self.frame = bytes([marker]) + segment[2:]
        if marker in FRAMES | TABLES or _names_colours(marker, body):
            self.kept.append(segment)
        elif marker == APP1 and body.startswith(EXIF) and not self.exif:
            self.exif = body
        elif marker == APP1 and body.startswith(XMP) and not self.xmp:
            self.xmp = body


def _names_colours(marker: int, body: bytes) -> bool:
    """Whether a decoder learns from a segment what the channels are."""
    if marker == APP0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    return marker == ADOBE and body.startswith(b"Adobe") and len(body) >= 12


def _check_held(frame: bytes, size: int) -> None:
    """Refuse a JPEG in scans that takes too much memory before it is a picture."""
    _, height, width, channels = struct.unpack_from(">BHHB", frame, 3)
    factors = [(byte >> 4, byte & 15) for byte in frame[10 : 9 + 3 * channels : 3]]
    across, down = max(one for one, _ in factors), max(one for _, one in factors)
    if len(factors) < channels or not all(map(all, factors)):
        raise ValueError("a frame without channels")
    held = sum(2 * height * width * one * other for one, other in factors) // (across * down)
    if held + size > MAX_HELD:
        raise LimitError(
            f"a JPEG in scans that takes {held + size:,} bytes to put together, limit "
            f"{MAX_HELD:,}; save it as a baseline JPEG"
        )


def _check_scans(data: bytes, here: int, pixels: int) -> None:
    """Count the scans up to the end of the picture: what follows it is not decoded."""
    most = max(1, min(MAX_SCANS, MAX_SCANNED // max(1, pixels)))
    scans = parts = 0
    while (found := IN_SCANS.search(data, here)) and data[found.end() - 1] != END:
        parts += 1
        count_part(parts, "segments in a JPEG")
        scans += data[found.end() - 1] == SCAN
        if scans > most:
            raise LimitError(
                f"over {most} scans in a JPEG of {pixels:,} pixels; save it again as a plain one"
            )
        here = found.end()
        if data[here - 1] not in ALONE:
            here += max(2, int.from_bytes(data[here : here + 2], "big"))


def decode(
    data: bytes,
    header: JpegHeader,
    size_for: Optional[Callable[[tuple[int, int]], tuple[int, int]]] = None,
) -> np.ndarray:
    """Its pixels, or a half, a quarter or an eighth of each side, as far as no more is needed.

    Args:
        size_for: from the height and width of the upright photo to those that are needed.
    """
    pieces: list[Piece] = [MAGIC[:2], header.kept, memoryview(data)[header.scan :]]
    needed_hw = size_for(header.upright_hw) if size_for is not None else header.upright_hw
    if header.exif.lies:
        needed_hw = needed_hw[::-1]
    rgb = _by_simplejpeg(pieces, header, needed_hw)
    if rgb is not None:
        return rgb
    with opened(Joined(pieces), "JPEG") as image:
        if size_for is not None:
            image.draft(None, needed_hw[::-1])
        return to_rgb(image)


def _by_simplejpeg(
    pieces: list[Piece], header: JpegHeader, needed_hw: tuple[int, int]
) -> Optional[np.ndarray]:
    """The pixels; None if it is not installed, or not for it to say what they are."""
    simplejpeg = _simplejpeg()
    joined = sum(len(piece) for piece in pieces)
    if simplejpeg is None or header.channels != 3 or joined > MAX_JOINED:
        return None
    most = min(side // needed for side, needed in zip(header.size_hw, needed_hw))
    factor = next((factor for factor in (8, 4, 2) if factor <= most), 1)  # as Pillow chooses
    height, width = (-(-side // factor) for side in header.size_hw)
    try:
        rgb: np.ndarray = simplejpeg.decode_jpeg(
            b"".join(pieces), "RGB", min_height=height, min_width=width
        )
    except ValueError:
        return None
    return rgb if rgb.shape == (height, width, 3) else None


@functools.cache
def _simplejpeg() -> Optional[ModuleType]:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None
