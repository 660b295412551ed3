"""Deployment forms of Depth Anything 3: each stage of a network for one size and number of views.

A network in; modules with tensors of known shapes in and out, which the rewrites of
``compile.deploy`` apply to, out. An any-view network is several stages, because the host chooses
the reference view between them; a mono or metric network is one.
"""

from typing import Any, Union

import torch
from torch import nn

from compile.deploy import Form, same_weights
from compile.fixed import (
    AddUVEmbedding,
    FixedAttention,
    FixedPyramid,
    FoldedTokens,
    MatrixResize,
    NativeResize,
    Tokens,
)
from depth_anything_3.any_view import AnyViewTransformer, PlainTransformer
from depth_anything_3.dpt import DPT
from depth_anything_3.dual_dpt import RAYS, DualDPT
from depth_anything_3.model import DepthAnything3Net
from layers.dpt import LEVELS
from layers.patch_embed import PATCH_SIZE
from layers.rope import patch_positions, rope_table, shared_positions

Tensors = tuple[torch.Tensor, ...]
Resize = Union[NativeResize, MatrixResize]


class EncoderLocal(Form):
    """Images to the tokens of the blocks that run before the reference view is chosen."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        encoder = same_weights(net.backbone.pretrained)
        assert isinstance(encoder, AnyViewTransformer)
        self.tokens: Union[Tokens, FoldedTokens] = Tokens(encoder, views, grid_hw)
        self.blocks = encoder.blocks[: encoder.local_blocks]
        for block in self.blocks:
            block.attn = FixedAttention(block.attn, views, _tokens(grid_hw))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encode: float (N, 3, H, W) -> float (N, 1 + h*w, C)."""
        x = self.tokens(image)
        for block in self.blocks:
            x = block(x)
        return x


class EncoderGlobal(Form):
    """The remaining blocks; the reference view comes first."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        encoder = same_weights(net.backbone.pretrained)
        assert isinstance(encoder, AnyViewTransformer)
        start, count = encoder.local_blocks, _tokens(grid_hw)
        tables = [
            rope_table(positions, encoder.head_dim)
            for positions in (patch_positions(grid_hw), shared_positions(grid_hw))
        ]
        across = (tables[1][0].repeat(views, 1), tables[1][1].repeat(views, 1))
        self.blocks = encoder.blocks[start:]
        self.kinds = []  # of each block: whether it looks across views, and whether it is tapped
        for index, block in enumerate(self.blocks, start=start):
            joint = index > start and index % 2 == 1
            self.kinds.append((joint, index in encoder.tap_blocks))
            if joint:
                block.attn = FixedAttention(block.attn, 1, views * count, across)
            else:
                rope = tables[0] if index > start else None
                block.attn = FixedAttention(block.attn, views, count, rope)
        self.norm: nn.LayerNorm = encoder.norm
        self.apart = (views, count, encoder.embed_dim)
        self.joined = (1, views * count, encoder.embed_dim)

    def forward(self, tokens: torch.Tensor, camera_tokens: torch.Tensor) -> Tensors:
        """Encode.

        Args:
            tokens: float (N, 1 + h*w, C), from ``EncoderLocal``.
            camera_tokens: float (N, C).
        Returns:
            four taps, float (N, h*w, 2C), and camera, float (N, 2C).
        """
        x = local = tokens
        camera = camera_tokens
        taps = []
        for index, (block, (joint, tapped)) in enumerate(zip(self.blocks, self.kinds)):
            if index == 1:
                x = torch.cat((camera_tokens.unsqueeze(1), x[:, 1:]), dim=1)
            if joint:
                x = block(x.reshape(self.joined)).reshape(self.apart)
            else:
                x = local = block(x)
            if tapped:
                taps.append(torch.cat((local[:, 1:], self.norm(x)[:, 1:]), dim=-1))
                camera = torch.cat((local[:, 0], x[:, 0]), dim=-1)
        return (*taps, camera)


class _Head(Form):
    """What the heads of an any-view network begin with."""

    def __init__(
        self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int], suffix: str
    ) -> None:
        super().__init__()
        head = same_weights(net.head)
        assert isinstance(head, DualDPT)
        self.scratch: Any = head.scratch
        self.norms: nn.ModuleList = nn.ModuleList(head.norm for _ in range(LEVELS))
        self.pyramid: FixedPyramid = FixedPyramid(head, grid_hw, suffix, add_embedding=True)
        self.shape = (views, head.norm.normalized_shape[0], *grid_hw)

    def fuse(self, taps: Tensors) -> torch.Tensor:
        """Four float (N, h*w, 2C) -> float (N, F, 8*h, 8*w)."""
        maps = [
            norm(tap).transpose(1, 2).reshape(self.shape) for norm, tap in zip(self.norms, taps)
        ]
        return self.pyramid(*maps)


class DepthHead(_Head):
    """Taps to depth and its confidence."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__(net, views, grid_hw, "")
        size_hw = (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE)
        self.output_conv1, self.output_conv2 = self.scratch.output_conv1, self.scratch.output_conv2
        channels = self.output_conv1.out_channels
        self.enlarge: Resize = NativeResize(self.pyramid.size_hw, size_hw)
        self.embed = AddUVEmbedding(channels, size_hw, grid_hw, self.output_conv1.weight)
        del self.scratch

    def forward(
        self, tap_0: torch.Tensor, tap_1: torch.Tensor, tap_2: torch.Tensor, tap_3: torch.Tensor
    ) -> Tensors:
        """Decode: four float (N, h*w, 2C) -> depth and confidence, float (N, H, W) each."""
        x = self.output_conv1(self.fuse((tap_0, tap_1, tap_2, tap_3)))
        found = self.output_conv2(self.embed(self.enlarge(x))).exp()
        return found[:, 0], found[:, 1] + 1


