"""Odd BMP files: headers of Windows and OS/2, palettes, masks, runs, either way up."""

import struct
from collections.abc import Iterator
from typing import Optional

import numpy as np
from odd_photos import OddPhoto, at_depth, cut, grey, packed, scene, seen

PLAIN, RLE8, RLE4, MASKS, JPEG, PNG, ALPHA_MASKS = 0, 1, 2, 3, 4, 5, 6
MASKED = {
    "565": (16, (0xF800, 0x7E0, 0x1F), 0),
    "555": (16, (0x7C00, 0x3E0, 0x1F), 0),
    "444": (16, (0xF00, 0xF0, 0xF), 0),
    "4444": (16, (0xF00, 0xF0, 0xF), 0xF000),
    "1555": (16, (0x7C00, 0x3E0, 0x1F), 0x8000),
    "888": (32, (0xFF0000, 0xFF00, 0xFF), 0),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF), 0xFF000000),
    "rgba-order": (32, (0xFF, 0xFF00, 0xFF0000), 0xFF000000),
    "argb-order": (32, (0xFF00, 0xFF0000, 0xFF000000), 0xFF),
    "abgr-order": (32, (0xFF000000, 0xFF0000, 0xFF00), 0xFF),
    "101010": (32, (0x3FF00000, 0xFFC00, 0x3FF), 0xC0000000),
    "111110": (32, (0xFFE00000, 0x1FFC00, 0x3FF), 0),
    "12-8-12": (32, (0xFFF00000, 0xFF000, 0xFFF), 0),
    "233": (16, (0xE0, 0x1C, 0x3), 0),
}


def padded(rows: bytes, height: int) -> bytes:
    """Each row to a multiple of four bytes."""
    size = len(rows) // height
    return np.pad(
        np.frombuffer(rows, np.uint8).reshape(height, size), ((0, 0), (0, -size % 4))
    ).tobytes()


def bmp(
    pixels: bytes,
    height: int,
    width: int,
    bits: int,
    compression: int = PLAIN,
    palette: bytes = b"",
    masks: bytes = b"",
    head: int = 40,
    colours: int = 0,
    gap: int = 0,
) -> bytes:
    """A file with a header of ``head`` bytes; masks are in it if it is long enough."""
    if head == 12:
        info = struct.pack("<LHHHH", 12, width, height, 1, bits)
    else:
        facts = (head, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours, 0)
        info = struct.pack("<LllHHLLllLL", *facts)
        info = (info + masks).ljust(head, b"\0")[:head] if head > 40 else info[:head] + masks
    info += palette
    start = 14 + len(info) + gap
    size = start + len(pixels)
    return b"BM" + struct.pack("<LHHL", size, 0, 0, start) + info + bytes(gap) + pixels


def upside_down(samples: np.ndarray, bits: int) -> bytes:
    """Rows from below."""
    return padded(packed(samples[::-1], bits, "<"), len(samples))


def palettes() -> Iterator[OddPhoto]:
    """1, 2, 4 and 8 bits, by Windows and OS/2."""
    rgb = scene()
    for bits in (1, 2, 4, 8):
        table = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), np.uint8)
        index = at_depth(rgb[..., 0], bits)
        shown = table[index.astype(int)]
        pixels = upside_down(index, bits)
        four = np.pad(table[:, ::-1], ((0, 0), (0, 1))).tobytes()
        three = table[:, ::-1].tobytes()
        size = (*index.shape, bits)
        refusable = bits == 2  # no such BMP but on Windows CE
        name = f"bmp-palette-{bits}"
        yield OddPhoto(f"{name}.bmp", bmp(pixels, *size, palette=four), shown, 0, refusable)
        yield OddPhoto(
            f"{name}-os2.bmp", bmp(pixels, *size, palette=three, head=12), shown, 0, refusable
        )
        made = bmp(pixels, *size, palette=four, colours=1 << bits, head=124, gap=6)
        yield OddPhoto(f"{name}-v5-gap.bmp", made, shown, 0, refusable)
        made = bmp(pixels, *size, palette=four, head=64)
        yield OddPhoto(f"{name}-os2-v2.bmp", made, shown, 0, refusable)
    few = np.array([[10, 20, 30], [200, 150, 100], [0, 255, 0]], np.uint8)
    index = (np.arange(36 * 52, dtype=np.uint64).reshape(36, 52) // 7) % 3
    four = np.pad(few[:, ::-1], ((0, 0), (0, 1))).tobytes()
    made = bmp(upside_down(index, 8), 36, 52, 8, palette=four, colours=3)
    yield OddPhoto("bmp-palette-of-three.bmp", made, few[index.astype(int)])
    lum = at_depth(rgb[..., 0], 8)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, 1).tobytes()
    yield OddPhoto(
        "bmp-grey.bmp", bmp(upside_down(lum, 8), 36, 52, 8, palette=ramp), grey(rgb[..., 0])
    )


