"""Points of a photo whose distance is known: typed by hand, or of a LiDAR.

A file or lists in; places and metres out, checked. x goes right and y down in pixels of the upright
photo; 0, 0 is the middle of its first pixel. Nothing in a file is executed.
"""

import codecs
import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from runtime.errors import InputError, LimitError
from runtime.files import read_whole
from runtime.photo import png

MILLIMETRES = 1000.0  # stored values a metre in a PNG; KITTI's have 256
SUFFIXES = (".csv", ".txt", ".npz", ".png")
COLUMNS = ("x", "y", "metres")
ARRAYS = ("points", "depth", "depth_m")
MAX_BYTES = 256 << 20  # of a file, and of what an archive unpacks to
MAX_SIDE = 65_535  # pixels
MAX_METRES = 1e6
SAME = 1e-6  # share by which distances must differ to be two
SHOWN = 40  # characters of others' text in an error


@dataclass(frozen=True)
class KnownPoints:
    """Places in a photo, and how far away they are.

    Args:
        xy: float64 (N, 2), x and y in pixels of the upright photo.
        metres: float64 (N,), along the camera's axis.
        of_hw: height and width of the map that they come from, which must be the photo's.
    Raises:
        InputError: fewer than two, numbers that are none, or no two different distances.
    """

    xy: np.ndarray
    metres: np.ndarray
    of_hw: Optional[tuple[int, int]] = None

    def __post_init__(self) -> None:
        if len(self.metres) < 2:
            raise InputError(
                f"points: {len(self.metres)} given, expected at least two, at different distances"
            )
        if not np.isfinite(self.xy).all():
            raise InputError("points: a place that is no number; give x and y in pixels")
        wrong = ~((self.metres > 0) & (self.metres <= MAX_METRES))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise InputError(
                f"points: point {index + 1} is at {self.metres[index]:g} metres; give distances "
                f"above 0 and up to {MAX_METRES:,.0f}"
            )
        if np.ptp(self.metres) <= SAME * self.metres.max():
            raise InputError(
                f"points: all {len(self.metres)} are at {self.metres[0]:g} metres; give points at "
                "two distances or more"
            )

    def check_inside(self, photo_hw: tuple[int, int]) -> None:
        """Refuse points that are not in a photo of this size.

        Raises:
            InputError: a place outside of it, or a map of another size.
        """
        height, width = photo_hw
        if self.of_hw is not None and tuple(self.of_hw) != (height, width):
            raise InputError(
                f"points: the map is {self.of_hw[1]} x {self.of_hw[0]}, the upright photo "
                f"{width} x {height}; give one of the photo's own pixels"
            )
        x, y = self.xy[:, 0], self.xy[:, 1]
        outside = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)
        if outside.any():
            index = int(np.argmax(outside))
            raise InputError(
                f"points: point {index + 1} is at x {x[index]:g}, y {y[index]:g}, outside of the "
                f"upright photo of {width} x {height} pixels; x goes right from 0, y down"
            )


