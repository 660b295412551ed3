"""OpenVINO: from the ONNX export (torch 1.13 cannot feed OpenVINO's own torch frontend)."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compile.calibration import CalibrationImages
from compile.targets import int8, mixed
from compile.targets import onnx as onnx_target
from compile.targets.source import Built, GraphSource
from runtime.engines.openvino import compiled, import_openvino
from runtime.errors import InputError
from runtime.optional import require

PRECISIONS = ("f32", "bf16", "int8")
TOLERANCES = {"f32": 1e-4, "bf16": 5e-2, "int8": 0.2}
REWRITES = onnx_target.REWRITES


def build(source: GraphSource, folder: Path) -> Built:
    """Export, convert, quantise if asked to, and save.

    Raises:
        CompileError: int8 is too far off.
        InputError: int8 of a model in several stages, or no photos to calibrate with.
        MissingDependency: onnx, openvino or, for int8, nncf is not installed.
    """
    openvino = import_openvino()
    images = _calibration(source) if source.precision == "int8" else None
    file = folder / source.file_name(".xml")
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
        built = onnx_target.build(source, Path(scratch))
        exported = Path(scratch) / built.graph
        if images is not None:
            graph, facts = _quantised(exported, images)
        else:
            graph = openvino.Core().read_model(str(exported))
        _save(graph, file, source.precision)
        del graph  # it may still map the scratch file
    if source.precision != "f32":
        facts["float32"] = mixed.KEPT_WORDS
    return Built(file.name, source.precision, built.rewrites, facts)


def _save(graph: Any, file: Path, precision: str) -> None:
    """Write a graph as it is run in this precision."""
    if precision != "f32":
        mixed.round_weights(graph)
    import_openvino().save_model(graph, str(file), compress_to_fp16=False)
    if precision != "f32":
        mixed.mark_kept(file)


def _calibration(source: GraphSource) -> CalibrationImages:
    """What int8 needs, before minutes of other work."""
    require("nncf", "int8")
    if not source.whole:
        raise InputError(
            f"precision='int8': {source.name} is several graphs, which are not quantised; use bf16"
        )
    return CalibrationImages(source.calibration, source.input)


def _quantised(exported: Path, images: CalibrationImages) -> tuple[Any, dict[str, str]]:
    """The graph in int8, and what the manifest says of it."""
    core = import_openvino().Core()
    trial = exported.with_name("trial.xml")

    def run(graph: Any, which: Sequence[int]) -> Iterator[np.ndarray]:
        _save(graph.clone(), trial, "int8")
        return outputs(trial, "int8", which)

    def outputs(file: Path, precision: str, which: Sequence[int]) -> Iterator[np.ndarray]:
        engine = compiled(file, precision)
        for index in which:
            yield engine(images[index])[0].copy()

    expected = list(outputs(exported, "f32", range(len(images))))
    found = int8.quantise(lambda: core.read_model(str(exported)), images, expected, run)
    return found.graph, found.facts(images.total)


def versions() -> dict[str, str]:
    """What made the graph."""
    openvino = import_openvino()
    return {**onnx_target.versions(), "openvino": openvino.__version__}
