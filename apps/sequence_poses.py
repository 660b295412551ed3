"""A sequence's cameras to the files of others, row by row while its frames come.

Frames in; TUM, KITTI, upstream's two files, transforms.json, cameras.json and a COLMAP model out,
each there whole at the end or not at all. Rows are on disk, not in memory, until then.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Optional

import numpy as np

from apps.sequence_source import SourceFrame
from exports import colmap
from exports.cameras import CONVENTION, camera_row
from exports.colmap import Image
from exports.poses import intrinsics_line, kitti_line, matrix_line, transforms_row, tum_line
from runtime.files import write_whole, writing_whole
from runtime.scene.cameras import homogeneous, quaternion_from_rotation
from runtime.scene.stream import StreamFrame

TUM, KITTI, POSES, INTRINSICS = "poses.tum", "poses.kitti", "camera_poses.txt", "intrinsic.txt"
TRANSFORMS, CAMERAS, COLMAP = "transforms.json", "cameras.json", "colmap"
ROW = np.dtype(
    [("number", "<i8"), ("size", "<i4", 2), ("params", "<f8", 4), ("q", "<f8", 4), ("t", "<f8", 3)]
)


class PoseFiles:
    """The files, while they are being written; a context manager that puts them in place.

    Args:
        facts: what cameras.json says of the whole.
    """

    def __init__(self, output: Path, facts: Mapping[str, Any]) -> None:
        self._output, self._facts = output, facts
        self._stack = contextlib.ExitStack()
        self._out: dict[str, BinaryIO] = {}
        self._rows = bytearray()  # of ``ROW``: a hundred bytes a frame
        self._names: dict[int, str] = {}  # of photos; frames of a video are called by number
        self._count = 0
        names = (TUM, KITTI, POSES, INTRINSICS, TRANSFORMS, CAMERAS)
        self.files = [output / name for name in names]

    def __enter__(self) -> "PoseFiles":
        for file in self.files:
            self._out[file.name] = self._stack.enter_context(writing_whole(file))
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
        if kind is None:
            for name, blocks in colmap.binary(_Images(self), iter(()), 0):  # type: ignore[arg-type]
                write_whole(self._output / COLMAP / name, blocks)
                self.files.append(self._output / COLMAP / name)

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
            self._put(TRANSFORMS, f"{',' if self._rows else ''}\n  {json.dumps(row)}")
            self._remember(given, photo_hw, intrinsics, pose)
        self._count += 1

    def images(self) -> Iterator[Image]:
        """COLMAP's images, made as they are asked for."""
        for row in np.frombuffer(bytes(self._rows), ROW):
            number = int(row["number"])
            height, width = (int(side) for side in row["size"])
            params, q, t = (tuple(map(float, row[name])) for name in ("params", "q", "t"))
            name = self._names.get(number, f"{number:06d}.png")
            yield Image(name, width, height, params, q, t, 0, ())

    def __len__(self) -> int:
        return len(self._rows) // ROW.itemsize

    def _remember(
        self,
        given: SourceFrame,
        photo_hw: tuple[int, int],
        intrinsics: np.ndarray,
        pose: np.ndarray,
    ) -> None:
        x, y, z, w = quaternion_from_rotation(homogeneous(pose)[:3, :3])
        params = [intrinsics[at] for at in ((0, 0), (1, 1), (0, 2), (1, 2))]
        row = np.array((given.number, photo_hw, params, (w, x, y, z), pose[:3, 3]), ROW)
        self._rows += row.tobytes()
        if given.name != f"{given.number:06d}.png":  # as text that every reader takes
            self._names[given.number] = given.name.encode("utf-8", "backslashreplace").decode()

    def _put(self, name: str, text: str) -> None:
        self._out[name].write(text.encode("utf-8", "backslashreplace"))


class _Images:
    """COLMAP's list of images, of which one at a time is in memory."""

    def __init__(self, poses: PoseFiles) -> None:
        self._poses = poses

    def __len__(self) -> int:
        return len(self._poses)

    def __iter__(self) -> Iterator[Image]:
        return self._poses.images()
