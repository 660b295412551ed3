"""What fixed input shapes do to the depth: photos in, correlation with the native shape out.

A photo's own aspect ratio, as upstream's ``infer_image`` keeps it, is the reference. Each set of
buckets squeezes the photo into the shape that the predictor would choose. Everything is eager: a
compiled graph equals the eager model at its shape, which the compile stage checks each time.
"""

import argparse
import itertools
import logging
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.crops import center_crop
from benchmarks.document import markdown_table
from benchmarks.machine import OthersMeter
from benchmarks.options import add_model
from compile.checkpoint import load_model
from compile.deploy import deployment_form
from compile.fetch import local_checkpoint
from compile.parity import compare
from compile.registry import MODELS, find_model
from compile.resources import attention_flops
from compile.trace import Graph, trace
from layers.patch_embed import PATCH_SIZE
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos
from runtime.photo.postprocess import resize_to_photo
from runtime.photo.preprocess import network_size, photo_to_tensor
from runtime.predict.buckets import nearest_bucket

log = logging.getLogger(__name__)

ABOUT = "depth through fixed shapes against the photo's own shape"
DESCRIPTION = (
    "Compare depth through one, three and five fixed shapes with depth at the photo's own aspect "
    "ratio, and time each shape. Eager; nothing is compiled."
)
EXAMPLE = "--checkpoint depth_anything_v2_vits.pth"
PAGE = "buckets.md"

Size = tuple[int, int]

ASPECTS_WH = ((1, 1), (4, 3), (3, 2), (16, 9), (3, 4), (2, 3), (9, 16))
DEFAULT = MODELS["vits"].usual_sizes
SETS: dict[str, tuple[Size, ...]] = {
    "one": ((518, 518),),
    "three (default)": DEFAULT,
    "five": ((518, 518), (518, 686), (686, 518), (518, 924), (924, 518)),
}
INPUT_SIZE = 518
TIMED_ROUNDS = 3
# The reference again at a slightly larger size: how much the answer moves though nothing is
# stretched. A bucket cannot be asked to do better than that.
YARDSTICK = INPUT_SIZE + PATCH_SIZE


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", list(MODELS))
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights; default: those here, else seeded",
    )


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every machine: what is compared is depth."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Compare every photo, in every crop, through every set of buckets with its native shape.

    Returns:
        a row for each crop and set, and the cost of each bucket.
    Raises:
        InputError: no photos. CheckpointError: weights that do not fit.
    """
    photos = find_photos(args.input)
    spec = find_model(args.model)
    model, weights = load_model(spec, args.checkpoint or local_checkpoint(spec))
    cost = _cost(model, sorted({size for sizes in SETS.values() for size in sizes}))
    rows: list[dict[str, Any]] = []
    for number, (photo, aspect_wh) in enumerate(itertools.product(photos, ASPECTS_WH), start=1):
        rgb = center_crop(read_photo(photo), aspect_wh)
        for row in _compare_sets(model, rgb):
            rows.append({"photo": photo.name, "aspect": "{}:{}".format(*aspect_wh), **row})
        log.info("%d of %d crops", number, len(photos) * len(ASPECTS_WH))
    return {
        "model": spec.name,
        "weights": {"source": weights.source, "file": weights.file, "sha256": weights.sha256},
        "photos": [photo.name for photo in photos],
        "sets": {name: list(sizes) for name, sizes in SETS.items()},
        "rows": rows,
        "cost": cost,
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown: agreement, then cost."""
    names = ["yardstick", *SETS]
    aspects = list(dict.fromkeys(row["aspect"] for row in numbers["rows"]))
    lines = []
    for aspect in [*aspects, "all"]:
        cells = []
        for name in names:
            rows = [
                r for r in numbers["rows"] if r["set"] == name and aspect in (r["aspect"], "all")
            ]
            pearson = statistics.mean(row["pearson"] for row in rows)
            difference = statistics.mean(row["mean_rel_range"] for row in rows)
            stretch = max(row["stretch"] for row in rows)
            squeezed = f", x{stretch:.2f}" if name != "yardstick" else ""
            cells.append(f"{pearson:.3f}, {difference:.1%}{squeezed}")
        lines.append([f"**{aspect}**" if aspect == "all" else aspect, *cells])
    agreement = markdown_table(["crop (w:h)", *names], lines)
    base = next(row for row in numbers["cost"] if row["size_hw"] == [INPUT_SIZE, INPUT_SIZE])
    cost = markdown_table(
        ["bucket", "tokens", "GFLOP", "FLOPs", "attention's part of it", "time", "ms, eager"],
        [
            [
                "{}x{}".format(*row["size_hw"]),
                f"{row['tokens']:,}",
                f"{row['flops'] / 1e9:.0f}",
                f"x{row['flops'] / base['flops']:.2f}",
                f"{row['attention_flops'] / row['flops']:.0%}",
                f"x{row['seconds'] / base['seconds']:.2f}",
                f"{row['seconds'] * 1000:,.0f}",
            ]
            for row in numbers["cost"]
        ],
    )
    weights = numbers["weights"]
    what = "**seeded (random) weights**" if weights["file"] is None else f"`{weights['file']}`"
    others = max(row["others_share"] for row in numbers["cost"])
    return (
        f"Agreement with the native shape, `{numbers['model']}`, {what}, "
        f"{len(numbers['photos'])} photos; Pearson correlation, then mean absolute difference over "
        f"the range, both averaged over the photos, then the strongest stretch.\n\n{agreement}\n\n"
        f"Cost of one image. Time is the median of {TIMED_ROUNDS} interleaved rounds; other "
        f"processes took up to {others:.0%} of the processor meanwhile.\n\n{cost}"
    )


