"""The encoder of the any-view models: a vision transformer whose blocks take turns.

Views of scenes (V, 3, H, W) in; tapped tokens and camera tokens of every view out. Blocks look
within a view; from some block on, every other one looks across all views of a scene. Between the
two halves somebody puts the reference view first: ``runtime.predict.scenes``.
Source: Depth Anything 3 (Lin et al., 2025), ``model/dinov2/vision_transformer.py``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from depth_anything_3.config import DA3Spec
from layers.pos_embed import resize_pos_embed
from layers.precision import cast
from layers.rope import patch_positions, rope_table, shared_positions
from layers.vit import VITS, VisionTransformer

FINAL_EPS = 1e-5

Kept = dict[int, torch.Tensor]  # of a block, its patches' tokens, normalised: float (V, h*w, C)


class AnyViewTransformer(VisionTransformer):
    """DINOv2 with alternating attention, rotary positions and a camera token in every view.

    Views of all scenes come one after the other: V = scenes * views.
    """

    def __init__(self, spec: DA3Spec) -> None:
        assert spec.alternate_from is not None
        super().__init__(VITS[spec.encoder], False, spec.alternate_from, FINAL_EPS)
        self.alternate_from = spec.alternate_from
        self.tap_blocks = spec.taps
        self.head_dim = self.embed_dim // VITS[spec.encoder].num_heads

    @property
    def local_blocks(self) -> int:
        """How many blocks run before the reference view is chosen."""
        return self.alternate_from - 1

    def encode_local(
        self, images: torch.Tensor, layers: Sequence[int] = ()
    ) -> tuple[torch.Tensor, Kept]:
        """Embed and run the first blocks, each view for itself.

        Args:
            images: float (V, 3, H, W), normalised.
            layers: blocks whose tokens are wanted too.
        Returns:
            float (V, 1 + h*w, C), and what was kept of the blocks that are among ``layers``.
        """
        tokens = self.embed(images, resize_pos_embed(self.pos_embed, self.grid_hw(images)))
        kept: Kept = {}
        for index, block in enumerate(self.blocks[: self.local_blocks]):
            tokens = block(tokens)
            if index in layers:
                kept[index] = self.norm(tokens)[:, 1:]
        return tokens, kept

    def default_camera_tokens(self, scenes: int, views: int) -> torch.Tensor:
        """What stands for unknown cameras: float (B, N, C); the first view is the reference."""
        first, others = self.camera_token.split(1, dim=1)
        tokens = [first] + [others] * (views - 1)
        return torch.cat(tokens, dim=1).expand(scenes, -1, -1)

    def encode_global(
        self,
        tokens: torch.Tensor,
        camera_tokens: torch.Tensor,
        views: int,
        grid_hw: tuple[int, int],
        layers: Sequence[int] = (),
    ) -> tuple[list[torch.Tensor], torch.Tensor, Kept]:
        """Run the remaining blocks.

        Args:
            tokens: float (V, 1 + h*w, C), the reference view of each scene first.
            camera_tokens: float (V, C); they take the place of the first tokens.
            views: of each scene.
            grid_hw: patches down and across.
            layers: blocks whose tokens are wanted too.
        Returns:
            four taps (V, h*w, 2C): the last block's within views, and the current, normalised; the
            first tokens (V, 2C) of the last tap, not normalised; and what was kept of the blocks
            that are among ``layers``.
        """
        within, across = (
            rope_table(positions.to(tokens.device), self.head_dim)
            for positions in (patch_positions(grid_hw), shared_positions(grid_hw))
        )
        across = (across[0].repeat(views, 1), across[1].repeat(views, 1))
        apart, joined = tokens.shape, (-1, views * tokens.shape[1], tokens.shape[2])
        taps, kept = [], {}
        local = camera = tokens
        for index in range(self.local_blocks, len(self.blocks)):
            block: nn.Module = self.blocks[index]
            if index == self.alternate_from:
                start = cast(camera_tokens.unsqueeze(1), tokens.dtype)
                tokens = torch.cat((start, tokens[:, 1:]), dim=1)
            if index > self.local_blocks and index % 2 == 1:
                tokens = block(tokens.reshape(joined), across).reshape(apart)
            else:
                tokens = local = block(tokens, within if index >= self.alternate_from else None)
            if index in layers:
                kept[index] = self.norm(tokens)[:, 1:]
            if index in self.tap_blocks:
                taps.append(torch.cat((local[:, 1:], self.norm(tokens)[:, 1:]), dim=-1))
                camera = torch.cat((local[:, 0], tokens[:, 0]), dim=-1)
        return taps, camera, kept


class PlainTransformer(VisionTransformer):
    """DINOv2 as the mono and metric models use it: every view for itself."""

    def __init__(self, spec: DA3Spec) -> None:
        super().__init__(VITS[spec.encoder], mask_token=False, norm_eps=FINAL_EPS)
        self.tap_blocks = spec.taps

    def forward(
        self, images: torch.Tensor, layers: Sequence[int] = ()
    ) -> tuple[list[torch.Tensor], Kept]:
        """Encode views.

        Args:
            images: float (V, 3, H, W), normalised.
            layers: blocks whose tokens are wanted too.
        Returns:
            four taps (V, h*w, C), and what was kept of the blocks that are among ``layers``.
        """
        found: Any = self.get_intermediate_layers(images, [*self.tap_blocks, *layers])
        count = len(self.tap_blocks)
        return list(found[:count]), dict(zip(layers, found[count:]))
