"""Requests that mean harm, made by a recipe: the same ones every time.

An honest photo in; some hundreds of bodies and headers out, of each kind that the service reads.
None is large: what they cost is what they claim, or what they unpack to.
"""

import base64
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BODY_MB = 2  # of the server that they are sent to
IMAGE_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
ANY_IMAGE = (*IMAGE_TYPES.values(), "application/x-image")
NPY, NPZ, JSON = "application/x-npy", "application/x-npz", "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Hostile:
    """One request; ``harmless`` ones may be answered with depth."""

    name: str
    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    harmless: bool = False


def corpus(rgb: np.ndarray, marker: Path) -> list[Hostile]:
    """All of them.

    Args:
        rgb: uint8 (H, W, 3), noisy enough that it does not compress to nothing.
        marker: a file that appears if anything in a body is executed.
    """
    encoded = {name: encode(rgb, name) for name in IMAGE_TYPES}
    png, bomb = encoded["PNG"], pickle.dumps(Executed(marker))
    found = [
        *truncated(encoded),
        *foreign(bomb),
        *hostile_pngs(),
        *hostile_jpegs(rgb, encoded["JPEG"]),
        *hostile_tiffs(),
        *hostile_others(encoded["WEBP"]),
        *arrays(bomb),
        *archives(bomb),
        *jsons(png, bomb),
        *forms(png, bomb),
        *queries(png),
        *headers(png),
    ]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, twice
    return found


class Executed:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def encode(rgb: np.ndarray, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, name, **options)
    return buffer.getvalue()


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


# Images


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
        yield Hostile(f"PNG: {name}", body, "image/png")


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
        yield Hostile(f"JPEG: {name}", body, "image/jpeg")


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
        yield Hostile(f"TIFF: {name}", body, "image/tiff")


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
        yield Hostile(f"WebP: {name}", body, "image/webp")
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
        yield Hostile(f"BMP: {name}", body, "image/bmp")


# Arrays


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npy_of(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1") + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def says(shape: str, descr: str = "'|u1'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}"


