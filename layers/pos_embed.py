"""The learned position embedding, resized to a patch grid.

Stored embedding (1, 1 + 37*37, C) and a grid in, embedding (1, 1 + h*w, C) out.
"""

import torch
import torch.nn.functional as F

from layers.precision import cast

# The DINOv2 checkpoints were trained with 518 x 518 images: 37 x 37 patches.
TRAINED_GRID = 37
# DINOv2 adds this to the grid before it makes a scale factor of it, and samples with that factor.
SCALE_OFFSET = 0.1


def resize_pos_embed(pos_embed: torch.Tensor, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Resize a position embedding to another patch grid.

    Args:
        pos_embed: float (1, 1 + 37*37, C), class token first.
        grid_hw: patches down and across.
    Returns:
        float (1, 1 + h*w, C); the stored tensor itself for the trained grid.
    Source: DINOv2 ``interpolate_pos_encoding``: bicubic, no antialiasing, sampled with the scale
        factor (n + 0.1) / 37, which is not the same as resizing to n.
    """
    if grid_hw == (TRAINED_GRID, TRAINED_GRID):
        return pos_embed
    dim = pos_embed.shape[-1]
    class_pos, patch_pos = pos_embed[:, :1], pos_embed[:, 1:]
    grid = patch_pos.reshape(1, TRAINED_GRID, TRAINED_GRID, dim).permute(0, 3, 1, 2)
    height, width = ((side + SCALE_OFFSET) / TRAINED_GRID for side in grid_hw)
    grid = F.interpolate(cast(grid, torch.float32), scale_factor=(height, width), mode="bicubic")
    patch_pos = grid.permute(0, 2, 3, 1).reshape(1, -1, dim)  # (1, C, h, w) -> (1, h*w, C)
    return torch.cat((class_pos, cast(patch_pos, class_pos.dtype)), dim=1)
