"""One module a target: ``load`` turns an artifact's graph into a function from arrays to arrays."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.errors import ArtifactError, DepthError, InputError

Engine = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]

# target -> (module here, package it needs); in the order in which a runtime prefers them
ENGINES = {
    "neuron": ("runtime.engines.neuron", "torch_neuron"),
    "neuronx": ("runtime.engines.neuron", "torch_neuronx"),
    "openvino": ("runtime.engines.openvino", "openvino"),
    "onnx": ("runtime.engines.onnxruntime", "onnxruntime"),
    "torchscript": ("runtime.engines.torchscript", "torch"),
}
DEVICES = ("auto", "cpu", "cuda")


def available(target: str) -> bool:
    """True if the package that runs this target's graphs is installed."""
    return importlib.util.find_spec(ENGINES[target][1]) is not None


def load_engine(
    folder: Path,
    manifest: Manifest,
    device: str = "auto",
    threads: Optional[int] = None,
    stage: Optional[StageSpec] = None,
) -> Engine:
    """Load a graph.

    Args:
        folder: where the artifact's files are, already verified.
        stage: which of the artifact's graphs; by default the first.
        device: auto, cpu or cuda; only torchscript graphs can run on either.
        threads: CPU threads; None leaves the choice to the engine.
    Returns:
        a function from {input name: array} to {output name: array}.
    Raises:
        InputError: the target cannot run on that device.
        ArtifactError: the engine refuses the graph.
        DeviceError: the accelerator is missing, taken or failed.
        MissingDependency: the target's package is not installed.
    """
    if device not in DEVICES:
        raise InputError(f"device={device!r}: use one of {', '.join(DEVICES)}")
    if device == "cuda" and manifest.target != "torchscript":
        raise InputError(
            f"{manifest.name} cannot run on cuda; compile it with --target torchscript"
        )
    module = importlib.import_module(ENGINES[manifest.target][0])
    stage = stage or manifest.stages[0]
    try:
        engine: Engine = module.load(folder, manifest, stage, device, threads)
    except DepthError:
        raise
    except Exception as error:  # every engine has its own; all mean that this graph is not for it
        raise ArtifactError(
            f"{folder}: {manifest.target} cannot load {stage.graph} here "
            f"({type(error).__name__}: {error}); it was made with {manifest.versions}, "
            "rebuild it with `make compile`"
        ) from error
    return engine
