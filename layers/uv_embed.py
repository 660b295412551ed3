"""Where in the picture a feature is, as sines and cosines that are added to feature maps.

Sizes in, float32 (C, h, w) out; or maps in, and the maps with the embedding added out.
Source: the ``create_uv_grid`` and ``position_grid_to_embed`` of Depth Anything 3, after MoGe (Wang
et al., 2024) and DINO.
"""

import torch

BASE = 100.0
SHARE = 0.1  # of the embedding that is added to a map


def uv_axes(size_hw: tuple[int, int], aspect: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates of pixel centres, on a picture whose diagonal is 2 long.

    Args:
        size_hw: of the map.
        aspect: width over height of the picture.
    Returns:
        float32 (h,) and (w,).
    """
    diagonal = (aspect**2 + 1) ** 0.5
    axes = []
    for count, span in zip(size_hw, (1 / diagonal, aspect / diagonal)):
        end = span * (count - 1) / count
        axes.append(torch.linspace(-end, end, count))
    return axes[0], axes[1]


def uv_strips(
    channels: int, size_hw: tuple[int, int], aspect: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two halves of one map's embedding, each as long as it varies, scaled by ``SHARE``.

    Returns:
        for the first half of the channels, which tells columns, float32 (C/2, 1, w); for the
        second, which tells rows, (C/2, h, 1). Each is sines, then cosines.
    """
    rows, columns = (_waves(channels // 2, axis).mul(SHARE) for axis in uv_axes(size_hw, aspect))
    return columns.unsqueeze(1), rows.unsqueeze(2)


def uv_embedding(channels: int, size_hw: tuple[int, int], aspect: float) -> torch.Tensor:
    """The embedding of one map, already scaled by ``SHARE``: float32 (C, h, w)."""
    return torch.cat([part.expand(-1, *size_hw) for part in uv_strips(channels, size_hw, aspect)])


def add_uv_embedding(x: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Add to maps where in the picture each feature is.

    Args:
        x: float (B, C, h, w), of any size.
        grid_hw: patches down and across, which tell the picture's aspect ratio.
    Returns:
        float (B, C, h, w).
    """
    channels, height, width = (int(side) for side in x.shape[1:])
    return x + uv_embedding(channels, (height, width), grid_hw[1] / grid_hw[0]).to(x)


def _waves(channels: int, places: torch.Tensor) -> torch.Tensor:
    half = channels // 2
    frequency = BASE ** -(torch.arange(half, dtype=torch.float32) / half)
    angle = frequency.unsqueeze(1) * places  # (C/4, n)
    return torch.cat((angle.sin(), angle.cos()))
