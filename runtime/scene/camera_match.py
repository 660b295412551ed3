"""Known cameras to the photos that they are of.

Cameras of a file and the photos of a scene in; one pose and one matrix for each photo that has a
camera out, in pixels of that photo. By name, by time or by order, as the file allows.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.known_cameras import CameraFile, KnownCamera, intrinsics_matrix

SAME_TIME_S = 0.02  # apart at most, as the tools of TUM's benchmark have it
QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF, which swap height and width
TIME = re.compile(r"\d+\.\d+")  # as a name; whole numbers count photos
SHOWN = 3


@dataclass(frozen=True)
class Shot:
    """A photo or a frame, as far as cameras are told by it.

    Args:
        name: relative, with ``/``. size_hw: upright.
        index, time_s: of a frame in its video, from 0.
        turned: by EXIF; 1: not at all.
    """

    name: str
    size_hw: tuple[int, int]
    index: Optional[int] = None
    time_s: Optional[float] = None
    turned: int = 1


@dataclass(frozen=True, eq=False)
class Matched:
    """Cameras of some of the photos: ``indices`` says which.

    Args:
        extrinsics: float64 (n, 4, 4), world-to-camera; intrinsics: (n, 3, 3), pixels of the photo.
        missing: names of photos without a camera.
    """

    indices: tuple[int, ...]
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    missing: tuple[str, ...]


def match_cameras(
    file: CameraFile,
    shots: Sequence[Shot],
    focal_px_of: Callable[[int], Optional[float]] = lambda index: None,
    ignore_distortion: bool = False,
) -> Matched:
    """Find each photo's camera.

    Args:
        focal_px_of: a photo's focal length in its pixels, for files that have none.
        ignore_distortion: take every lens for a pinhole.
    Raises:
        InputError: no photo has a camera; a lens is no pinhole; sizes do not fit; a focal length is
            missing; or the cameras cannot be told apart.
    """
    found = _found(file, shots)
    indices = tuple(index for index, camera in enumerate(found) if camera is not None)
    if not indices:
        raise InputError(
            f"{file.place}: {len(file.cameras)} cameras ({file.format}), none of them of "
            f"{_listed([shot.name for shot in shots])}"
        )
    cameras = [camera for camera in found if camera is not None]
    bent = sorted({camera.distortion for camera in cameras if camera.distortion})
    if bent and not ignore_distortion:
        raise InputError(
            f"{file.place}: lenses with distortion ({', '.join(bent)}), and the network knows "
            "pinholes only; run `colmap image_undistorter` and give its folder, or take them as "
            "they are with --ignore-distortion"
        )
    matrices = [
        _intrinsics(file, camera, shots[index], partial(focal_px_of, index))
        for index, camera in zip(indices, cameras)
    ]
    poses = np.stack([camera.world_to_camera for camera in cameras])
    missing = tuple(shot.name for index, shot in enumerate(shots) if index not in set(indices))
    return Matched(indices, poses, np.stack(matrices), missing)


def _found(file: CameraFile, shots: Sequence[Shot]) -> list[Optional[KnownCamera]]:
    if all(camera.name for camera in file.cameras):
        return _by_name(file, shots)
    times = [_time_of(shot) for shot in shots]
    if all(camera.time_s is not None for camera in file.cameras) and None not in times:
        found = _by_time(file, [time for time in times if time is not None])
        if any(camera is not None for camera in found) or len(file.cameras) != len(shots):
            return found
    return _by_order(file, shots)


def _by_name(file: CameraFile, shots: Sequence[Shot]) -> list[Optional[KnownCamera]]:
    """The same path; else the same file name; else the same without a suffix."""
    found: list[Optional[KnownCamera]] = [None] * len(shots)
    for key in (_plain, lambda name: PurePosixPath(_plain(name)).name, _stem):
        table: dict[str, list[KnownCamera]] = {}
        for camera in (one for one in file.cameras if not any(one is two for two in found)):
            table.setdefault(key(camera.name), []).append(camera)
        keys = [key(shot.name) for shot in shots]
        for index, shot in enumerate(shots):
            same = table.get(keys[index], [])
            if found[index] is not None or not same:
                continue
            if len(same) > 1 or keys.count(keys[index]) > 1:
                raise InputError(f"{file.place}: more than one camera or photo of {shot.name}")
            found[index] = same[0]
        if all(camera is not None for camera in found):
            break
    return found


def _by_time(file: CameraFile, times: Sequence[float]) -> list[Optional[KnownCamera]]:
    """The nearest in time, if it is near."""
    stamps = np.array([camera.time_s for camera in file.cameras], np.float64)
    order = np.argsort(stamps, kind="stable")
    result: list[Optional[KnownCamera]] = []
    for time in times:
        at = int(np.searchsorted(stamps[order], time))
        near = [int(order[place]) for place in (at - 1, at) if 0 <= place < len(order)]
        best = min(near, key=lambda index: abs(stamps[index] - time))
        close = abs(stamps[best] - time) <= SAME_TIME_S + 1e-9
        result.append(file.cameras[best] if close else None)
    return result


def _by_order(file: CameraFile, shots: Sequence[Shot]) -> list[Optional[KnownCamera]]:
    """As many as photos: one each. Else by the number of a frame in its video, or in its name."""
    if len(file.cameras) == len(shots):
        return list(file.cameras)
    places = [shot.index if shot.index is not None else _number(shot.name) for shot in shots]
    if None not in places:
        known = dict(enumerate(file.cameras))
        return [known.get(place) for place in places if place is not None]
    raise InputError(
        f"{file.place}: {len(file.cameras)} poses ({file.format}) for {len(shots)} photos; give "
        "one each, or call photos by the numbers of their lines, from 000000.png on"
    )


def _intrinsics(
    file: CameraFile, camera: KnownCamera, shot: Shot, focal_px: Callable[[], Optional[float]]
) -> np.ndarray:
    """In pixels of the upright photo."""
    height, width = shot.size_hw
    of_upright = camera.upright or (
        shot.turned in QUARTER_TURNS and camera.size_hw == shot.size_hw and height != width
    )
    if shot.turned != 1 and not of_upright:
        raise InputError(
            f"{shot.name}: its EXIF turns it, and {file.place} ({file.format}) knows its pixels as "
            "they are stored; turn the file itself (`exiftran -ai`, `mogrify -auto-orient`) and "
            "find its camera again"
        )
    if camera.intrinsics is None:
        focal = focal_px()
        if focal is None:
            raise InputError(
                f"{file.place}: {file.format} has no focal lengths, and nobody else says that of "
                f"{shot.name}; give --focal-px"
            )
        return intrinsics_matrix(focal, focal, width / 2, height / 2)
    if camera.size_hw is None:
        return camera.intrinsics
    old_h, old_w = camera.size_hw
    factor = math.sqrt(height * width / (old_h * old_w))
    if max(abs(height - factor * old_h), abs(width - factor * old_w)) > 1:
        raise InputError(
            f"{shot.name}: {width} x {height}, but {file.place} knows it as {old_w} x {old_h}, "
            "which is no photo of the same shape (cropped, or turned); give the photos that the "
            "cameras are of"
        )
    return np.diag([width / old_w, height / old_h, 1.0]) @ camera.intrinsics


def _time_of(shot: Shot) -> Optional[float]:
    if shot.time_s is not None:
        return shot.time_s
    stem = _stem(shot.name)
    return float(stem) if TIME.fullmatch(stem) else None


def _number(name: str) -> Optional[int]:
    stem = _stem(name)
    return int(stem) if stem.isdecimal() else None


def _plain(name: str) -> str:
    """A relative path as others write it: ``./a\\b.png`` and ``a/b.png`` are the same."""
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _stem(name: str) -> str:
    """The file's name without a photo's suffix; the point of a time is none."""
    last = PurePosixPath(_plain(name))
    return last.name if last.suffix[1:].isdecimal() else last.stem


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
