"""OpenVINO graphs, on the CPU."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Optional

import numpy as np

from runtime.engines import Engine
from runtime.manifest import Manifest, StageSpec
from runtime.optional import require


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
    """Load a graph in the manifest's precision."""
    openvino = import_openvino()
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        # Said aloud because OpenVINO's default is bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": manifest.precision,
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    graph = openvino.Core().compile_model(str(folder / stage.graph), "CPU", config)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = graph(inputs)
        return {tensor.name: found[tensor.name].copy() for tensor in stage.outputs}

    return run
