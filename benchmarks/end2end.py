"""Images per second, photos to files: the main job against upstream's loop and the eager network.

Both sides get the same square photos and the same seeded weights and compute 518x518: upstream's
loop keeps a photo's aspect ratio and would compute more pixels on any other photo. The sides take
turns, round after round; a first round, the warm-up, does not count. Neither does a round in which
other processes took much of the processor: it is run again. The times themselves choose nothing.
"""

import argparse
import logging
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import torch

from apps.folder import FolderJob, run_folder
from benchmarks.crops import center_crop
from benchmarks.document import markdown_table
from benchmarks.options import add_artifacts, add_number, add_rounds
from benchmarks.peak import peak_mib
from benchmarks.photos import write_photos
from benchmarks.rounds import interleave, times_as_fast
from benchmarks.upstream_loop import INPUT_SIZE, infer_image, upstream_loop
from compile.checkpoint import load_model
from compile.parity import compare
from compile.registry import find_model
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.artifact.folder import Artifact, read_artifact
from runtime.artifact.manifest import PRECISIONS
from runtime.command_line import positive
from runtime.errors import ArtifactError, InputError
from runtime.photo.decode import FULL, read_photo
from runtime.photo.decode import REDUCED as SMALLER
from runtime.photo.find import find_photos
from runtime.predict.predictor import Predictor

log = logging.getLogger(__name__)

ABOUT = "images/s of the main job against upstream's loop"
DESCRIPTION = (
    "Photos to files, vits at 518x518 with seeded weights: the main job on an OpenVINO artifact "
    "against upstream's loop around the eager network, in interleaved rounds."
)
EXAMPLE = "--photos 4 --rounds 3"
PAGE = "performance-jobs.md"

MODEL = "vits"
MODEL_CALLS = 4  # of the network alone, a round

EAGER, PNG, ALL = "upstream's loop, colour PNG", "main job, `png`", "main job, `png,png16,npz`"
BOTH, REDUCED = "main job, `png,npz`", "main job, `png,npz`, `--decode reduced`"
EAGER_MODEL, COMPILED_MODEL = "network alone, eager", "network alone, compiled"
BASELINE = {PNG: EAGER, ALL: EAGER, BOTH: EAGER, REDUCED: EAGER, COMPILED_MODEL: EAGER_MODEL}


@dataclass(frozen=True)
class End2EndJob:
    """What to measure.

    Args:
        artifacts: folder to use, or compile into; None: a temporary one.
        side: of the photos in pixels, JPEG files enlarged to it; None: as shipped, PNG.
        precision: of the main job's graph; upstream's loop has float32.
    """

    source: Path = Path("input_images")
    artifacts: Optional[Path] = None
    photos: int = 8
    rounds: int = 5
    threads: Optional[int] = None
    side: Optional[int] = None
    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.photos < 1 or self.rounds < 1 or (self.threads or 1) < 1:
            raise InputError(f"photos={self.photos}, rounds={self.rounds}: all must be positive")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifacts(parser, "use, or compile into, this folder; default: a temporary one")
    parser.add_argument(
        "--side",
        type=positive,
        metavar="N",
        help="JPEG photos enlarged to NxN; default: as shipped",
    )
    parser.add_argument(
        "--precision",
        default="f32",
        choices=PRECISIONS[:2],
        help="of the main job; default f32",
    )
    add_number(parser, "--photos", 8, "a round")
    add_rounds(parser)
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of both sides; default: each side's own choice",
    )


def section(args: argparse.Namespace, slug: str) -> str:
    """One a size and precision, too, where photos are enlarged."""
    enlarged = f"{args.side}x{args.side} {args.precision} " if args.side else ""
    return f"end2end {enlarged}{slug}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_sides``."""
    return time_sides(
        End2EndJob(
            source=args.input,
            artifacts=args.artifacts,
            photos=args.photos,
            rounds=args.rounds,
            threads=args.threads,
            side=args.side,
            precision=args.precision,
        )
    )


