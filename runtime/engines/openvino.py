"""OpenVINO graphs, on the CPU."""

import functools
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine
from runtime.engines.mapped import given_back, mapping_of
from runtime.optional import require
from runtime.processor import saturates_int8

log = logging.getLogger(__name__)

# What the engine is told for a precision; what is not int8 in an int8 graph is bfloat16.
HINTS = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}
FLOAT32 = "precise_0"  # marks an operator that stays float32


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    On import it would write an identifier into the user's home folder and report to its makers;
    with that package out of reach it falls back to a stub that does neither.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino", "openvino")


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph in the manifest's precision.

    A processor without bfloat16 computes in float32 what is not int8, and one whose products of
    int8 are inexact all of it: there the values are rounded as the graph says and multiplied as
    float32.
    """
    graph = compiled(folder / stage.graph, manifest.precision, threads)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # One copy of what comes out, since the next call writes there; none of what goes in
        found = graph(inputs, share_inputs=True, share_outputs=True)
        return {tensor.name: found[tensor.name].copy() for tensor in stage.outputs}

    return run


def compiled(
    file: Path, precision: str, threads: Optional[int] = None, hint: str = "LATENCY"
) -> Any:
    """Read a graph's file and compile it for this CPU; ``hint`` may be THROUGHPUT, too."""
    openvino = import_openvino()
    config = {
        "PERFORMANCE_HINT": hint,
        # Said aloud because OpenVINO's default is bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    if precision == "int8" and saturates_int8():
        _say_float32()
        config["LP_TRANSFORMS_MODE"] = "NO"
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
        if threads < (os.cpu_count() or 1):
            # Every engine with a part of the processor would be pinned to the same first cores
            config["ENABLE_CPU_PINNING"] = "NO"
    core = openvino.Core()
    weights = file.with_suffix(".bin")
    graph, areas = mapping_of(weights, lambda: core.read_model(str(file)))
    if precision != "f32":
        _keep_marks(graph)
    with given_back(areas):  # of ``graph``, which is held here until then
        return core.compile_model(graph, "CPU", config)


@functools.cache
def _say_float32() -> None:
    """Once, however many graphs are loaded."""
    log.warning(
        "this processor has no exact products of int8 (neither VNNI nor AMX): int8 graphs compute "
        "in float32 here, as exactly as elsewhere; an f32 artifact is a little faster"
    )


def _keep_marks(graph: Any) -> None:
    """Make the marks of operators that stay float32 survive OpenVINO's own rewrites.

    Those of 2025 drop the mark as it is read from the file, and copy any plain text.
    """
    for operator in graph.get_ops():
        info = operator.get_rt_info()
        if FLOAT32 in info:
            info[FLOAT32] = ""
