"""A COLMAP model's cameras, from binary or text files.

A folder with ``cameras`` and ``images``, ``.bin`` or ``.txt``, in; one camera for each image, by
name, out. Points are passed over. COLMAP's poses are world-to-camera with OpenCV's axes, and it
counts pixels from the corner, so nothing is turned.
Source: COLMAP's documentation of its output format, and its list of camera models.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import rotation_from_quaternion
from runtime.scene.known_cameras import (
    CameraFile,
    KnownCamera,
    intrinsics_matrix,
    numbers,
    read_text,
)

FORMAT = "COLMAP"
MAX_NAME = 4096  # bytes
OBSERVATION_BYTES = 24  # x, y and the point's number


class Model(NamedTuple):
    """A camera model: how many focal lengths and other parameters, and whether zeros make it a
    pinhole."""

    name: str
    focals: int
    others: int
    can_be_pinhole: bool = True


CAMERA_MODELS = (  # in the order of their numbers in binary files
    Model("SIMPLE_PINHOLE", 1, 0),
    Model("PINHOLE", 2, 0),
    Model("SIMPLE_RADIAL", 1, 1),
    Model("RADIAL", 1, 2),
    Model("OPENCV", 2, 4),
    Model("OPENCV_FISHEYE", 2, 4, False),
    Model("FULL_OPENCV", 2, 8),
    Model("FOV", 2, 1),
    Model("SIMPLE_RADIAL_FISHEYE", 1, 1, False),
    Model("RADIAL_FISHEYE", 1, 2, False),
    Model("THIN_PRISM_FISHEYE", 2, 8, False),
    Model("RAD_TAN_THIN_PRISM_FISHEYE", 2, 12, False),
)
BY_NAME = {model.name: model for model in CAMERA_MODELS}


class Lens(NamedTuple):
    """What a camera of the file is."""

    size_hw: tuple[int, int]
    intrinsics: np.ndarray
    distortion: str


def is_colmap_model(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return any((folder / f"images{suffix}").is_file() for suffix in (".bin", ".txt"))


def read_colmap(folder: Path) -> CameraFile:
    """Read a model; of binary and text files in one folder, the binary ones.

    Returns:
        its cameras, sorted by their photos' names.
    Raises:
        InputError: files are missing or damaged, or a camera model is not known.
        LimitError: text files that are too large.
    """
    suffix = next((s for s in (".bin", ".txt") if (folder / f"images{s}").is_file()), None)
    if suffix is None:
        raise InputError(
            f"{folder}: neither images.bin nor images.txt there; expected a COLMAP model"
        )
    files = [folder / f"{name}{suffix}" for name in ("cameras", "images")]
    if not files[0].is_file():
        raise InputError(f"{files[0]}: missing beside {files[1].name}")
    try:
        lenses = dict(_lenses_of_text(files[0]) if suffix == ".txt" else _binary(files[0]))
        read = _images_of_text if suffix == ".txt" else _images_of_binary
        cameras = [
            _camera(files[1], lenses, number, name, pose) for number, name, pose in read(files[1])
        ]
    except (struct.error, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder}: a damaged COLMAP model ({error})") from None
    names = [camera.name for camera in cameras]
    twice = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) != len(names)
        else []
    )
    if twice:
        raise InputError(f"{files[1]}: several images of one name: {', '.join(twice[:3])}")
    return CameraFile(folder, FORMAT, tuple(sorted(cameras, key=lambda one: one.name)))


def _camera(
    file: Path, lenses: dict[int, Lens], number: int, name: str, pose: list[float]
) -> KnownCamera:
    if number not in lenses:
        raise InputError(f"{file}: {name} has camera {number}, which is not there")
    w, x, y, z = pose[:4]
    if not 0.5 < np.linalg.norm(pose[:4]) < 2 or not np.isfinite(pose).all():
        raise InputError(f"{file}: {name}: {pose[:4]} is no rotation")
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation_from_quaternion(np.array([x, y, z, w]))
    world_to_camera[:3, 3] = pose[4:]
    lens = lenses[number]
    return KnownCamera(
        world_to_camera,
        name,
        intrinsics=lens.intrinsics,
        size_hw=lens.size_hw,
        distortion=lens.distortion,
    )


def _lens(file: Path, model: Model, width: int, height: int, params: list[float]) -> Lens:
    if len(params) != model.focals + 2 + model.others or not np.isfinite(params).all():
        raise InputError(f"{file}: {model.name} with {len(params)} parameters; damaged")
    if width < 1 or height < 1 or min(params[: model.focals]) <= 0:
        raise InputError(f"{file}: {width} x {height} pixels, focal {params[0]:g}; damaged")
    fx, fy = params[0], params[model.focals - 1]
    cx, cy = params[model.focals : model.focals + 2]
    bent = any(params[model.focals + 2 :])
    distortion = "" if model.can_be_pinhole and not bent else model.name
    return Lens((height, width), intrinsics_matrix(fx, fy, cx, cy), distortion)


def _lenses_of_text(file: Path) -> Iterator[tuple[int, Lens]]:
    for line in read_text(file).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 5 or words[1] not in BY_NAME:
            raise InputError(f"{file}: {line[:60]!r} is no camera; known: {', '.join(BY_NAME)}")
        number, width, height = (int(one) for one in numbers([words[0], *words[2:4]], str(file)))
        params = numbers(words[4:], str(file))
        yield number, _lens(file, BY_NAME[words[1]], width, height, params)


def _images_of_text(file: Path) -> Iterator[tuple[int, str, list[float]]]:
    lines = iter(read_text(file).splitlines())
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(None, 9)
        if len(words) != 10:
            raise InputError(f"{file}: {line[:60]!r} is no image: number, pose, camera, name")
        values = numbers(words[1:9], str(file))
        next(lines, None)  # what it observes, which may be nothing
        yield int(values[7]), words[9].rstrip(), values[:7]


def _binary(file: Path) -> Iterator[tuple[int, Lens]]:
    with file.open("rb") as opened:
        (count,) = _unpack(opened, "<Q")
        for _ in range(count):
            number, kind, width, height = _unpack(opened, "<IiQQ")
            if not 0 <= kind < len(CAMERA_MODELS):
                raise InputError(
                    f"{file}: camera model {kind} is not known here; `colmap image_undistorter` "
                    "makes pinholes of it"
                )
            model = CAMERA_MODELS[kind]
            params = list(_unpack(opened, f"<{model.focals + 2 + model.others}d"))
            yield number, _lens(file, model, width, height, params)


def _images_of_binary(file: Path) -> Iterator[tuple[int, str, list[float]]]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        (count,) = _unpack(opened, "<Q")
        for _ in range(count):
            values = _unpack(opened, "<I7dI")
            name = bytearray()
            while not name.endswith(b"\0"):
                byte = opened.read(1)
                if not byte or len(name) > MAX_NAME:
                    raise InputError(f"{file}: a name without end; damaged")
                name += byte
            (seen,) = _unpack(opened, "<Q")
            after = opened.tell() + OBSERVATION_BYTES * seen
            if after > size:
                raise InputError(f"{file}: ends within {bytes(name[:60])!r}; damaged")
            opened.seek(after)
            yield values[8], name[:-1].decode("utf-8", "surrogateescape"), list(values[1:8])


def _unpack(opened: BinaryIO, form: str) -> tuple:
    return struct.unpack(form, opened.read(struct.calcsize(form)))
