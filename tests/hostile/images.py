"""Image files that mean harm: cut, foreign, or lying about what is in them."""

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from hostile.numpy_files import npy, zipped
from hostile.request import ANY_IMAGE, IMAGE_TYPES, Hostile, encode

# What lies around sound pixels, and is passed over: these are answered with depth
PASSED_OVER = {
    "PNG": (
        "a zTXt bomb",
        "an iTXt bomb",
        "an iCCP bomb",
        "an EXIF bomb",
        "an EXIF bomb in text",
    ),
    "JPEG": (
        "an EXIF bomb",
        "EXIF in a thousand pieces",
        "an MPF bomb",
        "a megabyte of filling",
        "a megabyte of other filling",
    ),
    "TIFF": ("sixty thousand tags",),
    "WebP": ("an EXIF bomb", "a length of four gigabytes"),
}


def image(file_format: str, name: str, body: bytes, kind: str) -> Hostile:
    """A file by its format and name."""
    harmless = name in PASSED_OVER.get(file_format, ())
    return Hostile(f"{file_format}: {name}", body, kind, harmless=harmless)


def truncated(encoded: Mapping[str, bytes]) -> Iterator[Hostile]:
    for name, data in encoded.items():
        for kept in (0, 1, 2, 4, 8, 12, 16, 24, 40, 100, 0.3, 0.5, 0.7, 0.9):
            length = int(kept if isinstance(kept, int) else kept * len(data))
            yield Hostile(f"{name} of which {kept} is left", data[:length], IMAGE_TYPES[name])


def foreign(bomb: bytes) -> Iterator[Hostile]:
    bodies = {
        "GIF": encode(np.zeros((8, 8, 3), np.uint8), "GIF"),
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(400),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "ELF": b"\x7fELF\2\1\1" + bytes(200),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        "zip": zipped({"image.npy": npy(np.zeros((2, 2, 3), np.uint8))}),
        "pickle": bomb,
        "gzip": gzip.compress(bytes(1 << 20), mtime=0),
    }
    for name, body in bodies.items():
        for kind in ANY_IMAGE:
            yield Hostile(f"{name} as {kind}", body, kind)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    size = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + b"".join(chunks)