def hostile_arrays(bomb: bytes) -> dict[str, bytes]:
    twelve = bytes(12)
    nines = "9" * 4000
    return {
        "objects": npy_of(says("(1,)", "'|O'"), bomb),
        "objects, said to be a photo": npy_of(says("(2, 2, 3)", "'|O'"), bomb),
        "objects in a structure": npy_of(says("(1,)", "[('a', '|O'), ('b', '<i4')]"), bomb),
        "a structure": npy_of(says("(4,)", "[('r', 'u1'), ('g', 'u1'), ('b', 'u1')]"), twelve),
        "arrays in an array": npy_of(says("(2, 2)", "('|u1', (3,))"), twelve),
        "a terabyte": npy_of(says("(1000000, 1000000, 3)"), twelve),
        "more than there are addresses": npy_of(says(f"({2**62}, {2**62}, 3)"), twelve),
        "sizes of 4000 digits": npy_of(says(f"({nines}, {nines}, 3)"), twelve),
        "sizes of 9000 digits": npy_of(says(f"({'9' * 9000}, 1, 3)"), twelve),
        "nothing, but very wide": npy_of(says(f"(0, {10**15}, 3)")),
        "negative sides": npy_of(says("(-2, -2, 3)"), twelve),
        "one negative side": npy_of(says("(-1, 2, 3)"), twelve),
        "truths for sides": npy_of(says("(True, True, 3)"), b""),
        "floats for sides": npy_of(says("(2.0, 2.0, 3)"), twelve),
        "a list for a shape": npy_of(says("[2, 2, 3]"), twelve),
        "a thousand dimensions": npy_of(says("(" + "1," * 1000 + ")"), b"\0"),
        "no dimension": npy_of(says("()"), b"\0"),
        "four channels": npy(np.zeros((4, 4, 4), np.uint8)),
        "grey": npy(np.zeros((4, 4), np.uint8)),
        "signed": npy(np.zeros((4, 4, 3), np.int8)),
        "floats": npy(np.zeros((4, 4, 3), np.float32)),
        "not finite": npy(np.full((4, 4, 3), np.nan)),
        "complex": npy(np.zeros((4, 4, 3), np.complex64)),
        "text": npy(np.full((4, 4, 3), "a" * 50)),
        "dates": npy(np.zeros((4, 4, 3), "M8[s]")),
        "void of two gigabytes": npy_of(says("(1,)", "'|V2000000000'"), twelve),
        "no such type": npy_of(says("(2, 2, 3)", "'|z9'"), twelve),
        "a type of many types": npy_of(says("(2, 2, 3)", "'" + "i4," * 3000 + "'"), twelve),
        "seventeen photos": npy(np.zeros((17, 2, 2, 3), np.uint8)),
        "data that ends early": npy(np.zeros((9, 9, 3), np.uint8))[:-1],
        "a header that ends early": npy(np.zeros((9, 9, 3), np.uint8))[:40],
        "nothing but magic": b"\x93NUMPY",
        "version 3": npy_of(says("(2, 2, 3)"), twelve, 3),
        "version 255": npy_of(says("(2, 2, 3)"), twelve, 255),
        "a header of four gigabytes": b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(1000),
        "a header of a megabyte": npy_of(says("(2, 2, 3)") + " " * (1 << 20), twelve, 2),
        "a header that is a call": npy_of("__import__('os').system('true')"),
        "a header that is a power": npy_of(says("(9**9**9, 1, 3)")),
        "a header of brackets": npy_of("(" * 9900),
        "a header of closed brackets": npy_of("[" * 90 + "]" * 90),
        "a header of minus signs": npy_of("-" * 9900 + "1"),
        "a header of nots": npy_of("not " * 2400 + "1"),
        "a header of sums": npy_of("1+" * 4900 + "1"),
        "a header of conditions": npy_of("1 if 1 else " * 800 + "1"),
        "a header of lambdas": npy_of("lambda:" * 1400 + "1"),
        "a header that is a list": npy_of("[1, 2, 3]"),
        "a header with more": npy_of(says("(2, 2, 3)")[:-1] + ", 'more': 1}", twelve),
        "a header with nul": npy_of(says("(2, 2, 3)") + "\0", twelve),
        "an order that is none": npy_of(says("(2, 2, 3)", fortran="2"), twelve),
    }


def arrays(bomb: bytes) -> Iterator[Hostile]:
    for name, body in hostile_arrays(bomb).items():
        yield Hostile(f"npy: {name}", body, NPY)
    yield Hostile("npy: no body", b"", NPY)
    yield Hostile("npy: an archive", zipped({"image.npy": b""}), NPY)


def zipped(members: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body, packing)
    return buffer.getvalue()


