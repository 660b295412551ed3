"""What is asked of the machine with the chip, each a command: one JSON object on stdout.

``python -m benchmarks.on_chip machine | operators | calls | cores | serve``. The steps of
``python -m benchmarks neuron`` that no other command of this repository answers.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clients import closed_loop, percentile
from benchmarks.load import our_service, request_for
from compile.targets import neuron
from compile.targets.journal import Journal
from runtime.artifact.folder import read_artifact
from runtime.command_line import positive, run_command
from runtime.engines import load_engine
from runtime.engines.inferentia import CORE_COUNT, cores_of
from runtime.errors import DepthError
from runtime.machine import describe_machine
from runtime.photo.find import find_photos

NEURON_LS = ("neuron-ls", "/opt/aws/neuron/bin/neuron-ls")
DRIVER = Path("/sys/module/neuron/version")
WARM_UP = 5
TOGETHER = (1, 2, 4)


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """The host, its driver, its chips, and what is installed."""
    tool = next(filter(None, map(shutil.which, NEURON_LS)), None)
    chips: Any = None
    if tool is not None:
        done = subprocess.run([tool, "-j"], capture_output=True, text=True, check=False)
        chips = json.loads(done.stdout) if done.returncode == 0 else done.stderr[-2000:]
    return {
        **describe_machine(),
        "kernel": platform.release(),
        "driver": DRIVER.read_text().strip() if DRIVER.is_file() else None,
        "device": neuron.device_present(),
        "neuron_ls": chips,
        "neuron_versions": neuron.versions(),
    }


def operators(args: argparse.Namespace) -> dict[str, Any]:
    """The installed torch-neuron's list of operators beside ours."""
    neuron.versions()  # says what to install if there is none
    journal = Journal(None)
    neuron.note_operators(journal)
    return dict(journal.notes["operators"])


def calls(args: argparse.Namespace) -> dict[str, Any]:
    """One process, one graph: milliseconds of a call, one after the other."""
    artifact = read_artifact(args.artifact)
    start = time.perf_counter()
    engine = load_engine(artifact.path, artifact.manifest)
    loaded = time.perf_counter() - start
    spec = artifact.manifest.input
    image = {spec.name: np.zeros(spec.shape, spec.dtype)}
    for _ in range(WARM_UP):
        engine(image)
    times = []
    for _ in range(args.calls):
        start = time.perf_counter()
        engine(image)
        times.append(time.perf_counter() - start)
    times.sort()
    return {
        "calls": args.calls,
        "load_s": loaded,
        "ms": {f"p{p}": 1e3 * percentile(times, p / 100) for p in (50, 90, 99)},
        "mean_ms": 1e3 * sum(times) / len(times),
        "images_s": spec.batch * len(times) / sum(times),
    }


def cores(args: argparse.Namespace) -> dict[str, Any]:
    """One to four processes at once, a graph each: images a second together."""
    taken = str(cores_of(read_artifact(args.artifact).manifest))
    words = [sys.executable, "-m", "benchmarks.on_chip", "calls", "--artifact", str(args.artifact)]
    words += ["--calls", str(args.calls)]
    found = {}
    for count in TOGETHER:
        running = [
            subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, CORE_COUNT: taken})
            for _ in range(count)
        ]
        texts = [process.communicate()[0] for process in running]
        if any(process.returncode for process in running):
            raise DepthError(f"{count} processes: one of them failed; see the lines above")
        each = [json.loads(text)["images_s"] for text in texts]
        found[str(count)] = {"images_s": sum(each), "each": each}
    return {"processes": found}


def serve(args: argparse.Namespace) -> dict[str, Any]:
    """The service on loopback under four clients."""
    photo = find_photos(args.input)[-1]
    with our_service(args.artifact) as (port, _):
        load = closed_loop(request_for(port, "/v1/depth", photo.read_bytes()), 4, args.seconds)
    answered = load.of(200)
    if not answered:
        raise DepthError(f"the service answered none of {len(load.seen)} requests")
    return {
        "photo": photo.name,
        "seconds": args.seconds,
        "images_s": load.rate,
        "ms": {f"p{p}": 1e3 * percentile(answered, p / 100) for p in (50, 90, 99)},
        "other": len(load.seen) - len(answered),
    }


STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "machine": machine,
    "operators": operators,
    "calls": calls,
    "cores": cores,
    "serve": serve,
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_chip", description=__doc__)
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("--artifact", type=Path, metavar="FOLDER")
    parser.add_argument("--input", type=Path, default=Path("input_images"))
    parser.add_argument("--calls", type=positive, default=100)
    parser.add_argument("--seconds", type=positive, default=20)
    return parser


def main() -> int:
    """Run one step."""
    return run_command(
        build_parser(), lambda args: print(json.dumps(STEPS[args.step](args))), sys.argv[1:]
    )


if __name__ == "__main__":
    sys.exit(main())
