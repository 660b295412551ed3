"""The head for Gaussian splats: raw parameters and an opacity for every pixel.

Tapped tokens and the images themselves in, maps out.
Source: ``model/gsdpt.py`` of Depth Anything 3.
"""

from collections.abc import Sequence

import torch
from torch import nn

from depth_anything_3.dpt import output_layers
from layers.dpt import Reassemble, resize
from layers.patch_embed import PATCH_SIZE
from layers.uv_embed import add_uv_embedding

RAW = 37  # numbers a Gaussian, opacity not counted: see ``runtime.scene.gaussians``


class GSDPT(Reassemble):
    """A DPT head that also sees the image."""

    def __init__(self, in_channels: int, features: int, out_channels: Sequence[int]) -> None:
        super().__init__(in_channels, features, out_channels)
        half = features // 2
        self.scratch.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.scratch.output_conv2 = output_layers(half, RAW + 1)
        self.images_merger = nn.Sequential(
            nn.Conv2d(3, half // 4, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(half // 4, half // 2, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(half // 2, half, 3, padding=1),
            nn.GELU(),
        )

    def forward(
        self, taps: Sequence[torch.Tensor], images: torch.Tensor, grid_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            taps: four float (B, h*w, C), finest first.
            images: float (B, 3, H, W), normalised.
            grid_hw: h and w, the patch grid.
        Returns:
            raw parameters float (B, H, W, 37), and opacity in [0, 1], float (B, H, W).
        """

        def embed(level: torch.Tensor) -> torch.Tensor:
            return add_uv_embedding(level, grid_hw)

        levels = self.reassemble(taps, grid_hw, embed)
        x = self.scratch.output_conv1(self.scratch.fuse(levels, grid_hw))
        x = resize(x, (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE)) + self.images_merger(
            images
        )
        x = self.scratch.output_conv2(add_uv_embedding(x, grid_hw)).permute(0, 2, 3, 1)
        return x[..., :RAW], x[..., RAW].sigmoid()
