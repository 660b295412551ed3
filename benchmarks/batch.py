"""Images a second of a batch job, against its engine alone and against upstream's loop.

Full HD JPEG files in, ``npz`` and ``png16`` out: the real command, in a process of its own, on this
machine and on Ray. Its rate is taken between its first and its last record, so that start-up, which
a long job does not feel, is left out; it is stated beside. The engine alone is called again and
again on a tensor that is ready. The loop is that of ``upstream_loop``, with the same engine. All
take turns.
"""

import argparse
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.document import markdown_table
from benchmarks.options import SERVED, add_number, add_rounds
from benchmarks.photos import FULL_HD_HW, write_photos
from benchmarks.upstream_loop import Network, upstream_loop
from runtime.artifact.folder import read_artifact
from runtime.errors import ArtifactError
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor, Prepared
from runtime.storage import Folder
from serve.batch.job_folder import JobFolder
from serve.batch.records import read_records

log = logging.getLogger(__name__)

ABOUT = "images/s of a batch job, local and on Ray, against its engine alone"
DESCRIPTION = (
    "Full HD photos through serve.batch, its engine alone, and upstream's loop on the same "
    "engine, in turns."
)
EXAMPLE = f"--artifact {SERVED}"
PAGE = "performance-jobs.md"

BARE, LOCAL, RAY, LOOP = "engine alone", "batch job, local", "batch job, Ray", "upstream's loop"


@dataclass(frozen=True)
class BatchBench:
    """What to measure."""

    artifact: Path
    source: Path = Path("input_images")
    photos: int = 60
    rounds: int = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument(
        "--artifact", type=Path, nargs="+", default=[SERVED], help=f"default {SERVED}"
    )
    add_number(parser, "--photos", 60, "a round")
    add_rounds(parser, 3)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_artifact``, one artifact after the other."""
    benches = [BatchBench(one, args.input, args.photos, args.rounds) for one in args.artifact]
    return {"artifacts": [time_artifact(bench) for bench in benches]}


def time_artifact(bench: BatchBench) -> dict[str, Any]:
    """Images a second of each side and round.

    Raises:
        ArtifactError: no such artifact, or a job failed.
    """
    predictor = Predictor([read_artifact(bench.artifact)], "cpu")
    predictor.warm_up()
    rates: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="batch-") as scratch:
        root = Path(scratch)
        photos = write_photos(bench.source, root / "photos", bench.photos, FULL_HD_HW)
        for number in range(bench.rounds + 1):
            found = {
                BARE: (_engine_alone(predictor, photos), 0.0),
                LOCAL: _job(bench, root, number, "local"),
                RAY: _job(bench, root, number, "ray"),
                LOOP: (_loop(predictor, photos, root / f"loop-{number}"), 0.0),
            }
            log.info("%s: %s", number or "warm-up", found)
            if number:
                for name, (rate, start) in found.items():
                    rates.setdefault(name, []).append(rate)
                    starts.setdefault(name, []).append(start)
    return {
        "artifact": bench.artifact.name,
        "photos": bench.photos,
        "size_hw": FULL_HD_HW,
        "rounds": bench.rounds,
        "images_s": rates,
        "start_s": starts,
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown, a table for each artifact."""
    return "\n\n".join(map(_table, numbers["artifacts"]))


def _table(numbers: dict[str, Any]) -> str:
    rates, rows = numbers["images_s"], []
    for name, found in rates.items():
        cells = [name, f"{statistics.median(found):.2f}"]
        for base in (BARE, LOOP, LOCAL):
            ratios = [rate / other for rate, other in zip(found, rates[base])]
            cells.append(f"{statistics.median(ratios):.2f}")
        start = statistics.median(numbers["start_s"][name])
        rows.append([*cells, f"{start:.1f}" if start else ""])
    header = [
        "side",
        "images/s",
        "times the engine",
        "times the loop",
        "times local",
        "start-up, s",
    ]
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['artifact']}`, {numbers['photos']} JPEG files of {width}x{height} a round, "
        "made from the shipped photos; `npz,png16` out, the loop writes one colour PNG. Medians of "
        f"{numbers['rounds']} interleaved rounds after a warm-up."
    )


def job_command(photos: Path, output: Path, artifact: Path, engine: str) -> list[str]:
    """The words that run a batch job in a process of its own."""
    words = [
        "--input",
        photos,
        "--output",
        output,
        "--artifact",
        artifact,
        "--formats",
        "npz,png16",
    ]
    return [sys.executable, "-m", "serve.batch", "run", "--engine", engine, *map(str, words)]


def _engine_alone(predictor: Predictor, photos: list[Path]) -> float:
    prepared = predictor.prepare(read_photo(photos[0]))
    start = time.perf_counter()
    for _ in photos:
        predictor.infer([prepared])
    return len(photos) / (time.perf_counter() - start)


def _as_network(predictor: Predictor) -> Network:
    """A predictor of one shape, called as a network is."""

    def network(tensor: torch.Tensor) -> torch.Tensor:
        array = tensor.numpy()
        ((depth, _),) = predictor.infer(
            [Prepared(tensor=array, photo_hw=array.shape[2:], bucket=0, seconds={})]
        )
        return torch.from_numpy(depth)[None]

    return network


def _loop(predictor: Predictor, photos: list[Path], output: Path) -> float:
    output.mkdir()
    start = time.perf_counter()
    upstream_loop(_as_network(predictor), photos, output, predictor.input_hw)
    return len(photos) / (time.perf_counter() - start)


def _job(bench: BatchBench, root: Path, number: int, engine: str) -> tuple[float, float]:
    """Images a second between first and last record, and the seconds around them."""
    output = root / f"{engine}-{number}"
    command = job_command(root / "photos", output, bench.artifact, engine)
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ArtifactError(f"the job ended with {done.returncode}: {done.stderr[-500:]}")
    finished = sorted(record.finished for record in read_records(JobFolder(Folder(output))))
    worked = finished[-1] - finished[0]
    return (len(finished) - 1) / worked, seconds - worked
