"""How a sequence looks while it is being made: pictures and numbers in ``preview/``.

Windows as they are done in; small files out, each whole, a few seconds apart. Places are
provisional: chained from window to window, before anything is corrected.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

from apps.sequence_solve import similarity_of
from apps.sequence_store import WindowMaps
from runtime.files import write_whole
from runtime.scene.similarity import IDENTITY
from runtime.scene.views import View

FOLDER = "preview"
PLACES = 2000  # of the path, at most: then every second one goes
SIZE, MARGIN = 400, 20
QUALITY = 85


class Preview:
    """Takes each window of a run; also tells the progress.

    Args:
        every_s: seconds between previews; 0: none. expected: frames, about. step: called for each
            frame.
    """

    def __init__(
        self, output: Path, every_s: float, expected: Optional[int], step: Callable[[], object]
    ) -> None:
        self._folder, self._every, self._expected = output / FOLDER, every_s, expected
        self._step, self._to, self._started = step, IDENTITY, time.monotonic()
        self._last, self._done, self._before = 0.0, 0, 0
        self._places: list[np.ndarray] = []
        self._stride, self._seen, self._end = 1, 0, -1
        self._flags: dict[str, int] = {}

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """What an earlier run has done."""
        for line in lines:
            self._place(line)
            self._done += sum(number > self._end for number in line["frames"])
            self._end = line["frames"][-1]
        self._before = self._done

    def __call__(self, line: dict[str, Any], maps: WindowMaps, view: View) -> None:
        self._place(line)
        cameras = self._to.move_cameras(maps.extrinsics)
        centres = -np.swapaxes(cameras[:, :3, :3], 1, 2) @ cameras[:, :3, 3:]
        for number, centre in zip(line["frames"], centres[:, :, 0]):
            if number > self._end:
                self._add(centre)
                self._done += 1
                self._step()
        self._end = line["frames"][-1]
        now = time.monotonic()
        if self._every and (not self._last or now - self._last > self._every):
            self._last = now
            self._write(line, maps, view)

    def _place(self, line: Mapping[str, Any]) -> None:
        link = line["link"]
        if link is None or "break" in link["flags"]:
            self._to = IDENTITY
        else:
            self._to = self._to.after(similarity_of(link))
        for flag in () if link is None else link["flags"]:
            self._flags[flag] = self._flags.get(flag, 0) + 1

    def _add(self, centre: np.ndarray) -> None:
        if self._seen % self._stride == 0:
            self._places.append(centre)
        self._seen += 1
        if len(self._places) > PLACES:
            self._places, self._stride = self._places[::2], 2 * self._stride

    def _write(self, line: Mapping[str, Any], maps: WindowMaps, view: View) -> None:
        depth = maps.depth[-1]
        low, high = np.percentile(depth, (2, 98))
        grey = np.clip((depth - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
        painted = cv2.applyColorMap(255 - grey, cv2.COLORMAP_TURBO)
        picture = np.concatenate((view.rgb[..., ::-1], painted), axis=1)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        write_whole(self._folder / "depth.jpg", data.tobytes())
        write_whole(self._folder / "path.svg", path_svg(self._places).encode())
        took = time.monotonic() - self._started
        rate = (self._done - self._before) / max(took, 1e-9)
        left = None if not self._expected else (self._expected - self._done) / max(rate, 1e-9)
        state = {
            "frames": self._done,
            "expected": self._expected,
            "frames_per_second": round(rate, 3),
            "seconds_left": left,
            "window": line["window"],
            "segment": line["segment"],
            "provisional_scale": self._to.scale,
            "flags": self._flags,
            "resident_mib": _resident_mib(),
            "provisional": "places and scale before loops and metres are found",
        }
        write_whole(self._folder / "state.json", (json.dumps(state, indent=2) + "\n").encode())


def path_svg(places: Sequence[np.ndarray]) -> str:
    """The camera's path from above (x to the right, z upwards) as a picture."""
    flat = np.array([[place[0], -place[2]] for place in places] or [[0.0, 0.0]])
    flat = flat[np.isfinite(flat).all(1)] if np.isfinite(flat).all(1).any() else np.zeros((1, 2))
    low = flat.min(0)
    extent = max(float((flat.max(0) - low).max()), 1e-9)
    spots = MARGIN + (flat - low) / extent * (SIZE - 2 * MARGIN)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    x, y = spots[-1]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}">\n'
        f'<rect width="{SIZE}" height="{SIZE}" fill="white"/>\n'
        f'<polyline points="{line}" fill="none" stroke="steelblue" stroke-width="2"/>\n'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="crimson"/>\n</svg>\n'
    )


def _resident_mib() -> Optional[float]:
    try:
        rows = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (row,) = (row for row in rows if row.startswith("VmRSS:"))
    return round(int(row.split()[1]) / 1024, 1)
