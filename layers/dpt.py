"""The parts of a DPT head: residual units, fusion blocks and the scratch that holds them.

Feature maps (B, C, h, w) in, feature maps out. Source: DPT (Ranftl et al., 2021), in the form of
Depth Anything V2; every resize is bilinear with align_corners=True.
"""

from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn


def resize(x: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize with aligned corners: float (B, C, h, w) -> float (B, C, *size_hw)."""
    return F.interpolate(x, size=size_hw, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    """ReLU, convolution, ReLU, convolution, added to the input; batch norm on request."""

    def __init__(self, features: int, use_bn: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.use_bn = use_bn
        if use_bn:
            self.bn1 = nn.BatchNorm2d(features)
            self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Refine a map: float (B, F, h, w) -> float (B, F, h, w)."""
        out = self.conv1(F.relu(x))
        if self.use_bn:
            out = self.bn1(out)
        out = self.conv2(F.relu(out))
        if self.use_bn:
            out = self.bn2(out)
        return out + x


class FeatureFusionBlock(nn.Module):
    """Join a coarse map with the next finer one and enlarge the result."""

    def __init__(self, features: int, use_bn: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        # refinenet4 has no finer map to join: its resConfUnit1 is in the checkpoints but never runs
        self.resConfUnit1 = ResidualConvUnit(features, use_bn)
        self.resConfUnit2 = ResidualConvUnit(features, use_bn)

    def forward(
        self, coarse: torch.Tensor, fine: Optional[torch.Tensor], size_hw: tuple[int, int]
    ) -> torch.Tensor:
        """Fuse: float (B, F, h, w), optional float (B, F, h, w) -> float (B, F, *size_hw)."""
        x = coarse if fine is None else coarse + self.resConfUnit1(fine)
        return self.out_conv(resize(self.resConfUnit2(x), size_hw))


class Scratch(nn.Module):
    """The four 3x3 entry convolutions and four fusion blocks; heads add their output layers."""

    def __init__(self, in_channels: Sequence[int], features: int, use_bn: bool) -> None:
        super().__init__()
        for level, channels in enumerate(in_channels, start=1):
            entry = nn.Conv2d(channels, features, 3, padding=1, bias=False)
            setattr(self, f"layer{level}_rn", entry)
        for level in range(1, len(in_channels) + 1):
            setattr(self, f"refinenet{level}", FeatureFusionBlock(features, use_bn))

    def fuse(self, levels: Sequence[torch.Tensor], grid_hw: tuple[int, int]) -> torch.Tensor:
        """Fuse four maps into one.

        Args:
            levels: float (B, C_i, h_i, w_i), finest first: 4, 2, 1 and 1/2 times the patch grid.
            grid_hw: h and w, the patch grid.
        Returns:
            float (B, F, 8*h, 8*w).
        """
        first, second, third, fourth = (
            getattr(self, f"layer{i}_rn")(level) for i, level in enumerate(levels, start=1)
        )
        h, w = grid_hw
        path = self.refinenet4(fourth, None, (h, w))
        path = self.refinenet3(path, third, (2 * h, 2 * w))
        path = self.refinenet2(path, second, (4 * h, 4 * w))
        return self.refinenet1(path, first, (8 * h, 8 * w))
