"""Long sequences: frames a second against windows one by one, and memory against their length.

The rate is that of a real network on a real clip; both sides run the same windows, in turns. Memory
is that of simulated maps, a process a length: no network ran there.
"""

import argparse
import json
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from apps.scene_models import SceneModel, find_scene_model
from apps.sequence_job import VIEWS, SequenceJob, run_sequence
from apps.sequence_model import Windows
from apps.sequence_results import Wanted
from apps.sequence_source import SourceFrame, VideoSource
from apps.sequence_store import sequence_store
from apps.sequence_windows import WindowJob, run_windows
from benchmarks.document import markdown_table
from benchmarks.options import add_number, add_rounds
from benchmarks.rounds import interleave
from benchmarks.spent import run
from benchmarks.video import make_clip
from runtime.artifact.manifest import WeightsSpec
from runtime.command_line import positive
from runtime.predict.found import Provenance, ScenePrediction
from runtime.scene.groups import group_views
from runtime.scene.query import SceneQuery
from runtime.scene.views import View, fit_view

ABOUT = "frames/s of long sequences against windows one by one; memory against length"
DESCRIPTION = (
    "The first pass of a sequence against the same windows one by one, without streaming; and the "
    "most memory that sequences of simulated maps take, whatever their length."
)
EXAMPLE = "--frames 64 --rounds 3 --lengths 200 2000 20000"
PAGE = "long-sequences.md"

ALONE, OURS = "windows one by one", "the first pass"
LENGTHS = (200, 2000)
SIZE_HW = (70, 126)
WAIT_S = 5.0  # for a quiet machine
POINTS = 20_000  # of the cloud: as much for all lengths

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument("--model", default="da3-small", help="with random weights; %(default)s")
    parser.add_argument("--process-res", type=positive, default=168, metavar="N")
    add_number(parser, "--frames", 32, "of the clip")
    add_rounds(parser, 3)
    parser.add_argument("--lengths", type=positive, nargs="+", default=list(LENGTHS), metavar="N")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds a frame of both sides, and MiB of each length."""
    torch.set_num_threads(1)  # else its threads wait for each other where others work, too
    model = find_scene_model(args.model, "cpu", args.process_res, seeded=True)
    with tempfile.TemporaryDirectory(prefix="sequence-") as scratch:
        root = Path(scratch)
        clip = make_clip(args.input, root / "clip.mp4", args.frames, (288, 512))
        model.load([(288, 512)])
        sides = {
            ALONE: (args.frames, lambda: one_by_one(clip, model)),
            OURS: (args.frames, first_pass(clip, model, root)),
        }
        seconds, _, _ = interleave(sides, args.rounds, WAIT_S)
    cases = [memory_of(length) for length in args.lengths]
    return {
        "model": args.model,
        "process_res": args.process_res,
        "frames": args.frames,
        "seconds": {name: list(values) for name, values in seconds.items()},
        "memory": cases,
    }


def one_by_one(clip: Path, model: SceneModel) -> None:
    """Decode a window, run it, and forget it."""
    source, held, done = VideoSource(clip), {}, 0
    frames = source.frames()
    count = source.expected or 0
    for window in group_views(count, VIEWS):
        while window[-1] not in held:
            frame = next(frames)
            assert frame.rgb is not None
            held[frame.number] = model.view(frame.rgb)
        views = [held[number] for number in window]
        Windows(model).infer(views, SceneQuery())
        held = {number: view for number, view in held.items() if number > window[0]}
        done += 1
    log.debug("%d windows", done)


def first_pass(clip: Path, model: SceneModel, root: Path) -> Callable[[], None]:
    """The same windows, linked, kept and written down."""

    def run_once() -> None:
        with (
            tempfile.TemporaryDirectory(dir=root) as output,
            sequence_store(Path(output)) as store,
        ):
            store.begin({"input": {}}, True)
            run_windows(VideoSource(clip), [Windows(model)], WindowJob(VIEWS, cuts=False), store)

    return run_once


class MadeUp:
    """Frames that are made up, as many as wanted."""

    is_video, path = False, Path("simulated")

    def __init__(self, count: int) -> None:
        self.expected: Optional[int] = count
        y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
        self._rgb = np.stack((x + y, 2 * x, 255 - y), -1).astype(np.uint8)

    def identity(self) -> dict[str, Any]:
        """As ``Source.identity``."""
        return {"simulated": self.expected}

    def frames(self, start: int = 0) -> Iterator[SourceFrame]:
        """As ``Source.frames``."""
        for number in range(start, self.expected or 0):
            yield SourceFrame(number, f"{number:06d}.png", self._rgb)


class SimulatedModel:
    """A scene model that is not there: a wall, seen by a camera that goes along it."""

    name, finds_cameras, licence = "simulated", True, "none"
    compiled_views: Sequence[int] = ()

    def __init__(self) -> None:
        random = np.random.RandomState(0)
        self._depth = (2 + random.rand(VIEWS, *SIZE_HW) / 50).astype(np.float32)
        self._conf = (1 + random.gamma(2, 1, self._depth.shape)).astype(np.float32)
        self._poses = np.stack([np.eye(4)[:3]] * VIEWS)
        self._poses[:, 0, 3] = -0.01 * np.arange(VIEWS)
        height, width = SIZE_HW
        focal = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        self._focal = np.stack([focal] * VIEWS)

    def check(self, query: SceneQuery) -> None:
        """It answers nothing."""

    def needed_bytes(self, count: int, sizes_hw: Any, splats: bool) -> Optional[int]:
        """None."""
        return None

    def free_bytes(self) -> Optional[int]:
        """None."""
        return None

    def load(self, sizes_hw: Any) -> None:
        """Nothing to load."""

    def provenance(self) -> Provenance:
        """Nobody's."""
        return Provenance("simulated", WeightsSpec("seeded", "0" * 64, "none"), simulated=True)

    def view(self, photo: np.ndarray) -> View:
        """As ``SceneModel.view``."""
        return fit_view(photo, SIZE_HW)

    def steps(self, query: SceneQuery, views: int) -> Optional[int]:
        """None."""
        return None

    def infer(self, views: Sequence[View], *rest: Any) -> ScenePrediction:
        """The same maps each time."""
        count = len(views)
        return ScenePrediction(
            self._depth[:count],
            conf=self._conf[:count],
            extrinsics=self._poses[:count],
            intrinsics=self._focal[:count],
        )


