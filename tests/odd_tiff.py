"""Odd TIFF files: every depth, kind of sample, plane layout, compression and predictor."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
from odd_jpeg import jpeg
from odd_photos import OddPhoto, at_depth, cut, grey, packed, scene, seen, stored
from PIL import Image, ImageCms

WHITE_ZERO, BLACK_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 4, 5, 6, 8, 9
NONE, G3, G4, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 3, 4, 5, 7, 8, 32773, 32946
SIZES = {1: "B", 3: "H", 4: "L", 16: "Q"}
Tags = dict[int, tuple[int, Sequence[int]]]  # number -> type, values


def file(parts: Sequence[bytes], tags: Tags, order: str = "<", big: bool = False) -> bytes:
    """A TIFF of one directory; ``parts``: strips or tiles, whose places go to tag 273 or 324."""
    places, here, body = [], 16 if big else 8, b""
    for part in parts:
        places.append(here + len(body))
        body += part + b"\0" * (len(part) % 2)
    tiled = 322 in tags
    tags = {
        **tags,
        324 if tiled else 273: (4, places),
        325 if tiled else 279: (4, [*map(len, parts)]),
    }
    start, inline = here + len(body), 8 if big else 4
    place = order + ("Q" if big else "L")
    table, behind = b"", b""
    size = (8 + 20 * len(tags) + 8) if big else (2 + 12 * len(tags) + 4)
    for number, (kind, values) in sorted(tags.items()):
        value = struct.pack(order + SIZES[kind] * len(values), *values)
        if len(value) > inline:
            at = start + size + len(behind)
            behind += value + b"\0" * (len(value) % 2)
            value = struct.pack(place, at)
        head = struct.pack(order + ("HHQ" if big else "HHL"), number, kind, len(values))
        table += head + value.ljust(inline, b"\0")
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    mark += struct.pack(order + "HHQ", 8, 0, start) if big else struct.pack(order + "L", start)
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return mark + body + count + table + bytes(8 if big else 4) + behind


def lzw(data: bytes) -> bytes:
    """LZW of codes of 9 bits, without any that stands for two bytes."""
    codes = []
    for at in range(0, len(data), 250):
        codes += [256, *data[at : at + 250]]
    codes.append(257)
    bits = (np.array(codes)[:, None] >> np.arange(8, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def packbits(data: bytes) -> bytes:
    """Literal runs of up to 128 bytes."""
    parts = (data[at : at + 128] for at in range(0, len(data), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


PACK = {
    NONE: bytes,
    LZW: lzw,
    DEFLATE: zlib.compress,
    OLD_DEFLATE: zlib.compress,
    PACKBITS: packbits,
}


def predicted(samples: np.ndarray, bits: int) -> np.ndarray:
    """Differences to the sample on the left, of each channel."""
    before = np.zeros_like(samples)
    before[:, 1:] = samples[:, :-1]
    return (samples - before) & np.uint64((1 << bits) - 1)


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    order: str = "<",
    compression: int = NONE,
    predictor: int = 1,
    planar: bool = False,
    rows: int = 0,
    tile: int = 0,
    more: Optional[Tags] = None,
    big: bool = False,
) -> bytes:
    """A TIFF of samples (H, W, channels), uint64; ``rows`` of a strip, or a tile's side."""
    height, width, channels = samples.shape
    tags: Tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [compression]),
        262: (3, [photometric]), 277: (3, [channels]), 284: (3, [1 + planar]),
        317: (3, [predictor]),
    }  # fmt: skip
    planes = np.moveaxis(samples, 2, 0)[..., None] if planar else samples[None]
    blocks = []
    for plane in planes:
        if tile:
            edge = ((0, -height % tile), (0, -width % tile), (0, 0))
            whole = np.pad(plane, edge)
            tops, lefts = range(0, height, tile), range(0, width, tile)
            blocks += [whole[y : y + tile, x : x + tile] for y in tops for x in lefts]
        else:
            blocks += [plane[y : y + (rows or height)] for y in range(0, height, rows or height)]
    tags.update({322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [rows or height])})
    tags.update(more or {})
    blocks = [predicted(block, bits) if predictor == 2 else block for block in blocks]
    parts = [PACK[compression](packed(block, bits, order)) for block in blocks]
    if tags.get(266) == (3, [2]):
        flip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
        parts = [part.translate(flip) for part in parts]
    return file(parts, tags, order, big)