def archives(bomb: bytes) -> Iterator[Hostile]:
    photo = npy(np.zeros((4, 4, 3), np.uint8))
    whole = zipped({"image.npy": photo})
    # thirty-two megabytes in thirty-two kilobytes, more than such a server takes in
    wide = npy_of(says("(1000, 11000, 3)"), bytes(33_000_000))
    header = b"\x93NUMPY\2\0" + struct.pack("<I", 64 << 20) + b" " * (64 << 20)
    table, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    entry = whole[table:end]
    bodies = {
        "a photo that unpacks to 33 MB": zipped({"image.npy": wide}),
        "a header that unpacks to 64 MB": zipped({"image.npy": header}),
        "cameras that unpack to 33 MB": zipped({"image.npy": photo, "intrinsics.npy": wide}),
        "a terabyte claimed": zipped({"image.npy": npy_of(says("(1000000, 1000000, 3)"))}),
        "sizes that lie": whole[: table + 20] + b"\x09\0\0\0\xff" + whole[table + 25 :],
        "a wrong name": zipped({"photo.npy": photo}),
        "no ending": zipped({"image": photo}),
        "a path": zipped({"../../image.npy": photo}),
        "an absolute path": zipped({"/image.npy": photo}),
        "a folder": zipped({"image.npy/": b""}),
        "a long name": zipped({"a" * 60_000 + ".npy": photo}),
        "a name of no letters": zipped({"": photo}),
        "a name in other letters": zipped({"im\u0430ge.npy": photo}),
        "an archive in it": zipped({"image.npy": whole}),
        "both names": zipped({"image.npy": photo, "images.npy": photo}),
        "no image": zipped({"intrinsics.npy": npy(np.eye(3))}),
        "nothing": zipped({}),
        "the same name twice": (
            whole[:end]
            + entry
            + b"PK\5\6\0\0\0\0\2\0\2\0"
            + struct.pack("<IIH", 2 * len(entry), table, 0)
        ),
        "ten thousand members": zipped({f"{index}.npy": b"" for index in range(10_000)}),
        "encrypted": whole.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
        "no such packing": whole[: table + 10] + b"\x63\0" + whole[table + 12 :],
        "a wrong sum": zipped({"image.npy": photo}, zipfile.ZIP_STORED).replace(
            bytes(48), b"x" * 48
        ),
        "a broken packing": whole[:50] + b"\xff" * 20 + whole[70:],
        "the table cut off": whole[:end],
        "the end only": whole[end:],
        "a table elsewhere": whole[: end + 16] + b"\xff\xff\xff\x7f" + whole[end + 20 :],
        "no archive": b"PK\3\4" + bytes(200),
        "bzip2, damaged": zipped({"image.npy": photo}, zipfile.ZIP_BZIP2)[:-80] + whole[-80:],
        "cameras of text": zipped(
            {"image.npy": photo, "intrinsics.npy": npy(np.full((3, 3), "a"))}
        ),
        "cameras of nothing": zipped(
            {"image.npy": photo, "intrinsics.npy": npy(np.full((3, 3), np.nan))}
        ),
    }
    for name, body in hostile_arrays(bomb).items():
        if "photos" not in name:
            bodies[f"npy, {name}"] = zipped({"image.npy": body})
    for name, body in bodies.items():
        yield Hostile(f"npz: {name}", body, NPZ)


# JSON and forms


def hostile_cameras() -> dict[str, str]:
    """What is no (1, 3, 3) of finite numbers, as JSON."""
    eye = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    return {
        "of another shape": "[[1, 2], [3, 4]]",
        "of two photos": json.dumps([eye, eye]),
        "of no photo": "[]",
        "ragged": "[[1, 0, 0], [0, 1], [0, 0, 1]]",
        "NaN": json.dumps(eye).replace("1.0", "NaN"),
        "infinite": json.dumps(eye).replace("1.0", "-Infinity"),
        "infinite all the same": json.dumps(eye).replace("1.0", "1e999"),
        "of texts": json.dumps([[str(number) for number in row] for row in eye]),
        "of nothings": json.dumps([[None] * 3] * 3),
        "of truths": json.dumps([[True] * 3] * 3),
        "of objects": json.dumps([[{}] * 3] * 3),
        "a number": "7",
        "a text": '"' + "a" * 100_000 + '"',
        "an object": '{"a": 1}',
        "of 400 digits": json.dumps(eye).replace("1.0", "9" * 400),
        "of 5000 digits": json.dumps(eye).replace("1.0", "9" * 5000),
        "nested a hundred deep": "[" * 100 + "1" + "]" * 100,
        "of long and short texts": json.dumps(["a" * 100_000] + ["b"] * 50_000),
        "of fifty thousand": json.dumps([0] * 50_000),
    }


