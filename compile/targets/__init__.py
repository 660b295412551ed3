"""One module a target: ``build`` makes the graph's files, ``TOLERANCE`` says how exact they are.

A target's module has ``build(source, folder) -> Built``, ``versions() -> dict``, ``TOLERANCE`` and
``REWRITES``, what it takes of ``compile.deploy.REWRITES`` unless told otherwise.
"""

import importlib
import importlib.util
from types import ModuleType

from runtime.manifest import TARGETS

CHOICES = ("auto", *TARGETS)
COMPILERS = {
    "neuron": "torch_neuron",
    "neuronx": "torch_neuronx",
}  # where installed, they are meant


def pick_target() -> str:
    """neuron or neuronx where its compiler is, torchscript where CUDA is, else openvino."""
    for target, package in COMPILERS.items():
        if importlib.util.find_spec(package) is not None:
            return target
    import torch

    return "torchscript" if torch.cuda.is_available() else "openvino"


def target_module(name: str) -> ModuleType:
    """The module of a target."""
    return importlib.import_module(f"compile.targets.{name}")
