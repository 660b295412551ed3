"""Depth of a video's frames on disk while the video is being made, so that a killed run goes on.

Maps on the network's grid in, float32, exact; the same maps out, as often as wanted. The folder is
hidden beside the result, belongs to one run at a time, and is gone when the video is done.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Optional

import numpy as np

from runtime.errors import InputError

HEADER, MAPS = "what.json", "maps.f32"


class DepthStore:
    """Maps in the order of their frames; made by ``depth_store``."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._shape: Optional[tuple[int, int]] = None
        self._out: Optional[BinaryIO] = None
        self.count = 0

    def go_on(self) -> None:
        """Take what an earlier run has left, if it was the same job; a torn map at its end is cut.

        Raises:
            OSError: the disk refuses.
        """
        try:
            told = json.loads((self._folder / HEADER).read_text(encoding="utf-8"))
            height, width = told["shape"]
            size = (self._folder / MAPS).stat().st_size
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        if told.get("key") != self._key:
            return
        self._shape = height, width
        self.count = size // self._bytes
        self._out = (self._folder / MAPS).open("r+b")
        self._out.truncate(self.count * self._bytes)
        self._out.seek(0, os.SEEK_END)

    def append(self, depth: np.ndarray) -> None:
        """Keep the next frame's map.

        Raises:
            OSError: the disk refuses.
        """
        if self._out is None:
            self._shape = depth.shape[0], depth.shape[1]
            self._out = (self._folder / MAPS).open("wb")
            what = {"key": self._key, "shape": self._shape}
            (self._folder / HEADER).write_text(json.dumps(what), encoding="utf-8")
        if depth.shape != self._shape:
            raise InputError(f"a map of {depth.shape} after maps of {self._shape}")
        self._out.write(np.ascontiguousarray(depth, np.float32).data)
        self.count += 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The maps so far, one in memory at a time."""
        if self._out is None:
            return
        assert self._shape is not None
        self._out.flush()
        with (self._folder / MAPS).open("rb") as file:
            for _ in range(self.count):
                data = file.read(self._bytes)
                yield np.frombuffer(data, np.float32).reshape(self._shape)

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()

    @property
    def _bytes(self) -> int:
        assert self._shape is not None
        return 4 * self._shape[0] * self._shape[1]


@contextlib.contextmanager
def depth_store(base: Path, key: str, resume: bool) -> Iterator[DepthStore]:
    """The store of one video, removed when all went well.

    Args:
        base: path of the results without a suffix.
        key: what the maps depend on; maps of another are not taken.
        resume: take what is there; else begin anew.
    Raises:
        InputError: another run has it.
        OSError: the disk refuses.
    """
    folder = base.with_name(f".{base.name}.unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{base}: another run works on it; wait, or name another folder"
            ) from None
        store = DepthStore(folder, key)
        try:
            if resume:
                store.go_on()
            yield store
        except BaseException:
            if not store.count:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            store.close()
        shutil.rmtree(folder, ignore_errors=True)
