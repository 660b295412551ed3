"""A deployment form in bfloat16 or float16: float32 at its doors, and where rounding would show.

A form of float32 in; a module that takes and returns the same, with weights, products and maps of
16 bits, out. What stays in float32:

- the last convolution of a head: its result is the depth, and bfloat16 has 256 steps an octave.
  If it is 1x1 to one or two maps, only its sums are: the channels that it reads stay of 16 bits;
- for bfloat16, the sums that run through the blocks: they take every block's rounding otherwise.
  float16 rounds eight times as finely and does without, which spares the traffic;
- the tables by which queries and keys are rotated, and the small networks for cameras.

The statistics of layer norms, softmax, the sums inside products and the weights of resizes are
float32 within torch's own operators, except for resizes on the CPU of torch 1.13.
"""

from typing import Union

import torch
from torch import nn

from compile.deploy import HAS_FUSED_ATTENTION, DeploymentFormV2, Form
from compile.deploy_da3 import CameraDecoder, CameraEncoder
from compile.fixed import FixedAttention, FoldedTokens, NativeResize, Tokens

ROUNDS_RESIZE_WEIGHTS = not HAS_FUSED_ATTENTION  # torch 1.13, on the CPU

Result = Union[torch.Tensor, tuple[torch.Tensor, ...]]


class Widened(nn.Module):
    """A layer that computes in float32 whatever it is given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run: any float -> float32."""
        return self.layer(x.float())


class WideSum(nn.Module):
    """A 1x1 convolution to few maps that reads 16 bits and adds up in float32.

    A float32 copy of what it reads would be the largest tensor of the network. Products are rounded
    to 16 bits, as what they are made of is, unless a compiler keeps them in registers.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight: torch.Tensor
        self.bias: torch.Tensor
        self.count = conv.out_channels
        self.register_buffer("weight", conv.weight.detach().to(dtype).unsqueeze(1))
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
        self.register_buffer("bias", bias.detach().float())

    @staticmethod
    def takes(layer: nn.Module) -> bool:
        """True for a layer in whose place this can be."""
        return (
            isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.out_channels <= 2
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run: 16 bits (B, C, h, w) -> float32 (B, 1 or 2, h, w)."""
        maps = [
            (x * self.weight[i]).sum(1, keepdim=True, dtype=torch.float32) + self.bias[i]
            for i in range(self.count)
        ]
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)


class Rounded(nn.Module):
    """A layer whose result is rounded to a type."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run: what the layer takes -> ``dtype``."""
        return self.layer(x).to(self.dtype)


class Lowered(nn.Module):
    """A form whose inside is of 16 bits; its inputs are brought to ``taken`` first."""

    def __init__(self, form: nn.Module, taken: torch.dtype) -> None:
        super().__init__()
        self.form, self.taken = form, taken

    def forward(self, *tensors: torch.Tensor) -> Result:
        """Run: float32 or uint8 -> float32, one tensor or several, as the form does."""
        found = self.form(*(tensor.to(self.taken) for tensor in tensors))
        if isinstance(found, tuple):
            return tuple(tensor.float() for tensor in found)
        return found.float()


def lower(form: Form, dtype: torch.dtype) -> nn.Module:
    """Bring a form to 16 bits; its modules are changed, the tensors of the model are not.

    Args:
        form: float32, in eval mode, already rewritten.
        dtype: bfloat16 or float16.
    """
    if isinstance(form, (CameraDecoder, CameraEncoder)):
        return form
    stream = torch.float32 if dtype == torch.bfloat16 else dtype  # of the sums through the blocks
    exact = _widen(form, dtype)
    if stream == torch.float32:
        exact |= _widen_norms(form, dtype)
    for module in form.modules():
        if id(module) not in exact:
            _store(module, dtype, isinstance(module, nn.Conv2d) and not _embeds(form, module))
    if isinstance(form, DeploymentFormV2):
        form.dtype = dtype  # bytes become this
    return Lowered(form, stream if form.tokens is None else dtype).eval()


def _widen(form: Form, dtype: torch.dtype) -> set[int]:
    """Let what must be float32 in any case be so; returns the ids of these modules."""
    exact = set()
    for layers in (form.output_conv2, form.sky_output_conv2):
        if layers is not None:
            last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
            if WideSum.takes(layers[last]):
                layers[last] = WideSum(layers[last], dtype)
                exact.add(id(layers[last]))
            else:
                layers[last] = Widened(layers[last])
                exact.add(id(layers[last].layer))
    for module in list(form.modules()):
        if isinstance(module, FixedAttention):
            exact.add(id(module))  # its own tensors are the tables; its layers have theirs
            module.low = dtype
        for name, child in list(module.named_children()):
            if ROUNDS_RESIZE_WEIGHTS and isinstance(child, NativeResize):
                setattr(module, name, Rounded(Widened(child), dtype))
    return exact


def _widen_norms(form: Form, dtype: torch.dtype) -> set[int]:
    """Let the sums through the blocks be float32; returns the ids of the modules that are."""
    exact = set()
    for block in form.blocks:
        block.norm1, block.norm2 = Rounded(block.norm1, dtype), Rounded(block.norm2, dtype)
        exact |= {id(block.norm1.layer), id(block.norm2.layer)}
    if form.norms is not None:
        exact |= {id(norm) for norm in form.norms}
        form.norms = nn.ModuleList(Rounded(norm, dtype) for norm in form.norms)
    if form.norm is not None:
        exact.add(id(form.norm))  # its result leaves the stage
    for module in form.modules():
        if isinstance(module, (Tokens, FoldedTokens)):
            exact.add(id(module))  # its own tensors are the positions
    return exact


def _embeds(form: Form, layer: nn.Module) -> bool:
    """True for the convolution that takes the image."""
    return form.tokens is not None and layer is form.tokens.proj


def _store(module: nn.Module, dtype: torch.dtype, channels_last: bool) -> None:
    """Put new tensors in place of a module's own."""
    kept = torch.channels_last if channels_last else torch.preserve_format
    for name, parameter in module.named_parameters(recurse=False):
        form = kept if parameter.ndim == 4 else torch.preserve_format
        stored = parameter.detach().to(dtype).clone(memory_format=form)
        setattr(module, name, nn.Parameter(stored, requires_grad=False))
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            setattr(module, name, buffer.to(dtype))
