"""Bytes to a photo: decoded, upright, RGB, 8 bits, within limits.

A file or bytes in, uint8 (H, W, 3) out. Size and format are read from the header before a pixel is
decoded, and ``photo_header`` bounds what reading that header takes. Alpha is dropped, as
``cv2.imread`` does; of several frames the first is taken. A JPEG can be decoded smaller, at a
fraction of the time.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from runtime.errors import InputError, LimitError
from runtime.files import read_whole
from runtime.photo.header import check_header, check_tags

MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 256 << 20  # of a photo as it is stored
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

# What a JPEG is decoded at: all its pixels, or 1/2, 1/4 or 1/8 of each side, as far as a network
# needs no more.
FULL, REDUCED = DECODES = ("full", "reduced")
BAND_ROWS = 64  # of a photo, copied at a time: keeps them in the processor's cache

# EXIF orientation -> what turns the picture upright
ORIENTATION = 0x0112
TILE_WIDTH, TILE_HEIGHT = 0x0142, 0x0143
EXIF_IFD, FOCAL_35_MM = 0x8769, 0xA405
FILM_DIAGONAL_MM = math.hypot(36, 24)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's own limit is one number for the whole process; ours is checked for each photo, earlier.
Image.MAX_IMAGE_PIXELS = None


def read_file(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """A photo's bytes, as they are stored; its size is looked at before it is read.

    Raises:
        InputError: no such file, or it cannot be read.
        LimitError: it is larger than a photo may be.
    """
    return read_whole(path, limit_bytes)


def read_photo(source: Union[str, Path, bytes], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a photo.

    Args:
        source: a file's path, or its bytes.
        max_pixels: refuse anything larger, before decoding it.
    Returns:
        uint8 (H, W, 3), RGB, turned upright as its EXIF orientation says.
    Raises:
        InputError: no such file, not an image of a known format, or damaged.
        LimitError: too large, or made to take long.
    """
    return read_at_least(source, None, max_pixels)[0]


def read_at_least(
    source: Union[str, Path, bytes],
    size_for: Optional[Callable[[tuple[int, int]], tuple[int, int]]],
    max_pixels: int = MAX_PIXELS,
    name: str = "",
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a photo, a JPEG no larger than it is needed.

    Args:
        name: what errors call bytes; a file is called by its path.
        size_for: from the height and width of the upright photo to those that are needed; no side
            is decoded smaller than that. None: the whole photo.
    Returns:
        as ``read_photo``, and the height and width of the whole photo.
    Raises:
        as ``read_photo``.
    """
    data, name = _bytes_of(source, name)
    if not data:
        raise InputError(f"{name}: empty, 0 bytes")
    with _told(name), _opened(data, name) as image:
        _check_size(image, name, max_pixels)
        whole_hw = _reduced(image, name, size_for) if size_for else None
        rgb = _pixels(_to_rgb(_upright(image, name), name))
    return rgb, whole_hw or (rgb.shape[0], rgb.shape[1])


def photo_size(source: Union[str, Path, bytes]) -> tuple[int, int]:
    """Height and width of the upright photo, from its header.

    No pixel is decoded, so EXIF that a PNG has behind its pixels does not count here.

    Raises:
        InputError: no such file, or not an image of a known format.
        LimitError: a header made to take long.
    """
    data, name = _bytes_of(source)
    with _told(name), _opened(data, name) as image:
        return _upright_hw(image, name)


def focal_px_of(source: Union[str, Path, bytes]) -> Optional[float]:
    """Focal length in pixels of the upright photo, as EXIF tells it; None if it does not.

    EXIF gives what the focal length would be on 35 mm film, 43.27 mm across; the photo's diagonal
    has the same share of it.
    """
    data, _ = _bytes_of(source)
    try:
        with _opened(data, "photo") as image:
            focal_mm = float(_exif(image, "photo").get_ifd(EXIF_IFD).get(FOCAL_35_MM, 0))
            diagonal_px = math.hypot(image.width, image.height)
    except Exception:  # no image, or EXIF that cannot be read: nothing is known
        return None
    return focal_mm / FILM_DIAGONAL_MM * diagonal_px if 0 < focal_mm < math.inf else None


def _bytes_of(source: Union[str, Path, bytes], name: str = "") -> tuple[bytes, str]:
    """A photo's bytes, and what errors call it."""
    if isinstance(source, bytes):
        return source, name or "photo"
    return read_file(Path(source)), name or str(source)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What decoders raise, in our words: damaged bytes make them raise whatever they trip over."""
    try:
        yield
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not an image in a known format ({', '.join(IMAGE_FORMATS)})"
        ) from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: damaged or incomplete image ({error})") from None


def _opened(source: bytes, name: str) -> Image.Image:
    """The header, read; no pixel."""
    check_header(source, name)
    return Image.open(io.BytesIO(source), formats=IMAGE_FORMATS)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse what would take too much memory, or time, to decode."""
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise LimitError(
            f"{name}: {image.width} x {image.height} = {pixels:,} pixels, limit {max_pixels:,}; "
            "shrink it or raise --max-pixels"
        )
    tags = getattr(image, "tag_v2", {})  # a tile is decoded whole, however small the photo is
    tile = int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_HEIGHT, 0))
    if tile > max_pixels:
        raise LimitError(f"{name}: tiles of {tile:,} pixels, limit {max_pixels:,}")
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):
        raise InputError(f"{name}: a compressed BMP; save it as a plain one, or as PNG")


def _exif(image: Image.Image, name: str) -> Image.Exif:
    """EXIF as far as it has been read. Pillow alone would decode a PNG's pixels to look behind."""
    block = image.info.get("exif") or b""
    profile = image.info.get("Raw profile type exif")
    if not block and profile is not None:
        block = bytes.fromhex("".join(profile.split("\n")[3:]))
    check_tags(block, name)
    return Image.Image.getexif(image)


def _lies(image: Image.Image, name: str) -> bool:
    """True if the upright photo is as wide as the stored one is high."""
    return _exif(image, name).get(ORIENTATION, 1) in (5, 6, 7, 8)


def _upright_hw(image: Image.Image, name: str) -> tuple[int, int]:
    return (image.width, image.height) if _lies(image, name) else (image.height, image.width)


def _reduced(
    image: Image.Image, name: str, size_for: Callable[[tuple[int, int]], tuple[int, int]]
) -> Optional[tuple[int, int]]:
    """Have a JPEG decoded smaller; the size of the whole photo, None if it is no JPEG."""
    if image.format not in ("JPEG", "MPO"):
        return None
    whole_hw = _upright_hw(image, name)
    height, width = size_for(whole_hw)
    image.draft(None, (height, width) if _lies(image, name) else (width, height))
    return whole_hw


def _upright(image: Image.Image, name: str) -> Image.Image:
    """Turn as EXIF says. Not by ``exif_transpose``: it writes EXIF back and fails on odd tags."""
    image.load()  # TIFF turns itself here, and drops the tag
    turn = TURNS.get(_exif(image, name).get(ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Any Pillow mode to RGB; 16-bit grey keeps its upper 8 bits, as colour of 16 bits does."""
    if image.mode in ("I", "F"):
        raise InputError(f"{name}: 32-bit pixels, expected 8 or 16 bits a channel")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> np.ndarray:
    """RGB as an array, copied in bands: Pillow would hand over all at once, through two copies."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))
        rgb[top : top + BAND_ROWS] = np.asarray(band)
    return rgb
