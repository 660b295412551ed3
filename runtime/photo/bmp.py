"""BMP: headers of Windows and OS/2, plain pixels, palettes and bit masks in numpy, runs by OpenCV.

Bytes in, RGB uint8 (H, W, 3) out. Alpha is dropped.
"""

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from runtime.errors import InputError
from runtime.photo.header import Header
from runtime.photo.samples import fields, scale_of

MAGIC = b"BM"
BAND_BYTES = 1 << 20
PLAIN, RLE8, RLE4, MASKS, ALPHA_MASKS = 0, 1, 2, 3, 6
OS2 = (12, 16, 64)  # bytes of OS/2's headers; one of 16 is the beginning of one of 64
HEADS = (*OS2, 40, 52, 56, 108, 124)
NAMES = {
    3: "Huffman's code",
    4: "JPEG",
    5: "PNG",
    11: "CMYK",
    12: "CMYK in runs",
    13: "CMYK in runs",
}
READ = {(RLE8, 8), (RLE4, 4), *((kind, bits) for kind in (MASKS, ALPHA_MASKS) for bits in (16, 32))}
USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 32: (0xFF0000, 0xFF00, 0xFF)}
COLOURS = 1 << 8  # of a palette


@dataclass(frozen=True)
class BmpHeader(Header):
    """``palette``: uint8 (colours, 3), RGB; ``masks``: of red, green and blue."""

    bits: int = 24
    compression: int = PLAIN
    start: int = 0
    from_above: bool = False
    palette: bytes = b""
    masks: tuple[int, ...] = ()


def read_header(data: bytes) -> BmpHeader:
    """Read the header, the masks and the palette.

    Raises:
        InputError: a kind of BMP that is not read.
        ValueError: a damaged one.
    """
    start, head = struct.unpack_from("<LL", data, 10)
    if head not in HEADS:
        raise InputError(
            f"a BMP with a header of {head} bytes, expected {', '.join(map(str, HEADS))}"
        )
    compression = colours = 0
    if head == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<llHH", data, 18)
    if head > 16:
        compression, _, _, _, colours = struct.unpack_from("<LLllL", data, 30)
    _check_kind(head, bits, compression)
    if width <= 0 or not height:
        raise ValueError(f"{width} x {height} pixels")
    masks: tuple[int, ...] = ()
    behind = 14 + head
    if compression in (MASKS, ALPHA_MASKS):
        masks = struct.unpack_from("<LLL", data, 54)
        _check_masks(masks, bits)
        behind = max(behind, 54 + (12 if compression == MASKS else 16))
    elif bits in USUAL_MASKS:
        masks = USUAL_MASKS[bits]
    return BmpHeader(
        (abs(height), width),
        bits=bits,
        compression=compression,
        start=start,
        from_above=height < 0,
        palette=_palette(data, behind, start, bits, colours, 3 if head == 12 else 4),
        masks=masks,
    )


def _check_kind(head: int, bits: int, compression: int) -> None:
    """Refuse what is not read, by its name."""
    if head == 64 and compression in (3, 4):
        name = NAMES[3] if compression == 3 else "runs of 24 bits"
    elif (compression, bits) in READ:
        return
    elif compression == PLAIN:
        if bits not in (1, 2, 4, 8, 16, 24, 32):
            raise InputError(f"a BMP of {bits} bits a pixel, expected 1, 2, 4, 8, 16, 24 or 32")
        return
    else:
        name = NAMES.get(compression, f"method {compression}")
    raise InputError(
        f"a BMP of {bits} bits a pixel compressed by {name}; save it as a plain one, or as PNG"
    )


