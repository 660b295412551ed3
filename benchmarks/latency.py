"""One image through V2: our graphs beside upstream's package, transformers, ONNX Runtime, OpenVINO.

Same seeded weights, same image, same number of threads. Every side runs in a process of its own,
each peer in an environment of its own; the sides take turns, round after round. Before anything is
timed, each side's depth is compared with our eager model's. Beside them, in the same rounds, the
processor's own limit is measured.
"""

import argparse
import contextlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import torch

from benchmarks.latency_sides import ALSO, CALLS, COMPARED, CPP, Way, cpp, ours, peers
from benchmarks.latency_table import headlines as headlines
from benchmarks.latency_table import table as table
from benchmarks.limit import (
    REPEATS,
    SQUARE,
    best_rates,
    largest_products,
    least_seconds,
    products_peer,
    traced,
)
from benchmarks.options import (
    SQUARE_HW,
    add_model,
    add_number,
    add_precisions,
    add_rounds,
    add_size,
    size_words,
)
from benchmarks.peers.process import Peer
from benchmarks.rounds import interleave
from compile.checkpoint import load_model
from compile.parity import compare, parity_inputs
from compile.registry import find_model
from compile.trace import Graph
from depth_anything_v2.config import ENCODERS
from layers.vit import VITS
from runtime.artifact.manifest import PRECISIONS, InputSpec
from runtime.errors import DepthError, InputError
from runtime.photo.preprocess import MEAN, STD, as_bytes, normalised

log = logging.getLogger(__name__)

ABOUT = "one image, beside upstream, transformers, ONNX Runtime, OpenVINO"
DESCRIPTION = (
    "One image through our graphs and through other people's packages, each in an "
    "environment of its own that is installed once, in interleaved rounds, and the processor's own "
    "limit beside them."
)
EXAMPLE = "--model vits --rounds 5 --doc"
PAGE = "performance-network.md"

MODELS = ("vits", "demo", "vitb")  # of upstream's classes, and not larger than all sides at once
SAME = 1e-3  # of the range: float32 sides that differ by more do not run the same network
INEXACT = {CPP: 3e-2}
LIMIT = "matrix products"


@dataclass(frozen=True)
class LatencyJob:
    """What to measure; ``peers`` False leaves other people's packages out, and the limit.

    ``precisions`` are those of our graphs; a target takes those of them that it has. Each side is
    started ``launches`` times: two starts of one graph differ by 2 to 3 %. ``also`` are peers of
    ``ALSO``, ``cpp`` the sources of depth-anything.cpp.
    """

    model: str = "vits"
    size_hw: tuple[int, int] = SQUARE_HW
    rounds: int = 5
    threads: int = 2
    wait_s: float = 10.0  # for quiet, before a round
    peers: bool = True
    precisions: tuple[str, ...] = COMPARED
    launches: int = 1
    also: tuple[str, ...] = ()
    cpp: Optional[Path] = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"model={self.model!r}: use one of {', '.join(MODELS)}")
        if min(self.rounds, self.threads, self.launches) < 1:
            raise InputError(
                f"rounds={self.rounds}, threads={self.threads}, launches={self.launches}: must be "
                "positive"
            )


@dataclass(frozen=True)
class Side:
    """One row: a side that runs."""

    name: str
    way: Way
    peer: Peer

    @property
    def key(self) -> str:
        """What it is called among all."""
        return f"{self.name}, {self.way.precision}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", ["vits", "demo", "vitb"])
    add_size(parser, SQUARE_HW)
    add_rounds(parser)
    add_number(parser, "--threads", 2, "of every side")
    quiet = "for others to be quiet, before a round, seconds"
    add_number(parser, "--wait", 10, quiet, float, "S")
    parser.add_argument("--alone", action="store_true", help="without the others and the limit")
    add_number(parser, "--launches", 1, "of every side; four tell small differences")
    also = "peers that take half a minute to start, too"
    parser.add_argument("--also", nargs="+", default=[], choices=ALSO, help=also)
    parser.add_argument(
        "--cpp", type=Path, metavar="FOLDER", help="sources of depth-anything.cpp, which is built"
    )
    add_precisions(parser, *PRECISIONS)


