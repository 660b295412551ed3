"""Whether a process owns as many NeuronCores as a job's engines take. No chip is asked.

A job, its artifacts and the environment in; a refusal out, before any work.
"""

from collections.abc import Mapping, Sequence

from runtime.artifact.folder import Artifact
from runtime.engines.inferentia import (
    CORE_COUNT,
    CORES_A_CHIP,
    CORES_CHOSEN,
    cores_of,
    visible_cores,
)
from runtime.errors import InputError
from serve.batch.job import LOCAL, BatchJob


def check_cores(
    job: BatchJob, artifacts: Sequence[Artifact], environment: Mapping[str, str]
) -> None:
    """Refuse engines that would share a core: they are no faster, and each holds the weights again.

    Raises:
        InputError: more engines than cores of this process.
    """
    if job.engine != LOCAL or artifacts[0].manifest.target not in CORES_A_CHIP or job.workers <= 1:
        return
    each = max(cores_of(artifact.manifest) for artifact in artifacts)
    owned = owned_cores(environment, each)
    if job.workers * each > owned:
        raise InputError(
            f"workers={job.workers}: this process owns {owned} of the NeuronCores, and its engines "
            f"need {job.workers * each}; start {job.workers} processes, each with "
            f"--shard I/{job.workers} and a core of its own: deploy/shards.sh {job.workers} ..."
        )


def owned_cores(environment: Mapping[str, str], default: int) -> int:
    """NeuronCores of a process with these variables: those that it is told, else so many.

    ``NEURON_RT_VISIBLE_CORES`` lists them, as ``0-3`` or ``0,2``, and comes before
    ``NEURON_RT_NUM_CORES``, their number.

    Raises:
        InputError: the list is none.
    """
    if environment.get(CORES_CHOSEN):
        return len(visible_cores(environment[CORES_CHOSEN]))
    count = environment.get(CORE_COUNT) or str(default)
    return int(count) if count.isdecimal() and int(count) else default
