"""A batch job killed again and again, beside one that nobody disturbs: the same results, none
missing, none twice.

Photos of real size, and some files that are no photos. The job is killed with SIGKILL at random
moments and begun again; then the same with Ray, whose actors are killed. Results are compared by
the sha256 that the disks hold, and are removed once they have been.
"""

import argparse
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batch import job_command
from benchmarks.document import markdown_table
from benchmarks.options import add_artifact, add_number
from benchmarks.photos import write_photos
from runtime.errors import DepthError
from runtime.storage import SCRATCH, Folder
from serve.batch.job_folder import JOB, JobFolder
from serve.batch.records import DONE, read_records
from serve.batch.verify import verify_job

log = logging.getLogger(__name__)

ABOUT = "a batch job killed again and again, against one left alone"
DESCRIPTION = (
    "Photos of real size, some damaged, through serve.batch: once undisturbed, once killed at "
    "random moments and begun again, once on Ray whose actors are killed. Ends with an error if a "
    "result is missing, wrong or there twice. 3,000 photos take 30 GB."
)
EXAMPLE = "--photos 300 --bad 6 --doc"
PAGE = "batch.md"

# Between a camera's photo made small for the web, and full HD
SIZES_HW = ((720, 1280), (960, 1280), (1080, 1920), (1280, 960))
POLL_S = 0.1
ACTOR = b"ray::MapWorker"
MARK = "DEPTH_KILLS"  # variable by which processes of one run are known
UNDISTURBED, KILLED, RAY = "left alone", "job killed", "Ray, actors killed"


class Failed(DepthError):
    """A job did not do what it must."""


@dataclass(frozen=True)
class KillsJob:
    """What to do. ``bad`` of the ``photos`` are none; each job is killed ``kills`` times."""

    artifact: Path
    source: Path = Path("input_images")
    photos: int = 3000
    bad: int = 60
    kills: int = 5
    seed: int = 0
    scratch: Path = Path(tempfile.gettempdir())


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifact(parser)
    add_number(parser, "--photos", 3000)
    add_number(parser, "--bad", 60, "of them")
    add_number(parser, "--kills", 5, "of each job")


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every machine: what is shown is not speed."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``run_jobs``."""
    return run_jobs(
        KillsJob(
            artifact=args.artifact,
            source=args.input,
            photos=args.photos,
            bad=args.bad,
            kills=args.kills,
        )
    )


