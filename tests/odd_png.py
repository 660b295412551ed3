"""Odd PNG files: every depth and colour type, interlaced or not, and all that may lie around."""

import struct
import zlib
from collections.abc import Iterator
from typing import Optional

import numpy as np
from odd_exif import broken, oriented, unreadable, xmp
from odd_photos import OddPhoto, at_depth, cut, grey, packed, scene, seen, stored

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
NAMES = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "la", RGB_ALPHA: "rgba"}
PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def chunk(kind: bytes, body: bytes, checksum: Optional[int] = None) -> bytes:
    """A chunk; its checksum right unless one is given."""
    right = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", right)


def header(height: int, width: int, bits: int, colour: int, interlaced: bool = False) -> bytes:
    """IHDR."""
    return chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, interlaced))


def rows(samples: np.ndarray, bits: int, interlaced: bool = False) -> bytes:
    """Rows before compression, each behind its filter: none."""
    if interlaced:
        parts = (samples[y::dy, x::dx] for y, x, dy, dx in PASSES)
        return b"".join(rows(part, bits) for part in parts if part.size)
    size = len(packed(samples[:1], bits))
    raw = np.frombuffer(packed(samples, bits), np.uint8).reshape(-1, size)
    return np.pad(raw, ((0, 0), (1, 0))).tobytes()


def png(
    samples: np.ndarray,
    bits: int,
    colour: int,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
    piece: int = 1 << 20,
) -> bytes:
    """A PNG; ``piece``: bytes of each IDAT."""
    data = zlib.compress(rows(samples, bits, interlaced))
    pixels = b"".join(chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece))
    head = header(*samples.shape[:2], bits, colour, interlaced)
    return SIGNATURE + head + before + pixels + after + chunk(b"IEND", b"")


def kind(colour: int, bits: int, interlaced: bool) -> tuple[bytes, np.ndarray]:
    """A file of this kind, and what it shows."""
    rgb = scene()
    samples = at_depth(rgb, bits)
    if colour == PALETTE:
        table = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), np.uint8)
        index = samples[..., 0]
        before = chunk(b"PLTE", table.tobytes()) + chunk(b"tRNS", b"\0\x80"[: 1 << bits])
        return png(index, bits, colour, before, interlaced=interlaced), table[index.astype(int)]
    alpha = np.full_like(samples[..., :1], 3)
    if colour in (GREY, GREY_ALPHA):
        shown = grey(seen(samples[..., 0], bits))
        samples = (
            samples[..., 0] if colour == GREY else np.concatenate([samples[..., :1], alpha], 2)
        )
    else:
        shown = seen(samples, bits)
        samples = samples if colour == RGB else np.concatenate([samples, alpha], 2)
    first = samples[0, 0].ravel()
    clear = chunk(b"tRNS", b"".join(struct.pack(">H", int(one)) for one in first))
    before = clear if colour in (GREY, RGB) else b""
    return png(samples, bits, colour, before, interlaced=interlaced), shown


def kinds() -> Iterator[OddPhoto]:
    """All that the standard has."""
    for colour, depths in DEPTHS.items():
        for bits in depths:
            for interlaced in (False, True):
                data, shown = kind(colour, bits, interlaced)
                name = f"png-{NAMES[colour]}-{bits}{'-adam7' * interlaced}.png"
                yield OddPhoto(name, data, shown)


def text(size: int) -> bytes:
    """Text that does not pack well."""
    return np.random.default_rng(1).integers(97, 123, size, dtype=np.uint8).tobytes()


def ancillary() -> dict[str, tuple[bytes, bytes]]:
    """What may stand before and after the pixels, and changes nothing."""
    packed_text, profile = zlib.compress(text(1_200_000)), zlib.compress(bytes(1_000_000), 9)
    flood = chunk(b"iCCP", b"p\0\0" + profile)
    frames = chunk(b"acTL", struct.pack(">LL", 2, 0))
    return {
        "ztxt-large": (chunk(b"zTXt", b"Comment\0\0" + packed_text), b""),
        "ztxt-large-after": (b"", chunk(b"zTXt", b"Comment\0\0" + packed_text)),
        "itxt-large": (chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed_text), b""),
        "iccp-large": (chunk(b"iCCP", b"profile\0\0" + packed_text), b""),
        "iccp-flood": (flood * 50, b""),
        "iccp-broken": (chunk(b"iCCP", b"profile\0\0not deflated"), b""),
        "iccp-unknown-method": (chunk(b"iCCP", b"profile\0\7" + profile), b""),
        "ztxt-flood": (chunk(b"zTXt", b"c\0\0" + profile) * 50, b""),
        "text-flood": (chunk(b"tEXt", b"c\0value") * 25_000, b""),
        "text-flood-after": (b"", chunk(b"tEXt", b"c\0value") * 25_000),
        "text-without-key": (
            chunk(b"tEXt", b"") + chunk(b"iTXt", b"a") + chunk(b"zTXt", b"b"),
            b"",
        ),
        "unknown-chunks": (chunk(b"prVt", b"\0" * 99) * 30, chunk(b"vpAg", b"1")),
        "bad-crc-text": (chunk(b"tEXt", b"c\0value", 7), b""),
        "bad-crc-gama": (chunk(b"gAMA", struct.pack(">L", 45455), 7), b""),
        "bad-crc-exif": (chunk(b"eXIf", oriented(1), 7), b""),
        "bad-crc-after": (b"", chunk(b"tIME", bytes(7), 7)),
        "gama": (chunk(b"gAMA", struct.pack(">L", 100_000)), b""),
        "gama-short": (chunk(b"gAMA", b"1"), b""),
        "phys-short": (chunk(b"pHYs", b"12"), b""),
        "chrm-short": (chunk(b"cHRM", b"123"), b""),
        "srgb-and-iccp": (chunk(b"sRGB", b"\0") + flood, b""),
        "trns-short": (chunk(b"tRNS", b"1"), b""),
        "bkgd-short": (chunk(b"bKGD", b""), b""),
        "suggested-palette": (chunk(b"PLTE", bytes(range(30))), b""),
        "animated": (frames + chunk(b"fcTL", bytes(26)), chunk(b"fdAT", bytes(9))),
        "animated-broken": (chunk(b"acTL", b"12"), chunk(b"fcTL", b"1")),
    }


