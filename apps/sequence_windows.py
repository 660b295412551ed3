"""The first pass of a sequence: frames through the network in windows, each kept in its own gauge.

A source and a model in; files and journal lines out. Decoding, the network and writing overlap; at
most a few windows are in memory. A run that was killed goes on after its last line.
"""

import dataclasses
import logging
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from apps.scene_options import ALIGNS
from apps.sequence_model import DESCRIPTORS, WindowModel
from apps.sequence_source import Source, SourceFrame
from apps.sequence_store import SequenceStore, WindowMaps, decode_window, encode_window, finite
from apps.video_render import in_turn
from runtime.errors import InputError, first_line
from runtime.predict.found import ScenePrediction
from runtime.scene.cameras import inverse
from runtime.scene.links import Link, SharedFrames, link_windows, median_depth
from runtime.scene.loops import CUT_MEMORY, CutFinder, KeyFinder
from runtime.scene.point_fit import corner_points, fit_maps
from runtime.scene.query import SceneQuery
from runtime.scene.stream import Planned, WindowPlan
from runtime.scene.views import View, fit_view

POINTS = ALIGNS[1]
IN_FLIGHT = 2  # windows between two stages
NO_CAMERA = "no known camera"  # why a frame is left out, where cameras are known
STANDS = 1e-9  # between cameras, up to which they stand in one place
STRETCHED = 1.5  # of a frame's shape against the sequence's, from which it is said

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class KnownCameras:
    """Cameras that somebody knows: of a frame's number, (4, 4) world-to-camera and (3, 3)."""

    extrinsics: Mapping[int, np.ndarray]
    intrinsics: Mapping[int, np.ndarray]

    def query(self, frames: Sequence[int], query: SceneQuery) -> SceneQuery:
        """About some frames."""
        poses, focal = ([known[one] for one in frames] for known in vars(self).values())
        return dataclasses.replace(query, extrinsics=np.stack(poses), intrinsics=np.stack(focal))


@dataclass(frozen=True)
class WindowJob:
    """How frames go through the network.

    Args:
        views: frames of a window. overlap: that two share; None: a quarter.
        cuts: look for cuts. query: what is asked of each window. known: cameras.
        align: of ``ALIGNS``. keyframes: leave out frames that look as the last one taken.
    """

    views: int
    overlap: Optional[int] = None
    cuts: bool = True
    query: SceneQuery = field(default_factory=SceneQuery)
    known: Optional[KnownCameras] = None
    align: str = ALIGNS[0]
    keyframes: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    view: View
    name: str


