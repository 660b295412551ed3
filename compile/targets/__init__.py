"""One module a target: ``build`` makes the graph's files, ``TOLERANCE`` says how exact they are.

A target's module has ``build(source, folder) -> Built``, ``versions() -> dict``, ``TOLERANCE`` and
``REWRITES``, what it takes of ``compile.deploy.REWRITES`` unless told otherwise.
"""

import importlib
from types import ModuleType

from runtime.engines import available
from runtime.manifest import TARGETS

CHOICES = ("auto", *TARGETS)
NEURON_TARGETS = ("neuron", "neuronx")  # where their compiler is installed, they are meant


def pick_target() -> str:
    """neuron or neuronx where its compiler is, torchscript where CUDA is, else openvino."""
    for target in NEURON_TARGETS:
        if available(target):
            return target
    import torch

    return "torchscript" if torch.cuda.is_available() else "openvino"


def target_module(name: str) -> ModuleType:
    """The module of a target."""
    return importlib.import_module(f"compile.targets.{name}")
