"""Inferentia (Inf1): traced by ``torch.neuron.trace``, which runs the neuron-cc compiler.

Needs no Inferentia chip to compile, but without one the graph's answers are arbitrary, so its
parity can only be checked on an Inf1 instance.
"""

from pathlib import Path

import torch

from runtime.errors import MissingDependency

TOLERANCE = 5e-2  # matrix products are bfloat16 on this chip; not yet measured on one
PRECISION = "bf16"
INSTALL = (
    "torch_neuron is not installed. Compiling for Inferentia needs an x86-64 Linux machine with "
    "Python 3.9 or 3.10, torch 1.13.1 (torch-neuron 1.13.1.2.11.13.0) and neuron-cc[tensorflow] "
    "1.24.0.0 from AWS's own pip repository, which the Neuron SDK documentation for Inf1 names; "
    "a c5.4xlarge is enough, no Inferentia chip is needed. "
    "On this machine use --target openvino, onnx or torchscript."
)


def build(form: torch.nn.Module, example: torch.Tensor, output_name: str, folder: Path) -> str:
    """Trace and save. Returns the graph's file name.

    Raises:
        MissingDependency: torch-neuron is not installed.
        AttributeError: an operator that Inferentia cannot run; nothing falls back to the CPU.
    """
    _require_torch_neuron()
    with torch.no_grad():
        graph = torch.neuron.trace(form, example, fallback=False)  # type: ignore[attr-defined]
    graph.save(str(folder / "graph.pt"))
    return "graph.pt"


def device_present() -> bool:
    """True on a machine with an Inferentia chip."""
    return Path("/dev/neuron0").exists()


def versions() -> dict[str, str]:
    """What made the graph."""
    torch_neuron = _require_torch_neuron()
    return {"torch": torch.__version__, "torch_neuron": torch_neuron.__version__}


def _require_torch_neuron():  # type: ignore[no-untyped-def]
    try:
        import torch_neuron
    except ModuleNotFoundError as error:
        if error.name != "torch_neuron":
            raise
        raise MissingDependency(INSTALL) from None
    return torch_neuron