def jsons(png: bytes, bomb: bytes) -> Iterator[Hostile]:
    photo = base64.b64encode(png).decode()
    bodies: dict[str, str] = {
        "not JSON": "hello",
        "cut off": '{"image": "' + photo[:50],
        "a quarter million of brackets": "[" * 250_000,
        "nested a hundred thousand deep": "[" * 99_999,
        "objects ninety thousand deep": '{"a":' * 90_000,
        "empty lists": "[" + "[]," * 600_000 + "[]]",
        "empty objects": '{"images": [' + "{}," * 600_000 + "{}]}",
        "a list": "[1, 2]",
        "a number": "7",
        "null": "null",
        "nothing": "{}",
        "a name twice": f'{{"image": "{photo}", "image": "{photo}"}}',
        "an unknown name": json.dumps({"image": photo, "colour": "red"}),
        "a long unknown name": json.dumps({"image": photo, "c" * 1_000_000: "red"}),
        "a name in halves of letters": json.dumps({"image": photo, "\udc80": 1}),
        "its own methods": json.dumps({"image": photo, "__class__": 1, "__init__": 2}),
        "NaN": f'{{"image": "{photo}", "focal_px": NaN}}',
        "infinity": f'{{"image": "{photo}", "focal_px": Infinity}}',
        "UTF-8 that is none": '{"image": "\udcff"}',
        "base64 that is none": json.dumps({"image": "$$$$"}),
        "base64 with lines": json.dumps({"image": photo[:20] + "\n" + photo[20:]}),
        "base64 cut off": json.dumps({"image": photo[:-3]}),
        "base64 in other letters": json.dumps({"image": "ÄÖÜß" * 100}),
        "base64 of nothing": json.dumps({"image": ""}),
        "base64 of a pickle": json.dumps({"image": base64.b64encode(bomb).decode()}),
        "a data address": json.dumps({"image": "data:image/png;base64," + photo}),
        "a forbidden bucket": json.dumps({"image": "s3://somebody-elses/key.png"}),
        "a bucket with a prefix": json.dumps({"image": "s3://allowed.evil/key.png"}),
        "a bucket in other letters": json.dumps({"image": "s3://ALLOWED/key.png"}),
        "an account before the bucket": json.dumps({"image": "s3://allowed@evil/key.png"}),
        "no bucket": json.dumps({"image": "s3:///key.png"}),
        "no key": json.dumps({"image": "s3://allowed"}),
        "an empty key": json.dumps({"image": "s3://allowed/"}),
        "a long forbidden bucket": json.dumps({"image": "s3://" + "a" * 1_000_000 + "/b"}),
        "S3, shouted": json.dumps({"image": "S3://allowed/key.png"}),
        "a file": json.dumps({"image": "file:///etc/passwd"}),
        "a path": json.dumps({"image": "/etc/passwd"}),
        "the metadata service": json.dumps({"image": "http://169.254.169.254/latest/meta-data"}),
        "https": json.dumps({"image": "https://localhost/a.png"}),
        "image and images": json.dumps({"image": photo, "images": [photo]}),
        "no images": json.dumps({"images": []}),
        "images that are one": json.dumps({"images": photo}),
        "images of images": json.dumps({"images": [[photo]]}),
        "two photos for one that takes one": json.dumps({"images": [photo, photo]}),
        "seventeen photos": json.dumps({"images": [photo] * 17}),
        "fifty thousand photos": json.dumps({"images": [""] * 50_000}),
        "two gigabytes of width": json.dumps(
            {"image": base64.b64encode(png_of(2**31 - 1, 2**31 - 1)).decode()}
        ),
    }
    wrong: tuple[Any, ...] = (None, 7, -1.5, "no", [], {}, ["16"], {"a": 1}, [[["a"] * 9] * 9])
    for name in ("image", "size", "png", "colormap", "encoding", "focal_px", "ref_view_strategy"):
        for value in (*wrong, True):
            if (name, value) != ("focal_px", 7):
                text = json.dumps({"image": photo, name: value})
                bodies[f"{name} is {json.dumps(value)[:20]}"] = text
    for value in wrong:
        text = json.dumps({"image": photo, "use_ray_pose": value})
        bodies[f"use_ray_pose is {json.dumps(value)[:20]}"] = text
    for value in ("0", "-0", "1e999", "-1", "9" * 400, "9" * 5000, '"1e400"', '"nan"'):
        bodies[f"focal_px is {value[:20]}{len(value)}"] = (
            f'{{"image": "{photo}", "focal_px": {value}}}'
        )
    for depth in (300, 600, 900, 930, 950, 970, 980, 990):  # where recursion ends
        nested = "[" * depth + "]" * depth
        bodies[f"an option nested {depth} deep"] = f'{{"image": "{photo}", "size": {nested}}}'
    for name, cameras in hostile_cameras().items():
        bodies[f"intrinsics {name}"] = f'{{"image": "{photo}", "intrinsics": {cameras}}}'
        bodies[f"extrinsics {name}"] = f'{{"image": "{photo}", "extrinsics": {cameras}}}'
    for name, text in bodies.items():
        yield Hostile(f"JSON: {name}", text.encode("utf-8", "surrogateescape"), JSON)
    yield Hostile("JSON: no body", b"", JSON)
    yield Hostile("JSON: a pickle", bomb, JSON)
    yield Hostile("JSON: UTF-16 cut off", '{"image": 1}'.encode("utf-16")[:-1], JSON)


