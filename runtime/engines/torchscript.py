"""TorchScript graphs, on the CPU or a CUDA device."""

from pathlib import Path
from typing import Any, Optional

import numpy as np

from runtime.engines import Engine
from runtime.errors import InputError
from runtime.manifest import Manifest, StageSpec
from runtime.optional import require


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph; ``auto`` is the CUDA device where there is one."""
    torch = require("torch", "torch")
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device here; use --device cpu")
    graph = torch.jit.load(str(folder / stage.graph), map_location=device).eval()

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = graph(*(torch.from_numpy(inputs[t.name]).to(device) for t in stage.inputs))
        return named_outputs(found, stage)

    return run


def named_outputs(found: Any, stage: StageSpec) -> dict[str, np.ndarray]:
    """What a traced graph returned, one tensor or a tuple, by the names of the stage's outputs."""
    tensors = found if isinstance(found, tuple) else (found,)
    return {spec.name: tensor.cpu().numpy() for spec, tensor in zip(stage.outputs, tensors)}