def _compare_sets(model: torch.nn.Module, rgb: np.ndarray) -> list[dict[str, Any]]:
    """One row a set of buckets, and one for the yardstick."""
    photo_hw = (rgb.shape[0], rgb.shape[1])
    native = network_size(photo_hw, INPUT_SIZE)
    chosen = {"yardstick": network_size(photo_hw, YARDSTICK)}
    for name, sizes in SETS.items():
        chosen[name] = sizes[nearest_bucket(photo_hw, sizes)]
    depth = {size: _depth(model, rgb, size) for size in {native, *chosen.values()}}
    rows = []
    for name, size in chosen.items():
        case = compare(name, depth[size], depth[native])
        difference = np.abs(depth[size] - depth[native]).mean() / np.ptp(depth[native])
        stretch = math.log((size[1] / size[0]) / (photo_hw[1] / photo_hw[0]))
        rows.append(
            {
                "set": name,
                "native_hw": list(native),
                "size_hw": list(size),
                "stretch": math.exp(abs(stretch)),
                "pearson": case.pearson,
                "mean_rel_range": float(difference),
            }
        )
    return rows


def _depth(model: torch.nn.Module, rgb: np.ndarray, size_hw: Size) -> np.ndarray:
    """What the predictor does with a graph of this shape: float32 (H, W), the photo's grid."""
    tensor = torch.from_numpy(photo_to_tensor(rgb, size_hw))
    with torch.no_grad():
        return resize_to_photo(model(tensor)[0].numpy(), (rgb.shape[0], rgb.shape[1]))


def _traced(model: torch.nn.Module, size: Size) -> Graph:
    """The eager model as a graph, for counting: no rewrite applied."""
    shape = (1, 3, *size)
    return trace(deployment_form(model, shape, ()), torch.zeros(shape))


def _cost(model: torch.nn.Module, sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """Operations and eager seconds of each bucket; tracing for the first is the warm-up."""
    graphs = {size: _traced(model, size) for size in sizes}
    seconds: dict[Size, list[float]] = {size: [] for size in sizes}
    meter = OthersMeter()
    for _ in range(TIMED_ROUNDS):
        for size in sizes:
            tensor = torch.zeros(1, 3, *size)
            start = time.perf_counter()
            with torch.no_grad():
                model(tensor)
            seconds[size].append(time.perf_counter() - start)
    others = meter.share()
    rows = []
    for size in sizes:
        rows.append(
            {
                "size_hw": list(size),
                "tokens": (size[0] // PATCH_SIZE) * (size[1] // PATCH_SIZE) + 1,
                "flops": graphs[size].flops,
                "attention_flops": attention_flops(graphs[size]),
                "seconds": statistics.median(seconds[size]),
                "others_share": round(others, 3),
            }
        )
        log.info("%dx%d: %.3f s", *size, rows[-1]["seconds"])
    return rows
