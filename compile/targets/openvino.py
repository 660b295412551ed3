"""OpenVINO: from the ONNX export (torch 1.13 cannot feed OpenVINO's own torch frontend)."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compile.calibration import Batches, calibration_images
from compile.parity import compare
from compile.stages import Stage
from compile.targets import int8, mixed, strips
from compile.targets import onnx as onnx_target
from compile.targets.source import Built, GraphSource
from runtime.engines.openvino import compiled, import_openvino
from runtime.optional import require

PRECISIONS = ("f32", "bf16", "int8")
TOLERANCES = {"f32": 1e-4, "bf16": 5e-2, "int8": 0.2}
REWRITES = (*onnx_target.REWRITES, "block-norms")


def build(source: GraphSource, folder: Path) -> Built:
    """Export, convert, quantise if asked to, and save.

    Of a model in several stages its encoder becomes int8, all else bfloat16.

    Raises:
        CompileError: int8 is too far off.
        InputError: no photos to calibrate with.
        MissingDependency: onnx, openvino or, for int8, nncf is not installed.
    """
    core = import_openvino().Core()
    precision = source.precision
    if precision == "int8" and source.stage.from_images is None:
        precision = "bf16"
    images = _calibration(source) if precision == "int8" else None
    rewrites = source.rewrites(REWRITES)
    file = folder / source.file_name(".xml")
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
        exported = Path(scratch) / "graph.onnx"
        onnx_target.export(source, rewrites, exported)
        graph = core.read_model(str(exported))
        if images is not None:
            fitted, held_out = images
            graph = int8.quantise(graph, Inputs(fitted, source.stage))
        _save(graph, file, precision)
        if images is not None:
            worst = _judged(file, exported, Inputs(held_out, source.stage))
            facts = int8.facts(graph, fitted.total, held_out.total, worst)
        del graph  # it may still map the scratch file
    if precision == "bf16":
        facts["float32"] = mixed.KEPT_WORDS
    return Built(file.name, precision, rewrites, facts)


def _save(graph: Any, file: Path, precision: str) -> None:
    """Write a graph as it is run in this precision."""
    strips.keep_apart(graph)
    if precision != "f32":
        mixed.round_weights(graph, mixed.kept if precision == "bf16" else mixed.nothing)
    import_openvino().save_model(graph, str(file), compress_to_fp16=False)
    if precision == "bf16":
        mixed.mark_kept(file)


class Inputs(Sequence[dict[str, np.ndarray]]):
    """What a stage is given where a model is given images: made when it is asked for."""

    def __init__(self, images: Batches, stage: Stage) -> None:
        self._images, self._stage = images, stage

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        assert self._stage.from_images is not None
        found = self._stage.from_images(self._images[index])
        return {tensor.name: array for tensor, array in zip(self._stage.inputs, found)}


def _calibration(source: GraphSource) -> tuple[Batches, Batches]:
    """What int8 needs, before other work."""
    require("nncf", "int8")
    (batch, *_) = source.stage.inputs[0].shape  # of the image, or of one view's tokens each
    spec = dataclasses.replace(source.input, batch=batch)
    return calibration_images(source.calibration, spec)


def _judged(file: Path, exported: Path, inputs: Inputs) -> int8.Worst:
    """How near an int8 graph's file is to the float32 one on images that it was not fitted to.

    Raises:
        CompileError: it is too far off.
    """
    graph, reference = compiled(file, "int8"), compiled(exported, "f32")
    cases = []
    for given in inputs:
        found, expected = graph(given), reference(given)
        cases += [
            compare("held out", found[index], expected[index]) for index in range(len(expected))
        ]
    worst = int8.Worst.of(cases)
    worst.check()
    return worst


def versions() -> dict[str, str]:
    """What made the graph."""
    openvino = import_openvino()
    return {**onnx_target.versions(), "openvino": openvino.__version__}
