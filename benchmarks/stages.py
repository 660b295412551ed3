"""What the host does around the network, stage by stage: a JPEG in; npz, colour PNG and JSON out.

Photos of 1080p and 12 megapixels, made from the shipped ones by enlarging. Each stage is the main
job's own function, on one thread. Times are processor times, which a busy neighbour changes least;
the network's is shared out over the cores, as it would be with all of them to itself.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from benchmarks.document import markdown_table
from benchmarks.end2end import MODEL, compiled_vits
from benchmarks.options import add_artifacts, add_rounds
from benchmarks.photos import FULL_HD_HW, TWELVE_MP_HW, write_photos
from benchmarks.upstream_loop import INPUT_SIZE
from exports.colour import paint
from exports.depth16 import to_uint16
from exports.files import description
from exports.npz import encode_npz
from exports.png import encode_png
from runtime.files import write_whole
from runtime.photo.decode import DECODES, REDUCED, read_at_least
from runtime.predict.found import Prediction
from runtime.predict.predictor import Predictor, Prepared

log = logging.getLogger(__name__)

ABOUT = "what the host does around the network, stage by stage"
DESCRIPTION = (
    "JPEG photos of 1080p and 12 megapixels to npz and colour PNG: the time of each stage, beside "
    "the network's in float32 and bfloat16."
)
EXAMPLE = "--rounds 5 --doc"
PAGE = "performance-jobs.md"

PRECISIONS = ("f32", "bf16")
SIZES = {"1080p": FULL_HD_HW, "12 MP": TWELVE_MP_HW}
PHOTOS = 4
CALLS = 3  # of the network, in each precision
DECODE, RESIZE, DEPTH = "decode", "resize, normalise", "depth on the photo's grid"
PAINT, PNG, NPZ, JSON, DISK = "colours", "colour PNG", "npz", "JSON", "to disk"
STAGES = (DECODE, RESIZE, DEPTH, PAINT, PNG, NPZ, JSON, DISK)
PNG16 = "16-bit PNG"

Made = TypeVar("Made")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifacts(parser, "use, or compile into, this folder")
    add_rounds(parser)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of each stage for each size and way to decode, and of the network."""
    with tempfile.TemporaryDirectory(prefix="stages-") as scratch:
        root = Path(scratch)
        predictors = {
            precision: Predictor([compiled_vits(args.artifacts or root / "artifacts", precision)])
            for precision in PRECISIONS
        }
        cases = []
        for name, size_hw in SIZES.items():
            photos = write_photos(args.input, root / name, PHOTOS, size_hw)
            for decode in DECODES:
                log.info("%s, %s", name, decode)
                took = _stages(predictors["f32"], photos, decode, args.rounds, root)
                kilobytes = [photo.stat().st_size // 1000 for photo in photos]
                cases.append({"size": name, "decode": decode, "kB": kilobytes, "ms": took})
        prepared = predictors["f32"].prepare(read_at_least(photos[0], None)[0])
        network = {name: _network_ms(one, prepared) for name, one in predictors.items()}
    return {
        "model": MODEL,
        "size_hw": [INPUT_SIZE, INPUT_SIZE],
        "photos": PHOTOS,
        "rounds": args.rounds,
        "cases": cases,
        "network_ms": network,
        "cores": os.cpu_count(),
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    cases = numbers["cases"]
    header = ["ms a photo"] + [
        case["size"] + (", reduced" if case["decode"] == REDUCED else "") for case in cases
    ]
    rows = [[stage, *(f"{case['ms'][stage]:.1f}" for case in cases)] for stage in STAGES]
    sums = [sum(case["ms"][stage] for stage in STAGES) for case in cases]
    rows.append(["**host, in all**", *(f"**{total:.0f}**" for total in sums)])
    for precision, ms in numbers["network_ms"].items():
        shares = [f"{total / ms:.0%}" for total in sums]
        rows.append([f"of the network in {precision}, {ms:,.0f} ms", *shares])
    rows.append([f"beside it, where asked for: {PNG16}", *(f"{c['ms'][PNG16]:.1f}" for c in cases)])
    sizes = {case["size"]: statistics.mean(case["kB"]) for case in cases}
    files = " and ".join(f"{kilobytes:,.0f} kB ({name})" for name, kilobytes in sizes.items())
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Processor time of one thread, medians of {numbers['rounds']} rounds over "
        f"{numbers['photos']} photos, JPEG files of {files} on average. The network is "
        f"`{numbers['model']}` at {numbers['size_hw'][0]}x{numbers['size_hw'][1]} in OpenVINO: the "
        f"processor time of all its threads over {numbers['cores']} cores, median of {CALLS} calls."
    )


def _stages(
    predictor: Predictor, photos: list[Path], decode: str, rounds: int, root: Path
) -> dict[str, float]:
    """Medians over photos and rounds, in milliseconds."""
    took: dict[str, list[float]] = {stage: [] for stage in (*STAGES, PNG16)}

    def timed(stage: str, function: Callable[..., Made], *arguments: Any) -> Made:
        start = time.thread_time()
        made = function(*arguments)
        took[stage].append((time.thread_time() - start) * 1000)
        return made

    size_for = predictor.input_hw if decode == REDUCED else None
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    maps: dict[Path, np.ndarray] = {}  # the network is timed elsewhere: once a photo is enough
    for photo in photos * rounds:
        rgb, photo_hw = timed(DECODE, read_at_least, photo.read_bytes(), size_for)
        prepared = timed(RESIZE, predictor.prepare, rgb, None, photo_hw)
        if photo not in maps:
            ((maps[photo], _),) = predictor.infer([prepared])
        prediction, _ = timed(DEPTH, predictor.finish, prepared, maps[photo], 0.0)
        depth, output = prediction.depth, prediction.output
        facts, text = timed(JSON, _texts, prediction, photo.name)
        painted = timed(PAINT, paint, prediction)
        files = {
            ".color.png": timed(PNG, encode_png, painted, facts),
            ".npz": timed(NPZ, encode_npz, {output.kind: depth}, facts),
            ".json": text,
        }
        timed(DISK, _write, root / photo.name, files)
        timed(PNG16, lambda *map_: encode_png(to_uint16(*map_)[0], {}), depth, output)
    cv2.setNumThreads(threads)
    return {stage: statistics.median(each) for stage, each in took.items()}


def _texts(prediction: Prediction, name: str) -> tuple[dict[str, Any], bytes]:
    """What the files say of themselves, and the JSON beside them."""
    facts = prediction.facts()
    return facts, description(prediction, name, {}, None, {}).encode()


def _write(base: Path, files: dict[str, bytes]) -> None:
    for suffix, data in files.items():
        write_whole(base.with_name(base.name + suffix), data)


def _network_ms(predictor: Predictor, prepared: Prepared) -> float:
    """Processor time of all threads for one call, over the number of cores."""
    predictor.warm_up()
    took = []
    for _ in range(CALLS):
        start = time.process_time()
        predictor.infer([prepared])
        took.append((time.process_time() - start) * 1000)
    return statistics.median(took) / (os.cpu_count() or 1)
