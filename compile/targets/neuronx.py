"""Inferentia 2 and Trainium: traced by ``torch_neuronx.trace``, which runs neuronx-cc.

The way on from Inf1, which AWS has archived. Same forms, its own arguments; there is no fallback to
the CPU unless asked for, and neither family loads the other's graphs.
"""

from pathlib import Path

import torch

from compile.deploy import MATRIX
from compile.targets import neuron
from compile.targets.attempts import REWRITES as REWRITES  # the same forms
from compile.targets.attempts import Attempt
from compile.targets.options import NeuronOptions
from compile.targets.source import Built, GraphSource
from compile.targets.trying import Taken, first_taken
from runtime.errors import CompileError
from runtime.optional import require, version_of

PRECISIONS = neuron.PRECISIONS
TOLERANCES = neuron.TOLERANCES
INSTALL = (
    "torch_neuronx is not installed. Compiling for Inf2 or Trn1 needs Linux, a Python and torch "
    "that the current Neuron SDK names, and neuronx-cc from AWS's own pip repository; "
    "docs/inferentia2.md says where to begin. On this machine use --target openvino, onnx or "
    "torchscript."
)
# Of NeuronOptions: those that are looked at
NEURON_OPTIONS = ("casts", "retries", "optlevel", "attempts", "fresh")
COMPANIONS = ("neuronx-cc", "libneuronxla", "torch-xla", "numpy")
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
    casts = source.neuron.casts

    def make(attempt: Attempt, workdir: Path) -> Taken:
        with torch.no_grad():
            graph = torch_neuronx.trace(
                source.form(attempt.rewrites),
                source.example(),
                compiler_args=list(attempt.compiler_args),
                compiler_workdir=str(workdir),
            )
        level = source.neuron.optlevel
        facts = {
            "casts": casts,
            "optlevel": "default" if level is None else str(level),
            "compiler_args": " ".join(attempt.compiler_args),
        }
        return Taken(graph, facts)

    precision = "f32" if AUTO_CAST[casts][0] == "none" else neuron.precision_of(casts)
    return first_taken(source, attempts(source), make, precision, folder, "neuronx-cc")


def attempts(source: GraphSource) -> list[Attempt]:
    """Ways to ask: the form with constant matrices, then the framework's own resize.

    Raises:
        CompileError: attempts were chosen, and this compiler has none of them.
    """
    arguments = compiler_args(source.neuron)
    matrix = source.rewrites(REWRITES)
    native = tuple(name for name in matrix if name not in MATRIX)
    ways = [Attempt("as asked", matrix, arguments), Attempt("native resize", native, arguments)]
    wanted = source.neuron.attempts
    if wanted:
        ways = [way for name in wanted for way in ways if way.name == name]
        if not ways:
            raise CompileError("--attempts: neuronx-cc is asked as-asked and native-resize only")
    return ways if source.neuron.retries else ways[:1]


def compiler_args(options: NeuronOptions) -> tuple[str, ...]:
    """neuronx-cc's arguments."""
    cast, dtype = AUTO_CAST[options.casts]
    level = () if options.optlevel is None else ("--optlevel", str(options.optlevel))
    return ("--auto-cast", cast, "--auto-cast-type", dtype, *level)


def device_present() -> bool:
    """True on a machine with a Neuron device."""
    return neuron.device_present()


def versions() -> dict[str, str]:
    """What made the graph."""
    torch_neuronx = require("torch_neuronx", "neuron", INSTALL)
    return {
        "torch": torch.__version__,
        "torch_neuronx": torch_neuronx.__version__,
        **{name: version_of(name) for name in COMPANIONS},
    }
