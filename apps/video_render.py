"""Frames and their depth to pictures, files and a video, with painting and encoding overlapped.

Maps on the network's grid with their frames in, in order; an MP4 and numbered files on disk out. At
most a window of frames is in flight.
"""

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TypeVar

import numpy as np

from exports.frame_files import frame_files
from exports.v2_picture import Limits, v2_picture
from exports.video import CRF, VideoWriter, to_yuv, writing_video
from runtime.files import write_whole
from runtime.photo.frames import AnyFrames, Frame
from runtime.photo.postprocess import resize_to_photo, value_range
from runtime.predict.found import Prediction

PAINTERS = 4  # threads, at most

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Look:
    """What each frame gets.

    Args:
        pred_only, grayscale, colormap: as for ``exports.v2_picture.v2_picture``.
        formats: of ``exports.files.FORMATS``, as files.
    """

    pred_only: bool = False
    grayscale: bool = False
    colormap: Optional[str] = None
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """A frame, and what is known of its depth.

    Args:
        depth: float32 (h, w), on the network's grid.
        affine: scale and shift of the picture's depth; the files' numbers stay as they are.
        limits: range of the picture; None: the map's own.
        limits16: range of png16, likewise.
    """

    frame: Frame
    depth: np.ndarray
    affine: tuple[float, float] = (1.0, 0.0)
    limits: Optional[Limits] = None
    limits16: Optional[Limits] = None


@dataclass
class Rendered:
    """What has been written."""

    frames: int = 0
    first_pts: int = 0
    last_pts: int = 0
    packets: dict[int, int] = dataclasses.field(default_factory=dict)  # of sound, by stream
    packets_left_out: int = 0
    size_hw: tuple[int, int] = (0, 0)  # of the pictures, before odd sides become even


def render(
    items: Iterator[Item],
    frames: AnyFrames,
    streams: Sequence[Any],
    template: Prediction,
    base: Path,
    video: Path,
    look: Look,
    crf: int = CRF,
) -> Rendered:
    """Write the video, and the files of its frames.

    Args:
        items: at least one.
        frames: where they come from.
        streams: of sound to be copied.
        template: says what the maps are.
        base: folder of the frames' files.
    Raises:
        OSError: the disk refuses; there is then no new video.
    """
    done = Rendered()
    workers = min(PAINTERS, os.cpu_count() or 1)
    first = next(items)
    height, width = first.frame.rgb.shape[:2]
    picture = _Painter(template, base, look)
    done.size_hw = picture.picture_size((height, width))
    with (
        writing_video(
            video, done.size_hw, frames.time_base, frames.rate, streams, frames.aspect, crf
        ) as writer,
        ThreadPoolExecutor(workers, "paint") as painters,
        ThreadPoolExecutor(1, "encode") as encoder,
    ):
        painted = in_turn(painters, picture, itertools.chain([first], items), 2 * workers)
        encoded = in_turn(encoder, lambda ready: _encode(writer, *ready), painted, 2)
        for frame in encoded:
            done.first_pts = frame.pts if not done.frames else done.first_pts
            done.last_pts = frame.pts
            done.frames += 1
        for packet in frames.last_sound:
            writer.sound(packet)
    done.packets, done.packets_left_out = writer.packets, writer.left_out
    return done


class _Painter:
    """An item to the encoder's picture; writes the frame's files on the way. Runs in any thread."""

    def __init__(self, template: Prediction, base: Path, look: Look) -> None:
        self._template, self._base, self._look = template, base, look

    def __call__(self, item: Item) -> tuple[Frame, Any]:
        look, rgb = self._look, item.frame.rgb
        found = shown = self._found(item.depth, rgb)
        if item.affine != (1.0, 0.0):
            scale, shift = map(np.float32, item.affine)
            shown = self._found(item.depth * scale + shift, rgb)
        limits = item.limits or value_range(shown.depth)
        left = None if look.pred_only else rgb
        picture = v2_picture(shown, left, look.grayscale, look.colormap, limits)
        if look.formats:
            painted = picture[:, -rgb.shape[1] :]
            limits16 = item.limits16 or found.value_range
            for suffix, data in frame_files(found, look.formats, limits16, painted):
                write_whole(self._base / f"{item.frame.index:06d}{suffix}", data)
        return item.frame, to_yuv(picture)

    def picture_size(self, photo_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the pictures of such frames."""
        left = None if self._look.pred_only else np.zeros((*photo_hw, 3), np.uint8)
        blank = dataclasses.replace(self._template, depth=np.zeros(photo_hw, np.float32))
        height, width = v2_picture(blank, left, limits=(0.0, 1.0)).shape[:2]
        return height, width

    def _found(self, depth: np.ndarray, rgb: np.ndarray) -> Prediction:
        depth = resize_to_photo(depth, (rgb.shape[0], rgb.shape[1]))
        return dataclasses.replace(self._template, depth=depth)


def _encode(writer: VideoWriter, frame: Frame, picture: Any) -> Frame:
    for packet in frame.sound:
        writer.sound(packet)
    writer.picture(picture, frame.pts, frame.duration)
    return frame


def in_turn(
    pool: ThreadPoolExecutor,
    work: Callable[[Given], Made],
    given: Iterable[Given],
    window: int,
) -> Iterator[Made]:
    """Work in threads; results in the order of what was given. ``window`` of it is in flight."""
    pending: collections.deque[Future[Made]] = collections.deque()
    try:
        for one in given:
            pending.append(pool.submit(work, one))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
