"""True depth as files have it: one reader a format, each within bounds, none of which runs a file.

A file in; float32 (H, W) out, NaN where it is not known.
"""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.errors import InputError
from runtime.files import read_whole
from runtime.photo.decode import MAX_PIXELS

FLOAT_BYTES = 4
MAX_BYTES = FLOAT_BYTES * MAX_PIXELS + 256
COLMAP_HEADER = re.compile(rb"(\d{1,6})&(\d{1,6})&1&")  # width, height, channels
NPY = b"\x93NUMPY"


def read_png(file: Path, steps_per_unit: float) -> np.ndarray:
    """A 16-bit grey PNG, NaN where it holds 0.

    Args:
        steps_per_unit: 1000 for millimetres of metres.
    Raises:
        InputError: it cannot be read, is none, or is too large.
    """
    data = read_whole(file, MAX_BYTES)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if not image.mode.startswith("I"):
                raise InputError(f"{file}: {image.mode}, expected one channel of 16 bits")
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{file}: {image.width} x {image.height}, limit {MAX_PIXELS:,}")
            stored = np.asarray(image).astype(np.float32)
    except InputError:
        raise
    except Exception as error:  # decoders fed with damaged bytes raise whatever they trip over
        raise InputError(f"{file}: cannot be read as a PNG ({error})") from None
    stored[stored == 0] = np.nan
    return stored / np.float32(steps_per_unit)


def read_colmap_map(file: Path) -> np.ndarray:
    """A map of COLMAP's dense stereo: a line of sizes, then float32 column by column.

    Raises:
        InputError: it cannot be read, or is none.
    """
    data = read_whole(file, MAX_BYTES)
    header = COLMAP_HEADER.match(data)
    if header is None:
        raise InputError(f"{file}: no map of COLMAP's, expected WIDTH&HEIGHT&1& first")
    width, height = int(header[1]), int(header[2])
    values = _floats(file, data[header.end() :], height, width)
    return _known(values.reshape(height, width))


def read_raw(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """Float32 row by row without a header, as ETH3D has it.

    Args:
        size_hw: of the photo, which the file does not say.
    Raises:
        InputError: it cannot be read, or has another size.
    """
    data = read_whole(file, MAX_BYTES)
    return _known(_floats(file, data, *size_hw).reshape(size_hw))


def read_npy(file: Path) -> np.ndarray:
    """An array of numpy's, of any type of number; +inf stays: it is sky.

    Raises:
        InputError: it cannot be read, is none, or is too large.
    """
    data = read_whole(file, 2 * MAX_BYTES)
    try:
        if not data.startswith(NPY):  # else numpy takes it for a pickle
            raise ValueError("no .npy")
        values = np.load(io.BytesIO(data), allow_pickle=False)
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ValueError(f"{values.dtype} {values.shape}, expected numbers (H, W)")
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise InputError(f"{file}: cannot be read as an array ({error})") from None
    depth: np.ndarray = values.astype(np.float32)
    with np.errstate(invalid="ignore"):
        depth[~(depth > 0)] = np.nan
    return depth


def _floats(file: Path, data: bytes, height: int, width: int) -> np.ndarray:
    if len(data) != FLOAT_BYTES * height * width:
        raise InputError(
            f"{file}: {len(data)} bytes of depth, expected {FLOAT_BYTES * height * width} for "
            f"{width} x {height} pixels"
        )
    return np.frombuffer(data, "<f4")


def _known(depth: np.ndarray) -> np.ndarray:
    """The same with NaN where depth is 0, negative or infinite: not measured."""
    with np.errstate(invalid="ignore"):
        return np.where((depth > 0) & np.isfinite(depth), depth, np.float32(np.nan))
