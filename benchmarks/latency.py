"""One image through V2: our graphs beside upstream's package, transformers, ONNX Runtime, OpenVINO.

Same seeded weights, same image, same number of threads. Every side runs in a process of its own,
each peer in an environment of its own; the sides take turns, round after round. Before anything is
timed, each side's depth is compared with our eager model's. Beside them, in the same rounds, the
processor's own limit is measured.
"""

import argparse
import contextlib
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from benchmarks.document import markdown_table
from benchmarks.limit import (
    REPEATS,
    SQUARE,
    best_rates,
    largest_products,
    least_seconds,
    products_peer,
    sentence,
    traced,
)
from benchmarks.options import SQUARE_HW, add_model, add_number, add_precisions, add_rounds
from benchmarks.peers import environment
from benchmarks.peers.process import SCRIPTS, Peer, variables
from benchmarks.rounds import interleave
from compile.checkpoint import load_model
from compile.job import CompileJob, compile_model
from compile.parity import compare, parity_inputs
from compile.registry import find_model
from compile.targets import target_module
from depth_anything_v2.config import ENCODERS
from layers.vit import VITS
from runtime.artifact.manifest import PRECISIONS, InputSpec
from runtime.engines import available
from runtime.errors import CompileError, DepthError, InputError, MissingDependency

log = logging.getLogger(__name__)

ABOUT = "one image, beside upstream, transformers, ONNX Runtime, OpenVINO"
DESCRIPTION = (
    "One image at 518x518 through our graphs and through other people's packages, each in an "
    "environment of its own that is installed once, in interleaved rounds, and the processor's own "
    "limit beside them."
)
EXAMPLE = "--model vits --rounds 5 --doc"

MODELS = ("vits", "demo", "vitb")  # of upstream's classes, and not larger than all sides at once
UPSTREAM = (
    ("torch==2.13.0", "numpy==2.4.6", "opencv-python-headless==5.0.0.93", "onnx==1.23.2"),
    ("--no-deps", "jkp-depth-anything-v2==0.1.1"),
)
TRANSFORMERS = ("torch==2.13.0", "numpy==2.4.6", "transformers==5.23.0")
ONNXRUNTIME = ("onnxruntime==1.31.1", "numpy==2.4.6")
OPENVINO = ("openvino==2026.4.1", "numpy==2.4.6")
COMPARED = ("f32", "bf16", "int8")
OURS = (("torchscript", ("f32",)), ("onnx", ("f32",)), ("openvino", COMPARED))
CALLS = 3  # of each side, a round
SAME = 1e-3  # of the range: float32 sides that differ by more do not run the same network
LIMIT = "matrix products"
EAGER = "jkp-depth-anything-v2, eager"


@dataclass(frozen=True)
class LatencyJob:
    """What to measure; ``peers`` False leaves other people's packages out, and the limit.

    ``precisions`` are those of our graphs; a target takes those of them that it has.
    """

    model: str = "vits"
    size_hw: tuple[int, int] = SQUARE_HW
    rounds: int = 5
    threads: int = 2
    wait_s: float = 10.0  # for quiet, before a round
    peers: bool = True
    precisions: tuple[str, ...] = COMPARED

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"model={self.model!r}: use one of {', '.join(MODELS)}")
        if self.rounds < 1 or self.threads < 1:
            raise InputError(f"rounds={self.rounds}, threads={self.threads}: must be positive")


@dataclass(frozen=True)
class Side:
    """One row: who runs the network, in which precision."""

    name: str
    precision: str
    peer: Peer

    @property
    def ours(self) -> bool:
        """Not another's."""
        return self.name.startswith("ours")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", ["vits", "demo", "vitb"])
    add_rounds(parser)
    add_number(parser, "--threads", 2, "of every side")
    quiet = "for others to be quiet, before a round, seconds"
    add_number(parser, "--wait", 10, quiet, float, "S")
    parser.add_argument("--alone", action="store_true", help="without the others and the limit")
    add_precisions(parser, *PRECISIONS)


def section(args: argparse.Namespace, slug: str) -> str:
    """One a model, too."""
    return f"latency {args.model} {slug}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_sides``."""
    return time_sides(
        LatencyJob(
            model=args.model,
            rounds=args.rounds,
            threads=args.threads,
            wait_s=args.wait,
            peers=not args.alone,
            precisions=tuple(args.precisions),
        )
    )