def colours() -> Iterator[OddPhoto]:
    """16, 24 and 32 bits, plain and by masks."""
    rgb = scene()
    height, width = rgb.shape[:2]
    bgr = at_depth(rgb[..., ::-1], 8)
    plain24, x = upside_down(bgr, 8), np.full((height, width, 1), 77, np.uint64)
    plain32 = upside_down(np.concatenate([bgr, x], 2), 8)
    for head in (12, 16, 40, 52, 56, 64, 108, 124):
        yield OddPhoto(f"bmp-24-head-{head}.bmp", bmp(plain24, height, width, 24, head=head), rgb)
    for head in (40, 108, 124):
        yield OddPhoto(f"bmp-32-head-{head}.bmp", bmp(plain32, height, width, 32, head=head), rgb)
    down = padded(packed(bgr, 8), height)
    yield OddPhoto("bmp-24-from-above.bmp", bmp(down, -height, width, 24), rgb)
    five = at_depth(rgb, 5)
    stored = five[..., 0] << np.uint64(10) | five[..., 1] << np.uint64(5) | five[..., 2]
    shown = seen(five, 5)
    yield OddPhoto("bmp-16.bmp", bmp(upside_down(stored, 16), height, width, 16), shown, 1)
    for name, (bits, masks, alpha) in MASKED.items():
        stored, shown = np.zeros((height, width), np.uint64), np.empty_like(rgb)
        for channel, mask in enumerate(masks):
            shift = (mask & -mask).bit_length() - 1
            depth = (mask >> shift).bit_length()
            samples = at_depth(rgb[..., channel], depth)
            stored |= samples << np.uint64(shift)
            shown[..., channel] = seen(samples, depth)
        stored |= np.uint64(alpha & (alpha >> 1 | 1))
        pixels, three = upside_down(stored, bits), struct.pack("<LLL", *masks)
        made = bmp(pixels, height, width, bits, MASKS, masks=three)
        yield OddPhoto(f"bmp-masks-{name}.bmp", made, shown, 1)
        four = three + struct.pack("<L", alpha)
        for head in (52, 56, 108, 124):
            own = four if head > 52 else three
            made = bmp(pixels, height, width, bits, MASKS, masks=own, head=head)
            yield OddPhoto(f"bmp-masks-{name}-head-{head}.bmp", made, shown, 1)
        made = bmp(pixels, height, width, bits, ALPHA_MASKS, masks=four)
        yield OddPhoto(f"bmp-masks-{name}-alpha.bmp", made, shown, 1, refusable=True)


def runs(index: np.ndarray, bits: int, literal: bool = False) -> bytes:
    """RLE of 8 or 4 bits, from below; ``literal``: pixels one by one."""
    made = b""
    for row in index[::-1].astype(np.uint8):
        if literal:
            for at in range(0, len(row), 20):
                part = row[at : at + 20]
                body = packed(part[None].astype(np.uint64), bits)
                made += bytes([0, len(part)]) + body + b"\0" * (len(body) % 2)
        else:
            starts = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
            for start, stop in zip(starts, starts[1:]):
                value = int(row[start])
                made += bytes([stop - start, value if bits == 8 else value << 4 | value])
        made += b"\0\0"
    return made[:-2] + b"\0\1"


