"""A camera's intrinsics from a file: 3x3 as text, JSON or NumPy's, or a scene's ``cameras.json``.

A file in; a ``PhotoCamera`` out. Nothing in the file is executed.
"""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import InputError
from runtime.files import read_whole
from runtime.scene.focal import PhotoCamera

MAX_BYTES = 16 << 20
MAX_VALUES = 100_000
KEYS = ("intrinsics", "K", "camera_matrix")
EXPECTED = "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels of the photo"
# cameras.json counts pixels from the photo's corner, a calibration from the first pixel's middle
FROM_CORNER = 0.5


def read_intrinsics(file: Path, photo: str, photo_hw: tuple[int, int]) -> PhotoCamera:
    """The camera of a photo.

    Args:
        photo: its name, by which ``cameras.json`` knows it.
    Raises:
        InputError: the file cannot be read, holds no such matrix, or not this photo's.
        LimitError: it is too large.
    """
    data = read_whole(file, MAX_BYTES)
    corner = 0.0
    if file.suffix.lower() in (".npz", ".npy"):
        found = _of_numpy(data, file)
    elif data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        found, corner = _of_json(data, file, photo, photo_hw)
    else:
        found = _of_text(data, file)
    matrix = _checked(found, file)
    principal = (float(matrix[0, 2]) - corner, float(matrix[1, 2]) - corner)
    focal_px = (float(matrix[0, 0]), float(matrix[1, 1]))
    try:
        return PhotoCamera(focal_px, principal, how=f"intrinsics of {file.name}")
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _of_numpy(data: bytes, file: Path) -> Any:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found as arrays:
            keys = [key for key in KEYS if key in arrays.files] or arrays.files
            return arrays[keys[0]] if len(keys) == 1 else None
    except Exception as error:  # zlib and the reader of headers have errors of their own
        raise InputError(f"{file}: no NumPy file, or damaged ({error})") from None


def _of_text(data: bytes, file: Path) -> Any:
    try:
        words = re.split(r"[\s,;]+", data.decode("utf-8-sig").strip())
        return [float(word) for word in words[: MAX_VALUES + 1]]
    except ValueError:
        raise InputError(f"{file}: no numbers; expected {EXPECTED}") from None


def _of_json(data: bytes, file: Path, photo: str, photo_hw: tuple[int, int]) -> tuple[Any, float]:
    try:
        facts = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    if not isinstance(facts, Mapping):
        return facts, 0.0
    if "photos" in facts:
        return _of_cameras(facts["photos"], file, photo, photo_hw), FROM_CORNER
    found = next((facts[key] for key in KEYS if key in facts), None)
    return (found.get("data") if isinstance(found, Mapping) else found), 0.0


def _of_cameras(photos: Any, file: Path, photo: str, photo_hw: tuple[int, int]) -> Any:
    """The matrix of this photo in ``cameras.json``."""
    rows = [row for row in photos if isinstance(row, Mapping)] if isinstance(photos, list) else []
    same = [row for row in rows if row.get("name") == photo]
    name = photo.rpartition("/")[2]
    same = same or [row for row in rows if str(row.get("name")).rpartition("/")[2] == name]
    if len(same) != 1:
        raise InputError(f"{file}: {'no' if not same else 'more than one'} camera of {photo}")
    size = same[0].get("size")
    if size != {"height": photo_hw[0], "width": photo_hw[1]}:
        raise InputError(
            f"{file}: the camera of {photo} is for {size}, the photo is {photo_hw[1]} x "
            f"{photo_hw[0]}"
        )
    return same[0].get("intrinsics")


def _checked(found: Any, file: Path) -> np.ndarray:
    try:
        matrix = np.asarray(found, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.size != 9 or not np.isfinite(matrix).all():
        raise InputError(f"{file}: no matrix of 3 x 3 numbers; expected {EXPECTED}")
    matrix = matrix.reshape(3, 3)
    if matrix[2].tolist() != [0, 0, 1] or matrix[0, 1] or matrix[1, 0]:
        raise InputError(
            f"{file}: {matrix.tolist()} is no pinhole without skew; expected {EXPECTED}"
        )
    return matrix