def part(disposition: str, body: bytes, more: str = "") -> bytes:
    head = f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n"
    return head.encode("utf-8", "surrogateescape") + body + b"\r\n"


def forms(png: bytes, bomb: bytes) -> Iterator[Hostile]:
    photo = part('form-data; name="image"; filename="a.png"', png)
    end = b"--b--\r\n"
    bodies = {
        "no file": part('form-data; name="size"', b"model") + end,
        "nothing": end,
        "no body": b"",
        "no end": photo[:-50],
        "no part": b"hello",
        "no head": b"--b\r\n\r\n" + png + b"\r\n" + end,
        "a head without end": b"--b\r\nContent-Disposition: form-data; name=" + b"a" * 1_000_000,
        "a photo as text": part('form-data; name="image"', b"hello") + end,
        "an empty photo": part('form-data; name="image"; filename="a.png"', b"") + end,
        "a pickle": part('form-data; name="image"; filename="a.pkl"', bomb) + end,
        "two photos": photo + photo + end,
        "seventeen photos": photo * 17 + end,
        "ten thousand parts": part('form-data; name="a"', b"") * 10_000 + end,
        "ten thousand files": part('form-data; name="a"; filename="b"', b"") * 10_000 + end,
        "a field of a megabyte": photo + part('form-data; name="size"', b"a" * 1_100_000) + end,
        "a name of a megabyte": photo + part(f'form-data; name="{"a" * 1_000_000}"', b"") + end,
        "an unknown field": photo + part('form-data; name="colour"', b"red") + end,
        "no name": photo + part("form-data", b"x") + end,
        "another disposition": part('attachment; filename="a.png"', b"x") + end,
        "a wrong value": photo + part('form-data; name="size"', b"huge") + end,
        "a field that is no text": photo + part('form-data; name="size"', b"\xff\xfe\x80") + end,
        "another alphabet": photo
        + part('form-data; name="size"', b"+AGE-", "Content-Type: text/plain; charset=utf-7\r\n")
        + end,
        "lines of nothing": b"\r\n" * 400_000,
        "borders only": b"--b\r\n" * 100_000,
        "many wrong ends": b"\r\n--c" * 200_000,
    }
    for name, cameras in hostile_cameras().items():
        field_ = part('form-data; name="intrinsics"', cameras.encode())
        bodies[f"intrinsics {name}"] = photo + field_ + end
    bodies["intrinsics that are no JSON"] = photo + part('form-data; name="intrinsics"', b"a") + end
    for name, body in bodies.items():
        yield Hostile(f"form: {name}", body, f"{FORM}; boundary=b")
    for border in (
        "",
        "; boundary=",
        "; boundary=" + "c" * 3000,
        '; boundary="',
        "; boundary=\xff",
    ):
        yield Hostile(f"form: the border is {border[:20]!r}", photo + end, FORM + border)


# Addresses and heads


