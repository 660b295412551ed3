"""TorchScript: traced by torch, for CPU and CUDA. Also the reference for other targets."""

from pathlib import Path

import torch

TOLERANCE = 1e-4
PRECISION = "f32"


def build(form: torch.nn.Module, example: torch.Tensor, output_name: str, folder: Path) -> str:
    """Trace and save. Returns the graph's file name."""
    with torch.no_grad():
        # check_trace: parity checks the graph afterwards, on more than one input
        graph = torch.jit.trace(form, example, check_trace=False)  # type: ignore[attr-defined]
    graph.save(str(folder / "graph.pt"))
    return "graph.pt"


def versions() -> dict[str, str]:
    """What made the graph."""
    return {"torch": torch.__version__}
