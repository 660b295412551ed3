"""What a lower precision does to the depth: each graph against the eager float32 network.

Crops of the shipped photos that no quantisation was fitted to, through one OpenVINO graph a
precision, and through the float32 graph left to OpenVINO's own bfloat16, as it is run by default.
"""

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.options import SQUARE_HW, add_models, add_precisions, add_size, size_words
from benchmarks.photos import FULL_HD_HW, make_photos
from compile.checkpoint import load_model
from compile.fetch import local_checkpoint
from compile.job import CompileJob, compile_model
from compile.parity import compare
from compile.registry import find_model
from runtime.artifact.folder import Artifact
from runtime.engines.openvino import compiled
from runtime.photo.preprocess import photo_to_tensor

log = logging.getLogger(__name__)

ABOUT = "what bf16 and int8 do to the depth"
DESCRIPTION = (
    "Depth of graphs in each precision against the eager float32 network's, on crops of the photos."
)
EXAMPLE = "--models vits --precisions bf16 --doc"
PAGE = "performance-network.md"

TARGET = "openvino"
PLAIN = "f32's graph, bf16 by OpenVINO"
PHOTOS = 16

# float32 (1, 3, h, w) in, float32 (1, h, w) out
Run = Callable[[np.ndarray], np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_models(parser, "demo", "vits")
    add_size(parser, SQUARE_HW)
    add_precisions(parser, "f32", "bf16", "int8")


def section(args: argparse.Namespace, slug: str) -> str:
    """One a size."""
    return f"precisions {size_words(args.size)}{slug}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """How far each precision's depth is from the eager network's.

    The quantisation is fitted to the photos of ``args.input``; all are compared on crops of them.
    """
    with tempfile.TemporaryDirectory(prefix="precisions-") as scratch:
        cases = [
            case
            for model in args.models
            for case in _cases(model, args.size, args.precisions, args.input, Path(scratch))
        ]
    return {"size_hw": list(args.size), "photos": PHOTOS, "cases": cases}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = [
        [
            f"`{case['model']}`, {case['graph']}",
            f"{case['megabytes']:.1f}",
            f"{statistics.mean(one['mean_share'] for one in case['each']):.3%}",
            f"{max(one['max_share'] for one in case['each']):.2%}",
            f"{min(one['pearson'] for one in case['each']):.6f}",
        ]
        for case in numbers["cases"]
    ]
    header = ["graph", "MB", "mean difference", "largest", "lowest correlation"]
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"At {height}x{width}, {numbers['photos']} crops of the shipped photos, enlarged, some "
        "mirrored, brighter or darker: not the photos that int8 was fitted to, but their scenes. "
        "Differences from eager float32 depth, as shares of each map's range. Trained "
        "weights where they are here (`demo`'s are shipped), else seeded ones."
    )


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """How far each graph in a lower precision is off."""
    height, width = numbers["size_hw"]
    for case in numbers["cases"]:
        if case["graph"] != "f32":
            mean = statistics.mean(one["mean_share"] for one in case["each"])
            least = min(one["pearson"] for one in case["each"])
            what = f"`{case['model']}`, {height}x{width}, {case['graph']}"
            ours = f"{mean:.3%} of the range in the mean, correlation at least {least:.5f}"
            yield Headline("How far off float32", what, ours)


def _cases(
    name: str, size_hw: tuple[int, int], precisions: Sequence[str], source: Path, scratch: Path
) -> list[dict[str, Any]]:
    checkpoint = local_checkpoint(find_model(name))
    model, _ = load_model(find_model(name), checkpoint)
    images = [photo_to_tensor(rgb, size_hw) for _, rgb in make_photos(source, PHOTOS, FULL_HD_HW)]
    with torch.no_grad():
        expected = [model(torch.from_numpy(image)).numpy() for image in images]
    found = []
    for precision in precisions:
        job = CompileJob(
            model=name,
            target=TARGET,
            sizes_hw=(size_hw,),
            output=scratch,
            checkpoint=checkpoint,
            seeded="never" if checkpoint else "always",
            precision=precision,
            calibration=source,
        )
        (artifact,) = compile_model(job)
        runs = {precision: _run(artifact, precision)}
        if precision == "f32":
            runs[PLAIN] = _run(artifact, "bf16")
        for graph, run in runs.items():
            log.info("%s, %s", name, graph)
            each = [_difference(run(image), depth) for image, depth in zip(images, expected)]
            manifest = artifact.manifest
            size = sum(file.bytes for file in manifest.files) / 1e6
            found.append({"model": name, "graph": graph, "megabytes": size, "each": each})
    return found


def _run(artifact: Artifact, precision: str) -> Run:
    engine = compiled(artifact.path / artifact.manifest.stages[0].graph, precision)
    return lambda image: np.array(engine(image)[0])


def _difference(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    case = compare("", found, expected)
    mean_share = float(np.abs(found - expected).mean() / np.ptp(expected))
    return {"mean_share": mean_share, "max_share": case.max_rel_range, "pearson": case.pearson}
