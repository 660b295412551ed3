"""Folders of photos and a video through upstream's own scripts and through ours, as commands.

Each side is a command from its start to its end, on the same files, with the same weights and as
many threads, in turns. A command is run on all photos and on one: the difference is what a
photo costs, the rest is the start. Upstream's scripts run around the package of PyPI, in an
environment of its own; ours are ``run.py``, ``run_video.py`` and, in lower precisions, the main
job. Nothing here decides what is right: the files are not compared (tests do that).
"""

import argparse
import logging
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from benchmarks.artifacts import made_or_left_out
from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.latency import describe_network
from benchmarks.latency_sides import UPSTREAM
from benchmarks.options import add_number, add_rounds
from benchmarks.peers import environment
from benchmarks.peers.process import SCRIPTS, variables
from benchmarks.photos import FULL_HD_HW, TWELVE_MP_HW, write_photos
from benchmarks.rounds import times_as_fast
from benchmarks.spent import Spent, run
from benchmarks.video import make_clip
from compile.checkpoint import load_model
from compile.fetch import local_checkpoint
from compile.job import CompileJob
from compile.registry import find_model
from compile.targets import target_module
from runtime.engines import available
from runtime.errors import InputError
from runtime.photo.preprocess import network_size

log = logging.getLogger(__name__)

ABOUT = "folders of 1080p and 12 MP photos and a video, beside upstream's own scripts"
DESCRIPTION = (
    "run.py, the main job and run_video.py beside upstream's scripts, as whole commands, in turns: "
    "what a photo or frame costs, and what four times upstream's speed would need."
)
EXAMPLE = "--models vits --photos 8 --frames 40 --rounds 4 --doc"
PAGE = "performance-jobs.md"

REPOSITORY = Path(__file__).resolve().parents[1]
MATPLOTLIB = "matplotlib==3.11.2"
SIZES = {"1080p": FULL_HD_HW, "12 MP": TWELVE_MP_HW}
CLIP, CLIP_HW = "video 576p", (576, 1024)
THEIRS, EAGER, COMPILED = "upstream's script", "ours, eager", "ours, compiled"
LOWER = ("bf16", "int8")  # of the main job's graphs; run.py and run_video.py have float32
AIM = 4.0  # times upstream's speed
SHORT_SIDE = 518
Words = list[str]


@dataclass(frozen=True)
class Side:
    """A command: its words, to which a source and a place for results are added."""

    name: str
    words: Words
    source: str  # the flag before the source, "" for none
    output: str
    env: dict[str, str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument("--models", nargs="+", default=["vits"], choices=["vits", "demo", "vitb"])
    add_number(parser, "--photos", 6, "of each size; at least 2")
    add_number(parser, "--frames", 20, "of the clip; at least 2")
    add_number(parser, "--threads", 2, "of every side's network")
    parser.add_argument("--precisions", nargs="*", default=list(LOWER), choices=LOWER)
    parser.add_argument("--alone", action="store_true", help="without upstream's scripts")
    add_rounds(parser, 3)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run each command on all files and on one, in turns.

    Raises:
        MissingDependency: upstream's environment cannot be made.
        DepthError: a command failed.
    """
    if min(args.photos, args.frames) < 2:
        raise InputError("--photos and --frames: at least 2; one is taken off all, for the start")
    cases, left_out = [], {}
    for model in args.models:
        with tempfile.TemporaryDirectory(prefix="scripts-") as name:
            scratch = Path(name)
            _weights(model, scratch)
            sources = _sources(args, scratch)
            for kind, (size_hw, whole, one, count) in sources.items():
                sides = list(_sides(args, model, kind, size_hw, scratch, left_out))
                took = {side.name: _Runs() for side in sides}
                for number in range(args.rounds + 1):
                    for side in sides:
                        runs = [_timed(side, place, scratch) for place in (one, whole)]
                        if number:  # the first compiles and warms the disk's cache
                            took[side.name].add(*runs, count)
                    log.info("%s, %s: round %d", model, kind, number)
                each = {name: runs.numbers for name, runs in took.items()}
                cases.append({"model": model, "kind": kind, "count": count, "sides": each})
    return {
        "cases": cases,
        "rounds": args.rounds,
        "threads": args.threads,
        "cores": os.cpu_count() or 1,
        "left_out": left_out,
    }


class _Runs:
    """What a photo takes in each round, and the start."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {
            name: [] for name in ("photo_s", "processor_s", "start_s", "peak_mib")
        }

    def add(self, one: Spent, whole: Spent, count: int) -> None:
        """A round: a command on one file, and on all."""
        photo_s = max(1e-3, (whole.seconds - one.seconds) / (count - 1))
        self.numbers["photo_s"].append(photo_s)
        self.numbers["processor_s"].append((whole.processor_s - one.processor_s) / (count - 1))
        self.numbers["start_s"].append(one.seconds - photo_s)
        self.numbers["peak_mib"].append(whole.peak_mib)


