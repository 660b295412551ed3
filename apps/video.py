"""One video to a video of its depth: every frame in is a frame out, at its time, with the sound.

A source, a model and options in; an MP4, frames as files if asked for, and a description out. Only
a window of frames is in memory, however long the video is. Depth is kept on disk meanwhile: one
range for all frames needs it, and so does going on after a kill.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Optional, Protocol

import numpy as np

from apps.depth_store import DepthStore, depth_store
from apps.estimators import Stages
from apps.video_render import Item, Look, Rendered, render
from apps.video_sources import Source
from exports.colour_range import RunningRange, ValueHistogram
from exports.video import CRF, can_copy, check_crf
from runtime.errors import ArtifactError, InputError
from runtime.files import sweep
from runtime.photo.frames import AnyFrames, Frame
from runtime.photo.postprocess import value_range
from runtime.photo.steady import LeakyFit
from runtime.predict.found import Prediction
from runtime.predict.pipeline import Loaded, run_pipeline

VIDEO, FRAME, FIXED = RANGES = ("video", "frame", "fixed")

log = logging.getLogger(__name__)

Limits = tuple[float, float]


class Track(Protocol):
    """Shows progress and gives back the items as they come; ``total`` of them, about."""

    def __call__(self, items: Iterable[Any], what: str, total: Optional[int], /) -> Iterable[Any]:
        """The items."""


@dataclass(frozen=True)
class VideoJob:
    """What to make of each video.

    Args:
        look: how frames are painted, and the files they get.
        range: of ``RANGES``: one for the video, each frame's own, or ``fixed``.
        fixed: the fixed range, in the model's values.
        steady: seconds of ``LeakyFit``, for pictures of relative maps; None: off.
        fps: of a video, frames a second that are taken, at most; of pictures, how many they are.
        sound: copy it.
        crf: as for ``writing_video``.
        resume: go on with what an earlier run has left.
    Raises:
        InputError: options that cannot be.
    """

    look: Look = field(default_factory=Look)
    range: str = VIDEO
    fixed: Optional[Limits] = None
    steady: Optional[float] = None
    fps: Optional[Fraction] = None
    sound: bool = True
    crf: int = CRF
    resume: bool = False

    def __post_init__(self) -> None:
        check_crf(self.crf)
        if self.range not in RANGES or (self.range == FIXED) != (self.fixed is not None):
            raise InputError(f"range={self.range!r}, fixed={self.fixed}: give one of {RANGES}")
        if self.fixed is not None and not -math.inf < self.fixed[0] < self.fixed[1] < math.inf:
            raise InputError(f"fixed={self.fixed}: give two numbers, the lesser first")


@dataclass
class Course:
    """What has been seen of a video's depth.

    Attributes:
        least, greatest: of the network's own values.
        shown: of the values as they are painted.
        affine: scale and shift of each frame, if they are steadied.
        first, last: ranges of the first and the last frame, where they are not each frame's own.
    """

    frames: int = 0
    least: float = math.inf
    greatest: float = -math.inf
    shown: ValueHistogram = field(default_factory=ValueHistogram)
    affine: list[tuple[float, float]] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    first: Optional[Limits] = None
    last: Optional[Limits] = None


@dataclass(frozen=True)
class Sound:
    """What became of one stream of sound."""

    codec: str
    copied: bool
    packets: int


@dataclass(frozen=True)
class Report:
    """A finished video: all that its description tells."""

    source: Source
    frames: AnyFrames
    template: Prediction
    course: Course
    rendered: Rendered
    sound: tuple[Sound, ...]
    two_passes: bool


def make_video(
    source: Source, model: Stages, depth_key: str, job: VideoJob, track: Track
) -> Report:
    """Read, estimate, paint and write one video.

    Args:
        depth_key: changes if the frames' depth may.
    Raises:
        InputError: no video, or nothing of it can be used.
        ArtifactError, DeviceError: the model failed; ``resume`` goes on after what was done.
        OSError: the disk refuses.
    """
    source.base.parent.mkdir(parents=True, exist_ok=True)
    sweep(source.base.parent)
    if not source.reads_again:
        return _in_one_pass(source, model, job, track, None)
    with depth_store(source.base, depth_key, job.resume) as store:
        if store.count:
            log.info("%s: goes on after %d frames", source.path, store.count)
        make = _in_two_passes if job.range == VIDEO else _in_one_pass
        return make(source, model, job, track, store)


def _in_one_pass(
    source: Source, model: Stages, job: VideoJob, track: Track, store: Optional[DepthStore]
) -> Report:
    """Paint each frame as soon as its depth is known."""
    course = Course()
    with source.frames(job.fps, job.sound) as frames:
        settled = _settled(_maps(frames, model, store), frames, job, course)
        items = _ranged(settled, job, course)
        return _render(items, source, frames, model, job, track, course)


def _in_two_passes(
    source: Source, model: Stages, job: VideoJob, track: Track, store: DepthStore
) -> Report:
    """Find all depth, then paint it in the range of all."""
    course, name = Course(), source.path.name
    with source.frames(job.fps, False) as frames:
        maps = track(_maps(frames, model, store), f"{name}: depth", frames.expected)
        for _, depth, (scale, shift), _ in _settled(maps, frames, job, course):
            course.shown.add(depth if job.steady is None else depth * scale + shift)
        if not course.frames:
            raise InputError(_no_frame(source, frames))
    course.first = course.last = course.shown.limits()
    affine = course.affine or [(1.0, 0.0)] * course.frames
    limits16 = course.least, course.greatest
    with source.frames(job.fps, job.sound) as frames:
        items = (
            Item(frame, depth, own, course.first, limits16)
            for frame, depth, own in zip(frames, store, affine)
        )
        return _render(items, source, frames, model, job, track, course, two_passes=True)


def _render(
    items: Iterator[Item],
    source: Source,
    frames: AnyFrames,
    model: Stages,
    job: VideoJob,
    track: Track,
    course: Course,
    two_passes: bool = False,
) -> Report:
    first = next(items, None)
    if first is None:
        raise InputError(_no_frame(source, frames))
    template, _ = model.finish(model.prepare(first.frame.rgb), first.depth, 0.0)
    copied = tuple(stream for stream in frames.streams if can_copy(stream))
    total = course.frames if two_passes else frames.expected
    shown = track(_and_then(first, items), f"{source.path.name}: video", total)
    rendered = render(
        iter(shown), frames, copied, template, source.base, source.video, job.look, job.crf
    )
    sound = tuple(  # now: a closed file's streams must not be asked
        Sound(one.codec_context.name, one in copied, rendered.packets.get(one.index, 0))
        for one in frames.streams
    )
    return Report(source, frames, template, course, rendered, sound, two_passes)


def _and_then(first: Item, items: Iterator[Item]) -> Iterator[Item]:
    yield first
    del first  # not for the whole video
    yield from items


def _maps(
    frames: AnyFrames, model: Stages, store: Optional[DepthStore]
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Each frame's map: those that are on disk, then the others, which are put there."""
    coming = iter(frames)
    for depth in store or ():
        frame = next(coming, None)
        if frame is None:
            return
        yield frame, depth

    def load(frame: Frame) -> Loaded:
        return Loaded(frame.rgb, model.prepare(frame.rgb), {})

    def keep(frame: Frame, loaded: Loaded, depth: np.ndarray, seconds: float) -> np.ndarray:
        return depth

    for ended in run_pipeline(coming, [model], load, keep):
        if ended.error is not None:
            raise ended.error
        assert ended.result is not None
        if not np.isfinite(ended.result).all():
            raise ArtifactError(
                f"frame {ended.source.index}: the model gave values that are not finite"
            )
        if store is not None:
            store.append(ended.result)
        yield ended.source, ended.result


