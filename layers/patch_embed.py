"""Image patches to tokens.

Normalised image (B, 3, H, W) in, tokens (B, H/14 * W/14, C) out, row by row.
"""

import torch
from torch import nn

PATCH_SIZE = 14


def tokens_to_map(tokens: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Patches' tokens back on their grid: float (B, h*w, C) -> float (B, C, h, w)."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, *grid_hw)


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel: one token per patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed patches: float (B, 3, H, W) -> float (B, h*w, C), h = H/14, w = W/14."""
        return self.proj(x).flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h*w, C)
