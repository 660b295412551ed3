"""ONNX graphs, run by ONNX Runtime on the CPU."""

import os
from pathlib import Path
from types import ModuleType
from typing import Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine
from runtime.optional import require


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime without its telemetry.

    Newer Linux builds write an identifier into the user's home folder and report to their makers
    from the import on, unless this variable is set before.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return require("onnxruntime", "onnx")


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph in float32."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / stage.graph), options, providers=["CPUExecutionProvider"]
    )

    names = [tensor.name for tensor in stage.outputs]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, inputs)))

    return run
