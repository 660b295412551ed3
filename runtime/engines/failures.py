"""What a GPU says when it fails, as an error that says what to do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from runtime.errors import DeviceError

CUDA_WORDS = ("CUDA", "cuDNN", "CUBLAS")
SMALLER_BATCH = "use a smaller batch, or fewer workers"
FEWER_PIXELS = "give fewer photos at a time, or a smaller size"  # to what runs in eager PyTorch


@contextlib.contextmanager
def failures_named(what: Union[Path, str], smaller: str = SMALLER_BATCH) -> Iterator[None]:
    """Turn what CUDA raises into a DeviceError.

    Args:
        what: an artifact's folder, or a model's name.
        smaller: what to do if memory runs out.
    """
    try:
        yield
    except RuntimeError as error:
        # TorchScript says where it was before it says what happened
        lines = (line.strip() for line in str(error).splitlines())
        said = next((line for line in lines if any(word in line for word in CUDA_WORDS)), None)
        if said is None:
            raise
        advice = "restart the process, and look into the driver's log if it happens again"
        if "out of memory" in said:
            advice = smaller
        said = said.removeprefix("RuntimeError: ").removeprefix("torch.OutOfMemoryError: ")
        raise DeviceError(f"{what}: the GPU failed ({said}); {advice}") from error
