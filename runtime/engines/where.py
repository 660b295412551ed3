"""Where torch computes: one answer for every command that takes ``--device``."""

import importlib.util
import os
from types import ModuleType
from typing import Any

from runtime.errors import InputError
from runtime.optional import require

# torch then asks the driver's library, which leaves CUDA usable in processes that are forked later
FORKABLE = "PYTORCH_NVML_BASED_CUDA_CHECK"


def cuda_is_here(device: str = "auto") -> bool:
    """True if what can run on CUDA would: torch sees a GPU, and ``device`` is not cpu."""
    if device == "cpu" or importlib.util.find_spec("torch") is None:
        return False
    os.environ.setdefault(FORKABLE, "1")
    return bool(require("torch", "torch").cuda.is_available())


def torch_device(name: str) -> Any:
    """Find a device by its name.

    Args:
        name: auto, which is CUDA if torch sees a GPU; or cpu, cuda, or what else torch knows.
    Returns:
        a ``torch.device``.
    Raises:
        InputError: torch knows no such device, or sees no GPU.
        MissingDependency: torch is not installed.
    """
    torch = require("torch", "torch")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: torch knows no such device") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no CUDA GPU here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        here = torch.cuda.device_count()
        raise InputError(f"--device {name}: torch sees {here} of them, cuda:0 to cuda:{here - 1}")
    return device


def check_bfloat16(torch: ModuleType, what: str) -> None:
    """Refuse bfloat16 on a processor where torch adds up its products in bfloat16, too.

    So does torch 1.13 on x86 without AVX-512: 256 and 1 are 256 there.

    Args:
        what: is refused, for the message.
    Raises:
        InputError: it does; the text says what to use.
    """
    terms = 512
    left, right = (torch.ones(*shape, dtype=torch.bfloat16) for shape in ((2, terms), (terms, 2)))
    if float((left @ right)[0, 0]) != terms:
        raise InputError(
            f"{what}: torch {torch.__version__} adds up products of bfloat16 in bfloat16 on this "
            "processor, which has no AVX-512, and the depth would be far off; use f32, openvino's "
            "bf16, or a newer torch"
        )


def exact_float32(torch: ModuleType) -> None:
    """Let float32 be float32 on CUDA, for the process: cuDNN's convolutions take TF32 by default.

    TF32 rounds what is multiplied to 10 bits.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
