"""A batch job's memory against the number of its inputs.

The real command, simulated, so that the job itself is what is seen: tiny photos, a tiny network's
shapes, no wait for a device. It is watched from outside. Its results are removed as they come, as a
million of them need eight gigabytes of blocks; the job does not look at them again.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.machine import resident_mib
from benchmarks.options import add_number, add_scratch
from benchmarks.photos import write_list, write_photos
from compile.job import CompileJob, compile_model
from runtime.errors import DepthError
from serve.batch.job_folder import JOB, SUCCESS

log = logging.getLogger(__name__)

ABOUT = "a batch job's memory against the number of its inputs, simulated"
DESCRIPTION = (
    "Run a simulated batch job of this many tiny photos to its end, and look at its memory from "
    "outside."
)
EXAMPLE = "--count 100000 --scratch /dev/shm"
PAGE = "scale.md"

PHOTO_HW, NETWORK_HW = (16, 16), (14, 14)
PHOTOS = 8
EVERY_S = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads; the scratch folder is best in memory."""
    add_number(parser, "--count", 1_000_000)
    add_scratch(parser)


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every machine."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run a job of this many inputs to its end.

    Returns:
        samples (seconds, inputs done, MiB), and what ``_SUCCESS`` says.
    Raises:
        DepthError: the job failed.
    """
    count = args.count
    with tempfile.TemporaryDirectory(prefix="inputs-", dir=args.scratch) as name:
        root = Path(name)
        photos = write_photos(args.input, root / "photos", PHOTOS, PHOTO_HW)
        names = write_list(root, photos, count)
        list(
            compile_model(
                CompileJob(
                    model="demo", target="openvino", sizes_hw=(NETWORK_HW,), output=root / "graphs"
                )
            )
        )
        output = root / "depth"
        words = ["run", "--input", names, "--output", output, "--formats", "png16"]
        words += ["--artifact", root / "graphs", "--engine", "simulated", "--service-ms", "0"]
        process = subprocess.Popen(
            [sys.executable, "-m", "serve.batch", *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": name},
        )
        samples = _watch(process, output)
        if process.wait():
            raise DepthError(f"the job ended with {process.returncode}; its lines are above")
        samples.append((samples[-1][0], count, samples[-1][2]))  # it ended: all are done
        success = json.loads((output / JOB / SUCCESS).read_text())
    return {"inputs": count, "success": success, "samples": samples}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    samples, count = numbers["samples"], numbers["inputs"]
    rows = [["list read, plan written", *_at(samples, 0)]]
    for power in range(4, 10):
        if 10**power < count:
            rows.append([f"{10**power:,} done", *_at(samples, 10**power)])
    rows.append([f"{count:,} done, `_SUCCESS` written", *_at(samples, count)])
    peak = max(mib for _, _, mib in samples)
    return (
        f"{markdown_table(['', 'seconds', 'MiB'], rows)}\n\n"
        f"SIMULATED. At most {peak:,.0f} MiB; {len(samples):,} samples, one a second. "
        f"{numbers['success']['done']:,} of {count:,} have a result, "
        f"{count / samples[-1][0]:,.0f} a second from the first line of the list to `_SUCCESS`. "
        f"A list (.jsonl) of names on {PHOTOS} photos of {PHOTO_HW[1]}x{PHOTO_HW[0]}, format "
        "`png16`, one process; results are removed as they come."
    )


def _at(samples: list[tuple[float, int, float]], done: int) -> list[str]:
    """Seconds and MiB when this many were first seen done; 0: before the first was."""
    if done == 0:
        seconds, _, mib = [sample for sample in samples if sample[1] == 0][-1]
    else:
        seconds, _, mib = next(sample for sample in samples if sample[1] >= done)
    return [f"{seconds:,.0f}", f"{mib:,.0f}"]


def _watch(process: "subprocess.Popen[str]", output: Path) -> list[tuple[float, int, float]]:
    """Seconds, inputs done and MiB, as long as it runs."""
    done, start = [0], time.monotonic()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("{"):
                done[0] = json.loads(line)["done"]
            else:
                log.info("%s", line.rstrip())

    listener = threading.Thread(target=listen)
    listener.start()
    samples = []
    while process.poll() is None:
        try:
            mib = resident_mib(process.pid)
        except OSError:  # it ended just now
            break
        if mib:
            samples.append((round(time.monotonic() - start, 1), done[0], round(mib, 1)))
        if len(samples) % 60 == 1:
            log.info("%s", samples[-1])
        _remove_results(output)
        time.sleep(EVERY_S)
    listener.join()
    return samples


def _remove_results(output: Path) -> None:
    for folder in output.glob("[0-9]*"):
        for file in folder.iterdir():
            file.unlink()
