"""The worst photos within the limits: small files, or slow ones, of every way to store pixels.

Each is written by a function of its own, straight to a file; none is kept in the repository.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from runtime.photo import libtiff
from runtime.photo.decode import MAX_PIXELS, MAX_SIDE

SQUARE_HW = (10_000, 10_000)
TALL_HW = (MAX_SIDE, MAX_PIXELS // MAX_SIDE)
WEBP_HW = (6_100, 16_383)
FITTING_HW = (8_000, 8_000)  # 24 bits a pixel within MAX_FILE_BYTES
ROWS = 500  # of noise, repeated

Make = Callable[[Path], None]


def noise(height: int, width: int, channels: int, most: int = 256) -> np.ndarray:
    """uint8 (height, width, channels): rows of noise again and again; less of it packs better."""
    rows = np.random.default_rng(0).integers(
        0, most, (min(ROWS, height), width, channels), np.uint8
    )
    return np.concatenate([rows] * -(-height // len(rows)))[:height]


def jpeg(
    mode: str = "RGB", quality: int = 90, size_hw: tuple[int, int] = SQUARE_HW, **how: object
) -> Make:
    """By Pillow."""

    def make(file: Path) -> None:
        channels = len(mode) if mode != "L" else 1
        pixels = noise(*size_hw, channels, 100)
        image = Image.frombytes(mode, size_hw[::-1], pixels.tobytes())
        ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 2 * pixels.size)  # it writes scans at once
        image.save(file, "JPEG", quality=quality, **how)

    return make


def many_scans(file: Path) -> None:
    """A progressive JPEG whose last scan comes until there are twenty."""
    image = Image.new("RGB", SQUARE_HW[::-1], (90, 120, 60))
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 1 << 28)
    image.save(file, "JPEG", quality=90, progressive=True)
    data = file.read_bytes()
    last = data.rindex(b"\xff\xda")
    scans = data.count(b"\xff\xda")
    file.write_bytes(data[:-2] + data[last:-2] * (20 - scans) + data[-2:])


def png(
    bits: int,
    colour: int,
    channels: int,
    interlaced: bool = False,
    most: int = 4,
    size_hw: tuple[int, int] = SQUARE_HW,
) -> Make:
    """Rows of little noise, each behind the filter that takes longest (Paeth's)."""

    def make(file: Path) -> None:
        height, width = size_hw
        passes = (
            [(1, 1)] if not interlaced else [(8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1)]
        )
        pack = zlib.compressobj(1)
        parts = []
        for down, across in passes:
            size = -(-width // across) * channels * bits // 8
            rows = noise(ROWS, size, 1, most)[..., 0]
            block = np.pad(rows, ((0, 0), (1, 0)), constant_values=4).tobytes()
            for start in range(0, height // down, ROWS):
                count = min(ROWS, height // down - start)
                parts.append(pack.compress(block[: count * (size + 1)]))
        data = b"".join([*parts, pack.flush()])
        head = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, interlaced)
        table = _chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
        kept = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + table
        file.write_bytes(kept + _chunk(b"IDAT", data) + _chunk(b"IEND", b""))

    return make


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def tiff(
    channels: int,
    bits: int,
    photometric: int,
    compression: int = 8,
    planar: bool = False,
    block_hw: tuple[int, int] = (100, 0),
    size_hw: tuple[int, int] = SQUARE_HW,
    more: tuple[tuple[int, int], ...] = (),
) -> Make:
    """Strips of ``block_hw`` rows, or tiles; the same noise in all of them."""

    def make(file: Path) -> None:
        (height, width), (rows, columns) = size_hw, block_hw
        tiled = columns > 0
        columns = columns or width
        across = -(-width // columns)
        size = -(-columns * (1 if planar else channels) * bits // 8) * rows
        raw = np.random.default_rng(0).integers(0, 4, size, np.uint8).tobytes()
        part = packed(raw, compression, rows)
        count = -(-height // rows) * across * (channels if planar else 1)
        tags: dict[int, tuple[str, Iterable[int]]] = {
            256: ("L", [width]), 257: ("L", [height]), 258: ("H", [bits] * channels),
            259: ("H", [compression]), 262: ("H", [photometric]), 277: ("H", [channels]),
            284: ("H", [2 if planar else 1]),
        }  # fmt: skip
        tags.update({322: ("L", [columns]), 323: ("L", [rows])} if tiled else {278: ("L", [rows])})
        tags.update({number: ("H", [value]) for number, value in more})
        # all name the same bytes: no file could be smaller
        tags[324 if tiled else 273] = ("L", itertools.repeat(8, count))
        tags[325 if tiled else 279] = ("L", itertools.repeat(len(part), count))
        file.write_bytes(_tiff_file(part, tags))

    return make


def packed(raw: bytes, compression: int, rows: int) -> bytes:
    """One strip of so many rows, as a compression has it."""
    if compression == 8:
        return zlib.compress(raw, 6)
    if compression != libtiff.LZW:
        return raw
    file = io.BytesIO()
    image = Image.frombytes("L", (len(raw) // rows, rows), raw)
    image.save(file, "TIFF", compression="tiff_lzw", strip_size=len(raw))
    with Image.open(file) as made:
        (start,), (size,) = made.tag_v2[273], made.tag_v2[279]  # type: ignore[attr-defined]
    return file.getvalue()[start : start + size]


def _tiff_file(part: bytes, tags: dict[int, tuple[str, Iterable[int]]]) -> bytes:
    start = 8 + len(part) + len(part) % 2
    place, table, behind = start + 2 + 12 * len(tags) + 4, [], []
    for number, (kind, values) in sorted(tags.items()):
        array = np.fromiter(values, f"<u{2 if kind == 'H' else 4}")
        value = array.tobytes()
        if len(value) > 4:
            where, value = place, value + b"\0" * (len(value) % 2)
            place += len(value)
            behind.append(value)
            value = struct.pack("<L", where)
        head = struct.pack("<HHL", number, 3 if kind == "H" else 4, len(array))
        table.append(head + value.ljust(4, b"\0"))
    head = b"II*\0" + struct.pack("<L", start) + part + bytes(len(part) % 2)
    return b"".join((head, struct.pack("<H", len(tags)), *table, bytes(4), *behind))


def tiff_by_pillow(mode: str, compression: str, **how: object) -> Make:
    """By libtiff."""

    def make(file: Path) -> None:
        height, width = SQUARE_HW
        if mode == "1":
            image = Image.fromarray(noise(height, width, 1, 2)[..., 0] > 0)
        else:
            image = Image.fromarray(noise(height, width, 3, 40))
        image.save(file, "TIFF", compression=compression, **how)

    return make


def webp(lossless: bool, animated: bool = False) -> Make:
    """By Pillow, of a picture that is soon packed."""

    def make(file: Path) -> None:
        image = Image.fromarray(noise(*WEBP_HW, 3, 3))
        more = {"save_all": True, "append_images": [image]} if animated else {}
        image.save(file, "WEBP", lossless=lossless, quality=0 if lossless else 90, method=0, **more)

    return make


def bmp(bits: int, size_hw: tuple[int, int], compression: int = 0, masks: bytes = b"") -> Make:
    """Noise; runs of a single pixel if it is compressed."""

    def make(file: Path) -> None:
        height, width = size_hw
        if compression == 1:
            row = b"".join(b"\1" + bytes([value]) for value in range(256)) * -(-width // 256)
            pixels = [row[: 2 * width] + b"\0\0"] * height + [b"\0\1"]
        else:
            size = -(-width * bits // 32) * 4
            pixels = [noise(1, size, 1).tobytes()] * height
        table = (
            bytes(range(256)) * 4 if bits == 8 else b"\0\0\0\0\xff\xff\xff\0" if bits == 1 else b""
        )
        start = 54 + len(masks) + len(table)
        facts = (40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
        head = b"BM" + struct.pack("<LHHL", 0, 0, 0, start) + struct.pack("<LllHHLLllLL", *facts)
        file.write_bytes(b"".join((head, masks, table, *pixels)))

    return make


MASKS = struct.pack("<LLL", 0x3FF00000, 0xFFC00, 0x3FF)
PHOTOS: dict[str, Make] = {
    "a JPEG of one megapixel, for comparison": jpeg(size_hw=(1000, 1000)),
    "JPEG, 4:4:4": jpeg(subsampling=0),
    "JPEG, progressive 4:4:4": jpeg(quality=87, subsampling=0, progressive=True),
    "JPEG, progressive CMYK": jpeg("CMYK", progressive=True),
    "JPEG, progressive CMYK of 64 megapixels": jpeg("CMYK", 96, FITTING_HW, progressive=True),
    "JPEG, twenty scans": many_scans,
    "JPEG, on its side": jpeg(
        exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    ),
    "PNG, RGB": png(8, 2, 3),
    "PNG, RGB, high": png(8, 2, 3, size_hw=TALL_HW),
    "PNG, RGB, wide": png(8, 2, 3, size_hw=TALL_HW[::-1]),
    "PNG, RGBA of 16 bits": png(16, 6, 4),
    "PNG, RGBA of 16 bits, interlaced": png(16, 6, 4, True),
    "PNG, grey of 16 bits, interlaced": png(16, 0, 1, True),
    "PNG, palette, interlaced": png(8, 3, 1, True),
    "PNG, palette of 1 bit": png(1, 3, 1, most=256),
    "TIFF, plain RGB": tiff(3, 8, 2, 1),
    "TIFF, deflated RGB of 16 bits": tiff(3, 16, 2, more=((317, 2),)),
    "TIFF, deflated RGB of 16 bits in one strip": tiff(3, 16, 2, block_hw=(10_000, 0)),
    "TIFF, LZW, RGB of 16 bits": tiff(3, 16, 2, 5, more=((317, 2),)),
    "TIFF, LZW, RGB of 8 bits in one strip": tiff(3, 8, 2, 5, block_hw=(10_000, 0)),
    "TIFF, RGB of 12 bits": tiff(3, 12, 2),
    "TIFF, RGB of 16 bits in planes": tiff(3, 16, 2, planar=True),
    "TIFF, RGB of 16 bits in planes, a row a strip, high": tiff(
        3, 16, 2, planar=True, block_hw=(1, 0), size_hw=TALL_HW
    ),
    "TIFF, RGB in tiles of 16 x 16": tiff(3, 8, 2, block_hw=(16, 16)),
    "TIFF, LZW, RGB in tiles of 16 x 16": tiff(3, 8, 2, 5, block_hw=(16, 16)),
    "TIFF, LZW, CMYK and a channel more, 16 bits": tiff(5, 16, 5, 5),
    "TIFF, RGB and 61 channels": tiff(64, 8, 2, block_hw=(10, 0)),
    "TIFF, RGBA times alpha, 16 bits": tiff(4, 16, 2, more=((338, 1),)),
    "TIFF, CMYK of 16 bits in planes": tiff(4, 16, 5, planar=True),
    "TIFF, L*a*b*": tiff(3, 8, 8),
    "TIFF, YCbCr, LZW": tiff(3, 8, 6, 5, more=()),
    "TIFF, palette of 1 bit, LZW": tiff(1, 1, 0, 5),
    "TIFF, JPEG": tiff_by_pillow("RGB", "jpeg"),
    "TIFF, fax of noise": tiff_by_pillow("1", "group4"),
    "WebP": webp(False),
    "WebP, lossless": webp(True),
    "WebP, lossless, two frames": webp(True, True),
    "BMP, plain RGB, as large as a file may be": bmp(24, (8_900, 10_000)),
    "BMP, masks of 10 bits, as large as a file may be": bmp(32, FITTING_HW, 3, MASKS),
    "BMP, 1 bit": bmp(1, SQUARE_HW),
    "BMP, runs of one pixel": bmp(8, SQUARE_HW, 1),
}