@dataclass
class Noted:
    """What happened since the window before."""

    bad: list[list[Any]] = field(default_factory=list)  # number, name, why
    scores: list[Optional[float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Ready:
    planned: Planned
    noted: Noted
    found: Optional[ScenePrediction] = None
    problem: str = ""  # why a window has no depth
    seconds: float = 0.0


Told = Callable[[dict[str, Any], WindowMaps, Sequence[View]], object]


def run_windows(
    source: Source,
    models: Sequence[WindowModel],
    job: WindowJob,
    store: SequenceStore,
    told: Told = lambda line, maps, views: None,
    view: Optional[Callable[[np.ndarray], View]] = None,
) -> None:
    """Do what is missing of the first pass.

    Args:
        models: the same one, several times: each window goes to one that is free.
        view: makes views of frames; None: the first of the models.
        told: called after each window with its line, its maps and its frames.
    Raises:
        InputError: not one frame can be used.
        ArtifactError, DeviceError, OSError: the model fails, or the disk refuses; what is done
            stays.
    """
    if store.ended is not None:
        return
    before = store.window(len(store.lines) - 1) if store.lines else None
    rest = Noted()
    planned = _planned(source, view or models[0].view, job, store, rest)
    run_planned(models, job, planned, _Keeper(store, job, before, told))
    if not store.lines:
        raise InputError(f"{source.path}: not one frame of it can be used")
    store.end({"bad": rest.bad})


def run_planned(
    models: Sequence[WindowModel],
    job: WindowJob,
    planned: Iterator[Ready],
    keep: Callable[[Ready], object],
) -> None:
    """Windows through whichever model is free, and on, in their order; a few are in flight."""
    free: queue.SimpleQueue[WindowModel] = queue.SimpleQueue()
    for one in models:
        free.put(one)

    def infer(ready: Ready) -> Ready:
        query = job.query
        if job.known is not None:
            query = job.known.query(ready.planned.frames, query)
        problem, views = "", [seen.view for seen in ready.planned.items]
        model, start = free.get(), time.perf_counter()
        try:
            found = model.infer(views, query)
        except InputError as error:  # as a nested model says of nothing but sky
            found, problem = _nothing(views), first_line(error)
            log.warning("frames from %d on: %s", ready.planned.frames[0], problem)
        finally:
            free.put(model)
        seconds = time.perf_counter() - start
        return dataclasses.replace(ready, found=found, problem=problem, seconds=seconds)

    count = len(models)
    with ThreadPoolExecutor(count, "network") as network, ThreadPoolExecutor(1, "keep") as keeper:
        found = in_turn(network, infer, planned, IN_FLIGHT + count - 1)
        for _ in in_turn(keeper, keep, found, IN_FLIGHT):
            pass


def _planned(
    source: Source,
    view: Callable[[np.ndarray], View],
    job: WindowJob,
    store: SequenceStore,
    rest: Noted,
) -> Iterator[Ready]:
    """Windows as their frames come; what is noted after the last one goes to ``rest``."""
    fitted, noted = Views(view, store), Noted()
    told = _told_already(store)
    frames, plan, cuts, keys = _resumed(source, fitted, job, store)
    for frame in frames:
        if frame.rgb is None or (job.known is not None and _unknown(job.known, frame.number)):
            if frame.number not in told:
                problem = frame.problem or NO_CAMERA
                noted.bad.append([frame.number, frame.name, problem])
            continue
        cut, score = cuts.next(frame.rgb)
        if cut and job.cuts:
            for window in plan.end_shot():
                yield Ready(window, noted)
                noted = Noted()
            log.info("frame %d: a new shot begins", frame.number)
        noted.scores.append(score)
        if job.keyframes and not keys.next(frame.rgb, frame.time_s):
            continue
        for window in plan.add(frame.number, Seen(fitted(frame), frame.name)):
            yield Ready(window, noted)
            noted = Noted()
    for window in plan.end_shot():
        yield Ready(window, noted)
        noted = Noted()
    rest.bad += noted.bad


def _told_already(store: SequenceStore) -> set[int]:
    """Bad frames among those that a run that goes on sees again."""
    start = store.lines[-1]["frames"][0] if store.lines else 0
    return {row[0] for line in store.lines for row in line["bad"] if row[0] >= start}


def _resumed(
    source: Source, fitted: "Views", job: WindowJob, store: SequenceStore
) -> tuple[Iterator[SourceFrame], WindowPlan, CutFinder, KeyFinder]:
    """Frames to come, and what is held of those before: the last window's."""
    keys = KeyFinder()
    if not store.lines:
        return iter(source.frames()), WindowPlan(job.views, job.overlap), CutFinder(), keys
    last = store.lines[-1]
    frames, wanted, items = iter(source.frames(last["frames"][0])), set(last["frames"]), []
    cuts = CutFinder(_since_cut(store.lines))
    for frame in frames:
        if frame.number in wanted and frame.rgb is not None:
            items.append(Seen(fitted(frame), frame.name))
            cuts.look(frame.rgb)
            keys.take(frame.rgb, frame.time_s)
        if len(items) == len(wanted):
            break
    held = Planned(tuple(last["frames"]), tuple(items), last["shot"])
    return frames, WindowPlan(job.views, job.overlap, held), cuts, keys


def _since_cut(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """The last scores of the current shot; the first frame of a shot has none."""
    recent: list[float] = []
    for line in reversed(lines):
        for score in reversed(line["scores"]):
            if score is None or len(recent) == CUT_MEMORY:
                return recent[::-1]
            recent.append(score)
    return recent[::-1]


def _unknown(known: KnownCameras, number: int) -> bool:
    return number not in known.extrinsics


class Views:
    """Frames as views of one size: the first one's, or what an earlier run had."""

    def __init__(self, view: Callable[[np.ndarray], View], store: SequenceStore) -> None:
        self._view = view
        self._size: Optional[tuple[int, int]] = None
        if store.lines:
            height, width = store.lines[0]["view_hw"]
            self._size = height, width

    def __call__(self, frame: SourceFrame) -> View:
        assert frame.rgb is not None
        view = self._view(frame.rgb)
        if self._size is None:
            self._size = view.size_hw
        if view.size_hw == self._size:
            return view
        shapes = [height / width for height, width in (self._size, view.photo_hw)]
        if max(shapes) > STRETCHED * min(shapes):
            log.warning(
                "%s: %d x %d, of another shape than the frames before: stretched to theirs",
                *(frame.name, view.photo_hw[1], view.photo_hw[0]),
            )
        return fit_view(frame.rgb, self._size)


class _Keeper:
    """Puts windows on disk in their order, each linked to the one before."""

    def __init__(
        self, store: SequenceStore, job: WindowJob, before: Optional[WindowMaps], told: Told
    ) -> None:
        self._store, self._job, self._before, self._told = store, job, before, told

    def __call__(self, ready: Ready) -> None:
        found, planned = ready.found, ready.planned
        assert found is not None
        data = window_bytes(found)
        maps = decode_window(data)
        line = self._line(ready, found, maps)
        self._store.append(data, line)
        self._before = maps
        self._told(self._store.lines[-1], maps, [seen.view for seen in planned.items])

    def _line(self, ready: Ready, found: ScenePrediction, maps: WindowMaps) -> dict[str, Any]:
        planned, last = ready.planned, self._store.lines[-1] if self._store.lines else None
        link = None if ready.problem else self._link(planned, maps, last)
        segment = 0 if last is None else last["segment"] + int(link is None or link.broken)
        if link is not None and link.broken:
            log.warning(
                "frames from %d on do not agree with those before: segment %d begins",
                *(planned.frames[0], segment),
            )
        sizes = [list(seen.view.photo_hw) for seen in planned.items]
        return {
            "frames": list(planned.frames),
            "names": [seen.name for seen in planned.items],
            "sizes": sizes if any(size != sizes[0] for size in sizes) else sizes[:1],
            "view_hw": list(planned.items[0].view.size_hw),
            "shot": planned.shot,
            "segment": segment,
            "kind": found.kind,
            "median": median_depth(shared_frames(maps, range(len(maps.depth)))),
            "link": None if link is None else link_facts(link),
            "tells_scale": self._job.known is None or _extent(maps) > STANDS,
            "centre": _centres(maps).mean(0).tolist(),
            "bad": ready.noted.bad,
            "scores": ready.noted.scores,
            "problem": ready.problem,
            "seconds": round(ready.seconds, 3),
        }

    def _link(
        self, planned: Planned, maps: WindowMaps, last: Optional[dict[str, Any]]
    ) -> Optional[Link]:
        if last is None or self._before is None or last["problem"]:
            return None
        if last["shot"] != planned.shot:
            return None
        shared = [number for number in planned.frames if number in set(last["frames"])]
        if not shared:
            return None
        rows = [
            [frames.index(number) for number in shared]
            for frames in (last["frames"], list(planned.frames))
        ]
        known, new = (shared_frames(one, own) for one, own in zip((self._before, maps), rows))
        metric = 1.0 if last["kind"] == "depth_m" else None
        fitted = None
        if self._job.align == POINTS:
            points = [
                corner_points(one.depth, maps_.intrinsics[own], one.extrinsics)
                for one, maps_, own in zip((known, new), (self._before, maps), rows)
            ]
            fitted = fit_maps(points[0], points[1], known.excess(), new.excess())
        return link_windows(known, new, metric, fitted)


def window_bytes(found: ScenePrediction) -> bytes:
    """What is kept of a window."""
    assert found.extrinsics is not None and found.intrinsics is not None
    conf = np.full(found.depth.shape, 2.0) if found.conf is None else found.conf
    described = found.aux.get(DESCRIPTORS)
    parts = (found.depth, conf, found.extrinsics, found.intrinsics, found.sky, described)
    return encode_window(WindowMaps(*parts))


def _nothing(views: Sequence[View]) -> ScenePrediction:
    """A window without depth."""
    shape, poses = (len(views), *views[0].size_hw), np.stack([np.eye(4)[:3]] * len(views))
    nothing, focal = np.zeros(shape, np.float32), np.stack([np.eye(3)] * len(views))
    return ScenePrediction(
        nothing, conf=np.ones(shape, np.float32), extrinsics=poses, intrinsics=focal
    )


def shared_frames(maps: WindowMaps, rows: Iterable[int]) -> SharedFrames:
    """Some frames of a window."""
    rows = list(rows)
    sky = None if maps.sky is None else maps.sky[rows]
    return SharedFrames(maps.depth[rows], maps.conf[rows], maps.extrinsics[rows], sky)


def link_facts(link: Link) -> dict[str, Any]:
    """A link as JSON values."""
    numbers = ("used", "spread", "scales_std", "inliers", "turn_deg", "shift")
    return {
        "scale": link.to.scale,
        "rotation": link.to.rotation.tolist(),
        "translation": link.to.translation.tolist(),
        **{name: finite(getattr(link, name)) for name in numbers},
        "flags": list(link.flags),
    }


def _centres(maps: WindowMaps) -> np.ndarray:
    """Where a window's cameras are, in its gauge: (n, 3)."""
    return np.asarray(inverse(maps.extrinsics)[:, :, 3])


def _extent(maps: WindowMaps) -> float:
    """How far a window's cameras are apart."""
    return float(np.ptp(_centres(maps), axis=0).max())
