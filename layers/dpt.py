"""The parts of a DPT head: residual units, fusion blocks and the scratch that holds them.

Feature maps (B, C, h, w) in, feature maps out. Source: DPT (Ranftl et al., 2021), in the form of
Depth Anything V2; every resize is bilinear with align_corners=True.
"""

from collections.abc import Callable, Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn

from layers.patch_embed import tokens_to_map
from layers.precision import wrong_in_bfloat16

LEVELS = 4


def resize(x: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize with aligned corners: float (B, C, h, w) -> float (B, C, *size_hw)."""
    if wrong_in_bfloat16(x):
        return resize(x.float(), size_hw).to(x.dtype)
    return F.interpolate(x, size=size_hw, mode="bilinear", align_corners=True)


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution whose stride is its kernel: each feature becomes a square."""

    def __init__(self, channels: int, times: int) -> None:
        super().__init__(channels, channels, kernel_size=times, stride=times)

    def forward(self, x: torch.Tensor, output_size: Optional[list[int]] = None) -> torch.Tensor:
        """Enlarge: float (B, C, h, w) -> float (B, C, times * h, times * w)."""
        if wrong_in_bfloat16(x):
            assert self.bias is not None
            weight, bias = self.weight.float(), self.bias.float()
            return F.conv_transpose2d(x.float(), weight, bias, self.stride).to(x.dtype)
        return super().forward(x, output_size)


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
    """Join a coarse map with the next finer one and enlarge the result.

    The coarsest block has no finer map to join: its ``resConfUnit1`` never runs, but is in V2's
    checkpoints all the same (``joins``).
    """

    def __init__(self, features: int, use_bn: bool = False, joins: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if joins:
            self.resConfUnit1 = ResidualConvUnit(features, use_bn)
        self.resConfUnit2 = ResidualConvUnit(features, use_bn)

    def forward(
        self, coarse: torch.Tensor, fine: Optional[torch.Tensor], size_hw: tuple[int, int]
    ) -> torch.Tensor:
        """Fuse: float (B, F, h, w), optional float (B, F, h, w) -> float (B, F, *size_hw)."""
        x = coarse if fine is None else coarse + self.resConfUnit1(fine)
        return self.out_conv(resize(self.resConfUnit2(x), size_hw))


class Scratch(nn.Module):
    """The four 3x3 entry convolutions and four fusion blocks; heads add their output layers.

    Args:
        spare_unit: whether the coarsest fusion block has the unit that it never uses.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        features: int,
        use_bn: bool,
        spare_unit: bool,
    ) -> None:
        super().__init__()
        for level, channels in enumerate(in_channels, start=1):
            entry = nn.Conv2d(channels, features, 3, padding=1, bias=False)
            setattr(self, f"layer{level}_rn", entry)
        self.add_fusion("", features, use_bn, spare_unit)

    def add_fusion(self, suffix: str, features: int, use_bn: bool, spare_unit: bool) -> None:
        """Make four fusion blocks, ``refinenet1<suffix>`` to ``refinenet4<suffix>``."""
        for level in range(1, LEVELS + 1):
            block = FeatureFusionBlock(features, use_bn, joins=spare_unit or level < LEVELS)
            setattr(self, f"refinenet{level}{suffix}", block)

    def enter(self, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The entry convolutions: float (B, C_i, h_i, w_i) -> float (B, F, h_i, w_i)."""
        return [getattr(self, f"layer{i}_rn")(level) for i, level in enumerate(levels, start=1)]

    def fuse(
        self, levels: Sequence[torch.Tensor], grid_hw: tuple[int, int], suffix: str = ""
    ) -> torch.Tensor:
        """Fuse four maps into one.

        Args:
            levels: float (B, F, h_i, w_i), finest first: 4, 2, 1 and 1/2 times the patch grid.
            grid_hw: h and w, the patch grid.
            suffix: of the fusion blocks to use.
        Returns:
            float (B, F, 8*h, 8*w).
        """
        path, finer = levels[3], (None, levels[2], levels[1], levels[0])
        for step, fine in enumerate(finer):
            size_hw = (grid_hw[0] << step, grid_hw[1] << step)
            path = getattr(self, f"refinenet{LEVELS - step}{suffix}")(path, fine, size_hw)
        return path


class Reassemble(nn.Module):
    """What every DPT head begins with: tokens to maps of four sizes, and their fusion blocks.

    The official checkpoints keep these layers in the head itself, so heads inherit them.
    """

    def __init__(
        self,
        in_channels: int,
        features: int,
        out_channels: Sequence[int],
        use_bn: bool = False,
        spare_unit: bool = False,
    ) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(in_channels, out, 1) for out in out_channels)
        first, second, _, fourth = out_channels
        self.resize_layers = nn.ModuleList(
            [
                Enlarge(first, 4),
                Enlarge(second, 2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(out_channels, features, use_bn, spare_unit)

    def reassemble(
        self,
        taps: Sequence[torch.Tensor],
        grid_hw: tuple[int, int],
        embed: Optional[Callable[[torch.Tensor], torch.Tensor]] = None,
    ) -> list[torch.Tensor]:
        """Tokens to the maps that the fusion blocks take.

        Args:
            taps: four float (B, h*w, C), finest first.
            grid_hw: h and w, the patch grid.
            embed: what is done to each map between its projection and its resize.
        Returns:
            four float (B, F, h_i, w_i): 4, 2, 1 and 1/2 times the patch grid.
        """
        levels = []
        for project, enlarge, tokens in zip(self.projects, self.resize_layers, taps):
            level = project(tokens_to_map(tokens, grid_hw))  # (B, C_i, h, w)
            levels.append(enlarge(level if embed is None else embed(level)))
        return self.scratch.enter(levels)
