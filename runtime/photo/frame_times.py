"""When the frames of a video are shown, and which of them are taken at a lower rate.

A video's path in; times, without decoding, and places of frames out.
Source: the rule of Depth Anything 3's ``da3 video``; by time where times are uneven.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional

from runtime.errors import InputError
from runtime.optional import require
from runtime.photo.frames import VideoFrames, open_video, picture_stream

UNEVEN = Fraction(1, 10)  # of a frame, by which steps may differ beyond a tick


@dataclass(frozen=True)
class FrameTimes:
    """The frames of a video, as its packets have them.

    Args:
        ticks: of each frame, ascending; None: some have no time.
        count: how many there are.
        time_base: seconds of a tick; rate: frames a second, on average.
    """

    ticks: Optional[tuple[int, ...]]
    count: int
    time_base: Fraction
    rate: Fraction

    @property
    def even(self) -> bool:
        """Whether all steps are alike; they are taken to be if nobody knows."""
        if self.ticks is None or self.count < 3:
            return True
        steps = [after - before for before, after in zip(self.ticks, self.ticks[1:])]
        least, greatest = min(steps), max(steps)
        return greatest - least <= max(Fraction(1), UNEVEN * sorted(steps)[len(steps) // 2])

    def seconds(self, place: int) -> float:
        """Of a frame, since the first one."""
        if self.ticks is None:
            return float(place / self.rate)
        return float((self.ticks[place] - self.ticks[0]) * self.time_base)


def frame_times(path: Path) -> FrameTimes:
    """Read a video's packets.

    Raises:
        InputError: no video, or not one frame.
        MissingDependency: PyAV is not installed.
    """
    with VideoFrames(path, sound=False) as frames:
        rate, time_base = frames.rate, frames.time_base
    av = require("av", "video")
    ticks: list[Optional[int]] = []
    container: Any = open_video(av, path)
    try:
        for packet in container.demux(picture_stream(container, path)):
            if packet.size and not packet.is_discard:
                ticks.append(packet.pts)
    except av.error.FFmpegError:  # what comes before can be decoded
        pass
    finally:
        container.close()
    if not ticks:
        raise InputError(f"{path}: not one frame in it")
    known = sorted(tick for tick in ticks if tick is not None)
    whole = len(set(known)) == len(ticks)
    return FrameTimes(tuple(known) if whole else None, len(ticks), time_base, rate)


def sampled(times: FrameTimes, fps: float) -> list[int]:
    """Places of the frames that are taken: at least ``fps`` a second, if the video has so many.

    Every ``int(rate / fps)``-th from the first on; of uneven times the first at or after each such
    step, or half a frame before it.
    """
    interval = max(1, int(times.rate / Fraction(fps)))
    if times.even or interval == 1:
        return list(range(0, times.count, interval))
    step, half = interval / times.rate, 1 / (2 * times.rate)
    taken, last = [], -1
    for place in range(times.count):
        assert times.ticks is not None
        now = (times.ticks[place] - times.ticks[0]) * times.time_base + half
        slot = math.floor(now / step)
        if slot > last:
            taken.append(place)
            last = slot
    return taken


def spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(places) <= most:
        return list(places)
    if most == 1:
        return [places[0]]
    return [places[round(at * (len(places) - 1) / (most - 1))] for at in range(most)]
