"""ONNX: exported by torch, validated by onnx.checker, run by ONNX Runtime."""

import inspect
import warnings
from pathlib import Path
from typing import Optional

import torch
from torch import nn

from compile.deploy import COMMON
from compile.targets.source import Built, GraphSource
from runtime.optional import require

PRECISIONS = ("f32",)
TOLERANCES = {"f32": 1e-4}
REWRITES = COMMON
OPSET = 17  # the first with LayerNormalization; the last that torch 1.13 writes


def build(source: GraphSource, folder: Path) -> Built:
    """Export and validate."""
    rewrites = source.rewrites(REWRITES)
    file = folder / source.file_name(".onnx")
    export(source, rewrites, file)
    return Built(file.name, "f32", rewrites)


def export(source: GraphSource, rewrites: tuple[str, ...], file: Path) -> None:
    """Write a source's form with these rewrites and validate it."""
    export_form(source.form(rewrites), source, file)


def export_form(
    form: nn.Module,
    source: GraphSource,
    file: Path,
    example: Optional[tuple[torch.Tensor, ...]] = None,
) -> None:
    """Write a form of a source and validate it.

    Weights past protobuf's 2 GB are written beside the graph.

    Args:
        example: inputs where the form is; None: zeros on the CPU.
    """
    onnx = require("onnx", "onnx")
    options = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the same exporter on every torch that we support
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation of that exporter, constant-folding notes
        torch.onnx.export(
            form,
            example or source.example(),
            str(file),
            opset_version=OPSET,
            input_names=[tensor.name for tensor in source.stage.inputs],
            output_names=[tensor.name for tensor in source.stage.outputs],
            **options,
        )
    onnx.checker.check_model(str(file))


def versions() -> dict[str, str]:
    """What made the graph."""
    onnx = require("onnx", "onnx")
    return {"torch": torch.__version__, "onnx": onnx.__version__, "opset": str(OPSET)}
