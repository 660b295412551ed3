"""One module a target: ``build`` makes the graph's files, ``TOLERANCES`` says how exact they are.

A target's module has ``build(source, folder) -> Built``, ``versions() -> dict``, ``PRECISIONS``,
which can be asked for, ``TOLERANCES`` by precision, of the eager output's range, and ``REWRITES``,
what it takes of ``compile.deploy.REWRITES`` unless told otherwise. It may have
``device_present() -> bool``, whether its graphs can run on this machine; ``check_precision_here``,
which refuses a precision that this machine cannot make; and ``NEURON_OPTIONS``, which of the
Neuron compilers' options it looks at.
"""

import importlib
from types import ModuleType

from runtime.artifact.manifest import BY_CASTS, TARGETS
from runtime.engines import available
from runtime.errors import InputError

CHOICES = ("auto", *TARGETS)
NEURON_TARGETS = BY_CASTS  # where their compiler is installed, they are meant


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


def check_precision(target: str, precision: str) -> None:
    """Refuse a precision that a target does not have.

    Raises:
        InputError: with those that it has.
    """
    found = target_module(target).PRECISIONS
    if precision in found:
        return
    advice = "--casts says how it rounds" if target in BY_CASTS else "choose another --target"
    raise InputError(
        f"precision={precision!r}: target {target} has {', '.join(found)} only; {advice}"
    )
