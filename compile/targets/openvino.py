"""OpenVINO: from the ONNX export (torch 1.13 cannot feed OpenVINO's own torch frontend)."""

import tempfile
from pathlib import Path
from typing import Any

from compile.calibration import Batches, calibration_images
from compile.parity import compare
from compile.targets import int8, mixed
from compile.targets import onnx as onnx_target
from compile.targets.source import Built, GraphSource
from runtime.engines.openvino import compiled, import_openvino
from runtime.errors import InputError
from runtime.optional import require

PRECISIONS = ("f32", "bf16", "int8")
TOLERANCES = {"f32": 1e-4, "bf16": 5e-2, "int8": 0.1}
REWRITES = (*onnx_target.REWRITES, "block-norms")


def build(source: GraphSource, folder: Path) -> Built:
    """Export, convert, quantise if asked to, and save.

    Raises:
        CompileError: int8 is too far off.
        InputError: int8 of a model in several stages, or no photos to calibrate with.
        MissingDependency: onnx, openvino or, for int8, nncf is not installed.
    """
    core = import_openvino().Core()
    images = _calibration(source) if source.precision == "int8" else None
    rewrites = source.rewrites(REWRITES)
    file = folder / source.file_name(".xml")
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
        exported = Path(scratch) / "graph.onnx"
        onnx_target.export(source, rewrites, exported)
        graph = core.read_model(str(exported))
        if images is not None:
            fitted, held_out = images
            graph = int8.quantise(graph, fitted)
        _save(graph, file, source.precision)
        if images is not None:
            worst = _judged(file, exported, held_out)
            facts = int8.facts(graph, fitted.total, held_out.total, worst)
        del graph  # it may still map the scratch file
    if source.precision == "bf16":
        facts["float32"] = mixed.KEPT_WORDS
    return Built(file.name, source.precision, rewrites, facts)


def _save(graph: Any, file: Path, precision: str) -> None:
    """Write a graph as it is run in this precision."""
    if precision != "f32":
        mixed.round_weights(graph, mixed.kept if precision == "bf16" else mixed.nothing)
    import_openvino().save_model(graph, str(file), compress_to_fp16=False)
    if precision == "bf16":
        mixed.mark_kept(file)


def _calibration(source: GraphSource) -> tuple[Batches, Batches]:
    """What int8 needs, before other work."""
    require("nncf", "int8")
    if not source.whole:
        raise InputError(
            f"precision='int8': {source.name} is several graphs, which are not quantised; use bf16"
        )
    return calibration_images(source.calibration, source.input)


def _judged(file: Path, exported: Path, images: Batches) -> int8.Worst:
    """How near an int8 graph's file is to the float32 one on images that it was not fitted to.

    Raises:
        CompileError: it is too far off.
    """
    graph, reference = compiled(file, "int8"), compiled(exported, "f32")
    cases = [compare("held out", graph(image)[0], reference(image)[0]) for image in images]
    worst = int8.Worst.of(cases)
    worst.check()
    return worst


def versions() -> dict[str, str]:
    """What made the graph."""
    openvino = import_openvino()
    return {**onnx_target.versions(), "openvino": openvino.__version__}