def points_of_rows(rows: Any) -> KnownPoints:
    """Points out of whatever was sent: [[x, y, metres], ...].

    Args:
        rows: lists of numbers, or an array (N, 3).
    Raises:
        InputError: it is no such thing, or as for ``KnownPoints``.
    """
    try:
        array = np.asarray(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 3 or not _only_numbers(rows):
        if array.shape == (0,) and isinstance(rows, list) and not rows:
            return KnownPoints(np.zeros((0, 2)), np.zeros(0))
        raise InputError("points: no list of [x, y, metres]; give two or more of them, in numbers")
    return KnownPoints(array[:, :2], array[:, 2])


def points_of_map(depth: np.ndarray, per_metre: float = 1.0) -> KnownPoints:
    """The pixels of a sparse map that hold a distance.

    Args:
        depth: (H, W), 0 where nothing is known; neither is it where a float is not finite.
        per_metre: stored values a metre.
    Raises:
        InputError: it is no such map, or as for ``KnownPoints``.
    """
    if depth.ndim != 2 or depth.dtype.kind not in "uif":
        raise InputError(f"points: a map of {depth.dtype} {depth.shape}, expected numbers (H, W)")
    rows, columns = np.nonzero(np.isfinite(depth) & (depth != 0))
    metres = depth[rows, columns].astype(np.float64) / per_metre
    size_hw = (depth.shape[0], depth.shape[1])
    return KnownPoints(np.stack((columns, rows), axis=1).astype(np.float64), metres, size_hw)


def read_points(file: Path, per_metre: float = MILLIMETRES) -> KnownPoints:
    """Points of a file, by its suffix.

    ``.csv`` and ``.txt``: x, y, metres a line; a header may say the order, ``#`` begins a comment.
    ``.png``: 16 bits, 0 where nothing is known. ``.npz``: ``points`` (N, 3), or ``depth`` or
    ``depth_m`` (H, W) in metres.

    Args:
        per_metre: stored values a metre, of a PNG.
    Raises:
        InputError: it cannot be read, is of another kind, or holds no such points.
        LimitError: it is too large.
    """
    return points_of_bytes(read_whole(file, MAX_BYTES), str(file), per_metre)


def points_of_bytes(data: bytes, name: str, per_metre: float = MILLIMETRES) -> KnownPoints:
    """As ``read_points``, of a file's bytes; ``name`` is what errors call it, and says its kind."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: points come as {', '.join(SUFFIXES)}")
    if len(data) > MAX_BYTES:
        raise LimitError(f"{name}: over {MAX_BYTES:,} bytes of points")
    try:
        if suffix == ".png":
            return points_of_map(_png16(data, name), per_metre)
        if suffix == ".npz":
            return _of_archive(data, name)
        return _of_text(data, name)
    except InputError as error:
        said = str(error)
        raise type(error)(said if name in said else f"{name}: {said}") from None


def _png16(data: bytes, name: str) -> np.ndarray:
    try:
        png.read_header(data)  # bounds what a header can ask for
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if max(image.size) > MAX_SIDE or image.width * image.height > MAX_BYTES // 2:
                raise LimitError(f"{name}: {image.width} x {image.height} pixels are too many")
            if image.mode not in ("I;16", "I;16B", "I"):
                raise InputError(f"{name}: {image.mode}, expected one channel of 16 bits")
            return np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # damaged bytes make decoders raise whatever they trip over
        raise InputError(f"{name}: no PNG, or damaged ({error})") from None


def _of_archive(data: bytes, name: str) -> KnownPoints:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise LimitError(f"{name}: unpacks to over {MAX_BYTES:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = [key for key in ARRAYS if key in arrays.files]
            array = arrays[found[0]] if len(found) == 1 else np.zeros(0)
    except InputError:
        raise
    except Exception as error:  # zlib, the reader of headers and others have errors of their own
        raise InputError(f"{name}: no NumPy archive, or damaged ({error})") from None
    if len(found) != 1:
        raise InputError(f"{name}: expected one of {', '.join(ARRAYS)} in it")
    return points_of_rows(array) if found[0] == "points" else points_of_map(array)


def _of_text(data: bytes, name: str) -> KnownPoints:
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8").lstrip("\ufeff")
    except UnicodeError as error:
        raise InputError(f"{name}: no text ({error})") from None
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise InputError(f"{name}: no points; expected lines of x,y,metres")
    separator = next((one for one in ";\t," if one in lines[0][1]), None)
    order: Sequence[int] = range(3)
    if _numbers(_cells(lines[0][1], separator), order) is None:
        order = _order(_cells(lines.pop(0)[1], separator), name)
    rows = []
    for number, line in lines:
        cells = _cells(line, separator)
        row = _numbers(cells, order)
        if row is None:
            raise InputError(f"{name}, line {number}: {line[:SHOWN]!r} is no x,y,metres")
        rows.append(row)
    return points_of_rows(rows)


def _cells(line: str, separator: Optional[str]) -> list[str]:
    """A line's cells; where a comma does not separate them, it may be a decimal one."""
    if separator == ",":
        return [cell.strip() for cell in next(csv.reader([line]))]
    return [cell.strip().replace(",", ".") for cell in line.split(separator)]


def _numbers(cells: Sequence[str], order: Iterable[int]) -> Optional[list[float]]:
    try:
        return [float(cells[index]) for index in order]
    except (ValueError, IndexError):
        return None


def _order(header: Sequence[str], name: str) -> list[int]:
    names = [cell.strip("\"' ").lower() for cell in header]
    if any(column not in names for column in COLUMNS):
        raise InputError(f"{name}: the header is {','.join(names)[:SHOWN]!r}, expected x,y,metres")
    return [names.index(column) for column in COLUMNS]


def _only_numbers(value: Any) -> bool:
    """False for the texts, truths and nothings that NumPy would take for numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "uif"
    if isinstance(value, (list, tuple)):
        return all(map(_only_numbers, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)
