"""OpenVINO: from the ONNX export (torch 1.13 cannot feed OpenVINO's own torch frontend)."""

import tempfile
from pathlib import Path

import torch

from compile.targets import onnx as onnx_target
from runtime.engines.openvino import import_openvino

TOLERANCE = 1e-4
PRECISION = "f32"


def build(form: torch.nn.Module, example: torch.Tensor, output_name: str, folder: Path) -> str:
    """Export, convert, save in float32. Returns the graph's file name."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
        file = onnx_target.build(form, example, output_name, Path(scratch))
        graph = openvino.Core().read_model(str(Path(scratch) / file))
        openvino.save_model(graph, str(folder / "graph.xml"), compress_to_fp16=False)
        del graph  # it may still map the scratch file
    return "graph.xml"


def versions() -> dict[str, str]:
    """What made the graph."""
    openvino = import_openvino()
    return {**onnx_target.versions(), "openvino": openvino.__version__}
