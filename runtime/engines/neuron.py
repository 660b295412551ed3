"""Graphs on Inferentia: Inf1 through torch-neuron, Inf2 and Trn1 through torch-neuronx.

One process holds its NeuronCores until it exits: one, or as many as the artifact was compiled for.
The runtime does not survive a fork: load in the process that answers, not in one that forks it.
"""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import ENGINES, Engine
from runtime.engines.inferentia import CORE_COUNT, CORES_CHOSEN, cores_of
from runtime.engines.torchscript import named_outputs
from runtime.errors import DeviceError
from runtime.optional import require

log = logging.getLogger(__name__)

# Status codes of the Neuron runtime (nrt_status.h) that mean something to do.
STATUS = {
    4: "the device or the host ran out of memory; run fewer models on this core",
    5: "the call took longer than NEURON_RT_EXEC_TIMEOUT; raise it, or use a smaller size",
    6: "the chip failed; restart the process, and replace the instance if it happens again",
    7: "the core's queue is full; send fewer requests at once",
    9: "too few free cores: another process has them; give each process NEURON_RT_NUM_CORES, the "
    "cores of its graph",
    10: "the graph was compiled by a compiler that this runtime does not know; compile it again",
    11: "the host ran out of memory",
    101: "the core cannot be recovered; restart the process",
    1003: "the result holds NaN; compile with --casts matmult or --saturate-infinity",
    1005: "the core is busy with another process",
}
SIGNS = {
    "cannot determine driver version": "the Neuron driver is missing, or the container was not "
    "given /dev/neuron0 (docker run --device=/dev/neuron0)",
    "Available:0": STATUS[9],
    "mc_alloc": STATUS[4],
    "NEFF version mismatch": STATUS[10],
    "INFER_ERROR_SUBTYPE_NUMERICAL": STATUS[1003],
    "Architecture not found": "this Neuron runtime no longer knows Inf1; use the one that comes "
    "with torch-neuron 1.13.1.2.11.13.0",
}


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph onto its NeuronCores and run it once, so that they are taken now or never.

    Raises:
        DeviceError: no driver, no free core, or the first call failed.
    """
    package = ENGINES[manifest.target].package
    _claim_cores(manifest, stage, package)
    install = (
        f"{package} is not installed: it comes from AWS's own pip repository, see "
        "docs/inferentia.md; elsewhere compile for another target"
    )
    neuron = require(package, "neuron", install)  # registers the operator; jit.load fails without
    torch = require("torch", "torch")
    try:
        graph = torch.jit.load(str(folder / stage.graph))
    except RuntimeError as error:
        known = explain(str(error))
        if known is None:
            raise
        raise DeviceError(f"{folder}: {known}") from error
    owner = os.getpid()

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if os.getpid() != owner:
            raise DeviceError(
                f"{folder}: loaded in process {owner} and used in {os.getpid()}; the Neuron "
                "runtime does not survive a fork, load the artifact after it (no preload_app)"
            )
        try:
            with torch.inference_mode():
                found = graph(*(torch.from_numpy(inputs[t.name]) for t in stage.inputs))
        except RuntimeError as error:
            known = explain(str(error)) or str(error).strip().splitlines()[-1]  # the cause is last
            raise DeviceError(f"{folder}: {known}") from error
        outputs = named_outputs(found, stage)
        if not all(np.isfinite(array).all() for array in outputs.values()):
            raise DeviceError(f"{folder}: {STATUS[1003]}")
        return {name: array.astype(np.float32, copy=False) for name, array in outputs.items()}

    run({tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in stage.inputs})
    log.info(
        "%s on NeuronCore %s (process %d), %s %s",
        manifest.name,
        os.environ.get(CORES_CHOSEN) or f"any {os.environ.get(CORE_COUNT, '?')} free",
        owner,
        package,
        neuron.__version__,
    )
    return run


def _claim_cores(manifest: Manifest, stage: StageSpec, package: str) -> None:
    """Have the runtime take the cores that the artifact needs, unless the operator says which."""
    cores = cores_of(manifest)
    if CORE_COUNT not in os.environ and CORES_CHOSEN not in os.environ:
        if package in sys.modules:
            log.warning(
                "%s was imported before %s was set: it may take every core", package, CORE_COUNT
            )
        os.environ[CORE_COUNT] = str(cores)  # read once, when the runtime starts
    elif CORES_CHOSEN not in os.environ and stage == manifest.stages[0]:
        given = os.environ[CORE_COUNT].strip()
        if given.isdecimal() and int(given) < cores:
            log.warning("%s is %s, but %s needs %d cores", CORE_COUNT, given, manifest.name, cores)


def explain(text: str) -> Optional[str]:
    """What a message of the Neuron runtime means and what to do; None if it is not known."""
    for sign, meaning in SIGNS.items():
        if sign in text:
            return f"{meaning} ({sign})"
    match = re.search(r"status[ =:]*(\d+)", text)
    if match is None or int(match[1]) not in STATUS:
        return None
    return f"{STATUS[int(match[1])]} (nrt status {match[1]})"