def tags(*entries: tuple[int, int, int, int], before: bytes = b"") -> bytes:
    """A TIFF, or EXIF: tags (number, type, count, value or place) after some data."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = struct.pack("<I", 8 + len(before))
    return b"II*\0" + start + before + struct.pack("<H", len(entries)) + directory + bytes(4)


def many_tags(count: int = 5000) -> bytes:
    """Each names all of the file: sixty kilobytes that unpack to three hundred megabytes."""
    return tags(*((1000 + index, 1, 12 * count, 8) for index in range(count)))


def hostile_pngs() -> Iterator[Hostile]:
    pixels, end = chunk(b"IDAT", zlib.compress(bytes(8 * 25))), chunk(b"IEND", b"")
    packed = zlib.compress(bytes(40 << 20))  # forty megabytes in forty kilobytes
    rows = zlib.compress(bytes(6000 * 2501))  # 120 million pixels of one bit
    huge = 6000 * 20000
    profile = b"\n\n\n" + many_tags(300).hex().encode()
    bodies = {
        "60000 x 60000": png_of(60000, 60000, chunk(b"IDAT", b""), end),
        "the largest there is": png_of(2**31 - 1, 2**31 - 1, chunk(b"IDAT", b""), end),
        "beyond the largest": png_of(2**32 - 1, 2**32 - 1, chunk(b"IDAT", b""), end),
        f"{huge:,} real pixels": png_of(20000, 6000, chunk(b"IDAT", rows), end, depth=1, colour=0),
        "more pixels said than there are": png_of(1000, 1000, pixels, end),
        "no width": png_of(0, 8, pixels, end),
        "no height": png_of(8, 0, pixels, end),
        "three bits": png_of(8, 8, pixels, end, depth=3),
        "no such colour": png_of(8, 8, pixels, end, colour=7),
        "no header": b"\x89PNG\r\n\x1a\n" + pixels + end,
        "a short header": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\1") + pixels + end,
        "a header with a wrong sum": png_of(8, 8, pixels, end).replace(b"\2\0\0\0", b"\2\0\0\1"),
        "a chunk of four gigabytes": png_of(8, 8, b"\xff\xff\xff\xffIDAT"),
        "pixels that are not packed": png_of(8, 8, chunk(b"IDAT", b"not zlib" * 9), end),
        "a zTXt bomb": png_of(8, 8, chunk(b"zTXt", b"a\0\0" + packed), pixels, end),
        "an iTXt bomb": png_of(8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + packed), pixels, end),
        "an iCCP bomb": png_of(8, 8, chunk(b"iCCP", b"a\0\0" + packed), pixels, end),
        "an EXIF bomb": png_of(8, 8, chunk(b"eXIf", many_tags()), pixels, end),
        "an EXIF bomb in text": png_of(
            8,
            8,
            chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
            pixels,
            end,
        ),
        "a hundred thousand chunks": png_of(8, 8, chunk(b"aaAa", b"") * 100_000, pixels, end),
        "a hundred thousand pieces": png_of(8, 8, chunk(b"IDAT", b"") * 100_000, end),
    }
    for name, body in bodies.items():
        yield image("PNG", name, body, "image/png")


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def hostile_jpegs(rgb: np.ndarray, honest: bytes) -> Iterator[Hostile]:
    begin, rest = b"\xff\xd8", honest[20:]  # without JFIF, so that EXIF is looked at for its dpi
    progressive = encode(rgb, "JPEG", progressive=True)
    at = progressive.rindex(b"\xff\xda")
    scan, frame = progressive[at:-2], honest.index(b"\xff\xc0")
    exif = b"Exif\0\0" + many_tags()
    quarter = segment(0xE1, b"Exif\0\0" + bytes(1000)) * 1000
    bodies = {
        "a thousand scans": progressive[:at] + scan * 1000 + b"\xff\xd9",
        "an EXIF bomb": begin + segment(0xE1, exif) + rest,
        "EXIF in a thousand pieces": begin + quarter + rest,
        "an MPF bomb": begin + segment(0xE2, b"MPF\0" + many_tags()) + rest,
        "a hundred thousand segments": begin + segment(0xE5, b"") * 100_000 + rest,
        "a megabyte of filling": begin + segment(0xE5, b"") + bytes(1 << 20) + rest,
        "a megabyte of other filling": begin + b"\xff" * (1 << 20) + rest,
        "a segment shorter than its length": begin + b"\xff\xe5\0\0" + b"\xff\xe5\0\1" + rest[:99],
        "a segment without end": begin + b"\xff\xe1\xff\xff" + rest[:99],
        "65535 x 65535": honest[: frame + 5] + b"\xff\xff\xff\xff" + honest[frame + 9 :],
        "no height": honest[: frame + 5] + b"\0\0" + honest[frame + 7 :],
        "12 bits": honest[: frame + 4] + b"\x0c" + honest[frame + 5 :],
        "no channels": honest[: frame + 9] + b"\0" + honest[frame + 10 :],
        "lossless": honest[:frame] + b"\xff\xc3" + honest[frame + 2 :],
        "a frame of nothing": begin + segment(0xC0, b"") + rest,
        "no tables": begin + honest[frame:],
        "an empty table": begin + segment(0xDB, b"\0") + rest,
        "markers only": begin + b"\xff\xd9" * 500,
        "the end at the beginning": begin + b"\xff\xd9",
    }
    for name, body in bodies.items():
        yield image("JPEG", name, body, "image/jpeg")


def hostile_tiffs() -> Iterator[Hostile]:
    grey = ((0x102, 3, 1, 8), (0x103, 3, 1, 1), (0x106, 3, 1, 1), (0x115, 3, 1, 1))
    strip = ((0x111, 4, 1, 8), (0x117, 4, 1, 64))
    tile = zlib.compress(bytes(2500 * 20000))  # 20000 x 20000 of one bit
    bits = ((0x102, 3, 1, 1), (0x103, 3, 1, 8), (0x106, 3, 1, 1), (0x115, 3, 1, 1))
    tiles = ((0x142, 4, 1, 20000), (0x143, 4, 1, 20000), (0x144, 4, 1, 8), (0x145, 4, 1, len(tile)))
    big = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**40)
    bodies = {
        "60000 x 60000": tags((0x100, 4, 1, 60000), (0x101, 4, 1, 60000), *grey, *strip),
        "four billion wide": tags((0x100, 4, 1, 2**32 - 1), (0x101, 4, 1, 1), *grey, *strip),
        "no width": tags((0x100, 4, 1, 0), (0x101, 4, 1, 8), *grey, *strip, before=bytes(64)),
        "no size": tags(*grey, *strip),
        "no pixels": tags((0x100, 4, 1, 8), (0x101, 4, 1, 8), *grey),
        "strips elsewhere": tags((0x100, 4, 1, 8), (0x101, 4, 1, 8), *grey, (0x111, 4, 1, 2**31)),
        "one huge tile": tags((0x100, 3, 1, 16), (0x101, 3, 1, 16), *bits, *tiles, before=tile),
        "five thousand tags that name it all": many_tags(),
        "sixty thousand tags": tags(*((index, 3, 1, 1) for index in range(60_000))),
        "a trillion tags": big,
        "a directory nowhere": b"II*\0\xff\xff\xff\xff",
        "a directory in its header": b"II*\0\0\0\0\0" + bytes(64),
        "a tag of four gigabytes": tags((0x100, 4, 2**32 - 1, 0), (0x101, 4, 1, 8), *grey),
        "text for sizes": tags((0x100, 2, 4, 0x30303030), (0x101, 2, 4, 0x30303030), *grey, *strip),
        "floats for sizes": tags((0x100, 11, 1, 0x7FC00000), (0x101, 11, 1, 0), *grey, *strip),
        "no such compression": tags((0x100, 4, 1, 8), (0x101, 4, 1, 8), (0x103, 3, 1, 9999)),
        "thousands of channels": tags(
            (0x100, 4, 1, 8), (0x101, 4, 1, 8), (0x102, 3, 1, 8), (0x115, 3, 1, 65535), *strip
        ),
        "EXIF that holds itself": tags((0x8769, 4, 1, 8), (0x100, 4, 1, 8), *grey),
    }
    for name, body in bodies.items():
        yield image("TIFF", name, body, "image/tiff")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in chunks
    )
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data


def bmp(width: int, height: int, bits: int, packing: int, data: bytes, colours: int = 0) -> bytes:
    start = 54 + 4 * (1 << bits if bits <= 8 else 0)
    size = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, colours, 0)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + size + bytes(start - 54) + data


def hostile_others(webp: bytes) -> Iterator[Hostile]:
    at = webp.index(b"VP8 ")
    picture = (b"VP8 ", webp[at + 8 :])
    canvas = b"\0\0\0\0\xff\x3f\0\xff\x3f\0"  # 16384 x 16384
    lossless = (b"VP8L", struct.pack("<BI", 0x2F, 0x0FFFFFFF) + bytes(40))
    webps = {
        "16384 x 16384": riff((b"VP8X", canvas), picture),
        "16777216 x 16777216": riff((b"VP8X", b"\0\0\0\0" + b"\xff" * 6), picture),
        "lossless, 16384 x 16384": riff(lossless),
        "16384 x 16384, one frame": riff(
            (b"VP8X", b"\2" + canvas[1:]),
            (b"ANIM", bytes(6)),
            (b"ANMF", bytes(6) + canvas[4:] + bytes(4) + lossless[0] + b"\x2d\0\0\0" + lossless[1]),
        ),
        "a length of four gigabytes": b"RIFF\xff\xff\xff\xffWEBP" + webp[12:],
        "a picture of four gigabytes": webp[: at + 4] + b"\xff\xff\xff\xff" + webp[at + 8 :],
        "no picture": riff((b"EXIF", many_tags())),
        "an EXIF bomb": riff(
            (b"VP8X", b"\x08\0\0\0\x3f\0\0\x2f\0\0"), picture, (b"EXIF", many_tags())
        ),
    }
    for name, body in webps.items():
        yield image("WebP", name, body, "image/webp")
    bmps = {
        "65500 x 65500": bmp(65500, 65500, 24, 0, bytes(100)),
        "two billion wide": bmp(2**31 - 1, 1, 24, 0, bytes(100)),
        "as high as can be, upside down": bmp(1, -(2**31), 24, 0, bytes(100)),
        "a negative width": bmp(-8, 8, 24, 0, bytes(300)),
        "no width": bmp(0, 8, 24, 0, bytes(300)),
        "five bits": bmp(8, 8, 5, 0, bytes(300)),
        "packed, one long row": bmp(4_000_000, 1, 8, 1, b"\1\1\0\0\0\1"),
        "packed, in four bits": bmp(1000, 1000, 4, 2, b"\1\1\0\0\0\1"),
        "no such packing": bmp(8, 8, 24, 99, bytes(300)),
        "four billion colours": bmp(8, 8, 8, 0, bytes(64), 2**31 - 1)[:60],
        "a header of four gigabytes": b"BM" + bytes(12) + b"\xff\xff\xff\xff" + bytes(200),
    }
    for name, body in bmps.items():
        yield image("BMP", name, body, "image/bmp")
