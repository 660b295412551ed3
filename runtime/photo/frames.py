"""A video, or numbered pictures, to frames: RGB uint8, upright, each with its own time.

A path in; frames one after the other out, and with each the packets of sound that come before it,
undecoded. Only what the decoder itself keeps is in memory. What is broken costs only itself and is
told afterwards. Nothing that a file names is opened: no playlist, no address.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

import numpy as np

from runtime.errors import InputError, LimitError, first_line
from runtime.optional import require
from runtime.photo.decode import MAX_PIXELS, read_photo
from runtime.photo.find import SUFFIXES

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".gif"),
)
# Containers that hold frames themselves; those that name other files are not among them
FORMATS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,apng,nut,ivf,dv,mxf,h264,hevc,"
    "m4v,mjpeg,yuv4mpegpipe,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
# What converts Y'CbCr, by what a frame's header says; a header that says nothing means BT.601, as
# OpenCV takes it
MATRICES, BT709, BT601 = {1: 1, 4: 4, 7: 7, 9: 9}, 1, 5
NARROW, FULL = 1, 2  # ranges of Y'CbCr
LATE = 512  # packets whose frames may be outstanding
SHORT_S = 0.1  # by which a file may end before its header says so; two frames if they are longer
SHORT_WHOLE_S = 1.0  # the same where only the whole file's length is known


@dataclass(frozen=True)
class Frame:
    """One frame.

    Args:
        index: counts from 0.
        rgb: uint8 (H, W, 3), upright.
        pts, duration: in ticks of ``time_base``; a duration of 0 is not known.
        sound: packets that come before it in the file.
    """

    index: int
    rgb: np.ndarray
    pts: int
    duration: int
    sound: tuple[Any, ...] = ()


class VideoFrames:
    """The frames of a video file, which is read once.

    Args:
        fps: at most so many frames a second are taken, each with its own time; None: all.
        sound: also its packets.
        takes: of each frame by its place, from 0, and its time in ticks: whether it is taken.
    Raises:
        InputError: no such file, no video, or a photo.
        LimitError: frames larger than a photo may be.
        MissingDependency: PyAV is not installed.

    Attributes:
        time_base: seconds of a tick. rate: frames a second, about. expected: frames, about; None if
        nobody knows. streams: of the sound. aspect: of a pixel, upright. After the last frame:
        problems: what was broken, a sentence each; retimed: frames whose time was missing or not
        above the one before; left_out: because of ``fps``; last_sound: packets after it.
    """

    def __init__(
        self,
        path: Path,
        fps: Optional[Fraction] = None,
        sound: bool = True,
        takes: Optional[Callable[[int, int], bool]] = None,
    ) -> None:
        self._av = require("av", "video")
        self.path, self._fps, self._takes = path, fps, takes
        self._container = open_video(self._av, path)
        try:
            self._video = picture_stream(self._container, path)
            self.streams = tuple(self._container.streams.audio) if sound else ()
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        video = self._video
        pixels = video.codec_context.width * video.codec_context.height
        if pixels > MAX_PIXELS:
            raise LimitError(f"{self.path}: frames of {pixels:,} pixels, limit {MAX_PIXELS:,}")
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        video.thread_type = "AUTO"
        self.time_base = Fraction(video.time_base or Fraction(1, 90000))
        rate = video.average_rate or video.guessed_rate or 30
        self.rate = Fraction(rate if 0 < rate < 1000 else 30)
        self.expected = self._expected()
        self._convert = self._av.video.reformatter.VideoReformatter()  # one: it keeps its tables
        self.aspect = Fraction(1)
        self.problems: list[str] = []
        self.retimed, self.left_out = 0, 0
        self.last_sound: tuple[Any, ...] = ()
        self._durations: dict[int, int] = {}
        self._sound: list[Any] = []
        self._undecoded, self._end, self._last = 0, 0, None

    def __enter__(self) -> "VideoFrames":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        index, slot, size = 0, -1, None
        first: Optional[int] = None
        for place, picture in enumerate(self._pictures()):
            pts = self._time_of(picture)
            duration = self._durations.pop(picture.pts, 0)
            first = pts if first is None else first
            if self._fps is not None:
                now = math.floor((pts - first) * self.time_base * self._fps)
                if now <= slot:
                    self.left_out += 1
                    continue
                slot = now
            if self._takes is not None and not self._takes(place, pts):
                continue
            size = size or (picture.width, picture.height)
            rgb = self._upright(picture, size)
            sound, self._sound = tuple(self._sound), []
            yield Frame(index, rgb, pts, duration, sound)
            index += 1
        self.last_sound, self._sound = tuple(self._sound), []
        self._judge(first)

    def _pictures(self) -> Iterator[Any]:
        """Decoded frames in order; a packet that cannot be decoded is counted."""
        packets = self._container.demux(self._video, *self.streams)
        while True:
            try:
                packet = next(packets, None)
            except self._av.error.FFmpegError as error:
                self.problems.append(f"reading stopped: {error.strerror}")
                packet = None
            if packet is None:
                return (yield from self._decoded(None))
            if packet.stream is not self._video:
                if packet.dts is not None:
                    self._sound.append(packet)
                continue
            if packet.pts is not None:
                self._end = max(self._end, packet.pts + (packet.duration or 0))
                self._durations[packet.pts] = packet.duration or 0
                if len(self._durations) > LATE:
                    self._durations.pop(next(iter(self._durations)))
            if packet.size:  # the last is empty and asks for what is left: see above
                yield from self._decoded(packet)

    def _decoded(self, packet: Any) -> Iterator[Any]:
        try:
            pictures = self._video.codec_context.decode(packet)
        except EOFError:
            return
        except self._av.error.FFmpegError:
            self._undecoded += 1
            return
        yield from pictures

    def _time_of(self, picture: Any) -> int:
        """A frame's own time; one tick after the last if it has none or goes back."""
        pts = picture.pts
        if pts is None:
            step = max(1, round(1 / (self.rate * self.time_base)))
            pts = 0 if self._last is None else self._last + step
            self.retimed += 1
        elif self._last is not None and pts <= self._last:
            pts = self._last + 1
            self.retimed += 1
        self._last = pts
        return int(pts)

    def _upright(self, picture: Any, size: tuple[int, int]) -> np.ndarray:
        """A frame as RGB, turned as its header says, as large as the first one."""
        matrix = MATRICES.get(int(picture.colorspace), BT601)
        rgb = self._convert.reformat(
            picture,
            width=size[0],
            height=size[1],
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=BT709 if matrix == BT601 else BT601,  # differs: else PyAV keeps neither
            src_color_range=FULL if int(picture.color_range) == FULL else NARROW,
            dst_color_range=FULL,
            interpolation="BICUBIC",
        ).to_ndarray()
        turn = _display_matrix(picture)
        aspect = Fraction(self._video.sample_aspect_ratio or 1)
        self.aspect = 1 / aspect if turn is not None and not turn[0] else aspect
        return rgb if turn is None else turned(rgb, turn)

    def _judge(self, first: Optional[int]) -> None:
        """Say what was broken."""
        if self._undecoded:
            self.problems.append(f"{self._undecoded} packets could not be decoded")
        video, whole = self._video, self._container.duration
        step_s = 2 / float(self.rate)
        if first is None:
            return
        missing = None
        if video.duration:
            start = video.start_time if video.start_time is not None else first
            missing = float((start + video.duration - self._end) * self.time_base)
            allowed = max(SHORT_S, step_s)
        elif whole:
            end = float(self._end * self.time_base) - (self._container.start_time or 0) / 1e6
            missing, allowed = whole / 1e6 - end, max(SHORT_WHOLE_S, step_s)
        if missing is not None and missing > allowed:
            self.problems.append(f"ends {missing:.2f} s before its header says so")

    def _expected(self) -> Optional[int]:
        video, whole = self._video, self._container.duration
        seconds = float(video.duration * video.time_base) if video.duration else None
        if seconds is None and whole:
            seconds = whole / 1e6
        count = int(video.frames) or (round(seconds * float(self.rate)) if seconds else 0)
        if self._fps is not None and seconds:
            count = min(count, math.ceil(seconds * self._fps))
        return count or None


