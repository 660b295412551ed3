"""What the exact rewrites of the deployment form do to speed: each target with and without them.

One process, interleaved rounds, seeded weights. "As it is" is the eager model's own graph, traced
and converted like the other, with no rewrite at all.
"""

import argparse
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.document import markdown_table
from benchmarks.options import SQUARE_HW, add_rounds
from benchmarks.rounds import interleave, times_as_fast
from compile.deploy import COMMON
from compile.job import CompileJob, compile_model
from runtime.engines import load_engine

log = logging.getLogger(__name__)

ABOUT = "compiled graphs with and without the exact rewrites"
DESCRIPTION = (
    "Compile vits at 518x518 for torchscript and openvino, as it is and rewritten, and time the "
    "four graphs in interleaved rounds."
)
EXAMPLE = "--rounds 5 --doc"
PAGE = "performance-network.md"

MODEL = "vits"
TARGETS = ("torchscript", "openvino")
AS_IT_IS, REWRITTEN = "as it is", "rewritten"
CALLS = 3  # of each side, a round


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_rounds(parser)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Compile each target twice and time the graphs in turns."""
    image = {"image": np.random.RandomState(0).randn(1, 3, *SQUARE_HW).astype(np.float32)}
    with tempfile.TemporaryDirectory(prefix="forms-") as scratch:
        sides = {}
        for target in TARGETS:
            for form, without in ((AS_IT_IS, COMMON), (REWRITTEN, ())):
                folder = Path(scratch) / form
                job = CompileJob(
                    model=MODEL,
                    target=target,
                    sizes_hw=(SQUARE_HW,),
                    batch=1,
                    output=folder,
                    seeded="always",
                    without=without,
                )
                (artifact,) = compile_model(job)
                engine = load_engine(artifact.path, artifact.manifest, "cpu")
                sides[f"{target}, {form}"] = (CALLS, lambda run=engine: _call(run, image))
        seconds, others, rounds_run = interleave(sides, args.rounds)
    return {
        "model": MODEL,
        "size_hw": list(SQUARE_HW),
        "rounds": args.rounds,
        "rounds_run": rounds_run,
        "others_share": others,
        "threads": torch.get_num_threads(),
        "seconds_an_image": seconds,
    }


def _call(engine: Any, image: dict[str, np.ndarray]) -> None:
    for _ in range(CALLS):
        engine(image)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    seconds, rows = numbers["seconds_an_image"], []
    for name, took in seconds.items():
        target, form = name.split(", ")
        base = seconds[f"{target}, {AS_IT_IS}"]
        ratios = times_as_fast(base, took)
        cells = [name, f"{statistics.median(took) * 1000:,.0f}", "1", ""]
        if form == REWRITTEN:
            cells[2] = f"**{statistics.median(base) / statistics.median(took):.3f}**"
            cells[3] = f"{min(ratios):.3f} to {max(ratios):.3f}"
        rows.append(cells)
    header = ["graph", "ms an image", "times as it is", "single rounds"]
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['model']}` at {height}x{width}, float32, medians of {numbers['rounds']} "
        f"interleaved rounds of {CALLS} calls after a warm-up; {numbers['rounds_run']} rounds were "
        "run, in those that count others took at most "
        f"{max(numbers['others_share']):.0%} of the processor."
    )
