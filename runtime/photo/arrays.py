"""Pixels that callers hand over, as arrays or as Pillow's pictures, to RGB of 8 bits.

An array of any layout and number type, or a picture of any mode, in; uint8 (H, W, 3) out. What
values mean is never guessed: what could mean two things is refused. No file, no network.

The values of an array, by its number type:

- uint8: 0..255; bool: black and white.
- uint16: 0..65535, of which the upper 8 bits are kept, as of a file of 16 bits. Where the largest
  value fits 8 bits, it could be a picture of 8 bits in a wider type, and is refused.
- other integers: 0..255.
- floats: 0..1. Where some are above 1: 0..255, if all are whole numbers.
"""

from collections.abc import Callable
from typing import Any, Union

import numpy as np
from PIL import Image, ImageCms

from runtime.errors import InputError, first_line

Convert = Callable[[np.ndarray], np.ndarray]

CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}
BYTE = 255
HALF_A_LEVEL = 0.5 / BYTE  # beyond 0..1: what rounding leaves there
BAND_ROWS = 64  # converted at a time: wide numbers are held of these only
EXPECTED = "expected grey (H, W), (H, W, 3) or (H, W, 4) with alpha"

# Modes that Pillow brings to RGB only by way of another one, or not without a warning
BY_WAY_OF = {"RGBa": "RGBA", "La": "LA"}


def as_rgb(photo: Union[np.ndarray, Image.Image], name: str = "photo") -> np.ndarray:
    """RGB of an array or a picture: see ``rgb_of_array`` and ``rgb_of_picture``."""
    if isinstance(photo, Image.Image):
        return rgb_of_picture(photo, name)
    return rgb_of_array(photo, name)


def rgb_of_array(array: Any, name: str = "photo") -> np.ndarray:
    """Pixels to 8 bits a channel, three channels.

    Args:
        array: (H, W), grey; or (H, W, C) with C 1, 2 (grey and alpha), 3, or 4 (with alpha). Alpha
            is dropped. Of three colours the order is kept, so BGR stays BGR.
        name: what errors call it.
    Returns:
        uint8 (H, W, 3), contiguous; the array itself if it is that already.
    Raises:
        InputError: no array of numbers, another shape, no pixel, or values whose meaning is not
            clear; see the module's text.
    """
    pixels = _colours(_checked(array, name), name)
    if pixels.dtype != np.uint8:
        pixels = _as_bytes(pixels, name)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)


def rgb_of_picture(picture: Image.Image, name: str = "photo") -> np.ndarray:
    """Pixels of a picture of any mode, its current frame.

    It is not turned as its EXIF may say: depth belongs to the pixels that the caller has.

    Returns:
        uint8 (H, W, 3).
    Raises:
        InputError: it has no pixel, they cannot be read, or their meaning is not clear.
    """
    try:
        picture.load()
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            return rgb_of_array(np.asarray(picture), name)
        return rgb_of_array(np.asarray(_to_rgb(picture)), name)
    except InputError:
        raise
    except Exception as error:  # a file behind it that is damaged, closed or gone
        raise InputError(f"{name}: a picture that cannot be read ({first_line(error)})") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "LAB":  # as TIFF has it, seen by daylight
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned: Any = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")  # type: ignore[arg-type]
        return turned
    way = BY_WAY_OF.get(picture.mode)
    if picture.mode == "P" and "transparency" in picture.info:
        way = "RGBA"
    return (picture.convert(way) if way else picture).convert("RGB")


def _checked(array: Any, name: str) -> np.ndarray:
    """A plain array of numbers."""
    if array is None:
        raise InputError(
            f"{name} is None, as cv2.imread gives for a file that it cannot read; expected an array"
        )
    if not isinstance(array, np.ndarray):
        kind = type(array)
        tensor = f", as {name}.permute(1, 2, 0).cpu().numpy() makes one"
        raise InputError(
            f"{name} is {kind.__name__}, expected a numpy array: grey (H, W), or (H, W, 3)"
            f"{tensor if kind.__module__.partition('.')[0] == 'torch' else ''}"
        )
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{name} is a masked array; give its pixels, as {name}.filled(0)")
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} is an array of {array.dtype}, expected uint8, or other numbers")
    return np.asarray(array)


def _colours(array: np.ndarray, name: str) -> np.ndarray:
    """(H, W) or (H, W, C) without alpha: (H, W, 1 or 3)."""
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim == 3 and pixels.shape[2] in CHANNELS and pixels.size:
        return pixels[..., :1] if pixels.shape[2] <= 2 else pixels[..., :3]
    found = f"{name} is {array.dtype} {array.shape}, {EXPECTED}"
    if not array.size:
        raise InputError(f"{found}, of one pixel at least")
    if array.ndim == 3 and array.shape[0] in CHANNELS:
        raise InputError(f"{found}; its channels come first: give {name}.transpose(1, 2, 0)")
    if array.ndim == 4:
        raise InputError(f"{found}; drop the batch axis, or give the photos one by one")
    raise InputError(found)


def _as_bytes(pixels: np.ndarray, name: str) -> np.ndarray:
    """(H, W, C) of any number type to uint8, some rows at a time."""
    convert = _conversion(pixels, name)
    result = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), BAND_ROWS):
        result[top : top + BAND_ROWS] = convert(pixels[top : top + BAND_ROWS])
    return result


def _conversion(pixels: np.ndarray, name: str) -> Convert:
    """What brings values to 0..255: the module's text as code.

    Raises:
        InputError: they could mean two things, or nothing.
    """
    if pixels.dtype.kind == "b":
        return lambda band: band * np.uint8(BYTE)
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name} is {pixels.dtype} with values that are not finite; fill them")
    found = f"{name} is {pixels.dtype} from {low:.6g} to {high:.6g}"
    if pixels.dtype.kind == "f":
        return _conversion_of_floats(pixels, float(low), float(high), found)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        if 0 < high <= BYTE:
            raise InputError(
                f"{found}: 8 bits in a wider type, or a very dark picture of 16 bits? Give uint8 "
                "for 8 bits; stretch 16 bits over 0 to 65535"
            )
        return lambda band: band >> 8
    if low < 0 or high > BYTE:
        wider = "; give a picture of 16 bits as uint16" if low >= 0 else ""
        raise InputError(f"{found}, expected 0 to 255{wider}")
    return lambda band: band


def _conversion_of_floats(pixels: np.ndarray, low: float, high: float, found: str) -> Convert:
    if low > -HALF_A_LEVEL and high < 1 + HALF_A_LEVEL:
        return lambda band: np.rint(band.astype(np.float64) * BYTE)
    if low < 0 or high > BYTE:
        raise InputError(
            f"{found}, expected 0 to 1, or whole numbers from 0 to 255; if it is normalised, undo "
            "that, if it is a little beyond, clip it"
        )
    bands = (pixels[top : top + BAND_ROWS] for top in range(0, len(pixels), BAND_ROWS))
    if all((band == np.rint(band)).all() for band in bands):
        return lambda band: band
    raise InputError(
        f"{found}, not all whole numbers: meant to be 0..1, or 0..255? Give uint8, or clip to 0..1"
    )