def time_sides(job: LatencyJob) -> dict[str, Any]:
    """Time all sides in turns.

    Raises:
        InputError: a job that cannot be.
        MissingDependency: a peer's environment cannot be made.
        DepthError: a side does not start, or does not compute the same depth.
    """
    model, _ = load_model(find_model(job.model), None)
    image = parity_inputs(InputSpec(job.size_hw))["photo"]
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    graph = traced(model, job.size_hw)
    with tempfile.TemporaryDirectory(prefix="latency-") as name, contextlib.ExitStack() as stack:
        scratch = Path(name)
        _describe(job.model, model, image, scratch)
        left_out: dict[str, str] = {}
        others_first = _peers(job, scratch) if job.peers else iter(())
        starters = itertools.chain(others_first, _ours(job, scratch, left_out))
        sides = []
        for side in starters:
            stack.callback(side.peer.close)
            log.info("%s, %s: %s", side.name, side.precision, side.peer.facts)
            sides.append((side, _agreement(side, expected)))
        runs: dict[str, tuple[int, Any]] = {
            _key(side): (CALLS, lambda peer=side.peer: peer.run(CALLS)) for side, _ in sides
        }
        limit = None
        if job.peers:
            shapes = [*largest_products(graph), SQUARE]
            limit = stack.enter_context(products_peer(shapes, job.threads))
            runs[LIMIT] = (1, lambda: limit.run(REPEATS))
        seconds, others, rounds_run = interleave(runs, job.rounds, job.wait_s)
    rates = best_rates(limit.said) if limit else {}
    return {
        "model": job.model,
        "size_hw": list(job.size_hw),
        "rounds": job.rounds,
        "rounds_run": rounds_run,
        "others_share": others,
        "threads": job.threads,
        "gflop": graph.flops / 1e9,
        "rates": rates,
        "least_s": least_seconds(graph.flops, rates) if rates else {},
        "left_out": left_out,
        "sides": [
            {
                "side": side.name,
                "precision": side.precision,
                "ours": side.ours,
                "seconds_an_image": seconds[_key(side)],
                "peak_mib": side.peer.said[-1]["peak_mib"],
                **side.peer.facts,
                **agreement,
            }
            for side, agreement in sides
        ],
    }


def _key(side: Side) -> str:
    return f"{side.name}, {side.precision}"


def _describe(name: str, model: torch.nn.Module, image: np.ndarray, scratch: Path) -> None:
    """What peers need to build the same network: sizes, weights, an image."""
    encoder = find_model(name).encoder
    vit, head = VITS[encoder], ENCODERS[encoder]
    spec = {
        "encoder": encoder,
        "dim": vit.dim,
        "depth": vit.depth,
        "heads": vit.num_heads,
        "features": head.features,
        "out_channels": head.out_channels,
        "taps": head.taps,
    }
    (scratch / "model.json").write_text(json.dumps(spec))
    torch.save(model.state_dict(), scratch / "weights.pth")
    np.save(scratch / "image.npy", image)


def _peers(job: LatencyJob, scratch: Path) -> Iterator[Side]:
    """Other people's packages, started."""
    folder, threads, image = str(scratch), str(job.threads), str(scratch / "image.npy")
    upstream = environment("v2-upstream", *UPSTREAM)
    graph = scratch / "upstream.onnx"
    log.info("exporting upstream's network to ONNX")
    words = [str(upstream), str(SCRIPTS / "v2_upstream.py"), "export", folder, threads, str(graph)]
    if subprocess.run(words, stdout=sys.stderr, env=variables()).returncode:
        raise DepthError("upstream's network cannot be exported; see the lines above")
    depth = scratch / "depth.npy"
    yield Side(EAGER, "f32", Peer(upstream, "v2_upstream.py", ["answer", folder, threads], depth))
    python = environment("transformers", TRANSFORMERS)
    peer = Peer(python, "v2_transformers.py", [folder, threads], depth)
    yield Side(f"transformers, {peer.facts['attention']}", "f32", peer)
    python = environment("onnxruntime", ONNXRUNTIME)
    peer = Peer(python, "graph_onnxruntime.py", [str(graph), image, threads], depth)
    yield Side("ONNX Runtime, upstream's export", "f32", peer)
    python = environment("openvino", OPENVINO)
    for precision in ("f32", "bf16"):
        words = [str(graph), image, threads, precision]
        peer = Peer(python, "graph_openvino.py", words, depth)
        yield Side("OpenVINO, upstream's export", precision, peer)


