"""How soon an artifact gives its first answer, and how much memory that takes.

Each launch is a process of its own: Python and its packages are imported, the artifact is verified
and loaded, a photo goes through, and two more. A process's peak never falls again.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.artifacts import made_or_left_out
from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.options import SQUARE_HW, add_models, add_number, add_precisions
from benchmarks.spent import run
from compile.job import CompileJob
from compile.registry import find_model
from compile.targets import target_module
from runtime.artifact.folder import read_artifact
from runtime.engines import available

log = logging.getLogger(__name__)

ABOUT = "an artifact's first answer, and the memory it takes"
DESCRIPTION = (
    "Load an artifact and give it a photo, each time in a process of its own: seconds to the first "
    "answer, processor time, and peak memory."
)
EXAMPLE = "--models vits da3-base --launches 6 --doc"
PAGE = "performance-memory.md"

SCENE_HW = (336, 504)  # of models that take scenes, for one photo
TARGET = "openvino"
CASE = """
import json, resource, sys, time
begin = time.perf_counter()
from pathlib import Path
import numpy as np
from benchmarks.peak import status_mib
from runtime.artifact.folder import read_artifact
from runtime.engines import openvino
from runtime.predict.predictor import Predictor
openvino.import_openvino()
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime
(imported, idle), packages = spent(), status_mib("VmRSS")
artifact = read_artifact(Path(sys.argv[1]))
rgb = np.full((*artifact.manifest.input.size_hw, 3), 127, np.uint8)
predictor = Predictor([artifact], "cpu", int(sys.argv[2]) or None)
verified, _ = spent()
predictor(rgb)
(answered, used), first_mib = spent(), status_mib("VmHWM")
for _ in range(2):
    predictor(rgb)
rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024
print(json.dumps({
    "imports_s": imported - begin, "verify_s": verified - imported,
    "first_s": answered - imported, "processor_s": used - idle, "packages_mib": packages,
    "first_mib": first_mib, "peak_mib": status_mib("VmHWM"), "private_mib": private,
}))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_models(parser, "vits", "da3-small", "da3-base")
    add_precisions(parser, "f32", "bf16", "int8")
    add_number(parser, "--launches", 5, "of each")
    add_number(parser, "--threads", 2)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Launch each model in each precision in turns."""
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        artifacts, left_out = _compiled(args, Path(folder))
        launches: dict[str, list[dict[str, float]]] = {name: [] for name in artifacts}
        for number in range(args.launches):
            for name, path in artifacts.items():
                spent = run([sys.executable, "-c", CASE, str(path), str(args.threads)])
                launches[name].append(json.loads(spent.stdout.splitlines()[-1]))
                log.info("%d: %s: %.2f s", number + 1, name, launches[name][-1]["first_s"])
        weights = {name: _weights_mib(path) for name, path in artifacts.items()}
    return {
        "threads": args.threads,
        "launches": launches,
        "weights_mib": weights,
        "left_out": left_out,
    }


def _compiled(args: argparse.Namespace, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Artifacts by what a row is called, and why others are not there."""
    made: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for model in args.models:
        size_hw = SCENE_HW if find_model(model).family == "v3" else SQUARE_HW
        for precision in args.precisions:
            name = f"{model} {size_hw[0]}x{size_hw[1]} {precision}"
            if not available(TARGET) or precision not in target_module(TARGET).PRECISIONS:
                left_out[name] = f"{TARGET} has it not, or is not installed"
                continue
            job = CompileJob(
                model, TARGET, (size_hw,), 1, folder, precision=precision, seeded="always"
            )
            artifact = made_or_left_out(job, name, left_out)
            if artifact is not None:
                made[name] = artifact.path
    return made, left_out


def _weights_mib(path: Path) -> float:
    """What a photo alone needs of an artifact's files: no ray head, and no camera encoder."""
    files = read_artifact(path).manifest.files
    spare = ("ray_head", "camera_encoder")
    return sum(one.bytes for one in files if not one.name.startswith(spare)) / 2**20


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """Seconds and memory of each artifact."""
    for name, launches in numbers["launches"].items():
        first, peak = (
            statistics.median(one[key] for one in launches) for key in ("first_s", "peak_mib")
        )
        ours = f"{first:.2f} s, {peak:,.0f} MiB"
        yield Headline("First answer, and most memory of the process", name, ours)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = []
    for name, launches in numbers["launches"].items():
        middle = {key: statistics.median(one[key] for one in launches) for key in launches[0]}
        least = min(one["first_s"] for one in launches)
        rows.append(
            [
                name,
                f"**{middle['first_s']:.2f}**",
                f"{least:.2f}",
                f"{middle['processor_s']:.2f}",
                f"{middle['verify_s']:.2f}",
                f"{middle['imports_s']:.2f}",
                f"**{middle['peak_mib']:,.0f}**",
                f"{middle['first_mib']:,.0f}",
                f"{middle['private_mib']:,.0f}",
                f"{numbers['weights_mib'][name]:,.0f}",
            ]
        )
    header = ["artifact", "first answer s", "least s", "processor s", "of it verifying s"]
    header += ["imports s", "peak MiB", "after the first MiB", "private MiB", "files MiB"]
    launches = len(next(iter(numbers["launches"].values()), []))
    packages = [one["packages_mib"] for all_of in numbers["launches"].values() for one in all_of]
    left_out = [f"Left out: {name}, since {why}." for name, why in numbers["left_out"].items()]
    return "\n\n".join(
        [
            markdown_table(header, rows),
            f"Medians of {launches} launches in turns, {numbers['threads']} threads, openvino, "
            "seeded weights, one photo of the artifact's size. *First answer* is from the end of "
            "the imports to the first depth map: files verified, graphs compiled for the "
            "processor, one call. *Peak* is the most that the whole process held over three "
            "calls, "
            f"{statistics.median(packages) if packages else 0:,.0f} MiB of it Python and its "
            "packages; *files* are those that such a photo needs.",
            *left_out,
        ]
    )