def run_jobs(job: KillsJob) -> dict[str, Any]:
    """Run the three jobs.

    Raises:
        Failed: a result is missing, wrong, or there twice.
    """
    chance = random.Random(job.seed)
    with tempfile.TemporaryDirectory(prefix="kills-", dir=job.scratch) as folder:
        root = Path(folder)
        log.info("making %d photos", job.photos)
        _write_inputs(job, root / "photos")
        runs, expected = {}, {}
        for name, engine in ((UNDISTURBED, "local"), (KILLED, "local"), (RAY, "ray")):
            kills = 0 if name == UNDISTURBED else job.kills
            runs[name] = _run(job, root, engine, kills, chance)
            found = _digests(root / "depth")
            expected = expected or found
            if found != expected:
                different = {n for n in {*found, *expected} if found.get(n) != expected.get(n)}
                raise Failed(f"{name}: {len(different)} results differ, as {min(different)}")
            shutil.rmtree(root / "depth")
            log.info("%s: %s", name, runs[name])
    return {
        "artifact": job.artifact.name,
        "photos": job.photos,
        "bad": job.bad,
        "results": len(expected),
        "runs": runs,
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = [
        [
            name,
            f"{run['kills']}",
            f"{run['done']:,}",
            f"{run['error']}",
            f"{run['faults']}",
            f"{run['seconds']:,.0f}",
        ]
        for name, run in numbers["runs"].items()
    ]
    header = ["job", "kills", "results", "error records", "faults found", "s in all"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"{numbers['photos']:,} JPEG files of 0.9 to 2.1 megapixels made from the shipped photos, "
        f"{numbers['bad']} of them damaged; `{numbers['artifact']}`, `npz,png16`. The "
        f"{numbers['results']:,} files of the three jobs are the same, byte for byte; `verify` "
        "read all of them."
    )


def _write_inputs(job: KillsJob, folder: Path) -> None:
    """Photos of several sizes, damaged ones spread among them."""
    each = -(-job.photos // len(SIZES_HW))
    files = []
    for number, size_hw in enumerate(SIZES_HW):
        count = min(each, job.photos - len(files))
        files += write_photos(job.source, folder / f"{number}", count, size_hw)
    for file in files[:: len(files) // job.bad][: job.bad]:
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 3])


def _run(
    job: KillsJob, root: Path, engine: str, kills: int, chance: random.Random
) -> dict[str, Any]:
    """One job to its end, killed on the way."""
    output, begun = root / "depth", time.monotonic()
    good = job.photos - job.bad
    # at random moments, but each after some more results than the one before
    at = sorted(chance.randint(good // 20, good * 9 // 10) for _ in range(kills))
    environment = marked()
    process = _start(job, root, engine, environment)
    for results in at:
        while _count(output) < results:
            if process.poll() is not None:
                raise Failed(f"it ended with {process.returncode} before it could be killed")
            time.sleep(POLL_S)
        if engine == "ray":
            # one that was killed is replaced after a moment
            while not (actors := ray_actors(environment)):
                time.sleep(POLL_S)
            os.kill(chance.choice(actors), signal.SIGKILL)
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = _start(job, root, engine, environment)
    text, _ = process.communicate()
    if process.returncode != 3:  # done, with errors under the rate
        raise Failed(f"it ended with {process.returncode}: {text}")
    storage = Folder(output)
    faults = [f"{fault.name}: {fault.problem}" for fault in verify_job(JobFolder(storage))]
    success = json.loads((output / JOB / "_SUCCESS").read_text())
    last = {record.name: record for record in read_records(JobFolder(storage))}
    owned = sum(len(record.outputs) for record in last.values() if record.status == DONE)
    found = sum(1 for _ in storage.list()) - sum(1 for _ in storage.below(f"{JOB}/"))
    left = list((output / SCRATCH).glob("*"))
    if faults or found != owned or left or success["inputs"] != job.photos:
        raise Failed(f"{faults[:3]}, {found} files of {owned}, {left[:3]}, {success}")
    if success["error"] != job.bad:
        raise Failed(f"{success['error']} error records for {job.bad} bad photos")
    return {
        "kills": kills,
        "done": success["done"],
        "error": success["error"],
        "faults": len(faults),
        "seconds": time.monotonic() - begun,
    }


def _start(
    job: KillsJob, root: Path, engine: str, environment: Mapping[str, str]
) -> "subprocess.Popen[str]":
    command = job_command(root / "photos", root / "depth", job.artifact, engine)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def _count(output: Path) -> int:
    """Photos with all their results: the JSON is written last."""
    return sum(1 for folder in output.glob("[0-9]") for _ in folder.glob("*.json"))


def _digests(output: Path) -> dict[str, str]:
    storage = Folder(output)
    return {
        one.name: hashlib.sha256((output / one.name).read_bytes()).hexdigest()
        for one in storage.list()
        if not one.name.startswith(f"{JOB}/")
    }


def marked() -> dict[str, str]:
    """This process's environment, with a mark that no other process has."""
    return {**os.environ, MARK: uuid.uuid4().hex}


def ray_actors(environment: Mapping[str, str], kind: bytes = ACTOR) -> list[int]:
    """Processes of Ray that hold an engine, by their title, of a run that was begun as ``marked``.

    Args:
        environment: of that run. Those of other runs on this machine are left out.
    """
    found, mark = [], f"{MARK}={environment[MARK]}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            own = (folder / "environ").read_bytes().split(b"\0")
            if kind in (folder / "cmdline").read_bytes() and mark in own:
                found.append(int(folder.name))
        except OSError:  # it ended just now
            continue
    return found
