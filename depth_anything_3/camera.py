"""Cameras into the network and out of it.

Pose encodings to tokens and tokens to pose encodings; ``runtime.scene.cameras`` says what the nine
numbers mean. Source: ``model/cam_enc.py`` and ``model/cam_dec.py`` of Depth Anything 3.
"""

import torch
from torch import nn

from layers.block import Block
from layers.mlp import Mlp

NUMBERS = 9
EPS = 1e-5
ENCODER_BLOCKS, ENCODER_HEADS = 4, 16


class CameraEnc(nn.Module):
    """Known cameras to the tokens that stand for them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(Block(dim, ENCODER_HEADS, eps=EPS) for _ in range(ENCODER_BLOCKS))
        )
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.pose_branch = Mlp(NUMBERS, dim // 2, dim)

    def forward(self, encoding: torch.Tensor) -> torch.Tensor:
        """Encode the cameras of scenes: float (B, N, 9) -> float (B, N, C)."""
        return self.trunk_norm(self.trunk(self.token_norm(self.pose_branch(encoding))))


class CameraDec(nn.Module):
    """Camera tokens to cameras."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU()
        )
        self.fc_t = nn.Linear(dim, 3)
        self.fc_qvec = nn.Linear(dim, 4)
        self.fc_fov = nn.Sequential(nn.Linear(dim, 2), nn.ReLU())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Decode: float (..., C) -> float (..., 9)."""
        x = self.backbone(tokens)
        return torch.cat((self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)), dim=-1)
