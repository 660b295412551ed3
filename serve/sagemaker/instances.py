"""SageMaker's instance types that this service is for: what runs there and how it is told to run.

One table; a container's environment out of a row. No AWS call.
"""

from dataclasses import dataclass

from runtime.errors import InputError

REALTIME_MB = 6  # MiB: SageMaker passes 6,291,456 bytes, in and out
REALTIME_S = 60.0  # after which SageMaker gives an answer up
DEADLINE_S = 55
ASYNC_MB = 100  # of the 1 GB that SageMaker would pass: photos are smaller, and held in memory
ASYNC_DEADLINE_S = 890  # SageMaker gives up after 900 s, unless a call says otherwise
ASYNC_QUEUE_S = 600


@dataclass(frozen=True)
class Instance:
    """One row.

    ``cores`` counts NeuronCores, each of which belongs to one process; ``targets`` are what an
    artifact may have been compiled for.
    """

    name: str
    vcpus: int
    cores: int
    device: str
    targets: tuple[str, ...]

    @property
    def family(self) -> str:
        """``inf1`` of ``ml.inf1.xlarge``."""
        return self.name.split(".")[1]

    @property
    def guarded(self) -> bool:
        """Whether SageMaker shifts traffic step by step there, and bakes before it ends a fleet."""
        return self.family != "inf1"

    def environment(self, commercial_only: bool, asynchronous: bool = False) -> dict[str, str]:
        """What the container is started with; ``serve/http/settings.py`` says what each means."""
        workers = self.cores or 1
        common = {
            "COMMERCIAL_ONLY": str(int(commercial_only)),
            "DEPTH_DEVICE": self.device,
            "DEPTH_WORKERS": str(workers),
            "DEPTH_THREADS": "64" if workers == 1 else "16",
            "DEPTH_ENGINE_THREADS": str(max(1, self.vcpus // workers)),
            "DEPTH_LOG_LEVEL": "INFO",
        }
        limit_mb = str(ASYNC_MB if asynchronous else REALTIME_MB)
        common.update(DEPTH_MAX_BODY_MB=limit_mb, DEPTH_MAX_ANSWER_MB=limit_mb)
        if asynchronous:
            return {
                **common,
                "DEPTH_QUEUE_S": str(ASYNC_QUEUE_S),
                "DEPTH_DEADLINE_S": str(ASYNC_DEADLINE_S),
            }
        return {**common, "DEPTH_QUEUE_S": "10", "DEPTH_DEADLINE_S": str(DEADLINE_S)}


# Cores: 4 a chip on Inf1, 2 on Inf2; chips and vCPUs from the Neuron SDK's inf1-arch and inf2-arch.
_NEURON = ("neuron",)
_NEURONX = ("neuronx",)
_CUDA = ("torchscript",)  # onnx and openvino would run there too, on the CPU beside an idle GPU
_CPU = ("openvino", "onnx", "torchscript")
ROWS = (
    Instance("ml.inf1.xlarge", 4, 4, "auto", _NEURON),
    Instance("ml.inf1.2xlarge", 8, 4, "auto", _NEURON),
    Instance("ml.inf1.6xlarge", 24, 16, "auto", _NEURON),
    Instance("ml.inf1.24xlarge", 96, 64, "auto", _NEURON),
    Instance("ml.inf2.xlarge", 4, 2, "auto", _NEURONX),
    Instance("ml.inf2.8xlarge", 32, 2, "auto", _NEURONX),
    Instance("ml.inf2.24xlarge", 96, 12, "auto", _NEURONX),
    Instance("ml.inf2.48xlarge", 192, 24, "auto", _NEURONX),
    Instance("ml.g5.xlarge", 4, 0, "cuda", _CUDA),
    Instance("ml.g5.2xlarge", 8, 0, "cuda", _CUDA),
    Instance("ml.c7i.large", 2, 0, "cpu", _CPU),
    Instance("ml.c7i.xlarge", 4, 0, "cpu", _CPU),
    Instance("ml.c7i.2xlarge", 8, 0, "cpu", _CPU),
    Instance("ml.c7i.4xlarge", 16, 0, "cpu", _CPU),
)
INSTANCES = {row.name: row for row in ROWS}


def find_instance(name: str) -> Instance:
    """The row of this name.

    Raises:
        InputError: there is none.
    """
    try:
        return INSTANCES[name]
    except KeyError:
        raise InputError(f"instance type {name!r}: use one of {', '.join(INSTANCES)}") from None
