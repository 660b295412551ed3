"""Bytes to a photo: decoded, upright, RGB, 8 bits, within limits.

A file or bytes in, uint8 (H, W, 3) out. Size and format are read from the header before a pixel is
decoded. Alpha is dropped, as ``cv2.imread`` does; of several frames the first is taken.
"""

import io
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime.errors import InputError

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

# Pillow's own limit is one number for the whole process; ours is checked for each photo, earlier.
Image.MAX_IMAGE_PIXELS = None


def read_photo(source: Union[str, Path, bytes], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a photo.

    Args:
        source: a file's path, or its bytes.
        max_pixels: refuse anything larger, before decoding it.
    Returns:
        uint8 (H, W, 3), RGB, turned upright as its EXIF orientation says.
    Raises:
        InputError: no such file, not an image of a known format, damaged, or too large.
    """
    name = "photo" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes):
        source = _read_bytes(Path(source))
    if not source:
        raise InputError(f"{name}: empty, 0 bytes")
    try:
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"{name}: {image.width} x {image.height} = {image.width * image.height:,} "
                    f"pixels, limit {max_pixels:,}; shrink it or raise --max-pixels"
                )
            image = ImageOps.exif_transpose(image)
            rgb = np.array(_to_rgb(image, name))
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image in a known format ({', '.join(FORMATS)})") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: damaged or incomplete image ({error})") from None
    return rgb


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected an image file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Any Pillow mode to RGB; 16-bit grey keeps its upper 8 bits, as colour of 16 bits does."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: 32-bit pixels, expected 8 or 16 bits a channel")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise InputError(f"{name}: float pixels, expected 8 or 16 bits a channel")
    return image.convert("RGB")
