"""Inferentia graphs, run by torch-neuron. Needs an Inf1 instance."""

from pathlib import Path
from typing import Optional

import numpy as np

from runtime.engines import Engine
from runtime.manifest import Manifest
from runtime.optional import require


def load(folder: Path, manifest: Manifest, device: str, threads: Optional[int]) -> Engine:
    """Load a graph onto a NeuronCore."""
    require("torch_neuron", "neuron")  # registers the operator; jit.load fails without it
    torch = require("torch", "torch")
    graph = torch.jit.load(str(folder / manifest.graph))

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            depth = graph(torch.from_numpy(inputs[manifest.input.name]))
        return {manifest.output.kind: depth.numpy()}

    return run