def _weights(model: str, scratch: Path) -> None:
    """The same for all: as upstream's scripts take them, and as ours look for them."""
    spec = find_model(model)
    network, _ = load_model(spec, local_checkpoint(spec))
    describe_network(model, network, scratch)
    (scratch / "checkpoints").mkdir()
    if local_checkpoint(spec) is None:
        shutil.copy(scratch / "weights.pth", scratch / "checkpoints" / spec.file)


def _sources(
    args: argparse.Namespace, scratch: Path
) -> dict[str, tuple[tuple[int, int], Path, Path, int]]:
    """Of each kind: the pixels, a folder of all files, one of one file, and how many they are."""
    found = {}
    for kind, size_hw in SIZES.items():
        whole, one = scratch / kind / "all", scratch / kind / "one"
        write_photos(args.input, whole, args.photos, size_hw)
        write_photos(args.input, one, 1, size_hw)
        found[kind] = (size_hw, whole, one, args.photos)
    whole, one = scratch / CLIP / "all", scratch / CLIP / "one"
    for folder, frames in ((whole, args.frames), (one, 1)):
        folder.mkdir(parents=True)
        make_clip(args.input, folder / "clip.mp4", frames, CLIP_HW)
    found[CLIP] = (CLIP_HW, whole, one, args.frames)
    return found


def _sides(
    args: argparse.Namespace,
    model: str,
    kind: str,
    size_hw: tuple[int, int],
    scratch: Path,
    left_out: dict[str, str],
) -> Any:
    """The commands for one kind of files."""
    is_video, threads = kind == CLIP, str(args.threads)
    if not args.alone:
        python = environment("v2-scripts", (*UPSTREAM[0], MATPLOTLIB), UPSTREAM[1])
        what = "video" if is_video else "photos"
        words = [str(python), str(SCRIPTS / "v2_scripts.py"), what, str(scratch)]
        rest = [str(SHORT_SIDE), threads]
        yield Side(THEIRS, [*words, "SOURCE", "OUTPUT", *rest], "", "", variables())
    ours = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "DEPTH_CHECKPOINT_DIR": str(scratch / "checkpoints"),
        "OMP_NUM_THREADS": threads,
    }
    script, flag = ("run_video.py", "--video-path") if is_video else ("run.py", "--img-path")
    words = [sys.executable, str(REPOSITORY / script), "--model", model]
    words += ["--input-size", str(SHORT_SIDE), *(["--range", "frame"] if is_video else [])]
    for name, engine in ((EAGER, "eager"), (COMPILED, "artifact")):
        if engine == "eager" or available("openvino"):
            yield Side(f"{name}, f32", [*words, "--engine", engine], flag, "--outdir", ours)
    for precision in () if is_video else args.precisions:
        artifact = _compiled(model, size_hw, precision, scratch, left_out)
        if artifact is not None:
            words = [sys.executable, str(REPOSITORY / "inference.py"), "--artifact", str(artifact)]
            words += ["--formats", "png", "--side-by-side", "--threads", threads]
            yield Side(f"{COMPILED}, {precision}, main job", words, "--input", "--output", ours)


def _compiled(
    model: str, photo_hw: tuple[int, int], precision: str, scratch: Path, left_out: dict[str, str]
) -> Optional[Path]:
    """An artifact of the size that upstream's script takes for such photos."""
    if not available("openvino") or precision not in target_module("openvino").PRECISIONS:
        left_out[precision] = "openvino is not installed"
        return None
    size_hw = network_size(photo_hw, SHORT_SIDE)
    spec = find_model(model)
    checkpoint = local_checkpoint(spec) or scratch / "checkpoints" / spec.file
    job = CompileJob(
        model=model,
        target="openvino",
        sizes_hw=(size_hw,),
        output=scratch / "lower",
        checkpoint=checkpoint,
        precision=precision,
    )
    artifact = made_or_left_out(job, f"{model}, {precision}", left_out)
    return None if artifact is None else artifact.path