def time_sides(job: End2EndJob) -> dict[str, Any]:
    """Run every side in turn, round after round.

    Returns:
        seconds an image of each side and round, thread counts, and how equal the depth is.
    Raises:
        InputError: no photos.
        ArtifactError: the artifact cannot be made, or holds other weights.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory(prefix="end2end-") as scratch:
        root = Path(scratch)
        photos = (
            write_photos(job.source, root / "photos", job.photos, (job.side, job.side))
            if job.side
            else _square_photos(job, root / "photos")
        )
        artifact = compiled_vits(job.artifacts or root / "artifacts", job.precision)
        model, weights = load_model(find_model(MODEL), None)
        if artifact.manifest.weights.sha256 != weights.sha256:
            raise ArtifactError(
                f"{artifact.path}: holds other weights than the eager side; give another "
                "--artifacts folder"
            )
        predictor = Predictor([artifact], threads=job.threads)
        sides = _sides(model, predictor, photos, root, job.side is not None)
        seconds, others, rounds_run = interleave(sides, job.rounds)
        peaks = {name: peak_mib(run) for name, (_, run) in sides.items()}
        worst_rel_range, lowest_pearson = _agreement(model, predictor, photos)
    return {
        "model": MODEL,
        "size_hw": [INPUT_SIZE, INPUT_SIZE],
        "photos": job.photos,
        "side": job.side,
        "precision": job.precision,
        "peak_mib": peaks,
        "rounds": job.rounds,
        "rounds_run": rounds_run,
        "others_share": others,
        "threads": {"torch": torch.get_num_threads(), "openvino": job.threads or "its own choice"},
        "artifact_versions": artifact.manifest.versions,
        "seconds_an_image": seconds,
        "agreement": {"max_rel_range": worst_rel_range, "min_pearson": lowest_pearson},
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    seconds = numbers["seconds_an_image"]
    rows = []
    for name, took in seconds.items():
        median = statistics.median(took)
        peak = f"{numbers['peak_mib'][name]:,.0f}"
        cells = [name, f"{median * 1000:,.0f}", f"{1 / median:.2f}", "1", "", peak]
        if name in BASELINE:
            base = seconds[BASELINE[name]]
            ratios = times_as_fast(base, took)
            cells[3] = f"**{statistics.median(base) / median:.2f}**"
            cells[4] = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(cells)
    header = ["side", "ms an image", "images/s", "times upstream's", "single rounds", "peak MiB"]
    agreement, threads = numbers["agreement"], numbers["threads"]
    side = numbers["side"]
    kind = f"square JPEG photos, enlarged to {side}x{side}," if side else "square photos"
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['model']}`, main job in {numbers['precision']}, eager in float32, "
        f"{numbers['photos']} {kind} a round, medians of "
        f"{numbers['rounds']} interleaved rounds after a warm-up. {numbers['rounds_run']} rounds "
        "were run; in those that count, other processes took at most "
        f"{max(numbers['others_share']):.0%} of the processor. "
        f"Threads: torch {threads['torch']}, OpenVINO {threads['openvino']}. "
        f"Depth of both sides differs by at most {agreement['max_rel_range']:.1e} of its range "
        f"(Pearson at least {agreement['min_pearson']:.8f}). Peak is what a round adds at most to "
        "what the process holds, both networks loaded."
    )


def compiled_vits(folder: Path, precision: str) -> Artifact:
    """The OpenVINO graph of vits at 518x518 in a folder, compiled if it is not there."""
    suffix = "" if precision == "f32" else f"-{precision}"
    path = folder / f"{MODEL}-{INPUT_SIZE}x{INPUT_SIZE}-b1-openvino{suffix}"
    if not path.exists():
        log.info("compiling %s", path.name)
        command = [sys.executable, "-m", "compile", "--model", MODEL, "--target", "openvino"]
        command += ["--sizes", f"{INPUT_SIZE}x{INPUT_SIZE}", "--seeded-weights"]
        command += ["--precision", precision]
        done = subprocess.run([*command, "--output", str(folder)], stdout=subprocess.DEVNULL)
        if done.returncode:
            raise ArtifactError("the compile failed; the lines above say why")
    return read_artifact(path)


def _square_photos(job: End2EndJob, folder: Path) -> list[Path]:
    """Square crops of the photos as PNG files, repeated until there are enough."""
    folder.mkdir()
    originals = find_photos(job.source)
    files = []
    for number in range(job.photos):
        original = originals[number % len(originals)]
        square = center_crop(read_photo(original), (1, 1))
        files.append(folder / f"{number:03d}-{original.stem}.png")
        cv2.imwrite(str(files[-1]), square[..., ::-1])
    return files


def _sides(
    model: DepthAnythingV2, predictor: Predictor, photos: list[Path], root: Path, large: bool
) -> dict[str, tuple[int, Callable[[], None]]]:
    """Each side: how many images a call is worth, and the call."""
    prepared = predictor.prepare(read_photo(photos[0]))
    tensor = torch.from_numpy(prepared.tensor)

    def main_job(formats: tuple[str, ...], decode: str = FULL) -> Callable[[], None]:
        job = FolderJob(
            source=photos[0].parent, output=root / "-".join(formats), formats=formats, decode=decode
        )

        def run() -> None:
            for outcome in run_folder(job, predictor):
                if outcome.error is not None:
                    raise ArtifactError(outcome.error)

        return run

    def eager_model() -> None:
        with torch.no_grad():
            for _ in range(MODEL_CALLS):
                model(tensor)

    def compiled_model() -> None:
        for _ in range(MODEL_CALLS):
            predictor.infer([prepared])

    both = ("png", "npz")
    for_large = {
        BOTH: (len(photos), main_job(both)),
        REDUCED: (len(photos), main_job(both, decode=SMALLER)),
    }
    (root / "eager").mkdir()
    return {
        EAGER: (len(photos), lambda: upstream_loop(model, photos, root / "eager")),
        PNG: (len(photos), main_job(("png",))),
        ALL: (len(photos), main_job(("png", "png16", "npz"))),
        **(for_large if large else {}),
        EAGER_MODEL: (MODEL_CALLS, eager_model),
        COMPILED_MODEL: (MODEL_CALLS, compiled_model),
    }


def _agreement(
    model: DepthAnythingV2, predictor: Predictor, photos: list[Path]
) -> tuple[float, float]:
    """Largest difference over the range, and lowest correlation, of the two sides' depth."""
    cases = []
    distinct = {photo.stem.partition("-")[2]: read_photo(photo) for photo in photos}
    for name, rgb in distinct.items():
        expected = infer_image(model, np.ascontiguousarray(rgb[..., ::-1]))
        cases.append(compare(name, predictor(rgb).depth, expected))
    return max(case.max_rel_range for case in cases), min(case.pearson for case in cases)
