"""COLMAP's files of a sparse model, binary and text.

Records in, blocks of bytes out; one camera, rig and frame for each image, ids from 1. Since COLMAP
3.12 rigs and frames stand beside cameras, images and points.
Source: COLMAP's documentation of its output format.
"""

import itertools
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

PINHOLE = 1
NAMES = ("cameras", "rigs", "frames", "images", "points3D")
NO_ERROR = -1.0  # of a point whose reprojection error nobody has computed
OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<u8")])
TRACK = np.dtype([("image", "<u4"), ("index", "<u4")])
POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")]
)


class Image(NamedTuple):
    """A photo, its camera, and where it stands.

    Args:
        width, height: of the photo, in pixels.
        params: fx, fy, cx, cy.
        quaternion: w x y z, w not negative; translation: (3,); both world-to-camera.
        observations: blocks of ``OBSERVATION``, ``seen`` in all.
    """

    name: str
    width: int
    height: int
    params: tuple[float, ...]
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    seen: int
    observations: Iterable[np.ndarray]


class Points(NamedTuple):
    """Some points, and where each is seen: ``tracks`` has those of all, one after the other."""

    table: np.ndarray  # POINT (P,)
    tracks: np.ndarray  # TRACK (sum of length,)


def binary(
    images: Collection[Image], points: Iterable[Points], count: int
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """All five files, by name."""
    numbers = range(1, len(images) + 1)
    head = [struct.pack("<Q", len(images))]
    yield "cameras.bin", itertools.chain(head, map(_camera, numbers, images))
    rigs = (struct.pack("<IIiI", at, 1, 0, at) for at in numbers)
    yield "rigs.bin", itertools.chain(head, rigs)
    yield "frames.bin", itertools.chain(head, map(_frame, numbers, images))
    yield "images.bin", itertools.chain(head, _images(images))
    yield "points3D.bin", _points(points, count)


def _camera(at: int, image: Image) -> bytes:
    return struct.pack("<IiQQ4d", at, PINHOLE, image.width, image.height, *image.params)


def _frame(at: int, image: Image) -> bytes:
    pose = struct.pack("<7d", *image.quaternion, *image.translation)
    return struct.pack("<II", at, at) + pose + struct.pack("<IiIQ", 1, 0, at, at)


def _images(images: Iterable[Image]) -> Iterator[bytes]:
    for at, image in enumerate(images, start=1):
        pose = struct.pack("<I7dI", at, *image.quaternion, *image.translation, at)
        yield pose + image.name.encode() + b"\0" + struct.pack("<Q", image.seen)
        for block in image.observations:
            yield np.ascontiguousarray(block, OBSERVATION).tobytes()


def _points(points: Iterable[Points], count: int) -> Iterator[bytes]:
    yield struct.pack("<Q", count)
    for some in points:
        yield _interleaved(some)


def _interleaved(some: Points) -> bytes:
    """Records of uneven length: each point, then its track."""
    lengths = some.table["length"].astype(np.int64)
    ends = np.cumsum(POINT.itemsize + TRACK.itemsize * lengths)
    starts = ends - POINT.itemsize - TRACK.itemsize * lengths
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    fixed = np.ascontiguousarray(some.table, POINT).view(np.uint8)
    data[(starts[:, None] + np.arange(POINT.itemsize)).ravel()] = fixed.ravel()
    within = np.arange(len(some.tracks)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(starts + POINT.itemsize, lengths) + TRACK.itemsize * within
    tracks = np.ascontiguousarray(some.tracks, TRACK).view(np.uint8)
    data[(places[:, None] + np.arange(TRACK.itemsize)).ravel()] = tracks.ravel()
    return data.tobytes()


def text(
    images: list[Image], points: Iterable[Points], count: int
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The same as text, which people read."""
    numbered = list(enumerate(images, start=1))
    yield (
        "cameras.txt",
        _lines(
            "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]",
            (f"{at} PINHOLE {i.width} {i.height} {_numbers(i.params)}" for at, i in numbered),
        ),
    )
    yield (
        "rigs.txt",
        _lines(
            "RIG_ID, NUM_SENSORS, REF_SENSOR_TYPE, REF_SENSOR_ID",
            (f"{at} 1 CAMERA {at}" for at, _ in numbered),
        ),
    )
    yield (
        "frames.txt",
        _lines(
            "FRAME_ID, RIG_ID, RIG_FROM_WORLD[QW, QX, QY, QZ, TX, TY, TZ], NUM_DATA_IDS, "
            "DATA_IDS[] as (SENSOR_TYPE, SENSOR_ID, DATA_ID)",
            (f"{at} {at} {_pose(image)} 1 CAMERA {at} {at}" for at, image in numbered),
        ),
    )
    yield (
        "images.txt",
        _lines(
            "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then POINTS2D[] as "
            "(X, Y, POINT3D_ID)",
            (
                line
                for at, image in numbered
                for line in (f"{at} {_pose(image)} {at} {image.name}", _observed(image))
            ),
        ),
    )
    yield (
        "points3D.txt",
        _lines(
            "POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)",
            (line for some in points for line in _written(some)),
        ),
    )


def _lines(heading: str, lines: Iterable[str]) -> Iterator[bytes]:
    yield f"# {heading}\n".encode()
    for line in lines:
        yield f"{line}\n".encode()


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _pose(image: Image) -> str:
    return _numbers((*image.quaternion, *image.translation))


def _observed(image: Image) -> str:
    return " ".join(
        f"{float(x)!r} {float(y)!r} {point}"
        for block in image.observations
        for x, y, point in block.tolist()
    )


def _written(some: Points) -> Iterator[str]:
    start = 0
    for number, xyz, rgb, error, length in some.table.tolist():
        seen = some.tracks[start : start + length].tolist()
        start += length
        track = " ".join(f"{image} {index}" for image, index in seen)
        colour = " ".join(map(str, rgb))
        yield f"{number} {_numbers(xyz)} {colour} {float(error)!r} {track}"
