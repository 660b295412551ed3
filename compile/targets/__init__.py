"""One module a target: ``build`` writes the graph's files, ``TOLERANCE`` says how exact it is."""

import importlib
import importlib.util
from types import ModuleType

from runtime.manifest import TARGETS

CHOICES = ("auto", *TARGETS)


def pick_target() -> str:
    """neuron where torch-neuron is installed, torchscript where CUDA is, else openvino."""
    if importlib.util.find_spec("torch_neuron") is not None:
        return "neuron"
    import torch

    return "torchscript" if torch.cuda.is_available() else "openvino"


def target_module(name: str) -> ModuleType:
    """The module of a target: ``build(form, example, output_name, folder) -> graph's file name``,
    ``versions() -> dict`` and ``TOLERANCE``."""
    return importlib.import_module(f"compile.targets.{name}")
