"""Multi-head self-attention.

Tokens (B, N, C) in, tokens (B, N, C) out. No masks, no dropout.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn

from layers.precision import cast
from layers.rope import Table, apply_rope

# Without the fused operator the weights of every token for every other are held. This many of them
# are, at most, so that many views do not need their square in memory.
WEIGHTS_AT_ONCE = 1 << 26


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, fused: bool
) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v: three float (B, heads, N, d) -> float (B, heads, N, d).

    ``fused`` takes torch's own operator where there is one, as upstream's Depth Anything 3 does;
    V2 takes these steps.
    Source: Vaswani et al., 2017.
    """
    if fused and hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(query, key, value)
    batch, heads, tokens, dim = (int(side) for side in query.shape)
    query = query * dim**-0.5
    rows = max(1, WEIGHTS_AT_ONCE // (batch * heads * tokens))
    if rows >= tokens:
        return (query @ key.transpose(-2, -1)).softmax(-1) @ value
    parts = [(part @ key.transpose(-2, -1)).softmax(-1) @ value for part in query.split(rows, 2)]
    return torch.cat(parts, dim=2)


class Attention(nn.Module):
    """Self-attention over all tokens, as laid out in DINOv2 (``qkv`` in one projection).

    ``qk_norm`` normalises each head's queries and keys, as Depth Anything 3 does.
    """

    def __init__(self, dim: int, num_heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} cannot be split into num_heads={num_heads}")
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.qk_norm = qk_norm
        if qk_norm:
            self.q_norm = nn.LayerNorm(dim // num_heads)
            self.k_norm = nn.LayerNorm(dim // num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor, rope: Optional[Table] = None) -> torch.Tensor:
        """Attend: float (B, N, C), tables (N, C / heads) or none -> float (B, N, C)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, C / heads) each
        if self.qk_norm:  # in the weights' own type, under autocast too
            dtype = self.qkv.weight.dtype
            query, key = self.q_norm(cast(query, dtype)), self.k_norm(cast(key, dtype))
        if rope is not None:
            query, key = apply_rope(query, rope), apply_rope(key, rope)
        attended = attend(query, key, cast(value, query.dtype), fused=self.qk_norm)
        return self.proj(attended.transpose(1, 2).reshape(batch, tokens, dim))
