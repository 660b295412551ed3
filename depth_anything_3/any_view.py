"""The encoder of the any-view models: a vision transformer whose blocks take turns.

Views of a scene (B, N, 3, H, W) in; tapped tokens and camera tokens of every view out. Blocks look
within a view; from some block on, every other one looks across all of them.
Source: Depth Anything 3 (Lin et al., 2025), ``model/dinov2/vision_transformer.py``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
from torch import nn

from depth_anything_3.config import DA3Spec
from layers.pos_embed import resize_pos_embed
from layers.rope import patch_positions, rope_table, shared_positions
from layers.vit import VITS, VisionTransformer
from runtime.scene.reference_view import (
    DEFAULT_STRATEGY,
    MIN_VIEWS,
    choose_reference,
    original_order,
    reference_first,
)

FINAL_EPS = 1e-5


class Features(NamedTuple):
    """What the encoder tells the heads.

    taps: four float (B, N, h*w, C or 2C), finest first.
    camera: float (B, N, 2C), the first token of the last tap; None for a plain encoder.
    layers: float (B, N, h*w, C) for each layer asked for, in the order of ``reference_first`` from
        the block before ``alternate_from`` on.
    reference: the view that the others are told from, for each of the batch.
    """

    taps: list[torch.Tensor]
    camera: Optional[torch.Tensor]
    layers: list[torch.Tensor]
    reference: list[int]


class AnyViewTransformer(VisionTransformer):
    """DINOv2 with alternating attention, rotary positions and a camera token in every view."""

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

    def forward(
        self,
        images: torch.Tensor,
        camera_tokens: Optional[torch.Tensor] = None,
        layers: Sequence[int] = (),
        strategy: str = DEFAULT_STRATEGY,
    ) -> Features:
        """Encode scenes.

        Args:
            images: float (B, N, 3, H, W), normalised.
            camera_tokens: float (B, N, C), of known cameras; None leaves them to be found.
            layers: blocks whose tokens are wanted too.
            strategy: how the reference view is chosen, from three views on and without cameras.
        """
        batch, views = images.shape[:2]
        grid_hw = self.grid_hw(images.flatten(0, 1))
        kept: dict[int, torch.Tensor] = {}
        tokens = self.encode_local(images, kept)
        reference = [0] * batch
        if views >= MIN_VIEWS and camera_tokens is None:
            first = tokens[:, :, 0].detach().float().cpu().numpy()
            reference = [choose_reference(scene, strategy) for scene in first]
            tokens = _reordered(tokens, [reference_first(views, one) for one in reference])
        if camera_tokens is None:
            camera_tokens = self.default_camera_tokens(batch, views)
        taps, camera = self.encode_global(tokens, camera_tokens, grid_hw, kept)
        if any(reference):
            back = [original_order(views, one) for one in reference]
            taps = [_reordered(tap, back) for tap in taps]
            camera = _reordered(camera, back)
        wanted = [self.norm(kept[index])[:, :, 1:] for index in layers]
        return Features(taps, camera, wanted, reference)

    def encode_local(
        self, images: torch.Tensor, kept: Optional[dict[int, torch.Tensor]] = None
    ) -> torch.Tensor:
        """Embed and run the first blocks, each view for itself.

        Args:
            images: float (B, N, 3, H, W).
            kept: gets every block's tokens.
        Returns:
            float (B, N, 1 + h*w, C).
        """
        batch = images.shape[0]
        flat = images.flatten(0, 1)  # (B*N, 3, H, W)
        tokens = self.embed(flat, resize_pos_embed(self.pos_embed, self.grid_hw(flat)))
        for index, block in enumerate(self.blocks[: self.local_blocks]):
            tokens = block(tokens)
            if kept is not None:
                kept[index] = tokens.unflatten(0, (batch, -1))
        return tokens.unflatten(0, (batch, -1))

    def default_camera_tokens(self, batch: int, views: int) -> torch.Tensor:
        """What stands for unknown cameras: float (B, N, C); the first view is the reference."""
        first, others = self.camera_token.split(1, dim=1)
        return torch.cat((first, others.expand(-1, views - 1, -1)), dim=1).expand(batch, -1, -1)

    def encode_global(
        self,
        tokens: torch.Tensor,
        camera_tokens: torch.Tensor,
        grid_hw: tuple[int, int],
        kept: Optional[dict[int, torch.Tensor]] = None,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Run the remaining blocks.

        Args:
            tokens: float (B, N, 1 + h*w, C), the reference view first.
            camera_tokens: float (B, N, C); they take the place of the first tokens.
            grid_hw: patches down and across.
            kept: gets every block's tokens.
        Returns:
            four taps (B, N, h*w, 2C): the last block's within views, and the current, normalised;
            and the first tokens (B, N, 2C) of the last tap, not normalised.
        """
        batch, views = tokens.shape[:2]
        tables = [
            rope_table(positions.to(tokens.device), self.head_dim)
            for positions in (patch_positions(grid_hw), shared_positions(grid_hw))
        ]
        within, across = tables[0], tuple(part.repeat(views, 1) for part in tables[1])
        taps = []
        local = camera = tokens
        for index in range(self.local_blocks, len(self.blocks)):
            block: nn.Module = self.blocks[index]
            if index == self.alternate_from:
                start = camera_tokens.unsqueeze(2).to(tokens.dtype)
                tokens = torch.cat((start, tokens[:, :, 1:]), dim=2)
            if index > self.local_blocks and index % 2 == 1:
                joined = block(tokens.flatten(1, 2), across)  # (B, N*(1+h*w), C)
                tokens = joined.unflatten(1, (views, -1))
            else:
                rope = within if index >= self.alternate_from else None
                tokens = block(tokens.flatten(0, 1), rope).unflatten(0, (batch, views))
                local = tokens
            if kept is not None:
                kept[index] = tokens
            if index in self.tap_blocks:
                patches = torch.cat((local[:, :, 1:], self.norm(tokens)[:, :, 1:]), dim=-1)
                camera = torch.cat((local[:, :, 0], tokens[:, :, 0]), dim=-1)
                taps.append(patches)
        return taps, camera


class PlainTransformer(VisionTransformer):
    """DINOv2 as the mono and metric models use it: every view for itself."""

    def __init__(self, spec: DA3Spec) -> None:
        super().__init__(VITS[spec.encoder], mask_token=False, norm_eps=FINAL_EPS)
        self.tap_blocks = spec.taps

    def forward(
        self,
        images: torch.Tensor,
        camera_tokens: Optional[torch.Tensor] = None,
        layers: Sequence[int] = (),
        strategy: str = DEFAULT_STRATEGY,
    ) -> Features:
        """Encode views: float (B, N, 3, H, W); cameras and strategy do not concern it."""
        batch, views = images.shape[:2]
        blocks = [*self.tap_blocks, *layers]
        found: Any = self.get_intermediate_layers(images.flatten(0, 1), blocks)
        maps = [tokens.unflatten(0, (batch, views)) for tokens in found]
        count = len(self.tap_blocks)
        return Features(maps[:count], None, maps[count:], [0] * batch)


def _reordered(x: torch.Tensor, orders: Sequence[Sequence[int]]) -> torch.Tensor:
    """Views in another order, for each of the batch: float (B, N, ...)."""
    return torch.stack([scene[list(order)] for scene, order in zip(x, orders)])
