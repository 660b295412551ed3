"""The smallest artifact that takes scenes: an any-view model's stages as graphs of a few lines.

A number of views in, an artifact out that loads and runs in milliseconds. Depth is 3 plus how
bright each patch is; cameras look one way, and stand where their photos' mean colour says.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from runtime.artifact.folder import Artifact, commit, describe_files
from runtime.artifact.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    ParityReport,
    StageSpec,
    TensorSpec,
    WeightsSpec,
)
from runtime.files import partial_folder

PATCH = 14
CHANNELS = 4  # of a token
TAPS = 4


class Local(torch.nn.Module):
    """Image (V, 3, H, W) to tokens (V, 1 + P, 4): one for the view, one a patch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.avg_pool2d(image, PATCH).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches.mean(1, keepdim=True), patches], 1)
        return torch.cat([tokens, torch.ones_like(tokens[..., :1])], -1)


class Global(torch.nn.Module):
    """Tokens and camera tokens to four taps (V, P, 4) and what the camera is read from (V, 4)."""

    def forward(self, tokens, camera_tokens):
        taps = [(tap + 1) * tokens[:, 1:] for tap in range(TAPS)]
        return (*taps, tokens[:, 0] + camera_tokens)


class Depth(torch.nn.Module):
    """Taps (V, P, 4) to depth and confidence (V, H, W)."""

    def __init__(self, grid_hw: "tuple[int, int]") -> None:
        super().__init__()
        self.grid_hw = grid_hw

    def forward(self, tap_0, tap_1, tap_2, tap_3):
        mean = (tap_0 + tap_1 + tap_2 + tap_3)[..., :3].mean(-1) / 10
        bright = mean.reshape(-1, 1, *self.grid_hw)
        depth = 3 + torch.nn.functional.interpolate(bright, scale_factor=PATCH)[:, 0]
        return depth, depth.abs() + 1


class Decoder(torch.nn.Module):
    """Camera (V, 4) to translation, quaternion x y z w and both fields of view (V, 9)."""

    def forward(self, camera: torch.Tensor) -> torch.Tensor:
        start = torch.cat([camera[:, :3], torch.zeros_like(camera[:, :3])], 1)
        rest = torch.ones_like(camera[:, :3])
        return torch.cat([start, rest], 1)


class Encoder(torch.nn.Module):
    """Pose (V, 9) to camera tokens (V, 4)."""

    def forward(self, pose: torch.Tensor) -> torch.Tensor:
        return pose[:, :CHANNELS]


def make_scene_artifact(
    root: Path,
    views: int,
    size_hw: "tuple[int, int]" = (28, 42),
    seeded: bool = False,
    model: str = "da3-small",
) -> Artifact:
    """Write an artifact for scenes of so many views into a folder."""
    grid_hw = (size_hw[0] // PATCH, size_hw[1] // PATCH)
    patches = grid_hw[0] * grid_hw[1]
    image = {"image": (views, 3, *size_hw)}
    tokens = {"tokens": (views, 1 + patches, CHANNELS)}
    known = {"camera_tokens": (views, CHANNELS)}
    taps = {f"tap_{tap}": (views, patches, CHANNELS) for tap in range(TAPS)}
    camera, pose = {"camera": (views, CHANNELS)}, {"pose": (views, 9)}
    maps = {"depth": (views, *size_hw), "depth_conf": (views, *size_hw)}
    stages = (
        ("encoder_local", Local(), image, tokens),
        ("encoder_global", Global(), {**tokens, **known}, {**taps, **camera}),
        ("depth_head", Depth(grid_hw), taps, maps),
        ("camera_decoder", Decoder(), camera, pose),
        ("camera_encoder", Encoder(), pose, known),
    )
    with partial_folder(root) as folder:
        for name, module, inputs, _ in stages:
            example = tuple(torch.rand(shape) for shape in inputs.values())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer torch: use export
                graph = torch.jit.trace(module.eval(), example, check_trace=False)
            graph.save(str(folder / f"{name}.pt"))
        tokens_of_none = np.zeros((views, CHANNELS), np.float32)
        np.save(folder / "camera_tokens.npy", tokens_of_none, allow_pickle=False)
        source = "seeded" if seeded else "checkpoint"
        manifest = Manifest(
            model=model,
            family="v3",
            target="torchscript",
            precision="f32",
            stages=tuple(
                StageSpec(name, f"{name}.pt", _specs(inputs), _specs(outputs))
                for name, _, inputs, outputs in stages
            ),
            input=InputSpec(size_hw),
            output=OutputSpec("depth"),
            weights=WeightsSpec(source, "0" * 64, "Apache-2.0"),
            rewrites=(),
            compiler={},
            versions={"torch": torch.__version__},
            parity=ParityReport("passed", "by construction", 1e-4),
            files=describe_files(folder),
            views=views,
        )
        return commit(folder, manifest, root)


def _specs(shapes: "dict[str, tuple[int, ...]]") -> "tuple[TensorSpec, ...]":
    return tuple(TensorSpec(name, shape) for name, shape in shapes.items())
