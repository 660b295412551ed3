"""Floating point operations of one forward pass: a model and an input size in, two numbers out.

Counted are matrix products and convolutions, a multiplication and an addition each; the rest is
small beside them.
"""

import torch
from torch import nn

from layers.attention import Attention


def count_flops(model: nn.Module, size_hw: tuple[int, int]) -> tuple[int, int]:
    """Run the model once on zeros and add up what its layers do.

    Returns:
        all operations, and those of them that grow with the square of the tokens: attention's
        scores and weighted sums.
    """
    total = attention = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total, attention
        if isinstance(module, nn.Linear):
            total += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            total += 2 * inputs[0].numel() * module.weight[0].numel()  # (in, out, kh, kw)
        elif isinstance(module, nn.Conv2d):
            total += 2 * output.numel() * module.weight[0].numel()  # (out, in, kh, kw)
        elif isinstance(module, Attention):
            batch, tokens, dim = output.shape
            attention += 2 * 2 * batch * tokens**2 * dim  # scores, then the weighted sum

    handles = [module.register_forward_hook(add) for module in model.modules()]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, *size_hw))
    finally:
        for handle in handles:
            handle.remove()
    return total + attention, attention
