"""Odd WebP files: lossy, lossless, animated, and all that may lie around their pixels."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from odd_exif import broken, oriented, unreadable, xmp
from odd_photos import OddPhoto, cut, scene, stored
from PIL import Image

OFF = 4.0
ALPHA, EXIF, XMP, ICC, ANIMATED = 0x10, 0x08, 0x04, 0x20, 0x02


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk, padded to an even length."""
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    """A file of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def webp(rgb: np.ndarray, **options: Any) -> bytes:
    """By Pillow."""
    made = io.BytesIO()
    Image.fromarray(rgb).save(made, "WEBP", **{"quality": 95, **options})
    return made.getvalue()


def pixels(rgb: np.ndarray) -> bytes:
    """The chunk of pixels of a lossless file."""
    return webp(rgb, lossless=True)[12:]


def extended(rgb: np.ndarray, flags: int) -> bytes:
    """The chunk that says what there is."""
    height, width = rgb.shape[:2]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)


def animated(
    rgb: np.ndarray, left: int = 0, top: int = 0, canvas: int = 0
) -> tuple[bytes, np.ndarray]:
    """Two frames, the first perhaps within a larger canvas; and what it shows."""
    height, width = rgb.shape[:2]
    shown = np.zeros((height + canvas, width + canvas, 3), np.uint8)
    shown[top : top + height, left : left + width] = rgb
    frames = b""
    for one in (rgb, 255 - rgb):
        place = [left // 2, top // 2, width - 1, height - 1, 100]
        head = b"".join(value.to_bytes(3, "little") for value in place) + b"\2"
        frames += chunk(b"ANMF", head + pixels(one))
    head = extended(shown, ANIMATED) + chunk(b"ANIM", b"\x7f\x40\x20\xff\0\0")
    return riff(head, frames), shown


def kinds() -> Iterator[OddPhoto]:
    """Of pixels."""
    rgb = scene()
    clear = np.dstack([rgb, np.full(rgb.shape[:2], 3, np.uint8)])
    yield OddPhoto("webp-lossy.webp", webp(rgb), rgb, OFF)
    yield OddPhoto("webp-lossless.webp", webp(rgb, lossless=True), rgb)
    yield OddPhoto("webp-lossy-alpha.webp", webp(clear, exact=True), rgb, OFF)
    yield OddPhoto("webp-lossless-alpha.webp", webp(clear, lossless=True, exact=True), rgb)
    made, shown = animated(rgb)
    yield OddPhoto("webp-animated.webp", made, shown)
    made, shown = animated(rgb, 6, 10, 20)
    yield OddPhoto("webp-animated-within.webp", made, shown)
    one = scene(1, 1)
    yield OddPhoto("webp-one-pixel.webp", webp(one, lossless=True), one)


def around() -> dict[str, bytes]:
    """The same picture with more around it."""
    rgb = scene()
    data = pixels(rgb)
    profile = chunk(b"ICCP", bytes(3000))
    return {
        "profile": riff(extended(rgb, ICC), profile, data),
        "profile-flood": riff(extended(rgb, ICC), profile * 300, data),
        "unknown-chunks": riff(extended(rgb, 0), chunk(b"ABCD", b"12345") * 9000, data),
        "exif-flood": riff(extended(rgb, EXIF), data, chunk(b"EXIF", oriented(1)) * 9000),
        "trailing": riff(data) + b"film" * 900,
        "flags-without-chunks": riff(extended(rgb, ICC | EXIF | XMP), data),
        "chunks-without-flags": riff(extended(rgb, 0), profile, data, chunk(b"XMP ", b"<x/>")),
        "size-says-more": riff(data).replace(struct.pack("<L", 4 + len(data)), b"\xf0\xff\0\0", 1),
    }


def photos() -> Iterator[OddPhoto]:
    """All odd WebP files."""
    rgb = scene()
    yield from kinds()
    for orientation in range(1, 9):
        turned = stored(rgb, orientation)
        data = riff(extended(turned, EXIF), pixels(turned), chunk(b"EXIF", oriented(orientation)))
        yield OddPhoto(f"webp-turned-{orientation}.webp", data, rgb)
    turned = stored(rgb, 6)
    named = chunk(b"EXIF", b"Exif\0\0" + oriented(6))
    data = riff(extended(turned, EXIF), pixels(turned), named)
    yield OddPhoto("webp-turned-named.webp", data, rgb)
    data = riff(extended(turned, XMP), pixels(turned), chunk(b"XMP ", xmp(6)))
    yield OddPhoto("webp-turned-xmp.webp", data, rgb)
    for name, block in broken(6).items():
        data = riff(extended(turned, EXIF), pixels(turned), chunk(b"EXIF", block))
        yield OddPhoto(f"webp-exif-{name}.webp", data, rgb)
    for name, block in unreadable().items():
        data = riff(extended(rgb, EXIF), pixels(rgb), chunk(b"EXIF", block))
        yield OddPhoto(f"webp-exif-{name}.webp", data, rgb)
    for name, data in around().items():
        yield OddPhoto(f"webp-with-{name}.webp", data, rgb, refusable=name == "size-says-more")
    whole = riff(extended(rgb, ICC), chunk(b"ICCP", bytes(30)), pixels(rgb), chunk(b"EXIF", b""))
    places, here = [12], 12
    while here < len(whole):
        size = int.from_bytes(whole[here + 4 : here + 8], "little")
        here += 8 + size + size % 2
        places += [here - 3, here]
    yield from cut(OddPhoto("webp.webp", whole, rgb), places[:-1])
    large = bytearray(riff(extended(rgb, 0), pixels(rgb)))
    large[24:30] = b"\xff\xff\xff\xff\xff\0"
    for name, data in {
        "canvas-too-wide": bytes(large),
        "canvas-is-another": riff(extended(scene(50, 60), 0), pixels(rgb)),
        "no-pixels": riff(extended(rgb, 0)),
        "damaged-pixels": riff(chunk(b"VP8L", bytes(40))),
        "unknown-pixels": riff(chunk(b"VP9 ", pixels(rgb)[8:])),
        "half": webp(rgb)[:400],
    }.items():
        yield OddPhoto(f"webp-wrong-{name}.webp", data, None)
