"""Which numbers a network computes in: those of its weights, where this torch can.

A tensor and a weight in, the tensor in the weight's type out; or one sentence.
"""

import torch

from runtime.errors import InputError

TORCH_1 = torch.__version__.startswith("1.")


def check_precision(dtype: torch.dtype, device: torch.device) -> None:
    """Refuse numbers that a device cannot compute in: torch 1 has no float16 on CPUs.

    Raises:
        InputError: it is so.
    """
    if TORCH_1 and dtype == torch.float16 and device.type == "cpu":
        raise InputError(
            "float16 needs CUDA (or torch 2 and later); use bfloat16 or float32 on a CPU"
        )


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in another type, untouched if it has that: float -> float.

    A tracer writes down casts that change nothing, and torch 1.13 fuses some of them wrongly: the
    graph gives NaN from its second run on.
    """
    return x if x.dtype == dtype else x.to(dtype)


def wrong_in_bfloat16(x: torch.Tensor) -> bool:
    """Whether this torch has two operators wrong for a tensor: torch 1.13 on CPUs, in bfloat16.

    Transposed convolutions come out of another size, and resizing counts pixels in 8 bits. What
    torch.fx puts in a tensor's place has no type yet, and is taken for float32.
    """
    is_tensor = isinstance(x, torch.Tensor)
    return TORCH_1 and is_tensor and x.dtype == torch.bfloat16 and x.device.type == "cpu"


def in_type_of(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A network's input in the type of its weights, so that ``.bfloat16()`` needs no more.

    Raises:
        InputError: x is no floats, so not normalised; or see ``check_precision``.
    """
    if not x.is_floating_point():
        raise InputError(
            f"input is {x.dtype}, expected floats: RGB normalised with the ImageNet mean and "
            "standard deviation; the methods that take photos do so"
        )
    check_precision(weight.dtype, weight.device)
    return cast(x, weight.dtype)
