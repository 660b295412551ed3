"""TorchScript graphs, on the CPU or a CUDA device."""

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine
from runtime.engines.cuda import DeviceCall
from runtime.engines.failures import failures_named
from runtime.engines.where import check_bfloat16, exact_float32, torch_device
from runtime.optional import require

# Graphs in use, by file and device: engines of one artifact share its weights.
_graphs: "weakref.WeakValueDictionary[tuple[Any, ...], Any]" = weakref.WeakValueDictionary()
_loading = threading.Lock()


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph; ``auto`` is the CUDA device where there is one.

    On CUDA, float32 means float32, for the whole process: see ``exact_float32``.

    Raises:
        InputError: cuda was asked for and is not there, or bfloat16 is too coarse on this CPU.
        DeviceError: the GPU is out of memory, or failed.
    """
    torch = require("torch", "torch")
    if threads is not None:
        torch.set_num_threads(threads)
    device = str(torch_device(device))
    if device == "cpu" and manifest.precision == "bf16":
        check_bfloat16(torch, manifest.name)
    file = folder / stage.graph
    with failures_named(folder):
        graph = shared_graph(torch, file, device)
    return engine_of(torch, graph, folder, manifest, stage, device)


def engine_of(
    torch: ModuleType, graph: Any, folder: Path, manifest: Manifest, stage: StageSpec, device: str
) -> Engine:
    """The engine of a graph of torch's that is loaded on a device, cpu or cuda."""
    if device == "cpu":

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                found = graph(*(torch.from_numpy(inputs[t.name]) for t in stage.inputs))
            return named_outputs(found, stage)

        return run
    exact_float32(torch)
    torch.backends.cudnn.benchmark = True  # shapes are fixed: the fastest kernel is found once
    with failures_named(folder):
        call = DeviceCall(torch, graph, stage, manifest.name)

    def run_on_device(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with failures_named(folder):
            return named_outputs(
                call(*(torch.from_numpy(inputs[t.name]) for t in stage.inputs)), stage
            )

    return run_on_device


def shared_graph(
    torch: ModuleType,
    file: Path,
    device: str,
    read: Optional[Callable[[], Any]] = None,
    form: str = "graph",
) -> Any:
    """A graph on a device, loaded once for as long as anyone has it.

    Args:
        read: how it is loaded, if it is no TorchScript.
        form: what is loaded of it; always by the same ``read``.
    """
    facts = file.stat()
    key = (file.resolve(), facts.st_mtime_ns, facts.st_size, device, form)
    with _loading:
        graph = _graphs.get(key)
        if graph is None:
            graph = read() if read else torch.jit.load(str(file), map_location=device).eval()
            _graphs[key] = graph
        return graph


def named_outputs(found: Any, stage: StageSpec) -> dict[str, np.ndarray]:
    """What a traced graph returned, one tensor or a tuple, by the names of the stage's outputs."""
    tensors = found if isinstance(found, tuple) else (found,)
    return {spec.name: tensor.cpu().numpy() for spec, tensor in zip(stage.outputs, tensors)}
