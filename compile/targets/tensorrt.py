"""TensorRT: our ONNX at a fixed shape, its casts explicit; the engine is built where it is served.

An engine is tied to a GPU and to TensorRT's version, so the artifact holds what it is built from:
the graph, in the precision asked for, and what the eager form gives for a noise, to which
``runtime.engines.tensorrt`` holds each engine that it builds. Any machine can compile this;
parity with the model waits for one that has the GPU and TensorRT.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from compile.low_precision import lower
from compile.targets import onnx, torchscript
from compile.targets.onnx import REWRITES as REWRITES
from compile.targets.source import Built, GraphSource
from runtime.engines import available
from runtime.engines.inductor import probe
from runtime.engines.tensorrt import expected_file
from runtime.engines.where import cuda_is_here

PRECISIONS = ("f32", "f16")
ABSENT = "no CUDA GPU with tensorrt here"
TOLERANCES = {"f32": 1e-3, "f16": 2e-2}  # TensorRT chooses in what it sums


def build(source: GraphSource, folder: Path) -> Built:
    """Export in this precision, and write down what the float32 form gives.

    Raises:
        InputError: float16 with torch 1.13.
        MissingDependency: onnx is not installed.
    """
    check_precision_here(source.precision)
    rewrites = source.rewrites(REWRITES)
    exact = source.form(rewrites)
    form: nn.Module = exact
    if source.precision != "f32":
        form = lower(source.form(rewrites), torchscript.DTYPES[source.precision])
    file = folder / source.file_name(".onnx")
    onnx.export_form(form, source, file)
    inputs = [probe(torch, tensor) for tensor in source.stage.inputs]
    with torch.no_grad():
        found = exact(*inputs)
    outputs = found if isinstance(found, tuple) else (found,)
    arrays = [tensor.float().numpy() for tensor in outputs]
    given = [tensor.numpy() for tensor in inputs]
    named = zip((*source.stage.inputs, *source.stage.outputs), (*given, *arrays))
    np.savez(expected_file(file), **{spec.name: array for spec, array in named})
    return Built(file.name, source.precision, rewrites)


def check_precision_here(precision: str, device: str = "auto") -> None:
    """Refuse what the installed torch cannot export.

    Raises:
        InputError: float16 with torch 1.13.
    """
    torchscript.check_precision_here(precision, device)


def device_present() -> bool:
    """True where engines can be built and run."""
    return available("tensorrt") and cuda_is_here()


def versions() -> dict[str, str]:
    """What made the graph."""
    return onnx.versions()
