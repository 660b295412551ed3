"""Seconds and peak memory of a large photo's points: the whole command, and the files alone.

Each case runs in a process of its own, because a process's peak never falls again.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import markdown_table
from benchmarks.options import add_number
from benchmarks.photos import TWELVE_MP_HW, write_photos
from benchmarks.spent import run
from compile.registry import DEMO

log = logging.getLogger(__name__)

ABOUT = "seconds and peak memory of the points of a photo of 12 megapixels"
DESCRIPTION = "A photo to PLY and GLB by python -m apps.points, and the two files from depth alone."
EXAMPLE = "--megapixels 12 --doc"
PAGE = "performance-memory.md"

CASES = (("ply",), ("glb",), ("ply", "glb"))
NEAR_M, FAR_M = 0.5, 8.0  # what the nearest and the farthest pixel are said to be
FILE_ALONE = """
import json, sys
from pathlib import Path
import numpy as np
from benchmarks.peak import peak_mib
from exports.photo_points import PhotoPoints, points_glb, points_of, points_ply
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.files import write_whole
from runtime.predict.found import Prediction, Provenance
from runtime.scene.focal import PhotoCamera
name, height, width, file = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
depth = np.random.RandomState(0).rand(height, width).astype(np.float32) + 1
rgb = np.zeros((height, width, 3), np.uint8)
weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0")
found = Prediction(
    depth, OutputSpec("depth_m"), Provenance("none", weights), InputSpec((518, 518)), depth.shape
)
encode = {"ply": points_ply, "glb": points_glb}[name]
def write():
    points = points_of(found, rgb, PhotoCamera((4000.0, 4000.0)))
    write_whole(Path(file), encode(found, points))
print(json.dumps(peak_mib(write)))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_number(parser, "--megapixels", 12, "size of the photo, 4:3", float)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command for each choice of formats, and write each file alone."""
    share = (args.megapixels * 1e6 / (TWELVE_MP_HW[0] * TWELVE_MP_HW[1])) ** 0.5
    height, width = (round(side * share) for side in TWELVE_MP_HW)
    cases = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (photo,) = write_photos(args.input, folder / "photos", 1, (height, width))
        known = known_points(photo, folder)
        for formats in CASES:
            name = ",".join(formats)
            log.info("%s", name)
            words = ["--model", DEMO, "--img-path", str(photo), "--outdir", str(folder / "out")]
            words += [
                "--fit-points",
                str(known),
                "--fov",
                "60",
                "--format",
                name,
                "--device",
                "cpu",
            ]
            spent = run([sys.executable, "-m", "apps.points", *words])
            case = {"formats": name, "seconds": spent.seconds, "peak_mib": spent.peak_mib}
            if len(formats) == 1:
                file = folder / f"alone.{name}"
                words = [name, str(height), str(width), str(file)]
                alone = run([sys.executable, "-c", FILE_ALONE, *words])
                case["file_adds_mib"] = float(json.loads(alone.stdout))
                case["file_mib"] = file.stat().st_size / 2**20
            cases.append(case)
    return {"size_hw": [height, width], "cases": cases}


def known_points(photo: Path, folder: Path) -> Path:
    """A file of two points: the demo model's metres are made up, and every step is real."""
    words = ["--model", DEMO, "--img-path", str(photo), "--outdir", str(folder), "--device", "cpu"]
    run([sys.executable, "run.py", *words, "--pred-only", "--formats", "npz"])
    with np.load(folder / f"{photo.stem}.npz", allow_pickle=False) as stored:
        disparity = stored["disparity"]
    lines = []
    for index, metres in ((disparity.argmax(), NEAR_M), (disparity.argmin(), FAR_M)):
        y, x = divmod(int(index), disparity.shape[1])
        lines.append(f"{x},{y},{metres}\n")
    file = folder / "known.csv"
    file.write_text("".join(lines))
    return file


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    height, width = numbers["size_hw"]
    rows = [
        [
            case["formats"],
            f"{case['seconds']:.1f}",
            f"{case['peak_mib']:,.0f}",
            f"{case['file_adds_mib']:,.0f}" if "file_adds_mib" in case else "",
            f"{case['file_mib']:,.0f}" if "file_mib" in case else "",
        ]
        for case in numbers["cases"]
    ]
    header = ["files", "seconds", "peak MiB", "the file alone adds MiB", "file MiB"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"A photo of {width} x {height} through `python -m apps.points --model {DEMO}`, eager, one "
        "point a pixel: from the start of Python to its end, and the most that the process held, "
        "PyTorch and weights included. *The file alone*: what writing it adds to depth and photo, "
        "which are there already."
    )
