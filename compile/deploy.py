"""The deployment form: the same function as the eager model, rewritten exactly for one shape.

An eager model and an input shape in, a straight-line module out. ``REWRITES`` names each rewrite;
any can be left out, and those that were applied are listed in the manifest. What is always so:
sizes are constants, the class token does not reach the head, and nothing is written in place.
"""

import copy
from collections.abc import Callable, Collection, Iterable
from typing import Any, Optional, TypeVar, Union

import torch
import torch.nn.functional as F
from torch import nn

from compile.fixed import (
    FixedAttention,
    FixedPyramid,
    FoldedTokens,
    MatrixResize,
    NativeResize,
    ShuffledUpsample,
    Tokens,
)
from depth_anything_v2.config import ENCODERS
from depth_anything_v2.dpt import DepthAnythingV2
from layers.dpt import LEVELS
from layers.mlp import SwiGLU
from layers.patch_embed import PATCH_SIZE
from runtime.errors import InputError
from runtime.photo.preprocess import MEAN, STD

HAS_FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")


class Form(nn.Module):
    """A module of one shape whose parts the rewrites know; what a form lacks is None, or empty."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: Union[Tokens, FoldedTokens, None] = None  # image to the first block's tokens
        self.blocks: Iterable[Any] = ()
        self.norm: Optional[nn.LayerNorm] = None  # whose result leaves the form
        self.norms: Optional[nn.ModuleList] = None  # of the taps, before the pyramid
        self.pyramid: Optional[FixedPyramid] = None
        self.enlarge: Union[NativeResize, MatrixResize, None] = None  # to the image's size
        self.output_conv2: Any = None  # the layers that end it: nn.Sequential
        self.sky_output_conv2: Any = None


class DeploymentFormV2(Form):
    """Depth Anything V2 for inputs of one shape, as it is before any rewrite.

    Shares the model's weights and never changes them: a rewrite puts new tensors in place of old.
    float (B, 3, H, W) in, or uint8 if ``from_bytes``; float (B, H, W) out.
    """

    def __init__(
        self, model: DepthAnythingV2, shape: tuple[int, int, int, int], from_bytes: bool = False
    ) -> None:
        super().__init__()
        if model.depth_head.use_clstoken:
            raise InputError("use_clstoken=True: no official model has it, and no deployment form")
        model = same_weights(model)
        batch, (h, w) = shape[0], (shape[2] // PATCH_SIZE, shape[3] // PATCH_SIZE)
        encoder, head = model.pretrained, model.depth_head
        self.dim, self.batch, self.grid_hw = encoder.embed_dim, batch, (h, w)
        self.max_depth, self.from_bytes = model.max_depth, from_bytes
        self.dtype = encoder.cls_token.dtype
        self.tap_blocks = ENCODERS[model.encoder].taps
        self.tokens: Union[Tokens, FoldedTokens] = Tokens(encoder, batch, (h, w))
        self.blocks = encoder.blocks[: max(self.tap_blocks) + 1]
        for block in self.blocks:
            block.attn = FixedAttention(block.attn, batch, 1 + h * w)
        self.norms: nn.ModuleList = nn.ModuleList(encoder.norm for _ in range(LEVELS))
        self.pyramid: FixedPyramid = FixedPyramid(head, (h, w))
        self.output_conv1 = head.scratch.output_conv1
        self.enlarge: Union[NativeResize, MatrixResize] = NativeResize(
            self.pyramid.size_hw, (h * PATCH_SIZE, w * PATCH_SIZE)
        )
        self.output_conv2 = head.scratch.output_conv2

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Image to the four tapped maps: float (B, 3, H, W) -> four float (B, C, h, w)."""
        x = self.tokens(image.to(self.dtype) if self.from_bytes else image)
        maps: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.tap_blocks:
                patches = self.norms[len(maps)](x[:, 1:])
                maps.append(patches.transpose(1, 2).reshape(self.batch, self.dim, *self.grid_hw))
        return tuple(maps)

    def decode(self, *maps: torch.Tensor) -> torch.Tensor:
        """Tapped maps to depth: four float (B, C, h, w) -> float (B, H, W)."""
        path = self.pyramid(*maps)
        depth = self.output_conv2(self.enlarge(self.output_conv1(path)))
        return (depth if self.max_depth is None else depth * self.max_depth).squeeze(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Estimate depth: float (B, 3, H, W) -> float (B, H, W)."""
        return self.decode(*self.encode(image))


def fold_position_embedding(form: Form) -> None:
    """Resize the position embedding once, and add the class token's row to it."""
    if isinstance(form.tokens, Tokens):
        form.tokens = FoldedTokens(form.tokens)


def fold_normalisation(form: Form) -> None:
    """Let the patch convolution take RGB 0..255: no mean, no deviation, no division before it."""
    assert form.tokens is not None  # only a form that takes images is given bytes
    conv = form.tokens.proj
    mean, std = (conv.weight.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    _set(conv, conv.weight / (255 * std), conv.bias - (conv.weight * mean / std).sum((1, 2, 3)))


def fold_layer_scale(form: Form) -> None:
    """Multiply LayerScale's factors into the projection before each."""
    for block in form.blocks:
        last = block.mlp.w3 if isinstance(block.mlp, SwiGLU) else block.mlp.fc2
        for linear, name in ((block.attn.proj, "ls1"), (last, "ls2")):
            gamma = getattr(block, name).gamma
            _set(linear, linear.weight * gamma.unsqueeze(1), linear.bias * gamma)
            setattr(block, name, nn.Identity())


def fold_attention_scale(form: Form) -> None:
    """Multiply 1/sqrt(d) into the query's rows of the projection, or into the query's norm.

    Rotating a query commutes with scaling it.
    """
    for block in form.blocks:
        attention = block.attn
        if attention.qk_norm:
            norm = attention.q_norm
            scaled = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
            _set(scaled, norm.weight * attention.scale, norm.bias * attention.scale)
            attention.q_norm = scaled
        else:
            qkv = attention.qkv
            factor = torch.ones_like(qkv.bias)
            factor[: attention.proj.in_features] = attention.scale
            _set(qkv, qkv.weight * factor.unsqueeze(1), qkv.bias * factor)
        attention.scale = None


def fold_final_norm(form: Form) -> None:
    """Multiply the last norm's affine part into the head's 1x1 projections.

    Exact as no official head joins the class token through a nonlinearity first.
    """
    norms, pyramid = form.norms, form.pyramid
    if norms is None or pyramid is None:
        return
    for norm, project in zip(norms, pyramid.projects):
        weight = project.weight[:, :, 0, 0]
        _set(
            project,
            (weight * norm.weight).unsqueeze(2).unsqueeze(3),
            project.bias + weight @ norm.bias,
        )
    plain = _plain(norms[0])
    form.norms = nn.ModuleList(plain for _ in norms)


def fold_block_norms(form: Form) -> None:
    """Multiply the affine part of the blocks' norms into the linear layers that they feed."""
    for block in form.blocks:
        first = block.mlp.w12 if isinstance(block.mlp, SwiGLU) else block.mlp.fc1
        for linear, name in ((block.attn.qkv, "norm1"), (first, "norm2")):
            norm = getattr(block, name)
            _set(linear, linear.weight * norm.weight, linear.bias + linear.weight @ norm.bias)
            setattr(block, name, _plain(norm))


def convolve_before_resize(form: Form) -> None:
    """Run the fusion blocks' 1x1 convolutions before their upsampling: a quarter of the pixels."""
    if form.pyramid is not None:
        for fusion in form.pyramid.fusions:
            fusion.conv_first = True


def resize_by_matrices(form: Form) -> None:
    """Replace the bilinear resizes with products of constant matrices."""
    if form.pyramid is not None:
        dtype = form.pyramid.projects[0].weight.dtype
        for fusion in form.pyramid.fusions:
            fusion.resize = MatrixResize(fusion.resize, dtype)
        if isinstance(form.enlarge, NativeResize):
            form.enlarge = MatrixResize(form.enlarge, dtype)


def upsample_by_shuffle(form: Form) -> None:
    """Replace the two transposed convolutions with a matrix product and a pixel shuffle."""
    if form.pyramid is not None:
        for index in (0, 1):
            form.pyramid.resize_layers[index] = ShuffledUpsample(form.pyramid.resize_layers[index])


def fuse_attention(form: Form) -> None:
    """Take torch's own attention operator, where this torch has it (2.1 and newer)."""
    for module in form.modules():
        if isinstance(module, FixedAttention):
            module.fused = HAS_FUSED_ATTENTION


# In the order in which they are applied.
REWRITES: dict[str, Callable[[Form], None]] = {
    "position-embedding": fold_position_embedding,
    "rgb-input": fold_normalisation,
    "layer-scale": fold_layer_scale,
    "attention-scale": fold_attention_scale,
    "final-norm": fold_final_norm,
    "block-norms": fold_block_norms,
    "convolution-first": convolve_before_resize,
    "matrix-resize": resize_by_matrices,
    "shuffle-upsample": upsample_by_shuffle,
    "fused-attention": fuse_attention,
}
# What every target takes. rgb-input changes what the graph is given.
COMMON = (
    "position-embedding",
    "layer-scale",
    "attention-scale",
    "final-norm",
    "convolution-first",
)
# These replace operators that a compiler may lack by others that cost more.
MATRIX = ("matrix-resize", "shuffle-upsample")


def check_rewrites(names: Collection[str]) -> None:
    """Refuse names that are not in ``REWRITES``.

    Raises:
        InputError: a rewrite that does not exist.
    """
    unknown = sorted(set(names) - set(REWRITES))
    if unknown:
        raise InputError(f"rewrites {unknown} are unknown; choose from {', '.join(REWRITES)}")


def deployment_form(
    model: DepthAnythingV2,
    shape: tuple[int, int, int, int],
    rewrites: Collection[str] = COMMON,
    dtype: str = "float32",
) -> DeploymentFormV2:
    """Rewrite a model for inputs of one shape.

    Args:
        model: in eval mode; left as it is.
        shape: (B, 3, H, W), sides multiples of 14.
        rewrites: names out of ``REWRITES``, in any order.
        dtype: of the input; uint8 is RGB 0..255 and goes with ``rgb-input``.
    Raises:
        InputError: a rewrite that does not exist.
    """
    check_rewrites(rewrites)
    with torch.no_grad():
        form = DeploymentFormV2(model, shape, dtype == "uint8").eval()
    return rewritten(form, rewrites)


FormT = TypeVar("FormT", bound=Form)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def rewritten(form: FormT, rewrites: Collection[str]) -> FormT:
    """Apply rewrites to a form, in place; those that concern nothing in it change nothing."""
    with torch.no_grad():
        for name, rewrite in REWRITES.items():
            if name in rewrites:
                rewrite(form)
    return form


def same_weights(model: ModuleT) -> ModuleT:
    """A copy of the modules around the very same tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _plain(norm: nn.LayerNorm) -> nn.LayerNorm:
    """The same norm without its affine part.

    Ones and zeros rather than nothing: torch 1.13 writes an invalid ONNX node without them.
    """
    return nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps).to(norm.weight.dtype)


def _set(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> None:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
