"""A sequence's cameras to the files of others, row by row while its frames come.

Frames in; TUM, KITTI, upstream's two files, transforms.json, cameras.json and a COLMAP model out,
each there whole at the end or not at all. Rows are on disk, not in memory, until then.
"""

import contextlib
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Optional

import numpy as np

from apps.sequence_source import SourceFrame
from exports import colmap
from exports.cameras import CONVENTION, camera_row
from exports.colmap import Image, Points
from exports.poses import intrinsics_line, kitti_line, matrix_line, transforms_row, tum_line
from runtime.files import write_whole, writing_whole
from runtime.scene.cameras import homogeneous, quaternion_from_rotation
from runtime.scene.stream import StreamFrame

TUM, KITTI, POSES, INTRINSICS = "poses.tum", "poses.kitti", "camera_poses.txt", "intrinsic.txt"
TRANSFORMS, CAMERAS, COLMAP = "transforms.json", "cameras.json", "colmap"
TOGETHER = 4096  # points of a block

Cloud = tuple[np.ndarray, np.ndarray]


class PoseFiles:
    """The files, while they are being written; a context manager that puts them in place.

    Args:
        facts: what cameras.json says of the whole.
    """

    def __init__(self, output: Path, facts: Mapping[str, Any]) -> None:
        self._output, self._facts = output, facts
        self._stack = contextlib.ExitStack()
        self._out: dict[str, BinaryIO] = {}
        self._count = self._images = 0
        names = (TUM, KITTI, POSES, INTRINSICS, TRANSFORMS, CAMERAS)
        self.files = [output / name for name in names]

    def __enter__(self) -> "PoseFiles":
        for file in self.files:
            self._out[file.name] = self._stack.enter_context(writing_whole(file))
        self._rows = tempfile.TemporaryFile(prefix="depth-cameras-")
        head = {"camera_model": "OPENCV", "axes": "OpenGL: x right, y up, z back"}
        self._put(TRANSFORMS, f'{json.dumps(head)[:-1]}, "frames": [')
        head = {**self._facts, "convention": CONVENTION}
        self._put(CAMERAS, f'{json.dumps(head)[:-1]}, "photos": [')
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is None:
            for name in (TRANSFORMS, CAMERAS):
                self._put(name, "\n]}\n")
        self._stack.__exit__(kind, error, trace)
        if kind is not None:
            self._rows.close()

    def write_colmap(self, cloud: Optional[Cloud]) -> None:
        """COLMAP's model of the frames that were given, after all others are in place.

        Args:
            cloud: points (P, 3), colours uint8 (P, 3): no frame is said to see them.
        """
        count = 0 if cloud is None else len(cloud[0])
        tables = () if cloud is None else _tables(*cloud)
        for name, blocks in colmap.binary(_Images(self), tables, count):
            write_whole(self._output / COLMAP / name, blocks)
            self.files.append(self._output / COLMAP / name)
        self._rows.close()

    def add(
        self, given: SourceFrame, frame: StreamFrame, photo_hw: tuple[int, int], copied: bool
    ) -> None:
        """A frame's camera.

        Args:
            copied: it is that of the frame before, as this one could not be used.
        """
        view_hw = frame.depth.shape
        scale = np.diag([photo_hw[1] / view_hw[1], photo_hw[0] / view_hw[0], 1.0])
        intrinsics, pose = scale @ frame.intrinsics, frame.extrinsics
        time_s = float(given.number) if given.time_s is None else given.time_s
        self._put(TUM, tum_line(time_s, pose))
        self._put(KITTI, kitti_line(pose))
        self._put(POSES, matrix_line(pose))
        self._put(INTRINSICS, intrinsics_line(intrinsics))
        comma = "," if self._count else ""
        row = {**camera_row(given.name, photo_hw, intrinsics, pose), "segment": frame.segment}
        row.update({"interpolated": True} if copied else {})
        self._put(CAMERAS, f"{comma}\n  {json.dumps(row)}")
        if not copied:
            row = transforms_row(given.name, photo_hw, intrinsics, pose)
            self._put(TRANSFORMS, f"{',' if self._images else ''}\n  {json.dumps(row)}")
            self._remember(given, photo_hw, intrinsics, pose)
        self._count += 1

    def images(self) -> Iterator[Image]:
        """COLMAP's images, read as they are asked for."""
        self._rows.seek(0)
        for row in self._rows:
            name, width, height, params, q, t = json.loads(row)
            yield Image(name, width, height, tuple(params), tuple(q), tuple(t), 0, ())

    def __len__(self) -> int:
        return self._images

    def _remember(
        self,
        given: SourceFrame,
        photo_hw: tuple[int, int],
        intrinsics: np.ndarray,
        pose: np.ndarray,
    ) -> None:
        x, y, z, w = quaternion_from_rotation(homogeneous(pose)[:3, :3]).tolist()
        params = [float(intrinsics[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))]
        name = given.name.encode("utf-8", "backslashreplace").decode()  # that every reader takes
        row = [name, photo_hw[1], photo_hw[0], params, (w, x, y, z), pose[:3, 3].tolist()]
        self._rows.write(json.dumps(row).encode() + b"\n")
        self._images += 1

    def _put(self, name: str, text: str) -> None:
        self._out[name].write(text.encode("utf-8", "backslashreplace"))


def _tables(points: np.ndarray, colours: np.ndarray) -> Iterator[Points]:
    """COLMAP's points, of which nobody says who sees them."""
    for start in range(0, len(points), TOGETHER):
        table = np.zeros(len(points[start : start + TOGETHER]), colmap.POINT)
        table["id"] = np.arange(start + 1, start + 1 + len(table))
        table["xyz"], table["rgb"] = (one[start : start + TOGETHER] for one in (points, colours))
        table["error"] = colmap.NO_ERROR
        yield Points(table, np.zeros(0, colmap.TRACK))


class _Images(Collection[Image]):
    """COLMAP's list of images, of which one at a time is in memory."""

    def __init__(self, poses: PoseFiles) -> None:
        self._poses = poses

    def __len__(self) -> int:
        return len(self._poses)

    def __iter__(self) -> Iterator[Image]:
        return self._poses.images()

    def __contains__(self, one: object) -> bool:
        return any(one == own for own in self)
