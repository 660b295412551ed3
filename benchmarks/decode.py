"""What decoding JPEG files smaller does to the depth: reduced against full, all else the same.

The demo network, with its trained weights. Shipped photos as they are, saved as JPEG, through a
small network, which leaves them their own detail; and enlarged to 1080p and 12 megapixels, through
the network's usual sizes.
"""

import argparse
import logging
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.document import markdown_table
from benchmarks.photos import FULL_HD_HW, TWELVE_MP_HW, write_photos
from compile.job import CompileJob, compile_model
from compile.parity import compare
from compile.registry import DEMO, find_model
from runtime.photo.decode import read_at_least, read_photo
from runtime.photo.find import find_photos
from runtime.predict.predictor import Predictor

log = logging.getLogger(__name__)

ABOUT = "what decoding JPEG files smaller does to the depth"
DESCRIPTION = "Depth of the demo network from JPEG files decoded in full and smaller."
EXAMPLE = "--doc"
PAGE = "performance-jobs.md"

SMALL_HW = ((126, 126), (126, 168), (168, 126))
ENLARGED = {"enlarged to 1080p": FULL_HD_HW, "enlarged to 12 MP": TWELVE_MP_HW}
PHOTOS = 8
QUALITY = 95


def add_options(parser: argparse.ArgumentParser) -> None:
    """None but those of all benchmarks."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """How far depth from a reduced decode is from that of a full one, for each kind of photo."""
    usual = find_model(DEMO).usual_sizes
    with tempfile.TemporaryDirectory(prefix="decode-") as scratch:
        root = Path(scratch)
        shipped = _as_jpeg(args.input, root / "shipped")
        cases = [_case("as shipped", shipped, _predictor(SMALL_HW, root))]
        predictor = _predictor(usual, root)
        for name, size_hw in ENLARGED.items():
            photos = write_photos(args.input, root / name, PHOTOS, size_hw)
            cases.append(_case(name, photos, predictor))
    return {"model": DEMO, "cases": cases}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = [
        [
            f"{case['photos']}, {len(case['each'])} of them reduced, network of {case['network']}",
            ", ".join(sorted({f"1/{one['by']}" for one in case["each"]})),
            f"{statistics.mean(one['mean_share'] for one in case['each']):.2%}",
            f"{max(one['max_share'] for one in case['each']):.1%}",
            f"{min(one['pearson'] for one in case['each']):.5f}",
        ]
        for case in numbers["cases"]
    ]
    header = ["photos", "decoded at", "mean difference", "largest", "lowest correlation"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['model']}`, trained weights, float32. Differences are shares of the range of "
        "each photo's depth as decoded in full."
    )


def _predictor(sizes_hw: tuple[tuple[int, int], ...], folder: Path) -> Predictor:
    return Predictor(
        list(
            compile_model(
                CompileJob(model=DEMO, target="openvino", sizes_hw=sizes_hw, output=folder)
            )
        )
    )


def _case(name: str, photos: Sequence[Path], predictor: Predictor) -> dict[str, Any]:
    """Depth of both ways to decode, for those photos that can be decoded smaller."""
    log.info("%s", name)
    each = []
    for photo in photos:
        full = predictor(read_photo(photo))
        reduced, photo_hw = read_at_least(photo, predictor.input_hw)
        if reduced.shape[:2] == photo_hw:
            continue
        prepared = predictor.prepare(reduced, photo_hw=photo_hw)
        ((small, seconds),) = predictor.infer([prepared])
        depth = predictor.finish(prepared, small, seconds)[0].depth
        found = compare(photo.name, depth, full.depth)
        low, high = full.value_range
        mean_share = float(abs(depth - full.depth).mean()) / (high - low)
        by = round(photo_hw[0] / reduced.shape[0])
        one = {"photo": photo.name, "by": by, "mean_share": mean_share}
        each.append({**one, "max_share": found.max_rel_range, "pearson": found.pearson})
    sizes = [artifact.manifest.input.size_hw for artifact in predictor.artifacts]
    network = " or ".join("{}x{}".format(*size_hw) for size_hw in sizes)
    return {"photos": name, "network": network, "each": each}


def _as_jpeg(source: Path, folder: Path) -> list[Path]:
    folder.mkdir()
    files = []
    for photo in find_photos(source):
        files.append(folder / f"{photo.stem}.jpg")
        Image.fromarray(read_photo(photo)).save(files[-1], quality=QUALITY)
    return files
