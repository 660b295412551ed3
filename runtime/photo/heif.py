"""HEIF and AVIF, as phones store photos: by an optional library, within the same limits.

Bytes in, RGB uint8 (H, W, 3) out, as stored. HEIC needs the extra ``heif``; AVIF is in Pillow from
11.3 on, which the extra brings too.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import features

from runtime.errors import InputError, MissingDependency
from runtime.optional import how_to_install, require
from runtime.photo.exif import MAX_BLOCK, read_exif
from runtime.photo.header import Header
from runtime.photo.pillow import opened, to_rgb

AVIF = (b"avif", b"avis")
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
EXTRA = "heif"


@dataclass(frozen=True)
class HeifHeader(Header):
    """``plugin``: what Pillow calls the format that reads it."""

    plugin: str = "HEIF"


def is_heif(data: bytes) -> bool:
    """Whether these bytes begin as HEIF or AVIF does."""
    return data[4:8] == b"ftyp" and data[8:12] in (*AVIF, *HEIF)


def read_header(data: bytes) -> HeifHeader:
    """Its size and EXIF, by the library; no pixel is decoded.

    Raises:
        InputError: nothing here reads it; the sentence names the extra.
        OSError, ValueError: it is damaged.
    """
    plugin = "AVIF" if _is_avif(data) else "HEIF"
    _check_reader(plugin)
    with opened(io.BytesIO(data), plugin) as image:
        exif, xmp = image.info.get("exif") or b"", image.info.get("xmp") or b""
        orientation = read_exif(exif[:MAX_BLOCK], xmp)
        return HeifHeader((image.height, image.width), orientation, plugin=plugin)


def _check_reader(plugin: str) -> None:
    """Refuse a photo that no library here reads; it is the photo's error, all others go on."""
    try:
        if plugin == "HEIF":
            require("pillow_heif", EXTRA).register_heif_opener(thumbnails=False)
        elif not features.check("avif"):
            raise MissingDependency(how_to_install("Pillow's reader of AVIF", EXTRA))
    except MissingDependency as error:
        raise InputError(f"a photo in {plugin}: {error}") from None


def _is_avif(data: bytes) -> bool:
    """By its own brand, or those that it says it fits."""
    size = int.from_bytes(data[:4], "big")
    brands = data[8 : min(size, 256)]
    return any(brand in brands for brand in AVIF)


def decode(data: bytes, header: Header) -> np.ndarray:
    """Its pixels."""
    assert isinstance(header, HeifHeader)
    with opened(io.BytesIO(data), header.plugin) as image:
        return to_rgb(image)
