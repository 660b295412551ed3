"""``.pt2`` graphs by torch, on the CPU or a CUDA device, compiled by inductor where they run.

The file is data: ``pt2_file`` and ``pt2_graph`` build the graph out of it without executing
anything in it. What inductor makes of the graph is a program, and is made here.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine
from runtime.engines.failures import failures_named
from runtime.engines.inductor import Program, is_wanted, program_of
from runtime.engines.pt2_file import read_archive, refusals_named
from runtime.engines.pt2_graph import as_buffers, build_module
from runtime.engines.torchscript import engine_of, shared_graph
from runtime.engines.where import torch_device
from runtime.errors import first_line
from runtime.optional import require

log = logging.getLogger(__name__)


def load_as_it_is(
    folder: Path,
    manifest: Manifest,
    device: str,
    threads: Optional[int],
    stage: Optional[StageSpec] = None,
) -> Engine:
    """Load a graph that torch runs operator by operator.

    Raises:
        ArtifactError: the file is not as ``compile`` writes it.
        DeviceError, InputError: as for ``torchscript.load``.
    """
    stage = stage or manifest.stages[0]
    return _load(folder, manifest, stage, device, threads, compiled=False)


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph, compiled for this machine if that is wanted and can be.

    Raises:
        ArtifactError, DeviceError, InputError: as for ``load_as_it_is``.
    """
    return _load(folder, manifest, stage, device, threads, compiled=True)


def _load(
    folder: Path,
    manifest: Manifest,
    stage: StageSpec,
    device: str,
    threads: Optional[int],
    compiled: bool,
) -> Engine:
    torch = require("torch", "torch")
    place = str(torch_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    with failures_named(folder):
        graph, _ = graph_on(torch, folder, manifest, stage, place, compiled and is_wanted(place))
        return engine_of(torch, graph, folder, manifest, stage, place)


def graph_on(
    torch: ModuleType,
    folder: Path,
    manifest: Manifest,
    stage: StageSpec,
    device: str,
    compiled: bool = True,
) -> tuple[Any, bool]:
    """A graph from tensors on a device to a tuple of them, and whether inductor compiled it.

    Raises:
        ArtifactError: the file is not as ``compile`` writes it.
    """
    file = folder / stage.graph
    program = program_of(torch, folder, manifest, stage, device) if compiled else None
    if program is not None:
        held = shared_graph(torch, file, device, lambda: Weights(torch, file, device), "weights")
        try:
            return Program(torch, program, held, device), True
        except (RuntimeError, KeyError) as error:
            log.warning(
                "%s: %s is run as it is, since its program cannot be loaded: %s",
                manifest.name,
                stage.name,
                first_line(error),
            )
    return shared_graph(torch, file, device, lambda: read(torch, file, stage, device)), False


def read(torch: ModuleType, file: Path, stage: StageSpec, device: str) -> Any:
    """As ``read_module``, on a device."""
    return read_module(torch, file, stage).to(device)


def read_module(torch: ModuleType, file: Path, stage: StageSpec) -> Any:
    """The graph of a file, on the CPU, as a module that returns a tuple.

    Raises:
        ArtifactError: the file is not as ``compile`` writes it; nothing in it was run.
    """
    with refusals_named(file):
        program, weights = read_archive(torch, file)
        return build_module(torch, program, weights, stage)


class Weights(dict[str, Any]):
    """The weights of a file on a device, by the names that its module has for them.

    A class of its own, so that ``shared_graph`` can tell whether anybody has it still.
    """

    def __init__(self, torch: ModuleType, file: Path, device: str) -> None:
        with refusals_named(file):
            _, found = read_archive(torch, file)
        super().__init__((name, one.to(device)) for name, one in as_buffers(found).items())