class PictureFrames:
    """Numbered pictures as frames, an even time apart; the same attributes as ``VideoFrames``.

    A picture that cannot be read, or of another size than the first, costs only itself: the frame
    before it stays longer.

    Args:
        pictures: in their order, as of ``numbered``.
        fps: pictures a second.
    """

    streams: tuple[Any, ...] = ()
    last_sound: tuple[Any, ...] = ()
    retimed = left_out = 0
    aspect = Fraction(1)

    def __init__(self, pictures: Sequence[Path], fps: Fraction) -> None:
        self._pictures = pictures
        self.time_base, self.rate, self.expected = 1 / fps, fps, len(pictures)
        self.problems: list[str] = []

    def __enter__(self) -> "PictureFrames":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def __iter__(self) -> Iterator[Frame]:
        index, shape = 0, None
        for place, picture in enumerate(self._pictures):
            try:
                rgb = read_photo(picture)
            except InputError as error:
                self.problems.append(first_line(error))
                continue
            shape = shape or rgb.shape
            if rgb.shape != shape:
                height, width = rgb.shape[:2]
                self.problems.append(
                    f"{picture}: {width} x {height}, the first is {shape[1]} x {shape[0]}"
                )
                continue
            yield Frame(index, rgb, place, 1)
            index += 1