def _check_masks(masks: tuple[int, ...], bits: int) -> None:
    """Each a row of ones within the pixel, and no bit in two of them."""
    rows = (mask and (mask // (mask & -mask)) & (mask // (mask & -mask) + 1) == 0 for mask in masks)
    apart = sum(masks) == masks[0] | masks[1] | masks[2]
    if not all(rows) or not apart or max(masks) >> bits:
        told = ", ".join(f"{mask:x}" for mask in masks)
        raise InputError(f"a BMP whose masks of red, green and blue are {told}: no colours")


def _palette(data: bytes, here: int, start: int, bits: int, colours: int, each: int) -> bytes:
    """RGB of every colour that an index can name; black where there is none."""
    if bits > 8:
        return b""
    most = min(colours or 1 << bits, 1 << bits)
    stop = max(here, min(here + each * most, start, len(data)))
    table = np.frombuffer(data, np.uint8, (stop - here) // each * each, here).reshape(-1, each)
    rgb = np.zeros((1 << bits, 3), np.uint8)
    rgb[: len(table)] = table[:, 2::-1]
    return rgb.tobytes()


def decode(data: bytes, header: BmpHeader) -> np.ndarray:
    """Its pixels, from above.

    Raises:
        ValueError: they end early, or are damaged.
    """
    if header.compression in (RLE8, RLE4):
        return _runs(data, header)
    height, width = header.size_hw
    row = -(-width * header.bits // 32) * 4
    if header.start + row * height > len(data):
        raise ValueError("its pixels end early")
    stored = np.frombuffer(data, np.uint8, row * height, header.start).reshape(height, row)
    rows = stored if header.from_above else stored[::-1]
    rgb = np.empty((height, width, 3), np.uint8)
    band = max(1, BAND_BYTES // row)
    for top in range(0, height, band):
        rgb[top : top + band] = _colours(np.ascontiguousarray(rows[top : top + band]), header)
    return rgb


def _colours(rows: np.ndarray, header: BmpHeader) -> np.ndarray:
    width, bits = header.size_hw[1], header.bits
    if bits <= 8:
        palette = np.frombuffer(header.palette, np.uint8).reshape(-1, 3)
        return palette[fields(rows, bits, width)]
    if bits == 24:
        return rows[:, : 3 * width].reshape(len(rows), width, 3)[..., ::-1]
    pixels = rows.view(f"<u{bits // 8}")[:, :width]
    channels = [_masked(pixels, mask) for mask in header.masks]
    return np.stack(channels, -1)


def _masked(pixels: np.ndarray, mask: int) -> np.ndarray:
    """The bits of a mask, as uint8."""
    low = (mask & -mask).bit_length() - 1
    depth = (mask >> low).bit_length()
    if depth > 8:
        low, depth = low + depth - 8, 8
    return scale_of(depth)[(pixels >> low).astype(np.uint32) & ((1 << depth) - 1)]


def _runs(data: bytes, header: BmpHeader) -> np.ndarray:
    """Pixels in runs, by OpenCV, behind a header that has nothing odd."""
    height, width = header.size_hw
    if header.from_above:
        raise ValueError("runs from above")
    palette = np.zeros((1 << header.bits, 4), np.uint8)
    palette[:, 2::-1] = np.frombuffer(header.palette, np.uint8).reshape(-1, 3)
    runs = max(0, len(data) - header.start)
    start = 54 + palette.nbytes
    facts = (40, width, height, 1, header.bits, header.compression, runs, 0, 0, len(palette), 0)
    head = b"BM" + struct.pack("<LHHL", start + runs, 0, 0, start)
    head += struct.pack("<LllHHLLllLL", *facts) + palette.tobytes()
    file = np.empty(start + runs, np.uint8)
    file[:start] = np.frombuffer(head, np.uint8)
    file[start:] = np.frombuffer(data, np.uint8)[header.start :]
    # What is damaged is said by an error, not by OpenCV on stderr
    _silence()
    rgb = cv2.imdecode(file, cv2.IMREAD_COLOR)
    if rgb is None or rgb.shape[:2] != header.size_hw:
        raise ValueError("its runs are damaged, or end early")
    return cv2.cvtColor(rgb, cv2.COLOR_BGR2RGB, dst=rgb)


def _silence() -> None:
    opencv: Any = cv2
    logging = opencv if hasattr(opencv, "setLogLevel") else opencv.utils.logging  # OpenCV 5
    logging.setLogLevel(0)
