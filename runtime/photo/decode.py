"""Bytes to a photo: decoded, upright, RGB, 8 bits, within limits.

A file or bytes in, uint8 (H, W, 3) out. The bytes tell the format, whatever the file is called.
Its module reads the header first, and no pixel is decoded of a photo that is too large. Alpha is
dropped, as ``cv2.imread`` does; of several frames the first is taken. A JPEG can be decoded
smaller, at a fraction of the time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np

from runtime.errors import InputError, LimitError, first_line
from runtime.files import read_whole
from runtime.photo import bmp, heif, jpeg, png, tiff, tiff_pixels, webp
from runtime.photo.header import Header

MAX_PIXELS = 100_000_000
MAX_SIDE = 65_500  # what libjpeg reads at most; work on a row or a column stays small
MAX_FILE_BYTES = 256 << 20  # of a photo as it is stored
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

# What a JPEG is decoded at: all its pixels, or 1/2, 1/4 or 1/8 of each side, as far as a network
# needs no more.
FULL, REDUCED = DECODES = ("full", "reduced")

# EXIF orientation -> what turns the picture upright
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.transpose(cv2.rotate(rgb, cv2.ROTATE_180)),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def read_file(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """A photo's bytes, as they are stored; its size is looked at before it is read.

    Raises:
        InputError: no such file, or it cannot be read.
        LimitError: it is larger than a photo may be.
    """
    return read_whole(path, limit_bytes)


SizeFor = Callable[[tuple[int, int]], tuple[int, int]]


def read_photo(source: Union[str, Path, bytes], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a photo.

    Args:
        source: a file's path, or its bytes.
        max_pixels: refuse anything larger, before decoding it.
    Returns:
        uint8 (H, W, 3), RGB, turned upright as its EXIF orientation says.
    Raises:
        InputError: no such file, not an image of a known format or kind, or damaged.
        LimitError: too large, or made to take long.
    """
    return read_at_least(source, None, max_pixels)[0]


def read_at_least(
    source: Union[str, Path, bytes],
    size_for: Optional[SizeFor],
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
    with _told(name):
        header = _header(data)
        _check_size(header, max_pixels)
        rgb = _decoded(data, header, size_for)
        if header.exif.orientation in TURNS:
            rgb = TURNS[header.exif.orientation](rgb)
    return rgb, header.upright_hw


def photo_size(source: Union[str, Path, bytes]) -> tuple[int, int]:
    """Height and width of the upright photo, from its header; no pixel is decoded.

    Raises:
        InputError: no such file, or not an image of a known format or kind.
        LimitError: a header made to take long.
    """
    data, name = _bytes_of(source)
    with _told(name):
        return _header(data).upright_hw


def orientation_of(source: Union[str, Path, bytes]) -> int:
    """How EXIF turns a photo, 1 to 8; 1: not at all.

    Raises:
        as ``photo_size``.
    """
    data, name = _bytes_of(source)
    with _told(name):
        orientation = _header(data).exif.orientation
    return orientation if orientation in TURNS else 1


def check_sides(height: int, width: int, name: str = "") -> None:
    """Refuse a photo that is longer than ``MAX_SIDE``, whatever it holds.

    Args:
        name: what the error calls it, if nobody puts that in front.
    Raises:
        LimitError: it is longer.
    """
    if max(height, width) > MAX_SIDE:
        raise LimitError(
            f"{f'{name}: ' if name else ''}{width} x {height} pixels, limit {MAX_SIDE:,} on a "
            "side; cut or shrink it"
        )


def is_image(data: bytes) -> bool:
    """Whether bytes begin as a file of a format that is known here does."""
    return _reader_of(data) is not None


def focal_px_of(source: Union[str, Path, bytes]) -> Optional[float]:
    """Focal length in pixels of the upright photo, as EXIF tells it; None if it does not.

    EXIF gives what the focal length would be on 35 mm film, 43.27 mm across; the photo's diagonal
    has the same share of it.
    """
    data, name = _bytes_of(source)
    try:
        with _told(name):
            header = _header(data)
    except InputError:  # no image: nothing is known
        return None
    return header.exif.focal_px(header.size_hw)


def _bytes_of(source: Union[str, Path, bytes], name: str = "") -> tuple[bytes, str]:
    """A photo's bytes, and what errors call it."""
    if isinstance(source, bytes):
        return source, name or "photo"
    return read_file(Path(source)), name or str(source)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors with the photo's name; what damaged bytes make decoders raise, in our words."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        said = first_line(error)
        raise InputError(f"{name}: damaged or incomplete image ({said})") from None


def _header(data: bytes) -> Header:
    """What the header says, by the module of its format."""
    if not data:
        raise InputError("empty, 0 bytes")
    read_header = _reader_of(data)
    if read_header is None:
        raise InputError(f"not an image in a known format ({', '.join(IMAGE_FORMATS)})")
    return read_header(data)


def _reader_of(data: bytes) -> Optional[Callable[[bytes], Header]]:
    """What reads the header of a file that begins so; None if no format here does."""
    if data.startswith(jpeg.MAGIC):
        return jpeg.read_header
    if data.startswith(png.MAGIC):
        return png.read_header
    if data.startswith(tiff.MAGICS):
        return tiff.read_header
    if webp.is_webp(data):
        return webp.read_header
    if data.startswith(bmp.MAGIC):
        return bmp.read_header
    return heif.read_header if heif.is_heif(data) else None


def _decoded(data: bytes, header: Header, size_for: Optional[SizeFor]) -> np.ndarray:
    """The pixels as they are stored."""
    if isinstance(header, jpeg.JpegHeader):
        return jpeg.decode(data, header, size_for)
    if isinstance(header, png.PngHeader):
        return png.decode(data, header)
    if isinstance(header, tiff.TiffHeader):
        return tiff_pixels.decode(data, header)
    if isinstance(header, webp.WebpHeader):
        return webp.decode(data, header)
    if isinstance(header, bmp.BmpHeader):
        return bmp.decode(data, header)
    return heif.decode(data, header)


def _check_size(header: Header, max_pixels: int) -> None:
    """Refuse what would take too much memory, or time, to decode."""
    height, width = header.size_hw
    pixels = height * width
    if not pixels:
        raise ValueError(f"{width} x {height} pixels")
    check_sides(height, width)
    if pixels > max_pixels:
        raise LimitError(
            f"{width} x {height} = {pixels:,} pixels, limit {max_pixels:,}; "
            "shrink it or raise --max-pixels"
        )
    if header.block_pixels > max_pixels:  # a tile is decoded whole, however small the photo is
        raise LimitError(f"tiles of {header.block_pixels:,} pixels, limit {max_pixels:,}")