def queries(png: bytes) -> Iterator[Hostile]:
    for query in (
        "colour=red",
        "size=huge",
        "size=",
        "size=model&size=huge",
        "SIZE=model",
        "png=8",
        "png=16%00",
        "colormap=../../etc/passwd",
        "colormap=hot",
        "encoding=pickle",
        "focal_px=nan",
        "focal_px=-1",
        "focal_px=0",
        "focal_px=1e999",
        "focal_px=many",
        "focal_px=" + "9" * 3000,
        "use_ray_pose=yes",
        "ref_view_strategy=best",
        "%ff%fe=%80",
        "%00=%00",
        "a" * 3000,
        "&".join(f"a{index}=1" for index in range(500)),
        "size[]=model",
        "size=%25%32%35",
        "__class__=1",
    ):
        yield Hostile(f"query: {query[:40]}", png, "image/png", query=query)


def headers(png: bytes) -> Iterator[Hostile]:
    for value in (
        "nan",
        "-1",
        "0",
        "-0.0",
        "abc",
        "1e999",
        "inf",
        "",
        "1,2",
        "9" * 4000 + "x",
        "0x10",
    ):
        yield Hostile(f"timeout: {value[:20]!r}", png, "image/png", {"X-Request-Timeout": value})
    for value in (
        "text/html",
        "image/jpeg",
        "image/png;q=0",
        "application/*;q=0, text/*",
        "a/b/c/d",
    ):
        yield Hostile(f"accept: {value}", png, "image/png", {"Accept": value})
    for value in ("", ",,,,", ";q=1", "*", "*/*;q=nan", "\xff\xfe", "a" * 6000, "*/*;q=1" * 900):
        silly = {"Accept": value}
        yield Hostile(f"accept: {value[:20]!r}", png, "image/png", silly, harmless=True)
    for value in (
        "size",
        "size=huge",
        "=",
        "a=b",
        "\xff=\xfe",
        "x" * 6000,
        "size=model;size=",
        "a;b;c",
    ):
        attributes = {"X-Amzn-SageMaker-Custom-Attributes": value}
        yield Hostile(f"attributes: {value[:20]!r}", png, "image/png", attributes)
    for value in (
        "\x01\x7f",
        "a b",
        "a\tb",
        "é",
        "{}",
        "a" * 129,
        "a" * 6000,
        "%0d%0aX: y",
        "'\"<",
    ):
        asked = {"X-Request-Id": value}
        yield Hostile(
            f"id: {value[:20]!r}, {len(value)} long", png, "image/png", asked, harmless=True
        )
    for kind in (
        "",
        "image/gif",
        "text/plain",
        "application/octet-stream",
        "image/*",
        "image/svg+xml",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=b",
        "application/x-npy, image/png",
        "é",
        "/",
        "a" * 6000,
    ):
        yield Hostile(f"kind: {kind[:40]!r}", png, kind)
    for coding in ("gzip", "br", "deflate, gzip", "x" * 3000):
        yield Hostile(
            f"coding: {coding[:20]}",
            gzip.compress(png, mtime=0),
            "image/png",
            {"Content-Encoding": coding},
        )


@dataclass(frozen=True)
class Raw:
    """Bytes that no HTTP client would send; ``ends`` where the sender then closes its side.

    An ``endless`` one is sent again and again after the first bytes.
    """

    name: str
    sent: bytes
    ends: bool = False
    endless: bytes = b""


