"""One module a target: ``load`` turns an artifact's graph into a function from arrays to arrays."""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines.where import cuda_is_here
from runtime.errors import ArtifactError, DepthError, InputError
from runtime.optional import version_of

Engine = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]

NEURON, CPU, CUDA = "neuron", "cpu", "cuda"


class Row(NamedTuple):
    """What runs a target's graphs: a module here, the package that it needs, and where."""

    module: str
    package: str
    devices: tuple[str, ...]
    least: tuple[int, int] = (0, 0)  # version of the package


# target -> what runs it; in the order in which a runtime prefers them on a device
ENGINES = {
    "neuron": Row("runtime.engines.neuron", "torch_neuron", (NEURON,)),
    "neuronx": Row("runtime.engines.neuron", "torch_neuronx", (NEURON,)),
    "openvino": Row("runtime.engines.openvino", "openvino", (CPU,)),
    "onnx": Row("runtime.engines.onnxruntime", "onnxruntime", (CPU,)),
    "tensorrt": Row("runtime.engines.tensorrt", "tensorrt", (CUDA,), (10, 0)),
    "pt2": Row("runtime.engines.pt2", "torch", (CUDA, CPU), (2, 6)),
    "torchscript": Row("runtime.engines.torchscript", "torch", (CUDA, CPU)),
}
DEVICES = ("auto", CPU, CUDA)
ON_CUDA = tuple(target for target, row in ENGINES.items() if CUDA in row.devices)
USUAL_ON_CUDA = "torchscript"  # what is compiled for a GPU unless told otherwise
STREAMS_ON_CUDA = 2  # one copies while the other computes; they share the weights


def available(target: str) -> bool:
    """True if the package that runs this target's graphs is installed, and new enough."""
    return importlib.util.find_spec(ENGINES[target].package) is not None and not too_old(target)


def too_old(target: str) -> str:
    """What to say of a target's package if it is installed and too old; empty if it is not."""
    _, package, _, least = ENGINES[target]
    if least == (0, 0):
        return ""
    found = version_of(package)
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if not numbers or numbers >= least:
        return ""
    return f"target {target} needs {package} {'.'.join(map(str, least))} or newer, this is {found}"


def why_not_on(target: str, device: str) -> str:
    """Why a target's graphs cannot run on a device (auto, cpu or cuda) here; empty if they can."""
    devices = ENGINES[target].devices
    if device == CUDA and CUDA not in devices:
        return f"target {target} cannot run on cuda; compile it with --target {USUAL_ON_CUDA}"
    if devices != (CUDA,):
        return ""
    if device == CPU:
        return f"target {target} runs on cuda only; use --device cuda or another target"
    return (
        "" if cuda_is_here(device) else f"target {target} needs a CUDA GPU, and none is seen here"
    )


def preferred(targets: Iterable[str], device: str) -> list[str]:
    """Some targets, best first: the accelerator that is here before the processor.

    Whether a GPU is here is asked only if that decides, as torch takes seconds to import.
    """
    found = sorted(set(targets), key=list(ENGINES).index)
    other = [one for one in found if one not in ON_CUDA and NEURON not in ENGINES[one].devices]
    if not (other and set(found) & set(ON_CUDA)) or not cuda_is_here(device):
        return found
    return [one for one in found if one not in other] + other


def usual_streams(target: str, device: str) -> int:
    """How many engines side by side serve a device best: two on a GPU, else one."""
    return STREAMS_ON_CUDA if target in ON_CUDA and cuda_is_here(device) else 1


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
        device: auto, cpu or cuda; of ``ON_CUDA`` which targets can run on the last.
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
    refused = why_not_on(manifest.target, device) or too_old(manifest.target)
    if refused:
        raise InputError(f"{manifest.name}: {refused}")
    module = importlib.import_module(ENGINES[manifest.target].module)
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
