"""TorchScript: traced by torch, for CPU and CUDA. Also the reference for other targets."""

from pathlib import Path

import torch

from compile.deploy import COMMON
from compile.targets.source import Built, Source
from compile.trace import trace

PRECISIONS = ("f32",)
TOLERANCES = {"f32": 1e-4}
REWRITES = COMMON


def build(source: Source, folder: Path) -> Built:
    """Trace and save."""
    rewrites = source.rewrites(REWRITES)
    graph = trace(source.form(rewrites), source.example())
    file = source.file_name(".pt")
    graph.module.save(str(folder / file))
    return Built(file, source.precision, rewrites)


def versions() -> dict[str, str]:
    """What made the graph."""
    return {"torch": torch.__version__}
