"""SageMaker's instance types that this service is for: what runs there and how it is told to run.

One table; a container's environment out of a row. What Inferentia's own instances have is in
``runtime/engines/inferentia.py``. No AWS call.
"""

from dataclasses import dataclass

from runtime.engines import CPU, CUDA, ENGINES
from runtime.engines.inferentia import INF1, INF2, InferentiaInstance
from runtime.errors import InputError

REALTIME_MB = 6  # MiB: SageMaker passes 6,291,456 bytes, in and out
REALTIME_S = 60.0  # after which SageMaker gives an answer up
DEADLINE_S = 55
ASYNC_MB = 100  # of the 1 GB that SageMaker would pass: photos are smaller, and held in memory
ASYNC_DEADLINE_S = 890  # SageMaker gives up after 900 s, unless a call says otherwise
ASYNC_QUEUE_S = 600
NOT_IN_IMAGES = {CPU: ("torch", "tensorrt"), CUDA: ("tensorrt",)}  # packages; serve/Dockerfile.*


@dataclass(frozen=True)
class InstanceType:
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


def _inferentia(row: InferentiaInstance) -> InstanceType:
    return InstanceType(
        name=f"ml.{row.name}",
        vcpus=row.vcpus,
        cores=row.cores,
        device="auto",
        targets=(row.target,),
    )


def _on(device: str) -> tuple[str, ...]:
    """Targets whose graphs run on a device, by the packages that our images have."""
    return tuple(
        name
        for name, row in ENGINES.items()
        if device in row.devices and row.package not in NOT_IN_IMAGES[device]
    )


def _cuda(size: str, vcpus: int) -> InstanceType:
    # onnx and openvino would run there too, on the CPU beside an idle GPU
    name = f"ml.g5.{size}"
    return InstanceType(name=name, vcpus=vcpus, cores=0, device=CUDA, targets=_on(CUDA))


def _cpu(size: str, vcpus: int) -> InstanceType:
    name = f"ml.c7i.{size}"
    return InstanceType(name=name, vcpus=vcpus, cores=0, device=CPU, targets=_on(CPU))


INSTANCES = {
    row.name: row
    for row in (
        *map(_inferentia, (*INF1, *INF2)),
        _cuda("xlarge", 4),
        _cuda("2xlarge", 8),
        _cpu("large", 2),
        _cpu("xlarge", 4),
        _cpu("2xlarge", 8),
        _cpu("4xlarge", 16),
    )
}


def places(target: str) -> str:
    """The families of instances on which a target's graphs run, in words."""
    families = dict.fromkeys(row.family for row in INSTANCES.values() if target in row.targets)
    return " or ".join(f"ml.{family}.*" for family in families) or "a machine of your own"


def find_instance(name: str) -> InstanceType:
    """The row of this name.

    Raises:
        InputError: there is none.
    """
    try:
        return INSTANCES[name]
    except KeyError:
        raise InputError(f"instance type {name!r}: use one of {', '.join(INSTANCES)}") from None
