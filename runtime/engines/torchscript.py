"""TorchScript graphs, on the CPU or a CUDA device."""

from pathlib import Path
from typing import Optional

import numpy as np

from runtime.engines import Engine
from runtime.errors import InputError
from runtime.manifest import Manifest
from runtime.optional import require


def load(folder: Path, manifest: Manifest, device: str, threads: Optional[int]) -> Engine:
    """Load a graph; ``auto`` is the CUDA device where there is one."""
    torch = require("torch", "torch")
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device here; use --device cpu")
    graph = torch.jit.load(str(folder / manifest.graph), map_location=device).eval()

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            depth = graph(torch.from_numpy(inputs[manifest.input.name]).to(device))
        return {manifest.output.kind: depth.cpu().numpy()}

    return run
