"""The deployment form: the same function as the eager model, rewritten exactly for one shape.

An eager model and a size in, a module without shape arithmetic out. Each rewrite is named and
listed in the manifest.
"""

import torch
from torch import nn

from depth_anything_v2.config import ENCODERS
from depth_anything_v2.dpt import DepthAnythingV2
from layers.patch_embed import PATCH_SIZE
from layers.pos_embed import resize_pos_embed

REWRITES = ("position embedding resized once",)


class DeploymentFormV2(nn.Module):
    """Depth Anything V2 for images of one size.

    float32 (B, 3, H, W) in, float32 (B, H, W) out; H and W fixed, B not.
    """

    def __init__(self, model: DepthAnythingV2, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.grid_hw = (size_hw[0] // PATCH_SIZE, size_hw[1] // PATCH_SIZE)
        self.blocks = ENCODERS[model.encoder].taps
        with torch.no_grad():
            pos_embed = resize_pos_embed(model.pretrained.pos_embed, self.grid_hw).clone()
        self.pos_embed: torch.Tensor
        self.register_buffer("pos_embed", pos_embed)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Estimate depth: float32 (B, 3, H, W) -> float32 (B, H, W)."""
        encoder = self.model.pretrained
        taps = []
        for tokens in encoder.taps(image, self.blocks, self.pos_embed):
            tokens = encoder.norm(tokens)
            taps.append((tokens[:, 1:], tokens[:, 0]))
        depth = self.model.depth_head(taps, self.grid_hw)
        return (depth if self.model.max_depth is None else depth * self.model.max_depth).squeeze(1)
