"""One transformer block with LayerScale.

Tokens (B, N, C) in, tokens (B, N, C) out.
"""

from typing import Optional

import torch
from torch import nn

from layers.attention import Attention
from layers.mlp import Mlp, SwiGLU
from layers.rope import Table

MLP_RATIO = 4


class LayerScale(nn.Module):
    """A learned factor per channel. Source: CaiT (Touvron et al., 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale channels: float (..., C) -> float (..., C)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each scaled and added to its input."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        swiglu: bool = False,
        qk_norm: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, qk_norm)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = (SwiGLU if swiglu else Mlp)(dim, MLP_RATIO * dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: torch.Tensor, rope: Optional[Table] = None) -> torch.Tensor:
        """Transform tokens: float (B, N, C) -> float (B, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        return x + self.ls2(self.mlp(self.norm2(x)))
