"""The head of the any-view models: depth with its confidence, and a ray for every half patch.

Tapped tokens in, maps out. Source: ``model/dualdpt.py`` of Depth Anything 3.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from depth_anything_3.dpt import HIDDEN, output_layers
from layers.dpt import LEVELS, Reassemble, resize
from layers.patch_embed import PATCH_SIZE
from layers.uv_embed import add_uv_embedding

RAYS = "_aux"  # what the checkpoints call the branch


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of maps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise: float (B, C, h, w) -> the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DualDPT(Reassemble):
    """Two DPT decoders on the same reassembled maps.

    The checkpoints hold output layers for rays of all four levels, which training used, with one
    norm that the levels share; only the finest level's run.
    """

    def __init__(self, in_channels: int, features: int, out_channels: Sequence[int]) -> None:
        super().__init__(in_channels, features, out_channels)
        half = features // 2
        self.norm = nn.LayerNorm(in_channels)
        self.scratch.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.scratch.output_conv2 = output_layers(half, 2)
        self.scratch.add_fusion(RAYS, features, use_bn=False, spare_unit=False)
        widths = (features, half, features, half, features, half)
        self.scratch.output_conv1_aux = nn.ModuleList(
            nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:])))
            for _ in range(LEVELS)
        )
        norm = ChannelNorm(HIDDEN)
        self.scratch.output_conv2_aux = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(half, HIDDEN, 3, padding=1),
                nn.Identity(),  # upstream permutes here; the number is part of the next one's key
                norm,
                nn.Identity(),
                nn.ReLU(),
                nn.Conv2d(HIDDEN, 7, 1),
            )
            for _ in range(LEVELS)
        )

    def levels(self, taps: Sequence[torch.Tensor], grid_hw: tuple[int, int]) -> list[torch.Tensor]:
        """What both branches begin with: four float (B, h*w, C) -> four float (B, F, h_i, w_i)."""

        def embed(level: torch.Tensor) -> torch.Tensor:
            return add_uv_embedding(level, grid_hw)

        return self.reassemble([self.norm(tap) for tap in taps], grid_hw, embed)

    def depth(
        self, levels: Sequence[torch.Tensor], grid_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode depth.

        Returns:
            depth, positive, and confidence, above 1: float (B, 14*h, 14*w) each.
        """
        x = self.scratch.output_conv1(self.scratch.fuse(levels, grid_hw))
        x = resize(x, (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE))
        depth, confidence = self.scratch.output_conv2(add_uv_embedding(x, grid_hw)).exp().unbind(1)
        return depth, 1 + confidence

    def rays(
        self, levels: Sequence[torch.Tensor], grid_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode rays.

        Returns:
            rays float (B, 8*h, 8*w, 6), direction and origin, and confidence, above 1, float
            (B, 8*h, 8*w).
        """
        scratch: Any = self.scratch
        x = scratch.output_conv1_aux[-1](scratch.fuse(levels, grid_hw, RAYS))
        x = scratch.output_conv2_aux[-1](add_uv_embedding(x, grid_hw)).permute(0, 2, 3, 1)
        return x[..., :6], 1 + x[..., 6].exp()
