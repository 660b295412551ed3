"""Odd JPEG files: every process that libjpeg writes, and all that may lie around the scans."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from odd_exif import broken, naming_twice, oriented, tiff_block, unreadable, xmp
from odd_photos import OddPhoto, cut, grey, scene, stored
from PIL import Image

OFF = 3.0


def segment(marker: int, body: bytes) -> bytes:
    """A segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def jpeg(rgb: np.ndarray, mode: str = "RGB", **options: Any) -> bytes:
    """By Pillow."""
    made = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(made, "JPEG", **{"quality": 97, **options})
    return made.getvalue()


def exif(block: bytes) -> bytes:
    """APP1 that holds it."""
    return segment(0xE1, b"Exif\0\0" + block)


def with_parts(data: bytes, parts: bytes) -> bytes:
    """Segments right behind the first marker."""
    return data[:2] + parts + data[2:]


def kinds() -> Iterator[OddPhoto]:
    """Processes, samplings and colours."""
    rgb = scene()
    for name, options in {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "progressive": {"progressive": True},
        "progressive-444": {"progressive": True, "subsampling": 0},
        "optimised": {"optimize": True},
        "restarts": {"restart_marker_blocks": 1},
        "rgb-kept": {"keep_rgb": True},
    }.items():
        yield OddPhoto(f"jpeg-{name}.jpg", jpeg(rgb, **options), rgb, OFF)
    for progressive in (False, True):
        lum = np.asarray(Image.fromarray(rgb).convert("L"))
        name = f"jpeg-grey{'-progressive' * progressive}.jpg"
        yield OddPhoto(name, jpeg(rgb, "L", progressive=progressive), grey(lum), OFF)
        name = f"jpeg-cmyk{'-progressive' * progressive}.jpg"
        yield OddPhoto(name, jpeg(rgb, "CMYK", progressive=progressive), rgb, OFF)
    for name, factor in (
        ("411", cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
        ("440", cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    ):
        options = [cv2.IMWRITE_JPEG_QUALITY, 97, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        data = cv2.imencode(".jpg", rgb[..., ::-1], options)[1].tobytes()
        yield OddPhoto(f"jpeg-{name}.jpg", data, rgb, 2 * OFF)
    one = scene(1, 1)
    yield OddPhoto("jpeg-one-pixel.jpg", jpeg(one), one, OFF)


def around(data: bytes) -> dict[str, bytes]:
    """The same picture with more around it."""
    mpf = b"MPF\0" + tiff_block([(0xB001, 4, 1, 9)], claims=65535)
    large = b"MPF\0" + naming_twice(40)
    film = b"\xff\xda\0\x0c" * 300
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))
    scan = data.index(b"\xff\xda")
    return {
        "app-flood": with_parts(data, segment(0xE5, b"x" * 9) * 25_000),
        "comment-flood": with_parts(data, segment(0xFE, b"\xff\xda" * 40) * 2_000),
        "profile-flood": with_parts(data, profile * 60),
        "profile-wrong-count": with_parts(data, segment(0xE2, b"ICC_PROFILE\0\7\3abc")),
        "mpf-broken": with_parts(data, segment(0xE2, mpf)),
        "mpf-names-twice": with_parts(data, segment(0xE2, large)),
        "mpf-empty": with_parts(data, segment(0xE2, b"MPF\0")),
        "photoshop-broken": with_parts(data, segment(0xED, b"Photoshop 3.0\08BIM\4\4")),
        "exif-17-times": with_parts(data, exif(b"II*\0\x08" + bytes(9)) * 17),
        "exif-empty-segments": with_parts(data, segment(0xE1, b"") * 40),
        "jfif-short": with_parts(data, segment(0xE0, b"JFIF\0\1")),
        "fill-bytes": with_parts(data, b"\xff" * 3000),
        "between-segments": with_parts(data, segment(0xFE, b"c") + b"\0" * 3000),
        "before-the-scan": data[:scan] + segment(0xFE, b"late") + data[scan:],
        "film-behind": data + film,
        "zeros-behind": data + bytes(5000),
        "thumbnail-behind": data + data,
        "no-end": data[:-2],
    }


def orientations() -> Iterator[OddPhoto]:
    """EXIF and XMP, broken or not."""
    rgb = scene()
    for orientation in range(1, 9):
        data = jpeg(stored(rgb, orientation))
        for order in "<>":
            name = f"jpeg-turned-{orientation}-{'little' if order == '<' else 'big'}.jpg"
            turned = with_parts(data, exif(oriented(orientation, order)))
            yield OddPhoto(name, turned, rgb, OFF)
    data = jpeg(stored(rgb, 8))
    packet = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(8))
    yield OddPhoto("jpeg-turned-xmp.jpg", with_parts(data, packet), rgb, OFF)
    both = exif(oriented(8)) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(3))
    yield OddPhoto("jpeg-turned-exif-and-xmp.jpg", with_parts(data, both), rgb, OFF)
    for name, block in broken(8).items():
        yield OddPhoto(f"jpeg-exif-{name}.jpg", with_parts(data, exif(block)), rgb, OFF)
    for name, block in unreadable().items():
        yield OddPhoto(f"jpeg-exif-{name}.jpg", with_parts(jpeg(rgb), exif(block)), rgb, OFF)


def wrong(data: bytes) -> Iterator[OddPhoto]:
    """What must be refused: other processes, and no picture."""
    frame = data.index(b"\xff\xc0")
    scan = data.index(b"\xff\xda")

    def with_frame(marker: int = 0xC0, bits: int = 8, size: bytes = b"") -> bytes:
        size = size or data[frame + 5 : frame + 9]
        head = bytes([0xFF, marker]) + data[frame + 2 : frame + 4] + bytes([bits]) + size
        return data[:frame] + head + data[frame + 9 :]

    for name, made in {
        "12-bit": with_frame(0xC1, 12),
        "lossless": with_frame(0xC3),
        "hierarchical": with_frame(0xC5),
        "arithmetic-without-data": with_frame(0xC9)[:scan],
        "height-after-pixels": with_frame(size=b"\0\0\0\x34"),
        "no-width": with_frame(size=b"\0\x24\0\0"),
        "too-wide": with_frame(size=b"\0\x01\xff\xff"),
        "too-large": with_frame(size=b"\xff\x00\xff\x00"),
        "two-frames": data[:scan] + data[frame : frame + 19] + data[scan:],
        "no-frame": data[:frame] + data[frame + 19 :],
        "no-tables": data[:2] + data[frame:],
        "only-a-start": data[:2],
        "half": data[: len(data) // 2],
    }.items():
        yield OddPhoto(f"jpeg-wrong-{name}.jpg", made, None)


def photos() -> Iterator[OddPhoto]:
    """All odd JPEG files."""
    rgb = scene()
    data = jpeg(rgb)
    yield from kinds()
    yield from orientations()
    for name, made in around(data).items():
        yield OddPhoto(f"jpeg-with-{name}.jpg", made, rgb, OFF, refusable=name == "no-end")
    yield from wrong(data)
    places, here = [], 2
    while data[here + 1] != 0xDA:
        here += 2 + int.from_bytes(data[here + 2 : here + 4], "big")
        places += [here - 1, here]
    places += [here + 2, here + 20, (here + len(data)) // 2]
    yield from cut(OddPhoto("jpeg.jpg", data, rgb, OFF), places)