def compressed() -> Iterator[OddPhoto]:
    """Runs of 8 and 4 bits, and kinds that nobody has read for years."""
    rgb = scene()
    height, width = rgb.shape[:2]
    for bits, kind in ((8, RLE8), (4, RLE4)):
        table = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), np.uint8)
        index = at_depth(rgb[..., 1], bits)
        four = np.pad(table[:, ::-1], ((0, 0), (0, 1))).tobytes()
        shown = table[index.astype(int)]
        for literal in (False, True):
            data = runs(index, bits, literal)
            for head in (40, 64, 108):
                made = bmp(data, height, width, bits, kind, four, head=head)
                name = f"bmp-rle{bits}{'-literal' * literal}-head-{head}.bmp"
                yield OddPhoto(name, made, shown, 0, refusable=True)
        skipped = b"\0\2" + bytes([4, 3]) + b"\5\1\0\1"
        dark = np.broadcast_to(table[0], rgb.shape).copy()
        dark[height - 4, 4:9] = table[1 if bits == 8 else 0]
        if bits == 8:
            made = bmp(skipped, height, width, bits, kind, four)
            yield OddPhoto("bmp-rle8-skips.bmp", made, dark, 0, refusable=True)
    outside = bmp(b"\0\2\xff\xff\1\1\0\1", height, width, 8, RLE8, bytes(1024))
    name = "bmp-rle8-leaves-the-picture.bmp"
    yield OddPhoto(name, outside, np.zeros_like(rgb), refusable=True)
    rgb24 = upside_down(at_depth(rgb[..., ::-1], 8), 8)
    for name, made in {
        "huffman": bmp(rgb24, height, width, 1, 3, head=64),
        "rle24": bmp(rgb24, height, width, 24, 4, head=64),
        "jpeg-inside": bmp(b"\xff\xd8\xff\xd9", height, width, 0, JPEG),
        "png-inside": bmp(b"\x89PNG\r\n\x1a\n", height, width, 0, PNG),
        "cmyk": bmp(rgb24, height, width, 32, 11),
        "compression-99": bmp(rgb24, height, width, 24, 99),
        "bits-7": bmp(rgb24, height, width, 7),
        "bits-64": bmp(rgb24 * 3, height, width, 64),
        "no-width": bmp(rgb24, height, 0, 24),
        "negative-width": bmp(rgb24, height, -width, 24),
        "no-height": bmp(rgb24, 0, width, 24),
        "too-wide": bmp(rgb24, height, 1 << 30, 24),
        "too-large": bmp(rgb24, 60_000, 60_000, 24),
        "masks-that-meet": bmp(
            rgb24 * 2, height, width, 32, MASKS, masks=struct.pack("<LLL", 0xFF, 0xFF, 0xFF00)
        ),
        "masks-with-holes": bmp(
            rgb24 * 2, height, width, 32, MASKS, masks=struct.pack("<LLL", 0xF0F, 0xF000, 0xF0000)
        ),
        "head-of-13": b"BM" + bytes(8) + b"\x36\0\0\0\x0d\0\0\0" + bytes(300),
        "rle-without-end": bmp(b"\x09\1", height, width, 8, RLE8, bytes(1024)),
    }.items():
        yield OddPhoto(f"bmp-wrong-{name}.bmp", made, None)


def photos() -> Iterator[OddPhoto]:
    """All odd BMP files."""
    yield from palettes()
    yield from colours()
    yield from compressed()
    rgb = scene()
    data = bmp(upside_down(at_depth(rgb[..., ::-1], 8), 8), *rgb.shape[:2], 24)
    yield OddPhoto("bmp-trailing.bmp", data + b"more" * 99, rgb)
    wrong_size: Optional[bytes] = data[:2] + b"\1\0\0\0" + data[6:]
    yield OddPhoto("bmp-says-another-size.bmp", wrong_size or b"", rgb)
    yield OddPhoto("bmp-named-dib.dib", data, rgb)
    one = scene(1, 1)
    made = bmp(upside_down(at_depth(one[..., ::-1], 8), 8), 1, 1, 24)
    yield OddPhoto("bmp-one-pixel.bmp", made, one)
    places = [2, 14, 18, 40, 53, 54, 55, len(data) // 2, len(data) - 1]
    yield from cut(OddPhoto("bmp.bmp", data, rgb), places)
