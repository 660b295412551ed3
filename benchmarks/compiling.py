"""What a compile costs, and what its artifact costs to start: seconds, memory, size.

Models, targets and precisions in. Every compile and every start is a process of its own: the
compile is the command of the README, the start loads the artifact and answers once.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.options import SQUARE_HW, add_models, add_precisions, add_targets
from benchmarks.spent import run
from compile.targets import target_module
from runtime.artifact.folder import read_artifact
from runtime.engines import available

log = logging.getLogger(__name__)

ABOUT = "seconds and memory of a compile, and of an artifact's start"
DESCRIPTION = (
    "Compile each model for each target with seeded weights, then load what came of it and answer "
    "once; every one of them in a process of its own."
)
EXAMPLE = "--models demo vits --targets openvino onnx --doc"
PAGE = "performance-memory.md"

TARGETS = ("openvino", "onnx", "torchscript")
STARTS = 3  # of each artifact; medians count
# The library is imported before memory is looked at: it is there once, whatever is loaded
START = """
import json, sys, time
from pathlib import Path
import numpy as np
from benchmarks.peak import peak_mib, status_mib
from runtime.artifact.folder import read_artifact
from runtime.engines import load_engine
from runtime.engines.onnxruntime import import_onnxruntime
from runtime.engines.openvino import import_openvino
artifact = read_artifact(Path(sys.argv[1]))
libraries = {
    "openvino": import_openvino,
    "onnx": import_onnxruntime,
    "torchscript": lambda: __import__("torch"),
}
libraries[artifact.manifest.target]()
engines = []
def load():
    artifact.verify()
    engines.append(load_engine(artifact.path, artifact.manifest, "cpu"))
mapped = status_mib("RssFile")
start = time.perf_counter()
added = peak_mib(load)
loaded = time.perf_counter()
mapped = status_mib("RssFile") - mapped
spec = artifact.manifest.input
engines[0]({"image": np.zeros((spec.batch, 3, *spec.size_hw), spec.dtype)})
answered = time.perf_counter()
seconds = {"load_s": loaded - start, "call_s": answered - loaded}
print(json.dumps({**seconds, "load_mib": added, "mapped_mib": mapped}))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_models(parser, "demo", "vits")
    add_targets(parser, *TARGETS)
    add_precisions(parser, "f32")


def measure(args: argparse.Namespace, size_hw: tuple[int, int] = SQUARE_HW) -> dict[str, Any]:
    """Compile each model for each target in each precision it has; start what came of it.

    Raises:
        DepthError: a compile or a start failed.
    """
    cases = []
    for model in args.models:
        for target in filter(available, args.targets):
            known = target_module(target).PRECISIONS
            for precision in (name for name in args.precisions if name in known):
                log.info("%s, %s, %s", model, target, precision)
                with tempfile.TemporaryDirectory(prefix="compiling-") as folder:
                    cases.append(_case(model, target, precision, size_hw, folder))
    return {"size_hw": list(size_hw), "cases": cases}


def _case(
    model: str, target: str, precision: str, size_hw: tuple[int, int], folder: str
) -> dict[str, Any]:
    words = ["-m", "compile", "--model", model, "--target", target, "--precision", precision]
    words += ["--sizes", "{}x{}".format(*size_hw), "--seeded-weights", "--output", folder]
    compiled = run([sys.executable, *words])
    artifact = read_artifact(Path(compiled.stdout.split()[-1]))
    starts = []
    for _ in range(STARTS):
        start = run([sys.executable, "-c", START, str(artifact.path)])
        facts = json.loads(start.stdout.splitlines()[-1])
        starts.append({"start_s": start.seconds, "peak_mib": start.peak_mib, **facts})
    return {
        "artifact": artifact.manifest.name,
        "compile_s": compiled.seconds,
        "compile_peak_mib": compiled.peak_mib,
        "size_mib": sum(file.bytes for file in artifact.manifest.files) / 2**20,
        **{name: statistics.median(one[name] for one in starts) for name in starts[0]},
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = [
        [
            f"`{case['artifact']}`",
            f"{case['compile_s']:,.0f}",
            f"{case['compile_peak_mib']:,.0f}",
            f"{case['size_mib']:,.0f}",
            f"{case['load_mib']:,.0f}",
            f"{case['mapped_mib']:,.0f}",
            f"{case['load_mib'] / case['size_mib']:.2f}",
            f"{case['load_s']:.2f}",
            f"{case['call_s']:.2f}",
            f"{case['start_s']:.2f}",
            f"{case['peak_mib']:,.0f}",
        ]
        for case in numbers["cases"]
    ]
    header = ["artifact", "compile s", "its peak MiB", "artifact MiB", "loading adds MiB"]
    header += [
        "of it mapped",
        "times its size",
        "load s",
        "first call s",
        "process to answer s",
        "its peak MiB",
    ]
    return (
        f"{markdown_table(header, rows)}\n\n"
        "Seeded weights. A compile is `python -m compile` from its start to its end, parity report "
        f"included. The rest are medians of {STARTS} processes that load the artifact and answer "
        "once, with its files in the system's cache: verify and load it, call it, and all from the "
        "start of Python to its end. *Loading adds* is the peak while it loads, above Python and "
        "the engine's library; *mapped* are pages of files, which the system takes back at "
        "need; *its peak* is the most that the whole process held."
    )