AnyFrames = Union[VideoFrames, PictureFrames]


def numbered(folder: Path) -> list[Path]:
    """The pictures of a folder that have a number in their name, 2 before 10."""
    found = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES
        and not file.name.startswith(".")
        and re.search(r"\d", file.stem)
        and file.is_file()
    ]
    return sorted(found, key=lambda file: (by_number(file.name), file.name))


def by_number(name: str) -> list[tuple[int, str]]:
    """What sorts names by the numbers in them, 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")


def video_size(path: Path) -> tuple[int, int]:
    """Height and width of a video's first frame, upright.

    Raises:
        InputError: no video, or not one frame.
    """
    with VideoFrames(path, sound=False) as frames:
        for frame in frames:
            return frame.rgb.shape[0], frame.rgb.shape[1]
    raise InputError(f"{path}: not one frame can be decoded")


def turned(rgb: np.ndarray, turn: Sequence[int]) -> np.ndarray:
    """Turn and mirror a frame by quarters.

    Args:
        turn: (a, b, c, d) of a display matrix: the pixel in column x, row y is shown at column
            a x + c y, row b x + d y.
    Source: ISO 14496-12, the matrix of a track's header.
    """
    a, b, c, d = turn
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
    return np.ascontiguousarray(rgb.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1])


def _display_matrix(picture: Any) -> Optional[tuple[int, ...]]:
    side = picture.side_data  # PyAV before 19 gives data where the later give their kinds
    for data in (side[place] for place in range(len(side))):
        if data.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(data), np.int32)
            turn = tuple(int(matrix[place]) for place in (0, 1, 3, 4))
            if abs(turn[0]) + abs(turn[3]) < abs(turn[1]) + abs(turn[2]):
                return (0, *turn[1:3], 0)
            return (turn[0], 0, 0, turn[3])
    return None


def open_video(av: Any, path: Path) -> Any:
    """Open a file as what it is; other files and addresses that it names stay closed."""
    if path.is_dir():
        raise InputError(f"{path}: a folder, expected a video")
    try:
        container = av.open(
            f"file:{path}",
            options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: no video that can be read, or one without its index ({error.strerror})"
        ) from None
    if container.format.name.endswith("_pipe") and container.format.name != "yuv4mpegpipe":
        container.close()
        raise InputError(f"{path}: a photo, not a video; use `python run.py --img-path {path}`")
    return container


def picture_stream(container: Any, path: Path) -> Any:
    """The stream of frames; a cover of an audio file is none."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition).lower():
            return stream
    raise InputError(f"{path}: no stream of frames in it; expected a video")
