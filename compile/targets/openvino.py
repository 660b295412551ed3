"""OpenVINO: from the ONNX export (torch 1.13 cannot feed OpenVINO's own torch frontend)."""

import tempfile
from pathlib import Path

from compile.targets import onnx as onnx_target
from compile.targets.source import Built, Source
from runtime.engines.openvino import import_openvino

PRECISIONS = ("f32", "bf16")
TOLERANCES = {"f32": 1e-4, "bf16": 5e-2}
REWRITES = onnx_target.REWRITES


def build(source: Source, folder: Path) -> Built:
    """Export, convert, save; the weights stay float32, the engine rounds them when it loads."""
    openvino = import_openvino()
    file = source.file_name(".xml")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
        built = onnx_target.build(source, Path(scratch))
        graph = openvino.Core().read_model(str(Path(scratch) / built.graph))
        openvino.save_model(graph, str(folder / file), compress_to_fp16=False)
        del graph  # it may still map the scratch file
    return Built(file, source.precision, built.rewrites)


def versions() -> dict[str, str]:
    """What made the graph."""
    openvino = import_openvino()
    return {**onnx_target.versions(), "openvino": openvino.__version__}
