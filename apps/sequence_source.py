"""Where a sequence's frames come from: a video, or photos in their natural order.

A path in; frames by their numbers, from any number on, out. A frame that cannot be read or is black
keeps its number. Nothing is held but the frame at hand.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional, Protocol

import numpy as np

from runtime.errors import InputError, first_line
from runtime.photo.decode import read_photo
from runtime.photo.find import is_photo
from runtime.photo.frames import Frame, VideoFrames, by_number, is_video

BLACK = 2.0  # mean of 255, below which a frame shows nothing
ENDS_BYTES = 1 << 20  # of a video's beginning and end, that it is known again by


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """A frame of the input.

    Args:
        number: from 0. name: of its photo, or a number. time_s: since the first; None: no video.
        rgb: uint8 (H, W, 3); None: it cannot be read, or shows nothing. problem: why.
        frame: as the video's reader gave it.
    """

    number: int
    name: str
    rgb: Optional[np.ndarray]
    time_s: Optional[float] = None
    problem: str = ""
    frame: Optional[Frame] = None


class Source(Protocol):
    """Frames that can be read again."""

    path: Path
    is_video: bool

    @property
    def expected(self) -> Optional[int]:
        """How many frames, about."""

    def identity(self) -> dict[str, Any]:
        """What tells this input from another, as JSON values."""

    def frames(self, start: int = 0) -> Iterator[SourceFrame]:
        """Frames from this number on."""


class VideoSource:
    """A video's frames; ``fps``: at most so many a second, each with its own time."""

    is_video = True

    def __init__(self, path: Path, fps: Optional[Fraction] = None) -> None:
        self.path, self.fps = path, fps
        with VideoFrames(path, fps, sound=False) as frames:
            self._expected = frames.expected
            self.rate = frames.rate

    @property
    def expected(self) -> Optional[int]:
        """As ``Source.expected``."""
        return self._expected

    def identity(self) -> dict[str, Any]:
        """Name, size, and a hash of both ends."""
        size, digest = self.path.stat().st_size, hashlib.sha256()
        with self.path.open("rb") as file:
            digest.update(file.read(ENDS_BYTES))
            file.seek(max(0, size - ENDS_BYTES))
            digest.update(file.read(ENDS_BYTES))
        facts = {"video": self.path.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}
        return {**facts, "fps": None if self.fps is None else str(self.fps)}

    def frames(self, start: int = 0) -> Iterator[SourceFrame]:
        """As ``Source.frames``; those before are decoded, counted and not converted."""
        offered = -1

        def takes(place: int, tick: int) -> bool:
            nonlocal offered
            offered += 1
            return offered >= start

        with VideoFrames(self.path, self.fps, sound=False, takes=takes) as frames:
            yield from numbered_frames(frames, start)


def numbered_frames(frames: Any, start: int = 0) -> Iterator[SourceFrame]:
    """What a video's reader gives, as frames of a sequence."""
    first: Optional[int] = None
    for frame in frames:
        number = start + frame.index
        first = frame.pts if first is None else first
        time_s = float((frame.pts - first) * frames.time_base)
        dark = is_black(frame.rgb)
        yield SourceFrame(
            number,
            f"{number:06d}.png",
            None if dark else frame.rgb,
            time_s,
            "black" if dark else "",
            frame,
        )


class PhotoSource:
    """The photos directly in a folder, 2 before 10."""

    is_video = False

    def __init__(self, path: Path, keep: Callable[[str], bool] = is_photo) -> None:
        names = [file.name for file in path.iterdir() if keep(file.name) and file.is_file()]
        if not names:
            raise InputError(f"{path}: no photo directly in it")
        self.path = path
        self.names = sorted(names, key=lambda name: (by_number(name), name))

    @property
    def photos(self) -> list[Path]:
        """Where they are; only their names are held."""
        return [self.path / name for name in self.names]

    @property
    def expected(self) -> Optional[int]:
        """As ``Source.expected``."""
        return len(self.names)

    def identity(self) -> dict[str, Any]:
        """The names and sizes of the photos."""
        digest, comma = hashlib.sha256(), "["
        for name in self.names:
            digest.update((comma + json.dumps([name, (self.path / name).stat().st_size])).encode())
            comma = ", "
        digest.update(b"]")
        facts = {"folder": self.path.name, "photos": len(self.names)}
        return {**facts, "sha256_of_names": digest.hexdigest()}

    def frames(self, start: int = 0) -> Iterator[SourceFrame]:
        """As ``Source.frames``."""
        for number in range(start, len(self.names)):
            photo = self.path / self.names[number]
            try:
                rgb = read_photo(photo)
            except (InputError, OSError) as error:
                yield SourceFrame(number, photo.name, None, problem=first_line(error))
                continue
            dark = is_black(rgb)
            problem = "black" if dark else ""
            yield SourceFrame(number, photo.name, None if dark else rgb, problem=problem)


def open_source(path: Path, fps: Optional[Fraction] = None) -> Source:
    """A video, or a folder of photos.

    Raises:
        InputError: neither, or nothing that can be read.
    """
    if path.is_dir():
        if fps is not None:
            raise InputError(f"--fps: {path} is a folder of photos; leave it out")
        return PhotoSource(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a video or a folder of photos")
    if not is_video(path.name):
        raise InputError(f"{path}: no video; expected one, or a folder of photos")
    return VideoSource(path, fps)


def is_black(rgb: np.ndarray) -> bool:
    """Whether a frame shows nothing."""
    return bool(rgb[::4, ::4].mean() < BLACK)
