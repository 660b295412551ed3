"""TorchScript: traced by torch, for CPU and CUDA. Also the reference for other targets."""

from pathlib import Path

import torch
from torch import nn

from compile.deploy import COMMON, HAS_FUSED_ATTENTION
from compile.low_precision import lower
from compile.targets.source import Built, GraphSource
from compile.trace import trace
from runtime.engines.where import check_bfloat16, torch_device
from runtime.errors import InputError

PRECISIONS = ("f32", "bf16", "f16")
TOLERANCES = {"f32": 1e-4, "bf16": 5e-2, "f16": 1e-2}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
REWRITES = (*COMMON, "fused-attention") if HAS_FUSED_ATTENTION else COMMON


def build(source: GraphSource, folder: Path) -> Built:
    """Trace and save.

    Raises:
        InputError: torch cannot trace or compute this precision here.
    """
    form, rewrites = form_of(source)
    file = source.file_name(".pt")
    trace(form, source.example()).module.save(str(folder / file))
    return Built(file, source.precision, rewrites)


def form_of(source: GraphSource) -> tuple[nn.Module, tuple[str, ...]]:
    """What is traced, in the precision asked for, and the rewrites in it; raises as ``build``."""
    check_precision_here(source.precision)
    wanted = REWRITES
    if source.precision != "f32" and not HAS_FUSED_ATTENTION:
        # its transposed convolution of bfloat16 maps returns the wrong shape
        wanted = (*wanted, "shuffle-upsample")
    rewrites = source.rewrites(wanted)
    form = source.form(rewrites)
    return (form if source.precision == "f32" else lower(form, DTYPES[source.precision])), rewrites


def check_precision_here(precision: str, device: str = "auto") -> None:
    """Refuse what the installed torch cannot trace, or not compute on the device.

    Raises:
        InputError: float16 with torch 1.13; bfloat16 with it, on some CPUs.
    """
    if precision == "bf16" and torch_device(device).type == "cpu":
        check_bfloat16(torch, "precision='bf16'")
    if precision == "f16" and not HAS_FUSED_ATTENTION:
        raise InputError(
            f"precision='f16': torch {torch.__version__} computes no float16 on the CPU, where "
            "graphs are traced; use bf16, or compile with torch 2.1 or newer"
        )


def versions() -> dict[str, str]:
    """What made the graph."""
    return {"torch": torch.__version__}
