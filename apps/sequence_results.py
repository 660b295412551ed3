"""The second pass of a sequence: windows in one scene to files; it can be done again at any time.

What the first pass has left, and the frames once more, in; depth a frame, poses, a cloud, a video
and a report out, each whole or not at all. A window's worth of frames is in memory.
"""

import contextlib
import dataclasses
import heapq
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.sequence_cloud import cloud_ply, points_of
from apps.sequence_fill import fill_store, read_fills
from apps.sequence_poses import PoseFiles
from apps.sequence_solve import SolvedSequence
from apps.sequence_source import Source, SourceFrame, numbered_frames
from apps.sequence_store import SequenceStore
from apps.video_render import Item, Look, in_turn, render
from exports.colour_range import ValueHistogram
from exports.frame_files import FRAME_SUFFIXES, frame_files
from exports.glb import POINTS, Geometry, encode_glb
from exports.npz import encode_npz
from exports.v2_picture import v2_picture
from exports.video import can_copy
from exports.voxels import VoxelCloud
from runtime.artifact.manifest import InputSpec, OutputSpec
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.photo.frames import VideoFrames
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.found import Prediction, Provenance
from runtime.scene.blend import blended_camera
from runtime.scene.links import SKY_CONFIDENCE
from runtime.scene.stream import Blender, StreamFrame

