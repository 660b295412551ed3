"""One module a target: ``build`` makes the graph's files, ``TOLERANCES`` says how exact they are.

A target's module has ``build(source, folder) -> Built``, ``versions() -> dict``, ``PRECISIONS``,
which can be asked for, ``TOLERANCES`` by precision, of the eager output's range, and ``REWRITES``,
what it takes of ``compile.deploy.REWRITES`` unless told otherwise. It may have
``device_present() -> bool``, whether its graphs can run on this machine, and ``ABSENT``, what is
said if not; ``check_precision_here(precision, device)``, which refuses one that this machine cannot
make or compute there; ``load_for_parity``, what is compared with the model if that is not what
``load_engine`` gives; and ``NEURON_OPTIONS``, which of the Neuron compilers' options it looks at.
"""

import importlib
from types import ModuleType

from runtime.artifact.manifest import BY_CASTS, TARGETS
from runtime.engines import ON_CUDA, USUAL_ON_CUDA, available
from runtime.engines.where import cuda_is_here
from runtime.errors import InputError

CHOICES = ("auto", *TARGETS)
NEURON_TARGETS = BY_CASTS  # where their compiler is installed, they are meant


def pick_target(device: str = "auto") -> str:
    """neuron or neuronx where its compiler is, torchscript where CUDA is, else openvino."""
    for target in NEURON_TARGETS:
        if available(target):
            return target
    return USUAL_ON_CUDA if cuda_is_here(device) else "openvino"


def usual_precision(target: str, device: str) -> str:
    """f16 for graphs that will run on a CUDA device here, f32 for all others.

    float32 without TF32 leaves a GPU's matrix units idle. torch 1.13 traces no float16.
    """
    return "f16" if _on_cuda_here(target, device) else "f32"


def usual_pixels(target: str, device: str, family: str) -> str:
    """Bytes for graphs of V2 that will run on a CUDA device here: a quarter of what is copied."""
    return "rgb8" if family == "v2" and _on_cuda_here(target, device) else "normalised"


def _on_cuda_here(target: str, device: str) -> bool:
    if target not in ON_CUDA or not cuda_is_here(device):
        return False
    from compile.deploy import HAS_FUSED_ATTENTION  # which needs torch

    return HAS_FUSED_ATTENTION  # which torch 1.13 has not


def target_module(name: str) -> ModuleType:
    """The module of a target."""
    return importlib.import_module(f"compile.targets.{name}")


def absence(target: str) -> str:
    """What is said where a target's ``device_present`` is False."""
    return str(getattr(target_module(target), "ABSENT", "no such chip here"))


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
