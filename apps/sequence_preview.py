"""How a sequence looks while it is being made: pictures, numbers and a page in ``preview/``.

Windows as they are done in; small files out, each whole, a few seconds apart. Places are
provisional: chained from window to window, before anything is corrected. The page needs no server:
it asks for itself again, and all that it shows is in it.
"""

import base64
import collections
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

from apps.sequence_cloud import cloud_ply, points_of
from apps.sequence_solve import similarity_of
from apps.sequence_store import WindowMaps
from exports.pages import render
from exports.voxels import VoxelCloud
from runtime.errors import InputError, MissingDependency
from runtime.files import read_whole, write_whole
from runtime.scene.links import SKY_CONFIDENCE
from runtime.scene.similarity import IDENTITY
from runtime.scene.stream import StreamFrame
from runtime.scene.views import View

FOLDER, PAGE, STATE, PATH = "preview", "index.html", "state.json", "path.svg"
FILE_BYTES = 16 << 20
PLACES = 2000  # of the path, at most: then every second one goes
SIZE, MARGIN = 400, 20
QUALITY = 85
LAST = 6  # frames that are shown, one of each window
POINTS, WAITING, EVERY = 50_000, 25_000, 8  # of the cloud, at most; every so many rows, columns
CUBE = 0.005  # of the cloud, over the first window's median depth
PROVISIONAL = "places and scale before loops and metres are found"
WINDOWS, RESULTS, DONE = "The network is at work.", "Results are being written.", "Done."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What a page says of a whole sequence.

    Args:
        name: of the input. output: a folder. model: its name. warning: of its numbers.
    """

    name: str = ""
    output: str = ""
    model: str = ""
    warning: str = ""


@dataclass(frozen=True)
class _Shown:
    name: str
    number: int
    segment: int
    data: str  # a JPEG, base64


class Preview:
    """Takes each window of a run; also tells the progress.

    Args:
        every_s: seconds between previews; 0: none. expected: frames, about. step: called for each
            frame. told: what the page says of the whole.
    """

    def __init__(
        self,
        output: Path,
        every_s: float,
        expected: Optional[int],
        step: Callable[[], object],
        told: Optional[Told] = None,
    ) -> None:
        self._folder, self._every, self._expected = output / FOLDER, every_s, expected
        self._step, self._to, self._started = step, IDENTITY, time.monotonic()
        self._told = told or Told()
        self._last, self._done, self._before = 0.0, 0, 0
        self._places: list[np.ndarray] = []
        self._stride, self._seen, self._end = 1, 0, -1
        self._flags: dict[str, int] = {}
        self._shown: collections.deque[_Shown] = collections.deque(maxlen=LAST)
        self._cloud: Optional[VoxelCloud] = None
        self._state: dict[str, Any] = {}

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """What an earlier run has done."""
        for line in lines:
            self._place(line)
            self._done += sum(number > self._end for number in line["frames"])
            self._end = line["frames"][-1]
        self._before = self._done
        if lines and self._every:
            with contextlib.suppress(InputError, ValueError, KeyError, TypeError):
                self._take_state()

    def _take_state(self) -> None:
        """What an earlier run has shown, for the page if no window is left to do."""
        state = json.loads(read_whole(self._folder / STATE, FILE_BYTES))
        for at, (name, number, segment) in enumerate(state["shown"]):
            data = base64.b64encode(read_whole(self._folder / f"last_{at}.jpg", FILE_BYTES))
            self._shown.append(_Shown(name, number, segment, data.decode()))
        self._state = state

    def __call__(self, line: dict[str, Any], maps: WindowMaps, views: Sequence[View]) -> None:
        self._place(line)
        poses = self._to.move_cameras(maps.extrinsics)
        centres = -np.swapaxes(poses[:, :3, :3], 1, 2) @ poses[:, :3, 3:]
        for row, number in enumerate(line["frames"]):
            if number > self._end:
                self._add(centres[row, :, 0])
                if self._every and not line["problem"]:
                    self._gather(line, maps, row, poses[row], views[row])
                self._done += 1
                self._step()
        self._end = line["frames"][-1]
        now = time.monotonic()
        if self._every and (not self._last or now - self._last > self._every):
            self._last = now
            self._write(line, maps, views[-1])

    def ends(self, stage: str, files: Sequence[str] = ()) -> None:
        """The first pass, or all of it, is done; the page says so."""
        if self._every and self._state:
            self._page(stage, files)

    def _place(self, line: Mapping[str, Any]) -> None:
        link = line["link"]
        if link is None or "break" in link["flags"]:
            self._to, self._cloud = IDENTITY, None
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

    def _gather(
        self, line: Mapping[str, Any], maps: WindowMaps, row: int, pose: np.ndarray, view: View
    ) -> None:
        """Some points of a frame; those of a segment before are another scene's."""
        depth, conf = maps.depth[row] * np.float32(self._to.scale), maps.conf[row]
        used = np.zeros(depth.shape, bool)
        used[::EVERY, ::EVERY] = True
        used &= (depth > 0) & (conf > SKY_CONFIDENCE)
        used &= True if maps.sky is None else ~maps.sky[row]
        if self._cloud is None:
            self._cloud = VoxelCloud(POINTS, CUBE * self._to.scale * line["median"], WAITING)
        number, segment = line["frames"][row], line["segment"]
        focal = maps.intrinsics[row]
        frame = StreamFrame(number, line["window"], segment, depth, conf, None, pose[:3], focal)
        self._cloud.add(*points_of(frame, used, view.rgb))

    def _write(self, line: Mapping[str, Any], maps: WindowMaps, view: View) -> None:
        depth = maps.depth[-1]
        low, high = np.percentile(depth, (2, 98))
        grey = np.clip((depth - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
        painted = cv2.applyColorMap(255 - grey, cv2.COLORMAP_TURBO)
        picture = np.concatenate((view.rgb[..., ::-1], painted), axis=1)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        write_whole(self._folder / "depth.jpg", data.tobytes())
        number = line["frames"][-1]
        text = base64.b64encode(data.tobytes()).decode()
        self._shown.appendleft(_Shown(line["names"][-1], number, line["segment"], text))
        for at, shown in enumerate(self._shown):
            write_whole(self._folder / f"last_{at}.jpg", base64.b64decode(shown.data))
        write_whole(self._folder / PATH, self._path())
        if self._cloud is not None:
            facts = {"provisional": PROVISIONAL, "segment": line["segment"], "axes": "OpenCV"}
            write_whole(self._folder / "cloud.ply", cloud_ply(*self._cloud.finish(), facts))
        took = time.monotonic() - self._started
        rate = (self._done - self._before) / max(took, 1e-9)
        left = None if not self._expected else (self._expected - self._done) / max(rate, 1e-9)
        self._state = {
            "frames": self._done,
            "expected": self._expected,
            "frames_per_second": round(rate, 3),
            "seconds_left": left,
            "window": line["window"],
            "segment": line["segment"],
            "provisional_scale": self._to.scale,
            "flags": self._flags,
            "resident_mib": _resident_mib(),
            "provisional": PROVISIONAL,
            "shown": [[one.name, one.number, one.segment] for one in self._shown],
        }
        text = json.dumps(self._state, indent=2) + "\n"
        write_whole(self._folder / STATE, text.encode())
        self._page(WINDOWS, ())

    def _path(self) -> bytes:
        """The path's picture; that of an earlier run if this one has no place yet."""
        if not self._places:
            with contextlib.suppress(InputError):
                return read_whole(self._folder / PATH, FILE_BYTES)
        return path_svg(self._places).encode()

    def _page(self, stage: str, files: Sequence[str]) -> None:
        """The page; without Jinja2 the pictures are all that there is."""
        state, told = self._state, self._told
        whole, flags = self._expected, ", ".join(f"{n} {c}" for n, c in self._flags.items())
        left = state["seconds_left"] if stage == WINDOWS else None
        again = 0 if stage == DONE else max(1, round(self._every))
        with contextlib.suppress(MissingDependency):
            page = render(
                "sequence.html.j2",
                name=told.name,
                output=told.output,
                model=told.model,
                warning=told.warning,
                stage=stage,
                made=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
                again_s=again,
                done=self._done,
                expected=whole or "?",
                share=min(1.0, self._done / whole) if whole else None,
                cards=[
                    (f"{self._done:,}", f"frames of {whole:,}" if whole else "frames", False, ""),
                    (f"{state['frames_per_second']:.2f}", "frames a second", False, ""),
                    (duration(left), "left, about", False, ""),
                    (state["segment"] + 1, "segments", state["segment"] > 0, ""),
                ],
                pictures=list(self._shown),
                path=base64.b64encode(self._path()).decode(),
                provisional=f"Provisional: {PROVISIONAL}.",
                facts={
                    "window": state["window"],
                    "scale of the last window": f"{state['provisional_scale']:.4g}",
                    "links that are flagged": flags or "none",
                    "memory": f"{state['resident_mib']} MiB",
                },
                files=[*(f"../{file}" for file in files), "cloud.ply", STATE],
            )
            write_whole(self._folder / PAGE, page.encode("utf-8", "backslashreplace"))


def duration(seconds: Optional[float]) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