class RayHead(_Head):
    """Taps to rays and their confidence."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__(net, views, grid_hw, RAYS)
        self.output_conv1 = self.scratch.output_conv1_aux[-1]
        self.output_conv2 = self.scratch.output_conv2_aux[-1]
        last = self.output_conv1[-1]
        self.embed = AddUVEmbedding(last.out_channels, self.pyramid.size_hw, grid_hw, last.weight)
        del self.scratch

    def forward(
        self, tap_0: torch.Tensor, tap_1: torch.Tensor, tap_2: torch.Tensor, tap_3: torch.Tensor
    ) -> Tensors:
        """Decode: four float (N, h*w, 2C) -> rays float (N, 8h, 8w, 6), confidence (N, 8h, 8w)."""
        x = self.embed(self.output_conv1(self.fuse((tap_0, tap_1, tap_2, tap_3))))
        x = self.output_conv2(x).permute(0, 2, 3, 1)
        return x[..., :6], x[..., 6].exp() + 1


class SingleView(Form):
    """A mono or metric network: images to depth and sky."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        encoder, head = same_weights(net.backbone.pretrained), same_weights(net.head)
        assert isinstance(encoder, PlainTransformer) and isinstance(head, DPT)
        self.tap_blocks = encoder.tap_blocks
        self.tokens: Union[Tokens, FoldedTokens] = Tokens(encoder, views, grid_hw)
        self.blocks = encoder.blocks[: max(self.tap_blocks) + 1]
        for block in self.blocks:
            block.attn = FixedAttention(block.attn, views, _tokens(grid_hw))
        self.norms: nn.ModuleList = nn.ModuleList(encoder.norm for _ in range(LEVELS))
        self.pyramid: FixedPyramid = FixedPyramid(head, grid_hw)
        size_hw = (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE)
        self.enlarge: Resize = NativeResize(self.pyramid.size_hw, size_hw)
        self.output_conv1 = head.scratch.output_conv1
        self.output_conv2 = head.scratch.output_conv2
        self.sky_output_conv2 = head.scratch.sky_output_conv2
        self.shape = (views, encoder.embed_dim, *grid_hw)

    def forward(self, image: torch.Tensor) -> Tensors:
        """Estimate: float (B, 3, H, W) -> depth and sky, float (B, H, W) each."""
        x = self.tokens(image)
        maps: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.tap_blocks:
                patches = self.norms[len(maps)](x[:, 1:])
                maps.append(patches.transpose(1, 2).reshape(self.shape))
        x = self.enlarge(self.output_conv1(self.pyramid(*maps)))
        depth = self.output_conv2(x).exp()
        return depth.squeeze(1), self.sky_output_conv2(x).relu().squeeze(1)


class CameraDecoder(Form):
    """Camera features to pose encodings."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.decoder = same_weights(net.cam_dec)

    def forward(self, camera: torch.Tensor) -> torch.Tensor:
        """Decode: float (N, 2C) -> float (N, 9)."""
        return self.decoder(camera)


class CameraEncoder(Form):
    """Pose encodings to camera tokens."""

    def __init__(self, net: DepthAnything3Net, views: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        encoder = same_weights(net.cam_enc)
        self.pose_branch, self.token_norm = encoder.pose_branch, encoder.token_norm
        self.blocks, self.trunk_norm = nn.ModuleList(encoder.trunk), encoder.trunk_norm
        for block in self.blocks:
            block.attn = FixedAttention(block.attn, 1, views)

    def forward(self, pose: torch.Tensor) -> torch.Tensor:
        """Encode: float (N, 9) -> float (N, C)."""
        x = self.token_norm(self.pose_branch(pose)).unsqueeze(0)  # the views of one scene
        for block in self.blocks:
            x = block(x)
        return self.trunk_norm(x).squeeze(0)


def _tokens(grid_hw: tuple[int, int]) -> int:
    return 1 + grid_hw[0] * grid_hw[1]
