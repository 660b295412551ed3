"""TIFF: its first directory read here, and what it says about pixels; ``tiff_pixels`` decodes them.

Bytes in, one ``TiffHeader`` out. What is not read is refused by its name: a TIFF holds anything
from faxes to microscopes' floats, and most of it looks like a photo when it is read wrongly.
"""

from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from runtime.errors import InputError, LimitError
from runtime.photo import libtiff
from runtime.photo.exif import MAX_BLOCK, exif_of
from runtime.photo.header import Header
from runtime.photo.ifd import MAGICS as MAGICS
from runtime.photo.ifd import Directory, first_directory

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, CHANNELS, ROWS, STRIP_BYTES, PLANES, T4, T6 = 273, 277, 278, 279, 284, 292, 293
PREDICTOR, PALETTE_TABLE, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 317, 320, 322, 323, 324, 325
INKS, EXTRA, FORMAT, TABLES, YCC_FACTORS, SAMPLING, REFERENCE = 332, 338, 339, 347, 529, 530, 532
XMP = 700

WHITE_ZERO, BLACK_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
BASE = {WHITE_ZERO: 1, BLACK_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
KINDS = {4: "a mask", 10: "ITU L*a*b*", 32803: "a sensor's raw colours", 34892: "linear raw"}
KINDS.update({32844: "LogL", 32845: "LogLuv"})
NONE, DEFLATES = 1, (8, 32946)
METHODS = {6: "JPEG of the old kind", 34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard"}
METHODS.update({50001: "WebP", 50002: "JPEG XL", 34933: "PNG", 32809: "ThunderScan"})
FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
MAX_CHANNELS = 64
MAX_UNPACKED = 1_000_000_000  # bytes of all channels: 100 megapixels of CMYK and alpha in 16 bits
MAX_BLOCKS = 500_000  # strips and tiles
MAX_BLOCK_BYTES = 400_000_000  # of a strip or a row of tiles, which is decoded at once


@dataclass(frozen=True)
class TiffHeader(Header):
    """``block_hw``: of a strip or tile; ``alpha``: the channel that others were multiplied with.

    ``palette``: uint8 (colours, 3); ``more``: what libtiff has to know.
    """

    tags: Optional[Directory] = None
    order: str = "<"
    bits: int = 8
    channels: int = 3
    photometric: int = RGB
    compression: int = NONE
    predictor: int = 1
    planar: bool = False
    tiled: bool = False
    reversed_bits: bool = False
    block_hw: tuple[int, int] = (1, 1)
    alpha: Optional[int] = None
    palette: Optional[np.ndarray] = None
    more: libtiff.Tags = field(default_factory=dict)

    @property
    def across(self) -> int:
        """Tiles side by side; 1 if it has strips."""
        return -(-self.size_hw[1] // self.block_hw[1])

    @property
    def blocks(self) -> int:
        """Strips or tiles in all planes."""
        planes = self.channels if self.planar else 1
        return planes * self.across * -(-self.size_hw[0] // self.block_hw[0])

    @property
    def per_pixel(self) -> int:
        """Channels that lie in one plane."""
        return 1 if self.planar else self.channels

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a strip or tile."""
        return -(-self.block_hw[1] * self.per_pixel * self.bits // 8)


def read_header(data: bytes) -> TiffHeader:
    """Read the first directory.

    Raises:
        InputError: a kind of TIFF that is not read.
        LimitError: strips or tiles that would be decoded at once are too large.
        ValueError: no TIFF, or a damaged one.
    """
    tags = first_directory(data)
    if tags is None or not len(tags):
        raise ValueError("no directory in it")
    height, width = tags.number(HEIGHT, 0), tags.number(WIDTH, 0)
    if height <= 0 or width <= 0:
        raise ValueError(f"{width} x {height} pixels")
    bits = _checked_samples(tags)
    compression = tags.number(COMPRESSION, NONE)
    if compression not in (NONE, *DEFLATES, *libtiff.PACKED, libtiff.JPEG):
        name = METHODS.get(compression, f"method {compression}")
        raise InputError(f"a TIFF compressed by {name}; save it as an ordinary one, or as PNG")
    photometric = _checked_kind(tags, bits, compression)
    tiled = tags.number(TILES, 0) > 0
    block_hw = (height, width)
    if tiled:
        block_hw = tags.number(TILE_HEIGHT, 0), tags.number(TILE_WIDTH, 0)
    else:
        block_hw = min(tags.number(ROWS, height), height), width
    if min(block_hw) <= 0:
        raise ValueError("strips or tiles without pixels")
    channels = tags.number(CHANNELS, 1)
    header = TiffHeader(
        (height, width),
        exif_of(tags, tags.raw(XMP, MAX_BLOCK)),
        block_pixels=block_hw[0] * block_hw[1] if tiled else 0,
        tags=tags,
        order=tags.order,
        bits=bits,
        channels=channels,
        photometric=photometric,
        compression=compression,
        predictor=tags.number(PREDICTOR, 1) if compression in (libtiff.LZW, *DEFLATES) else 1,
        planar=tags.number(PLANES, 1) == 2 and channels > 1,
        tiled=tiled,
        reversed_bits=tags.number(FILL_ORDER, 1) == 2,
        block_hw=block_hw,
        alpha=_multiplied(tags, BASE[photometric]),
        palette=_palette(tags, bits) if photometric == PALETTE else None,
        more=_for_libtiff(tags, photometric, compression),
    )
    _check_blocks(header)
    return header


def _checked_samples(tags: Directory) -> int:
    """Bits of every sample, which are whole numbers of up to 16 bits."""
    channels = tags.number(CHANNELS, 1)
    if not 0 < channels <= MAX_CHANNELS:
        raise InputError(f"a TIFF of {channels} channels, expected 1 to {MAX_CHANNELS}")
    depths = tags.numbers(BITS, channels)
    each = [1] if depths is None else sorted(set(depths.tolist()))
    formats = tags.numbers(FORMAT, channels)
    names = {FORMATS[one] for one in (formats if formats is not None else ()) if one in FORMATS}
    told = " or ".join(map(str, each))
    if names:
        raise InputError(
            f"a TIFF of {told}-bit {min(names)} samples, which do not tell what is white; "
            "save it with whole numbers of 8 or 16 bits a channel"
        )
    if len(each) > 1 or not 1 <= each[0] <= 16:
        raise InputError(
            f"a TIFF of {told}-bit samples, expected 8 or 16 bits a channel (1 to 16 are read)"
        )
    return int(each[0])


def _checked_kind(tags: Directory, bits: int, compression: int) -> int:
    """What the samples mean, if it is a kind that is read."""
    channels, kind = tags.number(CHANNELS, 1), tags.number(PHOTOMETRIC, -1)
    if kind == -1:  # a tag that must be there, but some leave it out
        kind = RGB if channels >= 3 else BLACK_ZERO
    name = KINDS.get(kind, f"photometric kind {kind}")
    if kind not in BASE:
        raise InputError(f"a TIFF of {name}; save it as RGB")
    if channels < BASE[kind]:
        raise InputError(
            f"a TIFF of {channels} channels, expected {BASE[kind]} of its kind ({kind})"
        )
    if kind == CMYK and tags.number(INKS, 1) != 1:
        raise InputError("a TIFF of other inks than CMYK; save it as RGB")
    if kind == PALETTE and bits > 8:
        raise InputError(f"a TIFF with a palette of {bits} bits, expected up to 8; save it as RGB")
    if kind in (LAB, ICC_LAB) and bits not in (8, 16):
        raise InputError(f"a TIFF of L*a*b* in {bits} bits, expected 8 or 16; save it as RGB")
    planar = tags.number(PLANES, 1) == 2
    if kind == YCBCR and (bits != 8 or channels != 3 or planar):
        raise InputError(
            "a TIFF of YCbCr with other samples than 8 bits in one plane; save it as RGB"
        )
    if compression == libtiff.JPEG and (bits != 8 or kind == PALETTE):
        raise InputError(f"a TIFF of JPEG with samples of {bits} bits, expected 8; save it as PNG")
    if compression in libtiff.FAX and (bits, channels) != (1, 1):
        raise ValueError("a fax of more than one bit a pixel")
    predictor = tags.number(PREDICTOR, 1) if compression in (libtiff.LZW, *DEFLATES) else 1
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise InputError(f"a TIFF of {bits}-bit samples with predictor {predictor}; save it as PNG")
    return kind


def _multiplied(tags: Directory, base: int) -> Optional[int]:
    """The channel of alpha that the colours were multiplied with, if there is one."""
    extra = tags.numbers(EXTRA, MAX_CHANNELS)
    found = [] if extra is None else np.flatnonzero(extra == 1).tolist()
    channel = base + found[0] if found else None
    return channel if channel is not None and channel < tags.number(CHANNELS, 1) else None


def _palette(tags: Directory, bits: int) -> np.ndarray:
    table = tags.numbers(PALETTE_TABLE, 3 << bits)
    if table is None or len(table) < 3 << bits:
        raise ValueError("its palette is missing")
    if table.max() > 255:  # else some program put bytes there
        table = table >> 8
    return np.ascontiguousarray(table.reshape(3, -1).T.astype(np.uint8))


def _for_libtiff(tags: Directory, photometric: int, compression: int) -> libtiff.Tags:
    """The tags that its decoders read, if they are there."""
    wanted = {T4: "L", T6: "L"} if compression in libtiff.FAX else {}
    if photometric == YCBCR:
        wanted = {SAMPLING: "H"}
    found: libtiff.Tags = {}
    for tag, kind in wanted.items():
        values = tags.numbers(tag, 2)
        if values is not None:
            found[tag] = (kind, values.tolist())
    tables = tags.raw(TABLES, 1 << 16)
    if compression == libtiff.JPEG and tables:
        found[TABLES] = ("U", list(tables))
    return found


def _check_blocks(header: TiffHeader) -> None:
    """Refuse strips or tiles that are too many, too large at once, or too large in all."""
    height, width = header.size_hw
    unpacked = height * width * header.channels * header.bits // 8
    if unpacked > MAX_UNPACKED:
        raise LimitError(
            f"a TIFF that unpacks to {unpacked:,} bytes, limit {MAX_UNPACKED:,}; "
            "leave out channels, or save it with fewer bits"
        )
    at_once = header.block_hw[0] * header.row_bytes * header.across
    in_bands = header.compression == NONE or (header.compression in DEFLATES and not header.tiled)
    if at_once > MAX_BLOCK_BYTES and not in_bands:
        raise LimitError(
            f"strips or tiles of {at_once:,} bytes, limit {MAX_BLOCK_BYTES:,}; save it again"
        )
    if header.blocks > MAX_BLOCKS:
        raise LimitError(f"over {MAX_BLOCKS:,} strips or tiles; save it again")


def places(header: TiffHeader, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where strips or tiles begin, plane by plane, and the bytes of each: int64.

    Raises:
        ValueError: there are fewer than the picture has.
    """
    assert header.tags is not None
    where, counted = (TILES, TILE_BYTES) if header.tiled else (STRIPS, STRIP_BYTES)
    starts = header.tags.numbers(where, header.blocks)
    sizes = header.tags.numbers(counted, header.blocks)
    if starts is None or len(starts) < header.blocks:
        raise ValueError("it does not tell where all its pixels are")
    behind = np.diff(np.append(starts, size)).clip(0)  # up to the next one
    if sizes is None or len(sizes) < header.blocks:
        return starts, behind
    return starts, np.where(sizes > 0, sizes, behind)
