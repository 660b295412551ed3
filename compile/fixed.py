"""Parts of a network at one fixed shape.

Every size is a number known when the part is made, so a trace of it holds no shape arithmetic.
Float tensors in, float tensors out; no in-place writes, no branch on a value.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn

from layers.attention import Attention
from layers.dpt import LEVELS, FeatureFusionBlock, Reassemble, resize
from layers.pos_embed import resize_pos_embed
from layers.rope import Table, rotate_half
from layers.uv_embed import uv_strips
from layers.vit import VisionTransformer


class Tokens(nn.Module):
    """Image to the tokens of the first block."""

    def __init__(self, encoder: VisionTransformer, batch: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.proj = encoder.patch_embed.proj
        self.cls_token, self.pos_embed = encoder.cls_token, encoder.pos_embed
        self.batch, self.grid_hw = batch, grid_hw

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embed: float (B, 3, H, W) -> float (B, 1 + h*w, C)."""
        patches = self.proj(image).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h*w, C)
        tokens = torch.cat((self.cls_token.expand(self.batch, -1, -1), patches), dim=1)
        return tokens + resize_pos_embed(self.pos_embed, self.grid_hw)


class FoldedTokens(nn.Module):
    """``Tokens`` with the positions resized beforehand and the first row a constant."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.proj = tokens.proj
        pos_embed = resize_pos_embed(tokens.pos_embed, tokens.grid_hw)
        self.class_row: torch.Tensor
        self.patch_pos: torch.Tensor
        class_row = (tokens.cls_token + pos_embed[:, :1]).repeat(tokens.batch, 1, 1)
        self.register_buffer("class_row", class_row)
        self.register_buffer("patch_pos", pos_embed[:, 1:].clone())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embed: float (B, 3, H, W) -> float (B, 1 + h*w, C)."""
        patches = self.proj(image).flatten(2).transpose(1, 2)
        return torch.cat((self.class_row, patches + self.patch_pos), dim=1)


class FixedAttention(nn.Module):
    """Self-attention over a known number of tokens; ``scale`` None means folded into ``qkv``.

    ``rope`` are the tables by which queries and keys are rotated: two float (N, C / heads), now
    constants.
    ``fused`` takes torch's own operator for the product, the softmax and the product.
    """

    def __init__(
        self, attention: Attention, batch: int, tokens: int, rope: Optional[Table] = None
    ) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.qk_norm = attention.qk_norm
        if attention.qk_norm:
            self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.rotates = rope is not None
        if rope is not None:
            self.cosine: torch.Tensor
            self.sine: torch.Tensor
            self.register_buffer("cosine", rope[0].to(attention.qkv.weight))
            self.register_buffer("sine", rope[1].to(attention.qkv.weight))
        self.scale: Optional[float] = attention.scale
        self.fused = False
        self.low: Optional[torch.dtype] = None  # of 16 bits: what ``value`` is; else float32
        heads, dim = attention.num_heads, attention.proj.in_features
        self.split = (batch, tokens, 3, heads, dim // heads)
        self.joined = (batch, tokens, dim)

    def forward(self, x: torch.Tensor, rope: None = None) -> torch.Tensor:
        """Attend: float (B, N, C) -> float (B, N, C)."""
        qkv = self.qkv(x).reshape(self.split).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, C / heads)
        query, key, value = qkv.unbind(0)
        if self.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        if self.rotates:
            query = query * self.cosine + rotate_half(query) * self.sine
            key = key * self.cosine + rotate_half(key) * self.sine
        if self.scale is not None:
            query = query * self.scale
        return self.proj(self.attend(query, key, value).transpose(1, 2).reshape(self.joined))

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """softmax(q k^T) v: three float (B, heads, N, d) -> the same, in the type of ``value``.

        Weights are never rounded to 16 bits before the softmax: the operator does not do it, and
        the steps here take float32 for it.
        """
        low = self.low
        if self.fused:
            if low is not None:  # float32 tables made them float32
                query, key = query.to(low), key.to(low)
            return F.scaled_dot_product_attention(  # type: ignore[attr-defined]
                query, key, value, scale=1.0
            )
        if low is not None:
            query, key = query.float(), key.float()
        weights = torch.matmul(query, key.transpose(2, 3)).softmax(dim=-1)  # (B, heads, N, N)
        return torch.matmul(weights if low is None else weights.to(low), value)


