"""Poses in lines of numbers, as TUM's and KITTI's benchmarks have them.

Text in; cameras without names and without intrinsics out, in the order of the lines. Both give
camera-to-world with OpenCV's axes. TUM: time, translation, quaternion x y z w. KITTI: the twelve
numbers of a 3 x 4 matrix, row by row.
Source: the tools pages of TUM's RGB-D benchmark, and KITTI's odometry development kit.
"""

from pathlib import Path

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import inverse, rotation_from_quaternion
from runtime.scene.known_cameras import CameraFile, KnownCamera, numbers, rigid

TUM, KITTI = "TUM", "KITTI"
COLUMNS = {8: TUM, 12: KITTI}


def of_lines(text: str, file: Path) -> CameraFile:
    """The poses of a text.

    Raises:
        InputError: lines of other numbers than 8 or 12.
    """
    lines = [line.replace(",", " ").split() for line in text.splitlines()]
    lines = [words for words in lines if words and not words[0].startswith("#")]
    columns = {len(words) for words in lines}
    if len(columns) != 1 or not columns <= set(COLUMNS):
        raise InputError(
            f"{file}: no cameras that are known here; expected cameras.json, transforms.json, a "
            "COLMAP model's folder, TUM (time tx ty tz qx qy qz qw) or KITTI (12 numbers a line)"
        )
    rows = [numbers(words, str(file)) for words in lines]
    kind = COLUMNS[columns.pop()]
    read = _tum if kind == TUM else _kitti
    cameras = [read(row, f"{file}: line of pose {at}") for at, row in enumerate(rows, start=1)]
    return CameraFile(file, kind, tuple(cameras))


def _tum(row: list[float], about: str) -> KnownCamera:
    time_s, place, quaternion = row[0], row[1:4], np.array(row[4:])
    if not 0.5 < np.linalg.norm(quaternion) < 2:
        raise InputError(f"{about}: {row[4:]} is no quaternion of length 1")
    turn = rotation_from_quaternion(quaternion)
    pose = rigid(np.column_stack((turn, place)), about)
    return KnownCamera(inverse(pose), time_s=time_s)


def _kitti(row: list[float], about: str) -> KnownCamera:
    return KnownCamera(inverse(rigid(np.array(row).reshape(3, 4), about)))