DEPTH, VIDEO = "depth", "depth.mp4"
UNSURE = 0.4  # of all confidences, below which a pixel becomes no point
FAR, MAX_SKY_M = 0.99, 200.0  # quantile of all depth that sky is put at; metres at most
CUBE = 0.005  # side of a cube at first, over the median depth
WRITERS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is written.

    Args:
        formats: of each frame's depth. cloud, poses, video: whether. points: of the cloud, at most.
        unsure: share of all confidences below which a pixel becomes no point.
        look: of the video.
    """

    formats: tuple[str, ...] = ("png16",)
    poses: bool = True
    cloud: bool = True
    video: bool = True
    points: int = 1_000_000
    unsure: float = UNSURE
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        if not 0 <= self.unsure < 1:
            raise InputError(f"unsure={self.unsure}: give a share from 0 to 1, below 1")


@dataclass
class Seen:
    """What a sweep over all frames says of the whole."""

    depth: ValueHistogram = field(default_factory=ValueHistogram)
    conf: ValueHistogram = field(default_factory=ValueHistogram)
    frames: int = 0

    def limits(self) -> tuple[float, float]:
        """The range of the colours."""
        return self.depth.limits() if self.depth.counts.sum() else (0.0, 1.0)

    def far(self, kind: str) -> float:
        """Where sky is put."""
        if not self.depth.counts.sum():
            return 1.0
        far = self.depth.quantile(FAR)
        return min(far, MAX_SKY_M) if kind == "depth_m" else far

    def surest(self, unsure: float) -> float:
        """The confidence from which a pixel becomes a point."""
        return self.conf.quantile(unsure) if self.conf.counts.sum() else 1.0


Step = Callable[[], object]


def frames_of(store: SequenceStore, solved: SolvedSequence) -> Iterator[StreamFrame]:
    """All frames of the scene, each once, in their order."""
    gaps = _filling(store, solved)
    return heapq.merge(_blended(store, solved), gaps, key=lambda frame: frame.number)


def _filling(store: SequenceStore, solved: SolvedSequence) -> Iterator[StreamFrame]:
    fills = fill_store(store)
    for line in read_fills(store):
        if not line["problem"]:
            yield from solved.place_fill(line, fills.maps_of(line))


def _blended(store: SequenceStore, solved: SolvedSequence) -> Iterator[StreamFrame]:
    blender = Blender()
    for number, line in enumerate(store.lines):
        if line["problem"]:
            continue
        yield from blender.add(solved.place(number, line, store.window(number)))
    yield from blender.rest()


def sweep_all(store: SequenceStore, solved: SolvedSequence, step: Step) -> Seen:
    """Look at every frame once, for what must be the same in all of them."""
    seen, longest = Seen(), solved.longest
    for frame in frames_of(store, solved):
        ground = ~sky_of(frame) & np.isfinite(frame.depth) & (frame.depth > 0)
        if ground.any() and frame.segment == longest:
            seen.depth.add(frame.depth[ground])
            seen.conf.add(frame.conf[ground])
        seen.frames += 1
        step()
    return seen


def sky_of(frame: StreamFrame) -> np.ndarray:
    """bool (H, W)."""
    return np.asarray(frame.conf <= SKY_CONFIDENCE) if frame.sky is None else frame.sky


def _between(one: StreamFrame, other: StreamFrame, number: int) -> StreamFrame:
    """The frame before with a camera between two frames of one segment."""
    if one.segment != other.segment:
        return one
    part = (number - one.number) / (other.number - one.number)
    pose = blended_camera(one.extrinsics, other.extrinsics, part)
    return dataclasses.replace(one, extrinsics=pose)


@dataclass(frozen=True, eq=False)
class Results:
    """What has been written."""

    files: list[Path]
    frames: int
    points: int
    cube: float
    problems: tuple[str, ...] = ()


class Writer:
    """Writes a sequence's files.

    Args:
        source: the frames, read once more. provenance: of all numbers.
    """

    def __init__(
        self,
        output: Path,
        source: Source,
        store: SequenceStore,
        solved: SolvedSequence,
        seen: Seen,
        provenance: Provenance,
        wanted: Wanted,
        step: Step,
    ) -> None:
        self._output, self._source, self._store = output, source, store
        self._solved, self._seen, self._wanted, self._step = solved, seen, wanted, step
        line = next((line for line in store.lines if not line["problem"]), store.lines[0])
        self.kind = line["kind"]
        height, width = line["view_hw"]
        self._template = Prediction(
            depth=np.zeros((1, 1), np.float32),
            output=OutputSpec(self.kind),
            provenance=provenance,
            input=InputSpec((height, width)),
            photo_hw=(1, 1),
        )
        self._limits, self._far = seen.limits(), seen.far(self.kind)
        self._surest = seen.surest(wanted.unsure)
        median = seen.depth.quantile(0.5) if seen.depth.counts.sum() else 1.0
        self._cloud = VoxelCloud(wanted.points, CUBE * median) if wanted.cloud else None
        self._poses = PoseFiles(output, self._facts()) if wanted.poses else None
        self._keys_alone = bool(store.header["settings"].get("keyframes"))
        self.done = 0

    def run(self) -> Results:
        """Write everything.

        Raises:
            InputError: the frames cannot be read any more. OSError: the disk refuses.
        """
        files: list[Path] = []
        problems: tuple[str, ...] = ()
        with contextlib.ExitStack() as stack:
            if self._poses is not None:
                stack.enter_context(self._poses)
            if self._wanted.video and self._source.is_video:
                problems = self._with_video()
                files.append(self._output / VIDEO)
            else:
                for _ in self._through(self._source.frames()):
                    pass
        points, cube, found = 0, 0.0, None
        if self._cloud is not None:
            found, cube = self._cloud.finish(), self._cloud.side
            points = self._write_cloud(*found)
            files += [self._output / name for name in ("cloud.ply", "cloud.glb") if points]
        if self._poses is not None:
            self._poses.write_colmap(None if found is None else found[:2])
            files += self._poses.files
        return Results(files, self.done, points, cube, problems)

    def _with_video(self) -> tuple[str, ...]:
        fps = getattr(self._source, "fps", None)
        with VideoFrames(self._source.path, fps) as frames:
            streams = tuple(stream for stream in frames.streams if can_copy(stream))
            template = dataclasses.replace(self._template, photo_hw=(1, 1))
            render(
                self._items(numbered_frames(frames)),
                frames,
                streams,
                template,
                self._output / DEPTH,
                self._output / VIDEO,
                self._wanted.look,
            )
            return tuple(frames.problems)

    def _items(self, frames: Iterator[SourceFrame]) -> Iterator[Item]:
        """Pictures for the video; one without depth shows the depth before it."""
        last: Optional[np.ndarray] = None
        for given, found in self._through(frames):
            assert given.frame is not None
            if found is not None:
                last = self._filled(found)
            shown = np.full((2, 2), self._limits[1], np.float32) if last is None else last
            yield Item(given.frame, shown, limits=self._limits)

    def _through(
        self, frames: Iterator[SourceFrame]
    ) -> Iterator[tuple[SourceFrame, Optional[StreamFrame]]]:
        """Every frame with what was found of it; its files are written on the way."""
        with ThreadPoolExecutor(WRITERS, "files") as pool:
            yield from in_turn(pool, self._write_files, self._paired(frames), 2 * WRITERS)

    def _paired(
        self, frames: Iterator[SourceFrame]
    ) -> Iterator[tuple[SourceFrame, Optional[StreamFrame]]]:
        coming = frames_of(self._store, self._solved)
        found = next(coming, None)
        before: Optional[tuple[StreamFrame, tuple[int, int]]] = None
        for given in frames:
            own = found if found is not None and found.number == given.number else None
            if own is not None and given.rgb is not None:
                photo_hw = (given.rgb.shape[0], given.rgb.shape[1])
                before = own, photo_hw
                self._tell(given, own, photo_hw, False)
                self._gather(own, given.rgb)
                found = next(coming, None)
            elif before is not None:  # as the frame before, or between its neighbours
                frame = before[0]
                if given.rgb is not None and found is not None and self._keys_alone:
                    frame = _between(frame, found, given.number)
                self._tell(given, frame, before[1], True)
            self.done += own is not None
            self._step()
            yield given, own

    def _tell(
        self, given: SourceFrame, frame: StreamFrame, photo_hw: tuple[int, int], copied: bool
    ) -> None:
        if self._poses is not None:
            self._poses.add(given, frame, photo_hw, copied)

    def _gather(self, frame: StreamFrame, rgb: np.ndarray) -> None:
        """Points of the longest segment; other segments have other units."""
        if self._cloud is None or frame.segment != self._solved.longest:
            return
        used = ~sky_of(frame) & (frame.conf >= self._surest) & (frame.depth > 0)
        self._cloud.add(*points_of(frame, used, rgb))

    def _filled(self, frame: StreamFrame) -> np.ndarray:
        """Depth with sky, and what has none, at the scene's far value."""
        nothing = sky_of(frame) | ~(frame.depth > 0) | ~np.isfinite(frame.depth)
        return np.where(nothing, np.float32(self._far), frame.depth)

    def _write_files(
        self, pair: tuple[SourceFrame, Optional[StreamFrame]]
    ) -> tuple[SourceFrame, Optional[StreamFrame]]:
        given, frame = pair
        if frame is None or not self._wanted.formats or given.rgb is None:
            return pair
        photo_hw = (given.rgb.shape[0], given.rgb.shape[1])
        depth = resize_to_photo(self._filled(frame), photo_hw)
        found = dataclasses.replace(self._template, depth=depth, photo_hw=photo_hw)
        more = {"frame": given.number, "name": given.name, "window": frame.window}
        more.update(segment=frame.segment, sky_at=self._far, time_s=given.time_s)
        painted = None
        if "png" in self._wanted.formats:
            painted = v2_picture(found, limits=self._limits)
        limits16 = (self._seen.depth.least, max(self._seen.depth.greatest, self._far))
        others = [name for name in self._wanted.formats if name != "npz"]
        base = self._output / DEPTH / f"{given.number:06d}"
        for suffix, data in frame_files(found, others, limits16, painted, more):
            write_whole(base.with_name(base.name + suffix), data)
        if "npz" in self._wanted.formats:  # with the mask of sky
            sky = resize_to_photo(sky_of(frame).astype(np.float32), photo_hw) > 0.5
            data = encode_npz({self.kind: depth, "sky": sky}, {**found.facts(), **more})
            write_whole(base.with_name(base.name + FRAME_SUFFIXES["npz"]), data)
        return pair

    def _write_cloud(self, points: np.ndarray, colours: np.ndarray, conf: np.ndarray) -> int:
        if not len(points):
            return 0
        facts = {**self._facts(), "frame": "the first frame's camera", "axes": "OpenCV"}
        write_whole(self._output / "cloud.ply", cloud_ply(points, colours, conf, facts))
        turned = points * np.array([1, -1, -1], np.float32)  # OpenCV's axes to glTF's
        extras = json.loads(json.dumps({**facts, "axes": "glTF: y up"}))
        shape = Geometry(POINTS, turned, colours)
        write_whole(self._output / "cloud.glb", encode_glb([shape], extras))
        return len(points)

    def _facts(self) -> Mapping[str, Any]:
        unit = OutputSpec(self.kind).unit
        return {"kind": self.kind, "unit": unit, **self._template.provenance.facts()}
