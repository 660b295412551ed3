"""Depth Anything 3: one network, from views of scenes to depth and cameras.

Normalised images (B, N, 3, H, W) and a question in; a dictionary of maps and cameras out. The
network's modules are straight lines; what depends on values (which view is the reference, sky,
poses) is numpy on the host, the same code that runs artifacts.
Source: ``model/da3.py`` of Depth Anything 3 (Lin et al., 2025).
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch
from torch import nn

from depth_anything_3 import traced
from depth_anything_3.any_view import AnyViewTransformer, PlainTransformer
from depth_anything_3.camera import CameraDec, CameraEnc
from depth_anything_3.config import DA3Spec
from depth_anything_3.dpt import DPT
from depth_anything_3.dual_dpt import DualDPT
from depth_anything_3.gs_dpt import GSDPT
from depth_anything_3.stages import EagerStages, to_numpy
from layers.patch_embed import PATCH_SIZE
from layers.precision import cast, in_type_of
from layers.vit import VITS
from runtime.errors import InputError
from runtime.predict.scenes import run_scene
from runtime.scene.query import SceneQuery
from runtime.scene.sky import fill_sky

VIEWS_IN_MEMORY = 8  # that the heads decode at once
Output = dict[str, Any]


class Backbone(nn.Module):
    """What the checkpoints call the encoder: it holds one, named ``pretrained``."""

    def __init__(self, spec: DA3Spec) -> None:
        super().__init__()
        self.pretrained = (AnyViewTransformer if spec.any_view else PlainTransformer)(spec)


def check_query(spec: DA3Spec, query: SceneQuery) -> None:
    """Refuse a question that a network has no answer to.

    Raises:
        InputError: it names what is asked.
    """
    layers, depth = query.export_feat_layers, VITS[spec.encoder].depth
    if any(layer >= depth for layer in layers):
        raise InputError(f"export_feat_layers={list(layers)}: blocks are 0 to {depth - 1}")
    if not spec.any_view:
        asked = {
            "extrinsics": query.has_cameras,
            "infer_gs": query.infer_gs,
            "use_ray_pose": query.use_ray_pose,
        }
        wrong = [name for name, given in asked.items() if given]
        if wrong:
            raise InputError(f"{', '.join(wrong)}: this model takes each view for itself")
    if query.infer_gs and not spec.gaussians:
        raise InputError("infer_gs=True: only da3-giant and da3nested-giant-large find splats")


class DepthAnything3Net(nn.Module):
    """One of the six single networks.

    Args:
        spec: a row of ``depth_anything_3.config``.
        max_views_in_memory: views that the heads decode at once; fewer need less memory.
    """

    def __init__(self, spec: DA3Spec, max_views_in_memory: int = VIEWS_IN_MEMORY) -> None:
        super().__init__()
        self.spec, self.max_views_in_memory = spec, max_views_in_memory
        self.dtype = torch.float32
        self.backbone = Backbone(spec)
        dim = VITS[spec.encoder].dim
        if not spec.any_view:
            self.head: nn.Module = DPT(dim, spec.features, spec.out_channels)
            return
        self.head = DualDPT(2 * dim, spec.features, spec.out_channels)
        self.cam_dec = CameraDec(2 * dim)
        self.cam_enc = CameraEnc(dim)
        if spec.gaussians:
            self.gs_head = GSDPT(2 * dim, spec.features, spec.out_channels)

    def forward(self, images: torch.Tensor, query: Optional[SceneQuery] = None) -> Output:
        """Estimate the depth of scenes, and their cameras.

        Args:
            images: float (B, N, 3, H, W), RGB normalised with the ImageNet mean and standard
                deviation; H and W multiples of 14.
            query: its cameras (B, N, ...), or (N, ...) if B is 1, in pixels of the images; of each
                scene as ``SceneQuery.normalised`` has them.
        Returns:
            depth float32 (B, N, H, W), larger is farther, up to scale; and, by model:
            depth_conf (B, N, H, W), above 1; sky (B, N, H, W); extrinsics (B, N, 3, 4) and
            intrinsics (B, N, 3, 3); ray (B, N, 8H/14, 8W/14, 6) and ray_conf (B, N, 8H/14, 8W/14);
            gaussians; aux, a dictionary of ``feat_layer_i`` (B, N, H/14, W/14, C).
        Raises:
            InputError: images of another shape, cameras that do not fit them, or something that
                this model cannot find.
        """
        query, shape = query or SceneQuery(), tuple(int(side) for side in images.shape)
        self._check(shape, query)
        images = in_type_of(self.backbone.pretrained.cls_token, images)
        batch, views, _, height, width = shape

        def apart(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(batch, views, *x.shape[1:])

        if traced.is_traced():
            found = self._traced(images.flatten(0, 1), query, batch)
            return {name: apart(value) for name, value in found.items()}
        run = self._any_view if self.spec.any_view else self._single_views
        output, layers = run(images.flatten(0, 1), query, batch)
        grid_hw = (height // PATCH_SIZE, width // PATCH_SIZE)
        aux = {
            f"feat_layer_{layer}": apart(tokens.unflatten(1, grid_hw))
            for layer, tokens in layers.items()
        }
        maps = {
            name: apart(value) if isinstance(value, torch.Tensor) else value
            for name, value in output.items()
        }
        return {**maps, "aux": aux}

    def stages(
        self, scenes: int, views: int, size_hw: tuple[int, int], layers: Sequence[int] = ()
    ) -> EagerStages:
        """The modules of an any-view network as the program of a scene takes them."""
        return EagerStages(self, scenes, views, size_hw, layers)

    def depth_and_sky(
        self, images: torch.Tensor, layers: Sequence[int] = ()
    ) -> tuple[torch.Tensor, torch.Tensor, dict[int, torch.Tensor]]:
        """What a mono or metric network itself finds, before sky is filled.

        Args:
            images: float (V, 3, H, W).
            layers: blocks whose tokens are wanted.
        Returns:
            depth and sky, float32 (V, H, W), and of each of ``layers`` float32 (V, h*w, C).
        """
        encoder = self.backbone.pretrained
        grid_hw = encoder.grid_hw(images)
        with self.autocast():
            taps, kept = encoder(images, layers)

        def decode(*taps: torch.Tensor) -> Sequence[torch.Tensor]:
            return self.head(taps, grid_hw)

        dtype = next(self.head.parameters()).dtype
        with self.exact():
            depth, sky = self.in_parts(decode, *(cast(tap, dtype) for tap in taps))
        depth, sky = cast(depth, torch.float32), cast(sky, torch.float32)
        return depth, sky, {layer: tokens.float() for layer, tokens in kept.items()}

    def autocast(self) -> Any:
        """A context in which the encoder computes in ``dtype``; for float32, as what is around."""
        lower = self.dtype != torch.float32
        return self._autocast(self.dtype) if lower else contextlib.nullcontext()

    def exact(self) -> Any:
        """A context in which modules compute in the type of their weights, whatever is around."""
        return self._autocast(None)

    def _autocast(self, dtype: Optional[torch.dtype]) -> Any:
        device = self.backbone.pretrained.cls_token.device.type
        autocast: Any = torch.autocast  # type: ignore[attr-defined]
        return autocast(device, dtype, enabled=dtype is not None)

    def in_parts(
        self, decode: Callable[..., Sequence[torch.Tensor]], *inputs: torch.Tensor
    ) -> list[torch.Tensor]:
        """Decode ``max_views_in_memory`` views at a time: (V, ...) tensors in and out."""
        size = self.max_views_in_memory
        parts = [
            decode(*(x[start : start + size] for x in inputs))
            for start in range(0, len(inputs[0]), size)
        ]
        return [part[0] if len(part) == 1 else torch.cat(part) for part in zip(*parts)]

    def _any_view(
        self, images: torch.Tensor, query: SceneQuery, batch: int
    ) -> tuple[Output, dict[int, torch.Tensor]]:
        size_hw = (images.shape[2], images.shape[3])
        stages = self.stages(batch, len(images) // batch, size_hw, query.export_feat_layers)
        found = run_scene(stages, images, query)
        output: Output = {
            name: getattr(found, name) for name in ("depth", "depth_conf", "ray", "ray_conf")
        }
        for name, cameras in (
            ("extrinsics", found.extrinsics),
            ("intrinsics", found.intrinsics),
        ):
            output[name] = torch.from_numpy(cameras).float().to(images.device)
        if found.gaussians is not None:
            output["gaussians"] = found.gaussians
        return output, found.layers

    def _single_views(
        self, images: torch.Tensor, query: SceneQuery, batch: int
    ) -> tuple[Output, dict[int, torch.Tensor]]:
        depth, sky, layers = self.depth_and_sky(images, query.export_feat_layers)
        filled = [  # sky is as far as the rest of its own scene, whatever else is in the batch
            torch.from_numpy(fill_sky(to_numpy(own), to_numpy(own_sky)))
            for own, own_sky in zip(depth.chunk(batch), sky.chunk(batch))
        ]
        return {"depth": torch.cat(filled).to(depth.device), "sky": sky}, layers

    def _traced(
        self, images: torch.Tensor, query: SceneQuery, batch: int
    ) -> dict[str, torch.Tensor]:
        traced.check_traceable(query)
        if self.spec.any_view:
            return traced.any_view(self, images, query, batch)
        depth, sky, _ = self.depth_and_sky(images)
        scenes = zip(depth.chunk(batch), sky.chunk(batch))
        return {"depth": torch.cat([traced.fill_sky(*scene) for scene in scenes]), "sky": sky}

    def _check(self, shape: tuple[int, ...], query: SceneQuery) -> None:
        if len(shape) != 5 or shape[2] != 3 or 0 in shape:
            raise InputError(f"images are {shape}, expected (B, N, 3, H, W)")
        if shape[3] % PATCH_SIZE or shape[4] % PATCH_SIZE:
            raise InputError(
                f"images are {shape[3]}x{shape[4]}, expected multiples of {PATCH_SIZE}"
            )
        check_query(self.spec, query)
        batch, views = shape[:2]
        expected = [(batch, views), (views,)] if batch == 1 else [(batch, views)]
        if query.extrinsics is not None and query.extrinsics.shape[:-2] not in expected:
            raise InputError(
                f"extrinsics are {query.extrinsics.shape}, expected {(batch, views, 4, 4)}"
            )