class NativeResize(nn.Module):
    """Bilinear resize with aligned corners, by the framework's own operator."""

    def __init__(self, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> None:
        super().__init__()
        self.from_hw, self.to_hw = from_hw, to_hw

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resize: float (B, C, *from_hw) -> float (B, C, *to_hw)."""
        return resize(x, self.to_hw)


class MatrixResize(nn.Module):
    """The same as two products with constant matrices, in the form of linear layers.

    Bilinear interpolation is linear and separable: rows @ x @ columns transposed.
    """

    def __init__(self, like: NativeResize, dtype: torch.dtype) -> None:
        super().__init__()
        self.rows: torch.Tensor
        self.columns: torch.Tensor
        for name, size, wanted in zip(("rows", "columns"), like.from_hw, like.to_hw):
            self.register_buffer(name, interpolation_matrix(size, wanted).to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resize: float (B, C, h, w) -> float (B, C, H, W)."""
        x = F.linear(x, self.columns).transpose(2, 3)  # (B, C, h, w) -> (B, C, W, h)
        return F.linear(x, self.rows).transpose(2, 3)  # (B, C, W, H) -> (B, C, H, W)


def interpolation_matrix(size: int, wanted: int) -> torch.Tensor:
    """Weights of linear interpolation, aligned corners: float64 (wanted, size), rows sum to 1."""
    place = torch.linspace(0, size - 1, wanted, dtype=torch.float64)
    if wanted == 1:
        place = torch.zeros(1, dtype=torch.float64)
    nodes = torch.arange(size, dtype=torch.float64)
    return (1 - (place.unsqueeze(1) - nodes).abs()).clamp(min=0)


class ShuffledUpsample(nn.Module):
    """A transposed convolution whose stride is its kernel: a matrix product and a pixel shuffle."""

    def __init__(self, upsample: nn.ConvTranspose2d) -> None:
        super().__init__()
        inputs, outputs, factor, _ = upsample.weight.shape
        weight = upsample.weight.permute(1, 2, 3, 0).reshape(outputs * factor**2, inputs, 1, 1)
        self.product = nn.Conv2d(inputs, outputs * factor**2, 1)
        self.product.weight = nn.Parameter(weight, requires_grad=False)
        assert upsample.bias is not None
        bias = upsample.bias.unsqueeze(1).expand(-1, factor**2).flatten()
        self.product.bias = nn.Parameter(bias, requires_grad=False)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Enlarge: float (B, C, h, w) -> float (B, D, k*h, k*w)."""
        return self.shuffle(self.product(x))


class FixedFusion(nn.Module):
    """A fusion block between known sizes; ``conv_first``: its 1x1 convolution before the resize.

    The two commute: one mixes channels, the other pixels, and interpolation weights sum to one, so
    the bias passes through unchanged.
    """

    def __init__(
        self, fusion: FeatureFusionBlock, from_hw: tuple[int, int], to_hw: tuple[int, int]
    ) -> None:
        super().__init__()
        self.resConfUnit2 = fusion.resConfUnit2
        if hasattr(fusion, "resConfUnit1"):
            self.resConfUnit1 = fusion.resConfUnit1
        self.out_conv = fusion.out_conv
        self.resize: nn.Module = NativeResize(from_hw, to_hw)
        self.conv_first = False

    def forward(self, coarse: torch.Tensor, fine: Optional[torch.Tensor]) -> torch.Tensor:
        """Fuse: float (B, F, *from_hw), optionally twice -> float (B, F, *to_hw)."""
        x = coarse if fine is None else coarse + self.resConfUnit1(fine)
        x = self.resConfUnit2(x)
        return self.resize(self.out_conv(x)) if self.conv_first else self.out_conv(self.resize(x))


class FixedPyramid(nn.Module):
    """Four maps on the patch grid to one map eight times as fine: a DPT head without its ends.

    ``suffix`` names the fusion blocks; ``add_embedding`` adds the UV embedding after each
    projection.
    """

    def __init__(
        self,
        head: Reassemble,
        grid_hw: tuple[int, int],
        suffix: str = "",
        add_embedding: bool = False,
    ) -> None:
        super().__init__()
        h, w = grid_hw
        scratch = head.scratch
        self.projects, self.resize_layers = head.projects, head.resize_layers
        self.entries = nn.ModuleList(getattr(scratch, f"layer{i}_rn") for i in range(1, LEVELS + 1))
        # coarse to fine: half the patch grid, then once, twice, four and eight times
        half = ((h + 1) // 2, (w + 1) // 2)
        sizes = [half, (h, w), (2 * h, 2 * w), (4 * h, 4 * w), (8 * h, 8 * w)]
        self.size_hw = sizes[-1]
        self.fusions = nn.ModuleList(
            FixedFusion(getattr(scratch, f"refinenet{LEVELS - i}{suffix}"), sizes[i], sizes[i + 1])
            for i in range(LEVELS)
        )
        channels = [project.out_channels for project in head.projects]
        self.embeddings = nn.ModuleList(
            AddUVEmbedding(count, grid_hw, grid_hw, head.projects[0].weight)
            if add_embedding
            else nn.Identity()
            for count in channels
        )

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Fuse: four float (B, C, h, w) -> float (B, F, 8*h, 8*w)."""
        first, second, third, fourth = (
            entry(resize_(embed(project(x))))
            for entry, resize_, embed, project, x in zip(
                self.entries, self.resize_layers, self.embeddings, self.projects, maps
            )
        )
        path = self.fusions[0](fourth, None)
        for fusion, level in zip(list(self.fusions)[1:], (third, second, first)):
            path = fusion(path, level)
        return path


class AddUVEmbedding(nn.Module):
    """Adds the UV embedding of one size: a row and a column of constants in place of a map.

    Each is zero in the channels that the other fills. To add them to these channels alone would
    spare the zeros, but splitting and joining a map costs more than a second addition.
    """

    def __init__(
        self,
        channels: int,
        size_hw: tuple[int, int],
        grid_hw: tuple[int, int],
        like: torch.Tensor,
    ) -> None:
        super().__init__()
        self.row: torch.Tensor  # (1, C, 1, w)
        self.column: torch.Tensor  # (1, C, h, 1)
        row, column = uv_strips(channels, size_hw, grid_hw[1] / grid_hw[0])
        row = torch.cat((row, torch.zeros_like(row)))
        column = torch.cat((torch.zeros_like(column), column))
        self.register_buffer("row", row.unsqueeze(0).to(like))
        self.register_buffer("column", column.unsqueeze(0).to(like))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add: float (B, C, *size_hw) -> the same."""
        return x + self.row + self.column
