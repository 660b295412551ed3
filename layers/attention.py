"""Multi-head self-attention.

Tokens (B, N, C) in, tokens (B, N, C) out. No masks, no dropout, no fused kernels: every step is an
operator that a fixed-shape graph compiler knows.
"""

import torch
from torch import nn


class Attention(nn.Module):
    """Scaled dot-product self-attention over all tokens.

    Source: Vaswani et al., 2017, as laid out in DINOv2 (``qkv`` in one projection).
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} cannot be split into num_heads={num_heads}")
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend: float (B, N, C) -> float (B, N, C)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, C / heads) each
        weights = (query * self.scale @ key.transpose(-2, -1)).softmax(dim=-1)  # (B, heads, N, N)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, dim))