def _timed(side: Side, source: Path, scratch: Path) -> Spent:
    """A command on a folder, its results thrown away."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="out-") as output:
        named = {"SOURCE": str(source), "OUTPUT": output}
        words = [named.get(word, word) for word in side.words]
        if side.source:
            words += [side.source, str(source), side.output, output]
        return run(words, side.env, scratch)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown: one table a model, and the arithmetic."""
    parts, sums = [], []
    for case in numbers["cases"]:
        rows, base = [], case["sides"].get(THEIRS)
        for name, took in case["sides"].items():
            photo_s = statistics.median(took["photo_s"])
            row = [name, f"{photo_s * 1e3:,.0f}", f"{1 / photo_s:.2f}"]
            row += [f"{statistics.median(took['processor_s']) * 1e3:,.0f}"]
            row += [f"{statistics.median(took['start_s']):.1f}"]
            row += [f"{statistics.median(took['peak_mib']):,.0f}", *_times(base, took)]
            rows.append(row)
        what = "a frame" if case["kind"] == CLIP else "a photo"
        header = [f"`{case['model']}`, {case['kind']}", f"ms {what}", "a second"]
        header += [f"processor ms {what}", "start s", "peak MiB", "times upstream's", "rounds"]
        parts.append(markdown_table(header, rows))
        if base is not None:
            sums.append(_arithmetic(case, base, numbers["cores"], what))
    parts.append(
        f"Medians of {numbers['rounds']} rounds in turns after a warm-up, {numbers['threads']} "
        "threads, each side a command from start to end on "
        + ", ".join(
            f"{case['count']} ({case['model']}, {case['kind']})" for case in numbers["cases"]
        )
        + " and on one: the difference is what each costs, the rest the start. Shorter side "
        f"{SHORT_SIDE}, aspect kept; the weights that are here, else seeded ones. The photo beside "
        "its depth, as upstream's script writes it; ours add a description."
    )
    parts += [f"**What {AIM:g}x would need.** " + " ".join(sums)] if sums else []
    parts += [f"Left out: {name}, since {why}." for name, why in numbers["left_out"].items()]
    return "\n\n".join(parts)


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """Each compiled side beside upstream's script."""
    for case in numbers["cases"]:
        base = case["sides"].get(THEIRS)
        for name, took in case["sides"].items():
            if name.startswith(COMPILED) and base is not None:
                photo_s = statistics.median(took["photo_s"])
                ratios = times_as_fast(base["photo_s"], took["photo_s"])
                what = f"`{case['model']}`, {case['kind']}, {name.split(', ')[2]}"
                yield Headline(
                    "Photos and frames, as commands",
                    what,
                    f"{photo_s * 1e3:,.0f} ms",
                    THEIRS,
                    statistics.median(ratios),
                )


def _times(base: Optional[dict[str, list[float]]], took: dict[str, list[float]]) -> list[str]:
    if base is None:
        return ["", ""]
    ratios = times_as_fast(base["photo_s"], took["photo_s"])
    return [f"**{statistics.median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"]


def _arithmetic(case: dict[str, Any], base: dict[str, list[float]], cores: int, what: str) -> str:
    """What may be spent for AIM times upstream's speed, and what each of ours spends."""
    theirs = statistics.median(base["photo_s"]) * 1e3
    budget = theirs / AIM * cores
    said = []
    for name, took in case["sides"].items():
        if name != THEIRS:
            spent = max(1e-3, statistics.median(took["processor_s"]) * 1e3)
            said.append(f"{name} spends {spent:,.0f}, so at most {theirs * cores / spent:.1f}x")
    return (
        f"`{case['model']}`, {case['kind']}: upstream takes {theirs:,.0f} ms {what}, so on "
        f"{cores} cores {budget:,.0f} ms of processor time may go into each; {'; '.join(said)}."
    )
