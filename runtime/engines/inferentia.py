"""Facts about Inferentia: the EC2 instances that have its chips, and the cores a graph takes.

A manifest in, a number of NeuronCores out; the Neuron runtime's variables; and one table. No torch,
no device, no AWS call.
"""

from dataclasses import dataclass
from typing import Optional

from runtime.artifact.manifest import Manifest
from runtime.errors import ArtifactError, InputError

CORES_A_CHIP = {"neuron": 4, "neuronx": 2}  # by target: Inferentia 1 and 2
# The Neuron runtime's variables: how many cores a process takes; which ones, `2` or `0-3,6`, which
# wins over the number
CORE_COUNT, CORES_CHOSEN = "NEURON_RT_NUM_CORES", "NEURON_RT_VISIBLE_CORES"
LONGEST_CORE = 4  # digits of a core's number
PIPELINE_CORES = "pipeline_cores"  # what the compiler's facts call the cores of one graph


@dataclass(frozen=True)
class InferentiaInstance:
    """One EC2 instance type with chips that run graphs of ``target``.

    ``dollars_h`` is the reserved, effective price of an hour; None if we know of no published one.
    """

    name: str
    target: str
    chips: int
    vcpus: int
    host_gib: int
    dollars_h: Optional[float] = None

    @property
    def cores(self) -> int:
        """NeuronCores; each belongs to one process at a time."""
        return self.chips * CORES_A_CHIP[self.target]


def _inf1(size: str, chips: int, vcpus: int, host_gib: int, dollars_h: float) -> InferentiaInstance:
    return InferentiaInstance(
        name=f"inf1.{size}",
        target="neuron",
        chips=chips,
        vcpus=vcpus,
        host_gib=host_gib,
        dollars_h=dollars_h,
    )


def _inf2(size: str, chips: int, vcpus: int, host_gib: int) -> InferentiaInstance:
    return InferentiaInstance(
        name=f"inf2.{size}", target="neuronx", chips=chips, vcpus=vcpus, host_gib=host_gib
    )


# Size, chips, vCPUs, GiB of the host: the Neuron SDK's inf1-arch and inf2-arch. Dollars: AWS's Inf1
# benchmark price list.
INF1 = (
    _inf1("xlarge", 1, 4, 8, 0.110),
    _inf1("2xlarge", 1, 8, 16, 0.174),
    _inf1("6xlarge", 4, 24, 48, 0.567),
    _inf1("24xlarge", 16, 96, 192, 2.269),
)
INF2 = (
    _inf2("xlarge", 1, 4, 16),
    _inf2("8xlarge", 1, 32, 128),
    _inf2("24xlarge", 6, 96, 384),
    _inf2("48xlarge", 12, 192, 768),
)


def cores_of(manifest: Manifest) -> int:
    """How many NeuronCores a process needs to run an artifact; 1 if it is for no such chip.

    A graph that was compiled as a pipeline takes several. The graphs of an artifact share the cores
    of their process, so the largest decides.

    Raises:
        ArtifactError: the manifest names something that is no number of cores.
    """
    found = {
        name: text
        for name, text in manifest.compiler.items()
        if name.rpartition(": ")[2] == PIPELINE_CORES  # or "encoder_global: pipeline_cores"
    }
    for name, text in found.items():
        if not (text.isdecimal() and int(text) >= 1):
            raise ArtifactError(
                f"{manifest.name}: its manifest says {name} {text!r}, expected a number of cores; "
                "rebuild it with `make compile`"
            )
    return max(map(int, found.values()), default=1)


def visible_cores(text: str) -> list[int]:
    """The cores that ``CORES_CHOSEN`` names: numbers and inclusive ranges, separated by commas.

    Raises:
        InputError: it names none so, one twice, or more than an instance can have.
    """
    cores: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        numbers = (first, last) if dash else (first, first)
        if not all(one.isdecimal() and len(one) <= LONGEST_CORE for one in numbers):
            raise InputError(f"{CORES_CHOSEN}={text!r}: give cores as 2, 0-3 or 0,2")
        named = range(int(numbers[0]), int(numbers[1]) + 1)
        if not named or set(named) & set(cores):
            raise InputError(f"{CORES_CHOSEN}={text!r}: a range of none, or a core named twice")
        cores += named
    return cores