def _ours(job: LatencyJob, scratch: Path, left_out: dict[str, str]) -> Iterator[Side]:
    """Our artifacts of every target that is here, started; why one cannot be goes to left_out."""
    image, threads, depth = str(scratch / "image.npy"), str(job.threads), scratch / "depth.npy"
    for target, precisions in OURS:
        known = target_module(target).PRECISIONS if available(target) else ()
        for precision in (name for name in precisions if name in job.precisions and name in known):
            what = CompileJob(
                model=job.model,
                target=target,
                sizes_hw=(job.size_hw,),
                output=scratch / "artifacts",
                seeded="always",
                precision=precision,
            )
            try:
                (artifact,) = compile_model(what)
            except (CompileError, MissingDependency) as error:
                left_out[f"{target}, {precision}"] = str(error)
                log.warning("%s, %s is left out: %s", target, precision, error)
                continue
            words = [str(artifact.path), image, threads]
            peer = Peer(Path(sys.executable), "artifact.py", words, depth, SCRIPTS.parents[1])
            yield Side(f"ours, {target}", precision, peer)


def _agreement(side: Side, expected: np.ndarray) -> dict[str, float]:
    """How far a side's depth is from our eager model's.

    Raises:
        DepthError: a float32 side is off by more than rounding.
    """
    case = compare(side.name, side.peer.depth().reshape(expected.shape), expected)
    if side.precision == "f32" and case.max_rel_range > SAME:
        raise DepthError(
            f"{side.name}: depth is off by {case.max_rel_range:.1e} of its range, expected at most "
            f"{SAME:.0e}; it does not run the same network"
        )
    return {"off": case.max_rel_range, "pearson": case.pearson}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows, sides = [], numbers["sides"]
    base = next((side for side in sides if side["side"] == EAGER), sides[0])["seconds_an_image"]
    for side in sides:
        took = side["seconds_an_image"]
        ratios = [other / own for other, own in zip(base, took)]
        median = statistics.median(took)
        least = numbers["least_s"].get(side["precision"])
        version = ", ".join(f"{name} {number}" for name, number in side["versions"].items())
        rows.append(
            [
                f"{side['side']} ({version})",
                side["precision"],
                f"{median * 1e3:,.0f}",
                f"**{statistics.median(base) / median:.2f}**",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{least / median:.0%}" if least else "",
                f"{side['peak_mib']:,.0f}",
                f"{side['off']:.0e}",
                f"{side['pearson']:.6f}",
            ]
        )
    header = ["side", "precision", "ms an image", "times the first", "single rounds"]
    header += ["of the limit", "peak MiB", "off by", "correlation"]
    height, width = numbers["size_hw"]
    parts = [
        markdown_table(header, rows),
        f"`{numbers['model']}`, one image at {height}x{width}, seeded weights, "
        f"{numbers['threads']} threads each, medians of {numbers['rounds']} interleaved rounds of "
        f"{CALLS} calls after a warm-up. {numbers['rounds_run']} rounds were run; in those that "
        f"count, other processes took at most {max(numbers['others_share']):.0%} of the processor. "
        "*Off by* is the largest difference from our eager float32 depth, over its range. *Peak* "
        "is the most that the side's whole process held.",
    ]
    if numbers["rates"]:
        parts.append(sentence(numbers["gflop"], numbers["rates"], numbers["least_s"]))
    parts += [best_against_best(numbers, precision) for precision in COMPARED]
    parts += [f"Left out: {name}, since {why}." for name, why in numbers["left_out"].items()]
    return "\n\n".join(filter(None, parts))


def best_against_best(numbers: dict[str, Any], precision: str) -> str:
    """Our fastest side in a precision against the fastest peer in it; empty where there is none.

    Where no peer has that precision, against the fastest peer of all.
    """
    ours = _fastest(numbers, True, precision)
    peer = _fastest(numbers, False, precision) or _fastest(numbers, False, None)
    if ours is None or peer is None:
        return ""
    theirs, own = peer["seconds_an_image"], ours["seconds_an_image"]
    ratios = [other / mine for other, mine in zip(theirs, own)]
    return (
        f"In {precision}, {ours['side']} is "
        f"**{statistics.median(theirs) / statistics.median(own):.2f}** times as fast as the best "
        f"peer ({peer['side']}, {peer['precision']}); single rounds {min(ratios):.2f} to "
        f"{max(ratios):.2f}."
    )


def _fastest(numbers: dict[str, Any], ours: bool, precision: Optional[str]) -> Any:
    of = [
        side
        for side in numbers["sides"]
        if side["ours"] == ours and precision in (None, side["precision"])
    ]
    return min(of, key=lambda side: statistics.median(side["seconds_an_image"]), default=None)
