"""A video to the photos of a scene: which frames, planned without decoding, then written as PNG.

A path and a rate in; names, places and times of frames, then files, out.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from apps.da3_inputs import VIDEO, ScenePhotos
from exports.png import png_bytes
from runtime.command_line import UsageError
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.photo.find import is_photo
from runtime.photo.frame_times import FrameTimes, frame_times, sampled, spread
from runtime.photo.frames import VideoFrames, video_size

FOLDER, DESCRIPTION = "input_images", "source.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoPlan:
    """The frames of a video that become views.

    Args:
        places: among all frames, from 0. fps: what was asked. size_hw: upright.
    """

    path: Path
    times: FrameTimes
    places: tuple[int, ...]
    fps: float
    size_hw: tuple[int, int]

    def scene(self, folder: Path = Path()) -> ScenePhotos:
        """As photos in a folder, which are there after ``extract``."""
        names = tuple(f"{number:06d}.png" for number in range(len(self.places)))
        photos = tuple(folder / name for name in names)
        sizes = (self.size_hw,) * len(names)
        return ScenePhotos(VIDEO, self.path, photos, names, sizes)


def plan_video(path: Path, fps: float, max_frames: Optional[int]) -> VideoPlan:
    """Which frames are taken.

    Raises:
        UsageError: no such file.
        InputError: no video.
        MissingDependency: PyAV is not installed.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, not a video")
    if is_photo(path.name):
        raise UsageError(f"{path}: a photo, not a video; use `da3 image`")
    times = frame_times(path)
    if fps > times.rate:
        log.warning(
            "--fps %g: %s has %.3f frames a second: every one is taken", fps, path, times.rate
        )
    places = sampled(times, fps)
    taken = places if max_frames is None else spread(places, max_frames)
    log.info(
        "%s: %d frames, %.3f a second, %s times; %d are taken",
        *(path, times.count, times.rate, "even" if times.even else "uneven", len(taken)),
    )
    return VideoPlan(path, times, tuple(taken), fps, video_size(path))


def extract(
    plan: VideoPlan, folder: Path, step: Callable[[], object]
) -> tuple[ScenePhotos, dict[str, Any]]:
    """Write the frames into a folder.

    Returns:
        the photos that there are, and what ``source.json`` says of them.
    Raises:
        InputError: not one frame can be decoded.
    """
    numbers = {place: number for number, place in enumerate(plan.places)}
    ticks = plan.times.ticks
    by_tick = None if ticks is None else {ticks[place]: place for place in plan.places}
    chosen: list[int] = []

    def takes(place: int, tick: int) -> bool:
        at = place if by_tick is None else by_tick.get(tick, -1)
        if at not in numbers:
            return False
        chosen.append(at)
        return True

    scene = plan.scene(folder)
    rows: list[dict[str, Any]] = []
    with VideoFrames(plan.path, sound=False, takes=takes) as frames:
        for frame, place in ((frame, chosen[-1]) for frame in frames):
            number = numbers[place]
            write_whole(scene.photos[number], png_bytes(frame.rgb, {}))
            rows.append(
                {
                    "file": f"{FOLDER}/{scene.names[number]}",
                    "index": place,
                    "time_s": plan.times.seconds(place),
                }
            )
            step()
        problems = [f"{plan.path}: {said}" for said in frames.problems]
    if not rows:
        raise InputError(f"{plan.path}: not one of its frames can be decoded")
    facts = {
        "video": plan.path.name,
        "rate": str(plan.times.rate),
        "fps_asked": plan.fps,
        "times": "even" if plan.times.even else "uneven",
        "frames": rows,
        "problems": problems,
    }
    return scene.some([numbers[row["index"]] for row in rows]), facts


def write_description(facts: dict[str, Any], folder: Path) -> None:
    """``source.json``: which frames of which video the views are, and when."""
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / DESCRIPTION, text.encode("utf-8", "backslashreplace"))