def section(args: argparse.Namespace, slug: str) -> str:
    """One a model and size, too."""
    return f"latency {args.model} {size_words(args.size)}{slug}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_sides``."""
    return time_sides(
        LatencyJob(
            model=args.model,
            size_hw=args.size,
            rounds=args.rounds,
            threads=args.threads,
            wait_s=args.wait,
            peers=not args.alone,
            precisions=tuple(args.precisions),
            launches=args.launches,
            also=tuple(args.also),
            cpp=args.cpp,
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
    rgb, image = _image(job.size_hw)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    graph = traced(model, job.size_hw)
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="latency-") as name:
        scratch = Path(name)
        describe_network(job.model, model, scratch)
        np.save(scratch / "image.npy", image)
        cv2.imwrite(str(scratch / "image.ppm"), rgb[..., ::-1])
        ways = []
        if job.peers:
            ways += peers(scratch, job.size_hw, job.threads, job.also, left_out)
        if job.cpp is not None:
            ways.append(cpp(scratch, job.threads, job.cpp, job.model))
        ways += ours(job.model, job.size_hw, job.precisions, scratch, job.threads, left_out)
        launches = [_launch(job, ways, graph, expected) for _ in range(job.launches)]
    rates = best_rates([said for one in launches for said in one.limit])
    return {
        "model": job.model,
        "size_hw": list(job.size_hw),
        "rounds": job.rounds,
        "rounds_run": sum(one.rounds_run for one in launches),
        "launches": job.launches,
        "others_share": [share for one in launches for share in one.others],
        "threads": job.threads,
        "gflop": graph.flops / 1e9,
        "rates": rates,
        "least_s": least_seconds(graph.flops, rates) if rates else {},
        "left_out": left_out,
        "sides": [
            {**row, "seconds_an_image": [took for one in launches for took in one.seconds[key]]}
            for key, row in launches[0].rows.items()
        ],
    }


@dataclass(frozen=True)
class _Launch:
    """All sides, started once: seconds an image in each round, and what is known of each."""

    seconds: dict[str, list[float]]
    others: list[float]
    rounds_run: int
    rows: dict[str, dict[str, Any]]
    limit: list[dict[str, Any]]


def _launch(job: LatencyJob, ways: Sequence[Way], graph: Graph, expected: np.ndarray) -> _Launch:
    with contextlib.ExitStack() as stack:
        sides = []
        for way in ways:
            peer = way.start()
            stack.callback(peer.close)
            side = Side(way.name.format(**peer.facts), way, peer)
            log.info("%s: %s", side.key, peer.facts)
            sides.append((side, _agreement(side, expected)))
        runs: dict[str, tuple[int, Any]] = {
            side.key: (CALLS, lambda peer=side.peer: peer.run(CALLS)) for side, _ in sides
        }
        limit = None
        if job.peers:
            shapes = [*largest_products(graph), SQUARE]
            limit = stack.enter_context(products_peer(shapes, job.threads))
            runs[LIMIT] = (1, lambda: limit.run(REPEATS))
        seconds, others, rounds_run = interleave(runs, job.rounds, job.wait_s)
        rows = {
            side.key: {
                "side": side.name,
                "precision": side.way.precision,
                "ours": side.way.ours,
                "peak_mib": side.peer.said[-1]["peak_mib"],
                **side.peer.facts,
                **agreement,
            }
            for side, agreement in sides
        }
        return _Launch(seconds, others, rounds_run, rows, limit.said if limit else [])


def _image(size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A photo as uint8 RGB of this size, and normalised, for sides that take one or the other."""
    photo = parity_inputs(InputSpec(size_hw))["photo"][0].transpose(1, 2, 0)
    rgb = as_bytes((photo * STD + MEAN) * 255)
    return rgb, normalised(rgb)[None]  # float32 (1, 3, h, w)


def describe_network(name: str, model: torch.nn.Module, scratch: Path) -> None:
    """What peers need to build the same network: ``model.json`` and ``weights.pth``."""
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


def _agreement(side: Side, expected: np.ndarray) -> dict[str, float]:
    """How far a side's depth is from our eager model's.

    Raises:
        DepthError: a float32 side is off by more than rounding.
    """
    case = compare(side.name, side.peer.depth().reshape(expected.shape), expected)
    same = INEXACT.get(side.name, SAME)
    if side.way.precision == "f32" and case.max_rel_range > same:
        raise DepthError(
            f"{side.name}: depth is off by {case.max_rel_range:.1e} of its range, expected at most "
            f"{same:.0e}; it does not run the same network"
        )
    return {"off": case.max_rel_range, "pearson": case.pearson}
