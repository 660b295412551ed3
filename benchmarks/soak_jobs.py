"""Batch jobs that are disturbed, one after the other, each compared with one that nobody disturbs.

An artifact, photos and a time in; counts out. S3 is moto's, behind a network that fails.
"""

import contextlib
import hashlib
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks.faulty_s3 import FaultyS3, faulty_s3
from benchmarks.photos import write_photos
from benchmarks.stand_in_aws import CREDENTIALS, empty_aws
from runtime.errors import DepthError
from runtime.optional import require
from runtime.storage import Folder, S3Options, Storage, open_storage
from serve.batch.job_folder import JOB

PHOTOS, SIZE_HW = 24, (240, 320)
S3_FAULTS = 0.1  # share of the requests that go wrong
KILLS = 2  # of a job over S3
RUNS = 8  # of a job, until it must be done
DISK_BYTES = 40_000  # a file that is larger finds the disk full
AGAIN = "retry-failed"  # takes up what the storage refused; "run" does what is left
TIMEOUT_S = 300.0
LARGEST = 64 << 20  # bytes of a result
PHOTOS_AT, DEPTH_AT = "s3://soak/photos", "s3://soak/depth"


def run_jobs(
    artifact: Path, source: Sequence[Path], scratch: Path, seconds: float
) -> dict[str, Any]:
    """Disturb jobs until the time is over; what has begun is finished, and two are done at least.

    Returns:
        how many jobs, results that were right and that were lost, and what was done to them.
    Raises:
        DepthError: a full disk ended a job as it should not.
        MissingDependency: moto is not installed.
    """
    until, chance, seen = time.monotonic() + seconds, random.Random(5), Counter[str]()
    photos, expected_in = scratch / "photos", scratch / "undisturbed"
    write_photos(source[0].parent, photos, PHOTOS, SIZE_HW)
    _finish(_command(artifact, photos, expected_in))
    expected = digests(Folder(expected_in))
    with _s3(photos) as (address, faulty):
        number = 0
        while number == 0 or time.monotonic() < until:
            number += 1
            seen += _onto_full_disk(artifact, photos, scratch / f"disk-{number}", expected)
            seen += _over_s3(artifact, address, f"{DEPTH_AT}-{number}", chance, expected)
        faults = sum(count for what, count in faulty.seen.items() if what != "none")
    counted = {name: seen[name] for name in ("jobs", "right", "lost", "kills", "full_disks")}
    return {**counted, "s3_faults": faults}


def _onto_full_disk(
    artifact: Path, photos: Path, output: Path, expected: dict[str, str]
) -> Counter[str]:
    full = subprocess.run(
        _command(artifact, photos, output),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        preexec_fn=_fill_the_disk,
    )
    if "Traceback" in full.stderr or full.returncode == 0:
        raise DepthError(f"a full disk ended with {full.returncode}: {full.stderr[-500:]}")
    _finish(_command(artifact, photos, output, AGAIN), _command(artifact, photos, output))
    return _compared(digests(Folder(output)), expected) + Counter(full_disks=1)


def _over_s3(
    artifact: Path, address: str, output: str, chance: random.Random, expected: dict[str, str]
) -> Counter[str]:
    where = ["--endpoint-url", address, "--path-style"]
    command = [*_command(artifact, PHOTOS_AT, output), *where]
    again = [*_command(artifact, PHOTOS_AT, output, AGAIN), *where]
    for _ in range(KILLS):
        _kill_after(command, chance.uniform(1.0, 4.0))
    _finish(again, command)
    found = digests(open_storage(output, S3Options(address, path_style=True)))
    return _compared(found, expected) + Counter(kills=KILLS)


def _compared(found: dict[str, str], expected: dict[str, str]) -> Counter[str]:
    right = sum(found.get(name) == digest for name, digest in expected.items())
    return Counter(jobs=1, right=right, lost=len(expected) - right)


def digests(storage: Storage) -> dict[str, str]:
    """sha256 of every result; the job's own files are not results."""
    return {
        one.name: hashlib.sha256(storage.read(one.name, LARGEST)).hexdigest()
        for one in storage.list()
        if not one.name.startswith(f"{JOB}/")
    }


def _command(artifact: Path, source: object, output: object, what: str = "run") -> list[str]:
    words = ["--input", source, "--output", output, "--artifact", artifact, "--engine", "local"]
    words += ["--formats", "npz,png16"]
    return [sys.executable, "-m", "serve.batch", what, *map(str, words)]


def _finish(*commands: list[str]) -> None:
    """Run commands in turns until the job is done, or has had its chances."""
    for number in range(RUNS):
        words = commands[number % len(commands)]
        if subprocess.run(words, capture_output=True, timeout=TIMEOUT_S).returncode == 0:
            return


def _fill_the_disk() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))


def _kill_after(command: list[str], seconds: float) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()


@contextlib.contextmanager
def _s3(photos: Path) -> Iterator[tuple[str, FaultyS3]]:
    """An S3 that holds the photos, on loopback; the address that fails now and then."""
    boto3 = require("boto3", "batch")
    before: dict[str, Optional[str]] = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells of every request
    try:
        with empty_aws() as sound:
            s3 = boto3.client("s3", endpoint_url=sound)
            s3.create_bucket(Bucket="soak")
            for file in sorted(photos.iterdir()):
                s3.upload_file(str(file), "soak", f"photos/{file.name}")
            with faulty_s3(sound, S3_FAULTS) as found:
                yield found
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