def orientations() -> Iterator[OddPhoto]:
    """EXIF in each of its places, broken or not."""
    rgb = scene()
    hexed = b"\nexif\n%8d\n%s\n"
    for orientation in range(1, 9):
        samples = at_depth(stored(rgb, orientation), 8)
        exif = chunk(b"eXIf", oriented(orientation, "<>"[orientation % 2]))
        yield OddPhoto(f"png-turned-{orientation}.png", png(samples, 8, RGB, exif), rgb)
        after = png(samples, 8, RGB, after=exif)
        yield OddPhoto(f"png-turned-after-{orientation}.png", after, rgb)
    samples = at_depth(stored(rgb, 6), 8)
    raw = b"Exif\0\0" + oriented(6)
    raw = hexed % (len(raw), raw.hex().encode())
    packet = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6))
    for name, before in {
        "magick-ztxt": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        "magick-text": chunk(b"tEXt", b"Raw profile type exif\0" + raw),
        "xmp": packet,
    }.items():
        yield OddPhoto(f"png-turned-{name}.png", png(samples, 8, RGB, before), rgb)
    for name, block in broken(6).items():
        data = png(samples, 8, RGB, chunk(b"eXIf", block))
        yield OddPhoto(f"png-exif-{name}.png", data, rgb)
    for name, block in unreadable().items():
        data = png(at_depth(rgb, 8), 8, RGB, chunk(b"eXIf", block))
        yield OddPhoto(f"png-exif-{name}.png", data, rgb)


def wrong() -> Iterator[OddPhoto]:
    """What must be refused."""
    rgb = scene()
    samples, end = at_depth(rgb, 8), chunk(b"IEND", b"")
    pixels = zlib.compress(rows(samples, 8))
    size = rgb.shape[:2]
    good = header(*size, 8, RGB)
    other = rgb.tobytes()[:4000]
    for name, body in {
        "no-header": chunk(b"IDAT", pixels) + end,
        "no-pixels": good + end,
        "empty-pixels": good + chunk(b"IDAT", b"") + end,
        "half-the-rows": good + chunk(b"IDAT", zlib.compress(rows(samples[:18], 8))) + end,
        "not-deflated": good + chunk(b"IDAT", other) + end,
        "damaged-pixels": good + chunk(b"IDAT", pixels[:200] + b"\xff" * 40 + pixels[240:]) + end,
        "no-width": header(size[0], 0, 8, RGB) + chunk(b"IDAT", pixels) + end,
        "colour-type-5": header(*size, 8, 5) + chunk(b"IDAT", pixels) + end,
        "bits-3": header(*size, 3, GREY) + chunk(b"IDAT", pixels) + end,
        "rgb-of-4-bits": header(*size, 4, RGB) + chunk(b"IDAT", pixels) + end,
        "palette-missing": header(*size, 8, PALETTE) + chunk(b"IDAT", pixels) + end,
        "header-short": chunk(b"IHDR", b"1234") + chunk(b"IDAT", pixels) + end,
        "filter-7": good + chunk(b"IDAT", zlib.compress(b"\7" + rows(samples, 8)[1:])) + end,
        "a-million-wide": header(1, 1_000_000, 8, GREY)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_001), 9))
        + end,
        "twelve-million-high": header(12_000_000, 1, 8, GREY)
        + chunk(b"IDAT", zlib.compress(bytes(24_000_000), 9))
        + end,
        "says-900-megapixels": header(30_000, 30_000, 8, RGB) + chunk(b"IDAT", pixels) + end,
    }.items():
        yield OddPhoto(f"png-wrong-{name}.png", SIGNATURE + body, None)


def photos() -> Iterator[OddPhoto]:
    """All odd PNG files."""
    yield from kinds()
    yield from orientations()
    rgb = scene()
    samples = at_depth(rgb, 8)
    for name, (before, after) in ancillary().items():
        yield OddPhoto(f"png-with-{name}.png", png(samples, 8, RGB, before, after), rgb)
    yield OddPhoto("png-idat-of-one-byte.png", png(samples, 8, RGB, piece=1), rgb)
    yield OddPhoto("png-trailing.png", png(samples, 8, RGB) + b"film" * 999, rgb)
    one = scene(1, 1)
    yield OddPhoto("png-one-pixel.png", png(at_depth(one, 8), 8, RGB, interlaced=True), one)
    yield OddPhoto("png-named-jpg.jpg", png(samples, 8, RGB), rgb)
    yield from wrong()
    whole = OddPhoto("png.png", png(samples, 8, RGB, chunk(b"gAMA", bytes(4)), piece=400), rgb)
    places, here = [8], 8
    while here < len(whole.data):
        here += 12 + int.from_bytes(whole.data[here : here + 4], "big")
        places += [here - 5, here]
    yield from cut(whole, places[:-1])
