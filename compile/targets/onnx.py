"""ONNX: exported by torch, validated by onnx.checker, run by ONNX Runtime."""

import inspect
import warnings
from pathlib import Path

import torch

from runtime.optional import require

TOLERANCE = 1e-4
PRECISION = "f32"
OPSET = 17  # the first with LayerNormalization; the last that torch 1.13 writes
INPUT_NAME = "image"


def build(form: torch.nn.Module, example: torch.Tensor, output_name: str, folder: Path) -> str:
    """Export and validate. Returns the graph's file name.

    Weights past protobuf's 2 GB are written beside the graph.
    """
    onnx = require("onnx", "onnx")
    file = folder / "graph.onnx"
    options = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the same exporter on every torch that we support
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation of that exporter, constant-folding notes
        torch.onnx.export(
            form,
            (example,),
            str(file),
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[output_name],
            **options,
        )
    onnx.checker.check_model(str(file))
    return file.name


def versions() -> dict[str, str]:
    """What made the graph."""
    onnx = require("onnx", "onnx")
    return {"torch": torch.__version__, "onnx": onnx.__version__, "opset": str(OPSET)}
