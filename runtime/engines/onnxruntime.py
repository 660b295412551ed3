"""ONNX graphs, run by ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Optional

import numpy as np

from runtime.engines import Engine
from runtime.manifest import Manifest
from runtime.optional import require


def load(folder: Path, manifest: Manifest, device: str, threads: Optional[int]) -> Engine:
    """Load a graph in float32."""
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / manifest.graph), options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {manifest.output.kind: session.run([manifest.output.kind], inputs)[0]}

    return run