def depths() -> Iterator[OddPhoto]:
    """Grey and colour of 1 to 16 bits, either way round, in planes, tiles, strips."""
    rgb = scene()
    for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16):
        for colour in (False, True):
            samples = at_depth(rgb if colour else rgb[..., :1], bits)
            shown = seen(samples, bits) if colour else grey(seen(samples[..., 0], bits))
            kind = RGB if colour else BLACK_ZERO
            name = f"tiff-{'rgb' if colour else 'grey'}-{bits}"
            for order in "<>":
                made = tiff(samples, bits, kind, order, rows=7)
                yield OddPhoto(f"{name}-{'little' if order == '<' else 'big'}.tif", made, shown)
                for layout, options in {
                    "planes": {"planar": True, "rows": 7},
                    "tiles": {"tile": 16},
                    "tile-planes": {"planar": True, "tile": 16},
                    "lzw": {"compression": LZW, "rows": 5},
                    "deflate-one-strip": {"compression": DEFLATE},
                }.items():
                    if bits in (8, 12, 16) and (colour or "planes" not in layout):
                        made = tiff(samples, bits, kind, order, **options)
                        end = "little" if order == "<" else "big"
                        yield OddPhoto(f"{name}-{layout}-{end}.tif", made, shown)
            if not colour:
                full = np.uint64((1 << bits) - 1)
                made = tiff(full - samples, bits, WHITE_ZERO, rows=7)
                yield OddPhoto(f"{name}-white-is-zero.tif", made, shown, 1 if bits > 8 else 0)
            made = tiff(samples, bits, kind, more={266: (3, [2])})
            yield OddPhoto(f"{name}-fill-order-2.tif", made, shown, 0, refusable=bits > 8)


def compressions() -> Iterator[OddPhoto]:
    """All that packs bytes, with and without a predictor."""
    rgb = scene()
    for bits in (8, 16):
        samples = at_depth(rgb, bits)
        shown = seen(samples, bits)
        for compression, name in {
            LZW: "lzw", DEFLATE: "deflate", OLD_DEFLATE: "old-deflate", PACKBITS: "packbits",
        }.items():  # fmt: skip
            for predictor in (1, 2) if compression != PACKBITS else (1,):
                for planar in (False, True):
                    for order in "<>":
                        made = tiff(
                            samples, bits, RGB, order, compression, predictor, planar, rows=9
                        )
                        end = f"{'-planes' * planar}-{'little' if order == '<' else 'big'}.tif"
                        said = f"tiff-{name}-{bits}{'-predicted' * (predictor == 2)}{end}"
                        yield OddPhoto(said, made, shown)
        made = tiff(samples, bits, RGB, ">", DEFLATE, 2, tile=16, big=True)
        yield OddPhoto(f"tiff-big-{bits}-predicted-tiles.tif", made, shown)
        yield OddPhoto(f"tiff-big-{bits}.tif", tiff(samples, bits, RGB, big=True), shown)
    black = scene()[..., 0] > 127
    for name, wanted in {
        "group3": "group3", "group4": "group4", "ccitt": "tiff_ccitt",
    }.items():  # fmt: skip
        made = by_pillow(Image.fromarray(black), wanted)
        yield OddPhoto(f"tiff-{name}.tif", made, grey(black.astype(np.uint8) * 255))
    for name, image in {
        "jpeg": Image.fromarray(rgb),
        "jpeg-grey": Image.fromarray(rgb[..., 0]),
    }.items():
        shown = rgb if name == "jpeg" else grey(rgb[..., 0])
        yield OddPhoto(f"tiff-{name}.tif", by_pillow(image, "jpeg", quality=97), shown, 3)
    yield from jpeg_parts(rgb)
    made = by_pillow(Image.fromarray(rgb), "lzma")
    yield OddPhoto("tiff-lzma.tif", made, rgb, refusable=True)
    for name, compression in {
        "zstd": 50000,
        "webp": 50001,
        "jpeg-2000": 34712,
        "lerc": 34887,
    }.items():
        made = tiff(at_depth(rgb, 8), 8, RGB, more={259: (3, [compression])})
        yield OddPhoto(f"tiff-{name}-that-is-none.tif", made, None)


