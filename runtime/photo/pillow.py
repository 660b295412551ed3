"""Pillow's pictures as arrays: RGB uint8 (H, W, 3), copied in bands.

Pillow is given what the formats' modules cleared for it, and asked for pixels only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

BAND_ROWS = 64  # of a photo, copied at a time: keeps them in the processor's cache

# Pillow's own limit is one number for the whole process; ours is checked for each photo, earlier.
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def opened(file: object, file_format: str) -> Iterator[Image.Image]:
    """A picture of exactly this format, not decoded yet."""
    with Image.open(cast(BinaryIO, file), formats=(file_format,)) as image:
        yield image


def to_rgb(image: Image.Image) -> np.ndarray:
    """Decode a picture of any mode; grey of 16 bits keeps its upper 8, as colour of 16 bits does.

    Pillow would convert, and hand over, all at once through two copies of it.
    """
    image.load()
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + BAND_ROWS, image.height)))
        if image.mode.startswith("I"):
            rgb[top : top + BAND_ROWS] = (np.asarray(band) >> 8).astype(np.uint8)[..., None]
        else:
            rgb[top : top + BAND_ROWS] = np.asarray(
                band if band.mode == "RGB" else band.convert("RGB")
            )
    return rgb
