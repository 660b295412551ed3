"""Frames that come one by one to windows that overlap; and windows back to frames, once each.

Frames or windows in, in their order; a bounded number of them is held, however long the sequence
is. Shared frames are blended from one window to the next. Pure: no disk, no network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.blend import blended_camera, blended_depth, blended_intrinsics, mixed_conf
from runtime.scene.groups import overlap_of


@dataclass(frozen=True, eq=False)
class Planned:
    """Frames that go through the network together.

    Args:
        frames: their numbers, rising. items: what each is, as it was given.
        shot: number of the shot that they are of; no window has frames of two.
    """

    frames: tuple[int, ...]
    items: tuple[Any, ...]
    shot: int


class WindowPlan:
    """Windows of frames as they come; the last window of a shot ends with its last frame.

    Args:
        size: frames of a window; overlap: that it shares with the one before.
        resumed: the last window of a run that goes on.
    Raises:
        InputError: an overlap that leaves nothing new.
    """

    def __init__(
        self, size: int, overlap: Optional[int] = None, resumed: Optional[Planned] = None
    ) -> None:
        self.size = size
        self.overlap = overlap_of(size) if overlap is None else overlap
        if size < 1 or not 0 <= self.overlap <= size // 2:
            raise InputError(
                f"windows of {size} frames that share {self.overlap}: share half at most"
            )
        self._held: list[tuple[int, Any]] = []
        self._fresh, self._shot = 0, 0
        if resumed is not None:
            self._held, self._shot = list(zip(resumed.frames, resumed.items)), resumed.shot

    def add(self, number: int, item: Any) -> Iterator[Planned]:
        """Take the next frame; the window that it completes."""
        self._held.append((number, item))
        self._fresh += 1
        need = self.size if len(self._held) <= self.size else self.size - self.overlap
        if self._fresh == need and len(self._held) >= self.size:
            yield self._window()
        del self._held[: max(0, len(self._held) - 2 * self.size)]

    def end_shot(self) -> Iterator[Planned]:
        """There is no more frame of this shot; its last window, if one is missing."""
        if self._fresh:
            yield self._window()
        self._held, self._shot = [], self._shot + 1

    def _window(self) -> Planned:
        self._held, self._fresh = self._held[-self.size :], 0
        frames, items = zip(*self._held)
        return Planned(tuple(frames), tuple(items), self._shot)


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """A frame of the result.

    Args:
        number: of the frame. window: the last that it was in. segment: frames of one share a scale.
        depth, conf: float32 (H, W); sky: bool (H, W).
        extrinsics: float64 (3, 4), world-to-camera, of the scene; intrinsics: (3, 3), of the view.
    """

    number: int
    window: int
    segment: int
    depth: np.ndarray
    conf: np.ndarray
    sky: Optional[np.ndarray]
    extrinsics: np.ndarray
    intrinsics: np.ndarray


@dataclass
class Blender:
    """Windows that have been brought into one scene, to frames; holds a window's worth of them."""

    _held: dict[int, StreamFrame] = field(default_factory=dict)
    _given: int = -1  # the last frame that was given out

    def add(self, frames: Sequence[StreamFrame]) -> Iterator[StreamFrame]:
        """Take a window's frames; those that no later window has.

        Frames that were held and are in this window, too, are blended: the more of the later one,
        the later they are. Those of another segment cannot be: they stay as they were.
        """
        first, segment = frames[0].number, frames[0].segment
        for number in sorted(self._held):
            if number < first or self._held[number].segment != segment:
                self._given = number
                yield self._held.pop(number)
        frames = [one for one in frames if one.number > self._given]
        shared = [one for one in frames if one.number in self._held]
        for at, one in enumerate(shared):
            part = (at + 0.5) / len(shared)
            self._held[one.number] = blended(self._held[one.number], one, part)
        for one in frames:
            self._held.setdefault(one.number, one)

    def rest(self) -> Iterator[StreamFrame]:
        """There is no more window; the frames that are held."""
        for number in sorted(self._held):
            yield self._held.pop(number)


def blended(one: StreamFrame, other: StreamFrame, part: float) -> StreamFrame:
    """A frame as two windows see it, ``part`` of it as the later one does.

    Depth is mixed where both agree; elsewhere it is that of the surer one, as a mean of two
    surfaces is on neither.
    """
    depth = blended_depth(one.depth, other.depth, one.conf, other.conf, part)
    sky = other.sky
    if one.sky is not None and other.sky is not None:
        sky = other.sky if part >= 0.5 else one.sky
    return replace(
        other,
        depth=depth,
        conf=mixed_conf(one.conf, other.conf, part),
        sky=sky,
        extrinsics=blended_camera(one.extrinsics, other.extrinsics, part),
        intrinsics=blended_intrinsics(one.intrinsics, other.intrinsics, part),
    )