def jpeg_parts(rgb: np.ndarray) -> Iterator[OddPhoto]:
    """Whole JPEG streams as tiles, strips and planes."""
    height, width = rgb.shape[:2]
    base: Tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8] * 3), 259: (3, [JPEG]),
        277: (3, [3]), 284: (3, [1]),
    }  # fmt: skip
    whole = np.pad(rgb, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    tiles = [
        whole[y : y + 16, x : x + 16] for y in range(0, height, 16) for x in range(0, width, 16)
    ]
    strips = [rgb[y : y + 16] for y in range(0, height, 16)]
    tiled: Tags = {322: (4, [16]), 323: (4, [16])}
    for place, parts, more in (("tiles", tiles, tiled), ("strips", strips, {278: (4, [16])})):
        for name, how, kind, sampling in (
            ("ycbcr-22", {"subsampling": 2}, YCBCR, [2, 2]),
            ("ycbcr-11", {"subsampling": 0}, YCBCR, [1, 1]),
            ("rgb", {"keep_rgb": True}, RGB, [1, 1]),
        ):
            tags: Tags = {**base, **more, 262: (3, [kind]), 530: (3, sampling)}
            made = file([jpeg(part, **how) for part in parts], tags)
            yield OddPhoto(f"tiff-jpeg-{place}-{name}.tif", made, rgb, 4)
    planes = [jpeg(np.repeat(rgb[..., one : one + 1], 3, 2), "L") for one in range(3)]
    tags = {**base, 262: (3, [RGB]), 284: (3, [2]), 278: (4, [height])}
    yield OddPhoto("tiff-jpeg-planes.tif", file(planes, tags), rgb, 4)
    lum = [jpeg(part, "L") for part in tiles]
    tags = {**base, **tiled, 262: (3, [WHITE_ZERO]), 258: (3, [8]), 277: (3, [1])}
    shown = 255 - np.asarray(Image.fromarray(rgb).convert("L"))
    yield OddPhoto("tiff-jpeg-tiles-white-is-zero.tif", file(lum, tags), grey(shown), 4)


def by_pillow(image: Image.Image, compression: str, **options: Any) -> bytes:
    """A TIFF by libtiff."""
    made = io.BytesIO()
    image.save(made, "TIFF", compression=compression, **options)
    return made.getvalue()


def colours() -> Iterator[OddPhoto]:
    """Palettes, printers' colours, Lab, alpha of both kinds."""
    rgb = scene()
    for bits in (1, 2, 4, 8):
        table = np.random.default_rng(bits).integers(0, 65536, (3, 1 << bits)).astype(int)
        index = at_depth(rgb[..., :1], bits)
        shown = (table.T >> 8).astype(np.uint8)[index[..., 0].astype(int)]
        more: Tags = {320: (3, table.ravel().tolist())}
        for name, options in {"": {}, "-lzw": {"compression": LZW}, "-tiles": {"tile": 16}}.items():
            made = tiff(index, bits, PALETTE, more=more, **options)
            yield OddPhoto(f"tiff-palette-{bits}{name}.tif", made, shown)
    inks = np.asarray(Image.fromarray(rgb).convert("CMYK")).copy()
    inks[..., 3] = 40
    image = Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
    shown = np.asarray(image.convert("RGB"))
    for bits in (8, 16):
        for planar in (False, True):
            made = tiff(at_depth(inks, bits), bits, CMYK, planar=planar, compression=LZW)
            yield OddPhoto(f"tiff-cmyk-{bits}{'-planes' * planar}.tif", made, shown)
    yield from lab(rgb)
    for bits in (8, 16):
        most = (1 << bits) - 1
        for channels, kind, base in (("la", BLACK_ZERO, rgb[..., :1]), ("rgba", RGB, rgb)):
            samples = at_depth(base, bits)
            shown = seen(samples, bits) if kind == RGB else grey(seen(samples[..., 0], bits))
            alpha = np.full((*rgb.shape[:2], 1), most // 2, np.uint64)
            for extra, name in ((0, "unspecified"), (2, "separate"), (1, "multiplied")):
                stored_as = samples * alpha // np.uint64(most) if extra == 1 else samples
                both = np.concatenate([stored_as, alpha], 2)
                for planar in (False, True):
                    made = tiff(both, bits, kind, planar=planar, more={338: (3, [extra])})
                    end = f"{name}{'-planes' * planar}.tif"
                    said = f"tiff-{channels}-{bits}-{end}"
                    yield OddPhoto(said, made, shown, 3 if extra == 1 else 0)
        five = np.concatenate([at_depth(rgb, bits), *[alpha] * 2], 2)
        made = tiff(five, bits, RGB, more={338: (3, [2, 0])})
        yield OddPhoto(f"tiff-five-channels-{bits}.tif", made, seen(at_depth(rgb, bits), bits))


def lab(rgb: np.ndarray) -> Iterator[OddPhoto]:
    """By way of littleCMS, whose a and b have an offset; those of photometric 8 are signed."""
    made = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(Image.fromarray(rgb), made[1], made[0], outputMode="LAB")
    assert image is not None
    raw = np.frombuffer(image.tobytes("raw", "LAB"), np.uint8).reshape(rgb.shape)
    yield OddPhoto("tiff-lab.tif", tiff(raw.astype(np.uint64), 8, LAB), rgb, 4)
    offset = raw ^ np.array([0, 128, 128], np.uint8)
    yield OddPhoto("tiff-icc-lab.tif", tiff(offset.astype(np.uint64), 8, ICC_LAB), rgb, 4)
    wide = raw.astype(np.uint64) << np.uint64(8)
    yield OddPhoto("tiff-lab-16.tif", tiff(wide, 16, LAB), rgb, 4, refusable=True)


def video() -> Iterator[OddPhoto]:
    """YCbCr, with colour at each pixel or at every second."""
    rgb = scene()
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(np.uint64)
    more: Tags = {530: (3, [1, 1])}
    for name, compression in (("", NONE), ("-lzw", LZW), ("-packbits", PACKBITS)):
        made = tiff(ycc, 8, YCBCR, compression=compression, more=more, rows=12)
        yield OddPhoto(f"tiff-ycbcr-444{name}.tif", made, rgb, 3, refusable=True)
    for across, down in ((2, 1), (2, 2)):
        tall, wide = ycc.shape[0] // down, ycc.shape[1] // across
        lum = ycc[..., 0].reshape(tall, down, wide, across).swapaxes(1, 2).reshape(tall, wide, -1)
        both = ycc[::down, ::across, 1:]
        units = np.concatenate([lum, both], 2)
        data = packed(units, 8)
        tags: Tags = {
            256: (4, [ycc.shape[1]]), 257: (4, [ycc.shape[0]]), 258: (3, [8] * 3), 259: (3, [1]),
            262: (3, [YCBCR]), 277: (3, [3]), 278: (4, [ycc.shape[0]]), 530: (3, [across, down]),
        }  # fmt: skip
        yield OddPhoto(f"tiff-ycbcr-{across}{down}.tif", file([data], tags), rgb, 6, refusable=True)


def oddities() -> Iterator[OddPhoto]:
    """Sound files with something unusual in their directory."""
    rgb = scene()
    samples = at_depth(rgb, 8)
    profile = [*bytes(3000)]
    for name, more in {
        "profile": {34675: (1, profile)},
        "unknown-tags": dict.fromkeys(range(40000, 40040), (1, profile)),
        "resolution-unit-9": {296: (3, [9])},
        "no-predictor-given": {317: (3, [1])},
        "rows-of-a-strip-too-many": {278: (4, [0xFFFFFFFF])},
    }.items():
        yield OddPhoto(f"tiff-with-{name}.tif", tiff(samples, 8, RGB, more=more), rgb)
    data = tiff(samples, 8, RGB)
    itself = data[:4] + data[4:]
    place = struct.unpack("<L", data[4:8])[0]
    count = struct.unpack("<H", data[place : place + 2])[0]
    after = place + 2 + 12 * count
    chained = itself[:after] + data[4:8] + itself[after + 4 :]
    yield OddPhoto("tiff-next-is-itself.tif", chained, rgb)
    far = itself[:after] + b"\xff\xff\xff\x7f" + itself[after + 4 :]
    yield OddPhoto("tiff-next-is-nowhere.tif", far, rgb)
    pages = io.BytesIO()
    first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
    first.save(pages, "TIFF", save_all=True, append_images=[second] * 3)
    yield OddPhoto("tiff-pages.tif", pages.getvalue(), rgb)
    one = scene(1, 1)
    yield OddPhoto("tiff-one-pixel.tif", tiff(at_depth(one, 8), 8, RGB), one)
    for orientation in range(1, 9):
        turned = at_depth(stored(rgb, orientation), 8)
        tag: Tags = {274: (3, [orientation])}
        for name, options in {
            "": {}, "-tiles": {"tile": 16}, "-lzw": {"compression": LZW}, "-big": {"big": True},
        }.items():  # fmt: skip
            made = tiff(turned, 8, RGB, "<>"[orientation % 2], more=tag, **options)
            yield OddPhoto(f"tiff-turned-{orientation}{name}.tif", made, rgb)
        wide = at_depth(stored(rgb, orientation), 12)
        made = tiff(wide, 12, RGB, more=tag)
        yield OddPhoto(f"tiff-turned-{orientation}-12-bit.tif", made, seen(at_depth(rgb, 12), 12))
    made = by_pillow(Image.fromarray(stored(rgb, 6)), "jpeg", quality=97, tiffinfo={274: 6})
    yield OddPhoto("tiff-turned-jpeg.tif", made, rgb, 3)


def wrong() -> Iterator[OddPhoto]:
    """What must be refused."""
    rgb = scene()
    samples, one = at_depth(rgb, 8), at_depth(rgb[..., :1], 16)
    float32 = (rgb[..., :1] / np.float32(255)).astype("<f4").view("<u4").astype(np.uint64)
    for name, data in {
        "float-32": tiff(float32, 32, BLACK_ZERO, more={339: (3, [3])}),
        "float-16": tiff(one, 16, BLACK_ZERO, more={339: (3, [3])}),
        "float-64": tiff(float32, 64, BLACK_ZERO, more={339: (3, [3])}),
        "float-32-predicted": tiff(float32, 32, BLACK_ZERO, "<", DEFLATE, 3, more={339: (3, [3])}),
        "integers-of-32-bits": tiff(at_depth(rgb, 32), 32, RGB),
        "signed-16": tiff(one, 16, BLACK_ZERO, more={339: (3, [2])}),
        "signed-8": tiff(samples, 8, RGB, more={339: (3, [2] * 3)}),
        "complex": tiff(float32, 64, BLACK_ZERO, more={339: (3, [6])}),
        "bits-that-differ": tiff(samples, 8, RGB, more={258: (3, [8, 8, 4])}),
        "bits-0": tiff(samples, 8, RGB, more={258: (3, [0] * 3)}),
        "colour-filter": tiff(one, 16, 32803),
        "log-luv": tiff(samples, 8, 32845),
        "photometric-99": tiff(samples, 8, 99),
        "two-channels-of-rgb": tiff(samples[..., :2], 8, RGB),
        "palette-missing": tiff(samples[..., :1], 8, PALETTE),
        "compression-99": tiff(samples, 8, RGB, more={259: (3, [99])}),
        "jpeg-that-is-none": tiff(samples, 8, RGB, more={259: (3, [JPEG])}),
        "deflate-that-is-none": tiff(samples, 8, RGB, more={259: (3, [DEFLATE])}),
        "lzw-that-is-none": tiff(samples, 8, RGB, more={259: (3, [LZW])}),
        "predictor-9": tiff(samples, 8, RGB, compression=DEFLATE, more={317: (3, [9])}),
        "no-width": tiff(samples, 8, RGB, more={256: (4, [0])}),
        "too-wide": tiff(samples, 8, RGB, more={256: (4, [1 << 30])}),
        "too-large": tiff(samples, 8, RGB, more={256: (4, [60000]), 257: (4, [60000])}),
        "strips-missing": tiff(samples, 8, RGB, rows=7, more={278: (4, [5])}),
        "no-rows-in-a-strip": tiff(samples, 8, RGB, more={278: (4, [0])}),
        "tile-too-large": tiff(samples, 8, RGB, tile=16, more={322: (4, [1 << 20])}),
        "tile-of-nothing": tiff(samples, 8, RGB, tile=16, more={322: (4, [0])}),
        "short-strip": tiff(samples[:20], 8, RGB, more={257: (4, [36])}),
        "directory-nowhere": b"II*\0" + struct.pack("<L", 1 << 30) + bytes(99),
        "no-directory": b"II*\0\0\0\0\0" + bytes(99),
        "empty-directory": b"II*\0\x08\0\0\0" + bytes(99),
    }.items():
        yield OddPhoto(f"tiff-wrong-{name}.tif", data, None)


def photos() -> Iterator[OddPhoto]:
    """All odd TIFF files."""
    yield from depths()
    yield from compressions()
    yield from colours()
    yield from video()
    yield from oddities()
    yield from wrong()
    rgb = scene()
    for name, options in {"": {"rows": 12}, "-lzw": {"rows": 12, "compression": LZW}}.items():
        data = tiff(at_depth(rgb, 8), 8, RGB, **options)
        step = len(data) // 12
        whole = OddPhoto(f"tiff{name}.tif", data, rgb)
        yield from cut(whole, [8, *range(step, len(data), step), len(data) - 4])