def raws(png: bytes) -> list[Raw]:
    """Broken HTTP."""
    head = b"POST /v1/depth HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    chunked, length = head + b"Transfer-Encoding: chunked\r\n", b"Content-Length: %d\r\n"
    whole = length % len(png)
    get = b"GET /info HTTP/1.1\r\nHost: a\r\n"
    over = length % ((BODY_MB << 20) + 1)
    early = {
        "a body that ends early": head + length % (2 * len(png)) + b"\r\n" + png,
        "no body": head + whole + b"\r\n",
        "a chunk that ends early": chunked + b"\r\n" + b"%x\r\n" % len(png) + png[:-9],
        "chunks without end": chunked + b"\r\n" + b"%x\r\n" % len(png) + png + b"\r\n0",
        "a form that ends early": head.replace(b"image/png", b"multipart/form-data; boundary=b")
        + b"Content-Length: 999\r\n\r\n--b\r\n",
    }
    broken = {
        "a body longer than its length": head + length % 9 + b"\r\n" + png,
        "a body over the limit": head + over + b"\r\n" + bytes((BODY_MB << 20) + 1),
        "a body over the limit, announced": head + over + b"Expect: 100-continue\r\n\r\n",
        "a body of 30 digits": head + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        "a body of 5000 digits": head + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        "a negative length": head + b"Content-Length: -5\r\n\r\n" + png,
        "a length with a sign": head + b"Content-Length: +5\r\n\r\n" + png,
        "a length with an underscore": head + b"Content-Length: 1_0\r\n\r\n" + png,
        "a length in words": head + b"Content-Length: many\r\n\r\n" + png,
        "a length that is two": head + b"Content-Length: 5, 5\r\n\r\n" + png,
        "two lengths": head + whole + b"Content-Length: 5\r\n\r\n" + png,
        "a length and chunks": chunked + whole + b"\r\n" + png,
        "chunks of chunks": chunked + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk of zz bytes": chunked + b"\r\nzz\r\n" + png,
        "a chunk of minus one": chunked + b"\r\n-1\r\n" + png,
        "a chunk of 1_0 bytes": chunked + b"\r\n1_0\r\n" + png,
        "a chunk of no bytes said": chunked + b"\r\n\r\n" + png,
        "a chunk without its line": chunked + b"\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "a broken trailer": chunked + b"\r\n3\r\nabc\r\n0\r\nno colon\r\n\r\n",
        "a hostile trailer": chunked + b"\r\n3\r\nabc\r\n0\r\nA\0: b\r\n\r\n",
        "many trailers": chunked + b"\r\n3\r\nabc\r\n0\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        "a head without colon": head + b"no colon\r\n\r\n",
        "a head with nul": head + b"A: \0\r\n\r\n",
        "a head that is folded": head + b"A: b\r\n c\r\n\r\n",
        "a space before the colon": head + b"A : b\r\n\r\n",
        "two hundred heads": head + b"a: b\r\n" * 200 + b"\r\n",
        "a head of ten kilobytes": head + b"X-Request-Id: " + b"a" * 10_000 + b"\r\n\r\n",
        "an id with a line": head + b"X-Request-Id: a\rX-Evil: b\r\n\r\n",
        "an address of ten kilobytes": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
        "no version": b"GET /info\r\n\r\n",
        "version 9": b"GET /info HTTP/9.9\r\nHost: a\r\n\r\n",
        "a small method": b"get /info HTTP/1.1\r\nHost: a\r\n\r\n",
        "a method of symbols": b"G{T /info HTTP/1.1\r\nHost: a\r\n\r\n",
        "an unknown method": get.replace(b"GET", b"BREW") + b"\r\n",
        "TRACE": get.replace(b"GET", b"TRACE") + b"\r\n",
        "CONNECT": b"CONNECT somewhere:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "another host's address": get.replace(b"/info", b"http://somewhere/nothing") + b"\r\n",
        "a star": get.replace(b"/info", b"*") + b"\r\n",
        "a path upwards": get.replace(b"/info", b"/../../etc/passwd") + b"\r\n",
        "a path upwards, hidden": get.replace(b"/info", b"/%2e%2e/%2fetc%2fpasswd") + b"\r\n",
        "a path of no letters": get.replace(b"/info", b"/\xff%ff%00") + b"\r\n",
        "TLS": b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(200) + b"\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a proxy's line": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get + b"\r\n",
        "a scheme from outside": get + b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
    }
    block = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    return [
        *(Raw(name, sent, ends=True) for name, sent in early.items()),
        *(Raw(name, sent) for name, sent in broken.items()),
        Raw("chunks for ever", chunked + b"\r\n", endless=block),
        Raw("a head for ever", b"GET / HTTP/1.1\r\n", endless=b"a: b\r\n" * 4000),
        Raw("an address for ever", b"GET /", endless=b"a" * 30_000),
    ]
