"""Weights made from nothing: a model that runs, and depth that means nothing.

State dict shapes in, a state dict of reproducible random numbers out. Every key has its own seed,
so any implementation of the same keys gets the same numbers. Used for parity against upstream and
to run a model on a machine that has no checkpoint.
"""

import zlib

import numpy as np
import torch

# Biases of last layers, raised to 1 so that the output keeps clear of the final ReLU's zero.
SHIFTED_BIASES = (
    ".output_conv2.2.bias",
    ".output_conv2_aux.3.5.bias",
    ".fc_fov.0.bias",
    ".fc_qvec.bias",
)
# Transposed convolutions keep their input channels first.
TRANSPOSED = ("resize_layers.0.weight", "resize_layers.1.weight")


def seeded_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw one weight: float32 of this shape, the same on every machine.

    The seed is the CRC-32 of the key. Scales follow the kind of weight, so that activations keep
    their magnitude through the network.
    """
    draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    z = draw.astype(np.float32)
    if key.endswith(".gamma"):
        return np.float32(0.2) + np.float32(0.05) * z
    if key.endswith(".bias"):
        return np.float32(0.05) * z + np.float32(1.0 if key.endswith(SHIFTED_BIASES) else 0.0)
    if key.endswith(".weight") and len(shape) == 1:
        return np.float32(1.0) + np.float32(0.05) * z
    if key.endswith(".weight"):
        fan_in = shape[0] if key.endswith(TRANSPOSED) else int(np.prod(shape[1:]))
        return z / np.float32(np.sqrt(fan_in))
    return np.float32(0.1) * z


def fill_seeded(model: torch.nn.Module) -> None:
    """Overwrite every weight of a model with its seeded one, in place."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            tensor.copy_(torch.from_numpy(seeded_tensor(key, tuple(tensor.shape))))
