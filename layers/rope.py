"""Two-dimensional rotary position embedding.

Token positions in, tables of cosines and sines out; tables and queries or keys in, rotated
ones out.
Source: Su et al., 2021, in the two-dimensional form of Depth Anything 3: the first half of each
head's channels rotates with the row, the second half with the column.
"""

import torch

from layers.precision import cast

BASE = 100.0

Table = tuple[torch.Tensor, torch.Tensor]


def patch_positions(grid_hw: tuple[int, int]) -> torch.Tensor:
    """Row and column of every token of one view: int64 (1 + h*w, 2).

    Patches count from 1; the first token, which is no patch, is at (0, 0).
    """
    height, width = grid_hw
    rows = torch.arange(1, height + 1).repeat_interleave(width)
    columns = torch.arange(1, width + 1).repeat(height)
    patches = torch.stack((rows, columns), dim=1)  # (h*w, 2)
    return torch.cat((torch.zeros(1, 2, dtype=patches.dtype), patches))


def shared_positions(grid_hw: tuple[int, int]) -> torch.Tensor:
    """Positions that tell only patches, at (1, 1), from the first token, at (0, 0).

    Blocks that look across views use them: int64 (1 + h*w, 2).
    """
    return patch_positions(grid_hw).clamp(max=1)


def rope_table(positions: torch.Tensor, head_dim: int) -> Table:
    """Cosines and sines by which tokens at these positions are rotated.

    Args:
        positions: int (N, 2), row and column.
        head_dim: channels of a head, a multiple of 4.
    Returns:
        two float32 (N, head_dim).
    """
    half = head_dim // 2
    frequency = BASE ** -(torch.arange(0, half, 2, dtype=torch.float32) / half)  # (head_dim / 4,)
    angle = positions.unsqueeze(-1) * frequency.to(positions.device)  # (N, 2, head_dim / 4)
    angle = torch.cat((angle, angle), dim=-1).flatten(1)  # (N, head_dim)
    return angle.cos(), angle.sin()


def apply_rope(x: torch.Tensor, table: Table) -> torch.Tensor:
    """Rotate queries or keys by their positions.

    float (B, heads, N, head_dim) and two tables (N, head_dim) -> float (B, heads, N, head_dim).
    """
    cosine, sine = (cast(part, x.dtype) for part in table)
    return x * cosine + rotate_half(x) * sine


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """Rotate every pair of channels by 90 degrees: float (..., head_dim) -> the same."""
    row_1, row_2, column_1, column_2 = x.chunk(4, dim=-1)
    return torch.cat((-row_2, row_1, -column_2, column_1), dim=-1)
