"""The points of a COLMAP model as true depth where there are no maps: sparse, and measured by it.

A model's folder in; of each image the points that it sees, and maps of their depth, out. Only what
three images or more see counts, since two can agree on what is not there. Nothing in a file is run.
Source: COLMAP's documentation of its output format.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from exports.points import project
from runtime.errors import InputError
from runtime.files import read_whole
from runtime.scene.known_cameras import MAX_BYTES

SEEN_BY = 3  # images at least
LONGER_SIDE = 504  # cells of a map: what networks see
POINT, LENGTH, TRACK = struct.Struct("<Q3d3Bd"), struct.Struct("<Q"), struct.Struct("<II")
IMAGE = struct.Struct("<I7dI")
OBSERVATION_BYTES = 24

Seen = tuple[tuple[float, ...], list[int]]  # where a point is, and the numbers of its images


def has_points(model: Path) -> bool:
    """Whether a folder holds a model with points."""
    return any((model / f"points3D{suffix}").is_file() for suffix in (".bin", ".txt"))


def points_by_image(model: Path) -> dict[str, np.ndarray]:
    """The points that each image of a model sees: name -> float64 (M, 3), in the world.

    Raises:
        InputError: files are missing or damaged.
        LimitError: a file is too large.
    """
    suffix = ".bin" if (model / "points3D.bin").is_file() else ".txt"
    images, points = model / f"images{suffix}", model / f"points3D{suffix}"
    try:
        if suffix == ".bin":
            names = dict(_names_of_binary(read_whole(images, MAX_BYTES)))
            seen = _points_of_binary(read_whole(points, MAX_BYTES))
        else:
            names = dict(_names_of_text(_lines(images)))
            seen = _points_of_text(_lines(points))
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names.values()}
        for place, numbers in seen:
            if len(numbers) >= SEEN_BY:
                for number in numbers:
                    found[names[number]].append(place)
    except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{model}: a damaged COLMAP model ({error})") from None
    return {name: np.array(places).reshape(-1, 3) for name, places in found.items()}


def sparse_depth(
    points: np.ndarray,
    intrinsics: np.ndarray,
    extrinsics: np.ndarray,
    photo_hw: tuple[int, int],
    longer_side: int = LONGER_SIDE,
) -> np.ndarray:
    """A map of a photo with the depth of the nearest point in each cell.

    Args:
        points: float (M, 3), that the photo sees.
        intrinsics: (3, 3), pixels of the photo; extrinsics: (4, 4), world-to-camera.
        longer_side: of the map, or the photo's own if that is shorter.
    Returns:
        float32 (h, w), over all of the photo; NaN where there is no point.
    """
    height, width = photo_hw
    scale = min(1.0, longer_side / max(photo_hw))
    size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    depth = np.full(size_hw, np.inf, np.float32)
    pixels, far = project(points, intrinsics, extrinsics)
    inside = (far > 0) & np.isfinite(far)
    inside &= (pixels >= 0).all(1) & (pixels < (width, height)).all(1)
    columns, rows = (pixels[inside] * (size_hw[1] / width, size_hw[0] / height)).astype(int).T
    np.minimum.at(depth, (rows, columns), far[inside].astype(np.float32))
    depth[np.isinf(depth)] = np.nan
    return depth


def _lines(file: Path) -> Sequence[str]:
    return read_whole(file, MAX_BYTES).decode("utf-8-sig", "surrogateescape").splitlines()


def _names_of_text(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    entries = iter(line for line in lines if not line.lstrip().startswith("#"))
    for line in entries:
        if line.strip():
            words = line.split(None, 9)
            yield int(words[0]), words[9].rstrip()
            next(entries, None)  # what it observes, which may be nothing


def _points_of_text(lines: Sequence[str]) -> Iterator[Seen]:
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            words = line.split()
            if len(words) < 8:
                raise ValueError(f"{line[:60]!r} is no point")
            place = tuple(float(word) for word in words[1:4])
            yield place, sorted({int(word) for word in words[8::2]})


def _names_of_binary(data: bytes) -> Iterator[tuple[int, str]]:
    (count,), at = LENGTH.unpack_from(data), LENGTH.size
    for _ in range(count):
        number = IMAGE.unpack_from(data, at)[0]
        end = data.index(b"\0", at + IMAGE.size)
        yield number, data[at + IMAGE.size : end].decode("utf-8", "surrogateescape")
        (seen,) = LENGTH.unpack_from(data, end + 1)
        at = end + 1 + LENGTH.size + OBSERVATION_BYTES * seen


def _points_of_binary(data: bytes) -> Iterator[Seen]:
    (count,), at = LENGTH.unpack_from(data), LENGTH.size
    for _ in range(count):
        place = POINT.unpack_from(data, at)[1:4]
        (seen,) = LENGTH.unpack_from(data, at + POINT.size)
        at += POINT.size + LENGTH.size
        if at + TRACK.size * seen > len(data):
            raise ValueError("points3D.bin ends within a track")
        track = np.frombuffer(data, "<u4", 2 * seen, at)[::2]
        at += TRACK.size * seen
        yield place, np.unique(track).tolist()
