"""The two feed-forward networks of DINOv2.

Tokens (B, N, C) in, tokens (B, N, C) out, each token on its own.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn


class Mlp(nn.Module):
    """Linear, exact (erf) GELU, linear."""

    def __init__(self, dim: int, hidden: int, dim_out: Optional[int] = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim if dim_out is None else dim_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform each token: float (..., C) -> float (..., C or dim_out)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """Gated SiLU feed-forward, used by vitg.

    ``hidden`` is the nominal width; two thirds of it, rounded up to a multiple of 8, are built.
    Source: Shazeer, 2020; sizing as in DINOv2.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        gated = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dim, 2 * gated)
        self.w3 = nn.Linear(gated, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform each token: float (B, N, C) -> float (B, N, C)."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)
