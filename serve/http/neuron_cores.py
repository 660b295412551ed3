"""NeuronCores for the worker processes: how many workers they are enough for, and which are whose.

The devices, the operator's own variables and the artifacts' needs in; a number of workers and each
one's variables out. The Neuron runtime reads those when it starts: set them before it is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.artifact.folder import Artifact
from runtime.engines.inferentia import (
    CORE_COUNT,
    CORES_A_CHIP,
    CORES_CHOSEN,
    cores_of,
    visible_cores,
)
from runtime.errors import InputError

DEVICES = Path("/dev")


def cores_a_worker(artifacts: Sequence[Artifact], environment: Mapping[str, str]) -> int:
    """Cores of each worker: as the operator says in ``CORE_COUNT``, else what the artifacts need.

    Raises:
        InputError: ``CORE_COUNT`` is no number.
    """
    given = environment.get(CORE_COUNT, "").strip() or "0"
    if not given.isdecimal():
        raise InputError(f"{CORE_COUNT}={given!r}: give a whole number")
    if int(given) and not environment.get(CORES_CHOSEN):
        return int(given)
    # 0 is Neuron's word for all cores, which several workers cannot have
    return max((cores_of(artifact.manifest) for artifact in artifacts), default=1)


def workers_that_fit(target: str, cores: int, environment: Mapping[str, str], devices: Path) -> int:
    """How many workers of ``cores`` cores find some: 0 if no core is seen, or it needs none.

    Args:
        cores: of each worker.
    """
    if target not in CORES_A_CHIP:
        return 0
    if environment.get(CORES_CHOSEN):
        return len(visible_cores(environment[CORES_CHOSEN])) // cores
    chips = [file for file in devices.glob("neuron*") if file.name[len("neuron") :].isdigit()]
    return len(chips) * CORES_A_CHIP[target] // cores


def check_workers(target: str, workers: int, cores: int, environment: Mapping[str, str]) -> None:
    """Refuse more workers than the operator has named cores for.

    Raises:
        InputError: there are more, or the list of cores is none.
    """
    if target in CORES_A_CHIP and environment.get(CORES_CHOSEN):
        found = len(visible_cores(environment[CORES_CHOSEN]))
        if workers * cores > found:
            raise InputError(
                f"{workers} workers of {cores} NeuronCores each, and {CORES_CHOSEN}="
                f"{environment[CORES_CHOSEN]} names {found}; name more, or set DEPTH_WORKERS"
            )


def core_variables(
    target: str, place: int, cores: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """The variables of one worker's process; none if its target has no NeuronCores.

    Args:
        place: of the worker among all, from 0.
    """
    if target not in CORES_A_CHIP:
        return {}
    if environment.get(CORES_CHOSEN):
        mine = visible_cores(environment[CORES_CHOSEN])[place * cores : (place + 1) * cores]
        return {CORES_CHOSEN: ",".join(map(str, mine))}
    return {CORE_COUNT: str(cores)}
