"""Inferentia 2 and Trainium: traced by ``torch_neuronx.trace``, which runs neuronx-cc.

The way on from Inf1, which AWS has archived. Same forms, its own arguments; there is no fallback to
the CPU unless asked for, and neither family loads the other's graphs.
"""

import logging
from pathlib import Path

import torch

from compile.deploy import MATRIX
from compile.targets import neuron
from compile.targets.source import Built, GraphSource
from runtime.errors import CompileError, first_line
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

PRECISIONS = neuron.PRECISIONS
TOLERANCES = neuron.TOLERANCES
REWRITES = neuron.REWRITES
INSTALL = (
    "torch_neuronx is not installed. Compiling for Inf2 or Trn1 needs Linux, a Python and torch "
    "that the current Neuron SDK names, and neuronx-cc from AWS's own pip repository; "
    "docs/inferentia.md says where to begin. On this machine use --target openvino, onnx or "
    "torchscript."
)
NEURON_OPTIONS = ("casts", "retries")  # of NeuronOptions: those that are looked at
# neuronx-cc's words for the cast modes of compile.numerics
AUTO_CAST = {
    "all": ("all", "bf16"),
    "matmult": ("matmult", "bf16"),
    "none": ("none", "bf16"),
    "all-fp16": ("all", "fp16"),
    "matmult-fp16": ("matmult", "fp16"),
}


def build(source: GraphSource, folder: Path) -> Built:
    """Compile with constant-matrix resizes, else with the native operator, and save.

    Raises:
        MissingDependency: torch-neuronx is not installed.
        CompileError: neither form was taken.
    """
    torch_neuronx = require("torch_neuronx", "neuron", INSTALL)
    cast, dtype = AUTO_CAST[source.neuron.casts]
    arguments = ["--auto-cast", cast, "--auto-cast-type", dtype]
    matrix = source.rewrites(REWRITES)
    native = tuple(name for name in matrix if name not in MATRIX)
    forms = {"as asked": matrix, "native resize": native}
    failures = []
    for name, rewrites in list(forms.items())[: 2 if source.neuron.retries else 1]:
        workdir = source.make_workdir(name.replace(" ", "-"))
        try:
            with torch.no_grad():
                graph = torch_neuronx.trace(
                    source.form(rewrites),
                    source.example(),
                    compiler_args=arguments,
                    compiler_workdir=str(workdir),
                )
        except Exception as error:  # whatever the compiler raises means that it does not take it
            failures.append(f"{name}: {first_line(error)} ({workdir})")
            log.warning("%s", failures[-1])
            continue
        neuron.discard(workdir)
        file = source.file_name(".pt")
        graph.save(str(folder / file))
        facts = {
            "attempt": name,
            "casts": source.neuron.casts,
            "compiler_args": " ".join(arguments),
        }
        precision = "f32" if cast == "none" else neuron.precision_of(source.neuron.casts)
        return Built(file, precision, rewrites, facts)
    raise CompileError(f"neuronx-cc took no form of {source.name}: " + "; ".join(failures))


def device_present() -> bool:
    """True on a machine with a Neuron device."""
    return neuron.device_present()


def versions() -> dict[str, str]:
    """What made the graph."""
    torch_neuronx = require("torch_neuronx", "neuron", INSTALL)
    return {
        "torch": torch.__version__,
        "torch_neuronx": torch_neuronx.__version__,
        "neuronx-cc": version_of("neuronx-cc"),
    }
