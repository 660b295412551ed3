"""The head of the mono and metric models: depth and sky.

Tapped tokens in, maps on the image's grid out. Source: ``model/dpt.py`` of Depth Anything 3.
"""

from collections.abc import Sequence

import torch
from torch import nn

from layers.dpt import Reassemble, resize
from layers.patch_embed import PATCH_SIZE

HIDDEN = 32


class DPT(Reassemble):
    """A DPT head with a second output for sky."""

    def __init__(self, in_channels: int, features: int, out_channels: Sequence[int]) -> None:
        super().__init__(in_channels, features, out_channels)
        self.scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.scratch.output_conv2 = output_layers(features // 2, 1)
        self.scratch.sky_output_conv2 = output_layers(features // 2, 1)

    def forward(
        self, taps: Sequence[torch.Tensor], grid_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            taps: four float (B, h*w, C), finest first.
            grid_hw: h and w, the patch grid.
        Returns:
            depth, positive, and sky, above 0.3 where there is sky: float (B, 14*h, 14*w) each.
        """
        levels = self.reassemble(taps, grid_hw)
        x = self.scratch.output_conv1(self.scratch.fuse(levels, grid_hw))
        x = resize(x, (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE))
        depth = self.scratch.output_conv2(x).exp()
        sky = self.scratch.sky_output_conv2(x).relu()
        return depth[:, 0], sky[:, 0]


def output_layers(channels: int, outputs: int) -> nn.Sequential:
    """The last layers of a head: convolution, ReLU, 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(HIDDEN, outputs, 1)
    )
