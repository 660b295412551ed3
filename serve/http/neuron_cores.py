"""NeuronCores for the worker processes: how many workers they are enough for, and which are whose.

The devices, the operator's own variables and the artifacts' needs in; a number of workers and each
one's variables out. The Neuron runtime reads those when it starts: set them before it is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.artifact.folder import Artifact
from runtime.engines.inferentia import CORES_A_CHIP, cores_of
from runtime.errors import InputError

# How many cores a process takes; which ones it takes, `2` or `0-3,6`, which wins over the number
COUNT, CHOSEN = "NEURON_RT_NUM_CORES", "NEURON_RT_VISIBLE_CORES"
DEVICES = Path("/dev")


def cores_a_worker(artifacts: Sequence[Artifact], environment: Mapping[str, str]) -> int:
    """Cores of each worker: as the operator says in ``COUNT``, else what the artifacts need.

    Raises:
        InputError: ``COUNT`` is no number.
    """
    given = environment.get(COUNT, "").strip() or "0"
    if not given.isdecimal():
        raise InputError(f"{COUNT}={given!r}: give a whole number")
    if int(given) and not environment.get(CHOSEN):
        return int(given)
    # 0 is Neuron's word for all cores, which several workers cannot have
    return max(cores_of(artifact.manifest) for artifact in artifacts)


def workers_that_fit(target: str, cores: int, environment: Mapping[str, str], devices: Path) -> int:
    """How many workers of ``cores`` cores find some: 0 if no core is seen, or it needs none.

    Args:
        cores: of each worker.
    """
    if target not in CORES_A_CHIP:
        return 0
    if environment.get(CHOSEN):
        return len(visible_cores(environment[CHOSEN])) // cores
    chips = [file for file in devices.glob("neuron*") if file.name[len("neuron") :].isdigit()]
    return len(chips) * CORES_A_CHIP[target] // cores


def check_workers(target: str, workers: int, cores: int, environment: Mapping[str, str]) -> None:
    """Refuse more workers than the operator has named cores for.

    Raises:
        InputError: there are more, or the list of cores is none.
    """
    if target in CORES_A_CHIP and environment.get(CHOSEN):
        found = len(visible_cores(environment[CHOSEN]))
        if workers * cores > found:
            raise InputError(
                f"{workers} workers of {cores} NeuronCores each, and {CHOSEN}="
                f"{environment[CHOSEN]} names {found}; name more, or set DEPTH_WORKERS"
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
    if environment.get(CHOSEN):
        mine = visible_cores(environment[CHOSEN])[place * cores : (place + 1) * cores]
        return {CHOSEN: ",".join(map(str, mine))}
    return {COUNT: str(cores)}


def visible_cores(text: str) -> list[int]:
    """The cores that ``CHOSEN`` names: numbers and inclusive ranges, separated by commas.

    Raises:
        InputError: it names none so.
    """
    cores: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"{CHOSEN}={text!r}: give cores as 2, 0-3 or 0,2")
        cores += range(int(first), int(last or first) + 1)
    return cores
