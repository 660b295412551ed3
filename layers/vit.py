"""The DINOv2 vision transformer, as an encoder with taps.

Normalised image (B, 3, H, W) in; the tokens after some of its blocks out. It classifies nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

import torch
from torch import nn

from layers.block import Block
from layers.patch_embed import PATCH_SIZE, PatchEmbed, tokens_to_map
from layers.pos_embed import TRAINED_GRID, resize_pos_embed


@dataclass(frozen=True)
class VitSpec:
    """The shape of one encoder."""

    dim: int
    depth: int
    num_heads: int
    swiglu: bool = False


VITS = {
    "vits": VitSpec(dim=384, depth=12, num_heads=6),
    "vitb": VitSpec(dim=768, depth=12, num_heads=12),
    "vitl": VitSpec(dim=1024, depth=24, num_heads=16),
    "vitg": VitSpec(dim=1536, depth=40, num_heads=24, swiglu=True),
    "vitt": VitSpec(dim=192, depth=12, num_heads=3),  # ours: the demo checkpoint
}

Tap = tuple[torch.Tensor, torch.Tensor]


class VisionTransformer(nn.Module):
    """DINOv2 encoder (Oquab et al., 2023), 14-pixel patches, one class token, no registers.

    Args:
        spec: its shape.
        mask_token: keep the token that DINOv2 trains with; V2's checkpoints have it, DA3's do not.
        camera_from: block from which views exchange information: queries and keys are normalised
            from there on and the checkpoint has camera tokens. None: every image for itself.
        norm_eps: epsilon of the final norm.
    """

    def __init__(
        self,
        spec: VitSpec,
        mask_token: bool = True,
        camera_from: Optional[int] = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.embed_dim = spec.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, spec.dim))
        if camera_from is not None:  # of the reference view, and of all others
            self.camera_token = nn.Parameter(torch.zeros(1, 2, spec.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID**2, spec.dim))
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, spec.dim))
        self.patch_embed = PatchEmbed(spec.dim)
        self.blocks = nn.ModuleList(
            Block(
                spec.dim,
                spec.num_heads,
                spec.swiglu,
                qk_norm=camera_from is not None and index >= camera_from,
            )
            for index in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.dim, eps=norm_eps)

    def grid_hw(self, x: torch.Tensor) -> tuple[int, int]:
        """Patches down and across in an image (B, 3, H, W).

        Raises:
            ValueError: x is not (B, 3, H, W) with sides that are multiples of 14.
        """
        # Numbers, where a graph is traced too: its positions are those of one size
        sides = [int(side) for side in x.shape[2:]]
        if x.ndim != 4 or x.shape[1] != 3 or sides[0] % PATCH_SIZE or sides[1] % PATCH_SIZE:
            raise ValueError(
                f"input is {tuple(x.shape)}, expected (B, 3, H, W) with H and W multiples of "
                f"{PATCH_SIZE}; resize the image first"
            )
        return sides[0] // PATCH_SIZE, sides[1] // PATCH_SIZE

    def embed(self, x: torch.Tensor, pos_embed: torch.Tensor) -> torch.Tensor:
        """Image to the first block's tokens: float (B, 3, H, W) -> float (B, 1 + h*w, C)."""
        tokens = self.patch_embed(x)
        tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        return tokens + pos_embed

    def taps(
        self, x: torch.Tensor, blocks: Sequence[int], pos_embed: torch.Tensor
    ) -> list[torch.Tensor]:
        """Run the encoder and keep the tokens after some blocks.

        Args:
            x: float (B, 3, H, W), normalised; H and W multiples of 14.
            blocks: zero-based block indices, ascending.
            pos_embed: float (1, 1 + h*w, C), resized to the patch grid of x.
        Returns:
            one float (B, 1 + h*w, C) per block, class token first, before the final norm.
        """
        tokens = self.embed(x, pos_embed)
        kept = []
        for index, block in enumerate(self.blocks[: max(blocks) + 1]):
            tokens = block(tokens)
            if index in blocks:
                kept.append(tokens)
        return kept

    def get_intermediate_layers(
        self,
        x: torch.Tensor,
        n: Union[int, Sequence[int]] = 1,
        reshape: bool = False,
        return_class_token: bool = False,
        norm: bool = True,
    ) -> tuple[Union[torch.Tensor, Tap], ...]:
        """DINOv2's accessor for intermediate tokens.

        Args:
            x: float (B, 3, H, W), normalised; H and W multiples of 14.
            n: the last n blocks, or the indices of the blocks to return.
            reshape: return patch tokens as (B, C, h, w) instead of (B, h*w, C).
            return_class_token: return pairs (patch tokens, class token (B, C)).
            norm: apply the final norm to every returned layer.
        Raises:
            ValueError: a block that does not exist, or an input of the wrong shape.
        """
        depth = len(self.blocks)
        wanted = list(range(depth - n, depth)) if isinstance(n, int) else list(n)
        if not wanted or min(wanted) < 0 or max(wanted) >= depth:
            raise ValueError(f"n={n}: this encoder has blocks 0 to {depth - 1}")
        grid_hw = self.grid_hw(x)
        ascending = sorted(set(wanted))
        pos_embed = resize_pos_embed(self.pos_embed, grid_hw)
        layers = dict(zip(ascending, self.taps(x, ascending, pos_embed)))
        outputs: list[Union[torch.Tensor, Tap]] = []
        for index in wanted:
            tokens = self.norm(layers[index]) if norm else layers[index]
            patches = tokens[:, 1:]
            if reshape:
                patches = tokens_to_map(patches, grid_hw).contiguous()
            outputs.append((patches, tokens[:, 0]) if return_class_token else patches)
        return tuple(outputs)