def memory_of(length: int) -> dict[str, Any]:
    """The most that a process of so many frames holds, after both passes."""
    log.info("%d frames, simulated", length)
    words = ["-c", "import benchmarks.sequence as s, sys; s.case(int(sys.argv[1]))", str(length)]
    spent = run([sys.executable, *words])
    facts: dict[str, Any] = json.loads(spent.stdout.splitlines()[-1])
    return facts


def case(length: int) -> None:
    """One length, in this process; its numbers to stdout."""
    model, started = SimulatedModel(), time.perf_counter()
    wanted = Wanted((), video=False, points=POINTS)
    with tempfile.TemporaryDirectory(prefix="sequence-") as output:
        job = SequenceJob(Path(output), wanted=wanted, cuts=False, preview_s=1.0)
        run_sequence(MadeUp(length), model, job)
        size = sum(file.stat().st_size for file in Path(output).rglob("*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = time.perf_counter() - started
    print(json.dumps({"frames": length, "mib": peak, "seconds": took, "disk_mib": size / 2**20}))


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    middle = {name: statistics.median(values) for name, values in numbers["seconds"].items()}
    rows = [[name, f"{1 / value:.2f}"] for name, value in middle.items()]
    share = middle[ALONE] / middle[OURS]
    rates = markdown_table(["", "frames/s"], rows)
    lengths = [
        [f"{case['frames']:,}", f"{case['mib']:.0f}", f"{case['frames'] / case['seconds']:.0f}"]
        for case in numbers["memory"]
    ]
    memory = markdown_table(["frames, SIMULATED", "MiB at most", "frames/s, both passes"], lengths)
    return (
        f"{rates}\n\n{numbers['model']} with random weights, eager on one thread, views of "
        f"{numbers['process_res']} pixels, {numbers['frames']} frames in windows of {VIEWS}: the "
        f"first pass keeps {share:.0%} of the rate.\n\n{memory}\n\nNo network ran: maps of "
        f"{SIZE_HW[0]}x{SIZE_HW[1]} are made up, poses and a cloud of {POINTS:,} points are "
        "written. The whole process, Python and torch included."
    )