_Settled = tuple[Frame, np.ndarray, tuple[float, float], float]


def _settled(
    maps: Iterable[tuple[Frame, np.ndarray]], frames: AnyFrames, job: VideoJob, course: Course
) -> Iterator[_Settled]:
    """Each map with its scale and shift, and the seconds since the frame before."""
    fit = None if job.steady is None else LeakyFit(job.steady)
    before: Optional[int] = None
    for frame, depth in maps:
        since = 0.0 if before is None else float((frame.pts - before) * frames.time_base)
        before = frame.pts
        least, greatest = value_range(depth)
        course.least, course.greatest = min(course.least, least), max(course.greatest, greatest)
        course.frames += 1
        affine = (1.0, 0.0)
        if fit is not None:
            affine = fit.next(depth, since)
            course.affine.append(affine)
            course.restarts = fit.restarts
        yield frame, depth, affine, since


def _ranged(settled: Iterator[_Settled], job: VideoJob, course: Course) -> Iterator[Item]:
    """The same with the range to paint in, which is known without the frames to come."""
    running = RunningRange() if job.range == VIDEO else None
    for frame, depth, affine, since in settled:
        limits = job.fixed
        if running is not None:
            limits = running.next(depth * affine[0] + affine[1], since)
        course.first, course.last = course.first or limits, limits
        yield Item(frame, depth, affine, limits, job.fixed)


def _no_frame(source: Source, frames: AnyFrames) -> str:
    return "; ".join([f"{source.path}: not one frame can be decoded", *frames.problems])
