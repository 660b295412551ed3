"""Depth Anything 3: one network, from views of a scene to depth and cameras.

Normalised images (B, N, 3, H, W) in; a dictionary of maps and cameras out. The network itself is a
straight line; what depends on values (which view is the reference, sky, poses) is numpy on the
host, the same code that runs artifacts.
Source: ``model/da3.py`` of Depth Anything 3 (Lin et al., 2025).
"""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from depth_anything_3.any_view import AnyViewTransformer, Features, PlainTransformer
from depth_anything_3.camera import CameraDec, CameraEnc
from depth_anything_3.config import DA3Spec
from depth_anything_3.dpt import DPT
from depth_anything_3.dual_dpt import DualDPT
from depth_anything_3.gs_dpt import GSDPT
from layers.patch_embed import PATCH_SIZE
from layers.vit import VITS
from runtime.errors import InputError
from runtime.scene.cameras import decode_pose, encode_pose
from runtime.scene.gaussians import Gaussians, gaussians_of_scene, pose_scale
from runtime.scene.ray_pose import cameras_from_rays
from runtime.scene.reference_view import DEFAULT_STRATEGY, check_strategy
from runtime.scene.sky import fill_sky

VIEWS_IN_MEMORY = 8  # that the heads decode at once
Output = dict[str, Any]


class Backbone(nn.Module):
    """What the checkpoints call the encoder: it holds one, named ``pretrained``."""

    def __init__(self, spec: DA3Spec) -> None:
        super().__init__()
        self.pretrained = (AnyViewTransformer if spec.any_view else PlainTransformer)(spec)


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

    def forward(
        self,
        images: torch.Tensor,
        extrinsics: Optional[torch.Tensor] = None,
        intrinsics: Optional[torch.Tensor] = None,
        export_feat_layers: Optional[Sequence[int]] = None,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = DEFAULT_STRATEGY,
    ) -> Output:
        """Estimate the depth of scenes, and their cameras.

        Args:
            images: float (B, N, 3, H, W), RGB normalised with the ImageNet mean and standard
                deviation; H and W multiples of 14.
            extrinsics: (B, N, 3 or 4, 4), world-to-camera; known cameras, given with intrinsics.
            intrinsics: (B, N, 3, 3), in pixels of the images.
            export_feat_layers: blocks whose tokens are wanted, from 0.
            infer_gs: find Gaussian splats too (da3-giant and nested).
            use_ray_pose: find cameras by the ray maps.
            ref_view_strategy: how the reference view is chosen from three views on.
        Returns:
            depth float32 (B, N, H, W), larger is farther, up to scale; and, by model:
            depth_conf (B, N, H, W), above 1; sky (B, N, H, W); extrinsics (B, N, 3, 4) and
            intrinsics (B, N, 3, 3); ray (B, N, 8H/14, 8W/14, 6) and ray_conf (B, N, 8H/14, 8W/14);
            gaussians; aux, a dictionary of ``feat_layer_i`` (B, N, H/14, W/14, C).
        Raises:
            InputError: images of another shape, cameras that do not fit them, or something that
                this model cannot find.
        """
        layers = list(export_feat_layers or ())
        self._check(images, extrinsics, intrinsics, layers, infer_gs, use_ray_pose)
        check_strategy(ref_view_strategy)
        size_hw = (images.shape[3], images.shape[4])
        grid_hw = (size_hw[0] // PATCH_SIZE, size_hw[1] // PATCH_SIZE)
        features = self.encode(images, extrinsics, intrinsics, layers, ref_view_strategy)
        if not self.spec.any_view:
            depth, sky = self._in_parts(self.head, features.taps, grid_hw)
            scenes = [_host(fill_sky, *scene) for scene in zip(depth, sky)]  # each for itself
            output: Output = {"depth": torch.stack(scenes), "sky": sky}
        else:
            output = self._any_view_output(features, size_hw, grid_hw, use_ray_pose)
            if infer_gs:
                output["gaussians"] = self._gaussians(images, features, output, grid_hw, extrinsics)
        output["aux"] = {
            f"feat_layer_{layer}": tokens.unflatten(2, grid_hw)
            for layer, tokens in zip(layers, features.layers)
        }
        return output

    def encode(
        self,
        images: torch.Tensor,
        extrinsics: Optional[torch.Tensor],
        intrinsics: Optional[torch.Tensor],
        layers: Sequence[int],
        strategy: str,
    ) -> Features:
        """Run the encoder, in ``dtype``; what comes out is float32."""
        camera_tokens = None
        if extrinsics is not None and intrinsics is not None:
            size_hw = (images.shape[3], images.shape[4])
            encoding = encode_pose(_numpy(extrinsics), _numpy(intrinsics), size_hw)
            camera_tokens = self.cam_enc(torch.from_numpy(encoding).to(images.device).float())
        lower = self.dtype != torch.float32
        autocast: Any = torch.autocast  # type: ignore[attr-defined]
        with autocast(images.device.type, self.dtype if lower else None, enabled=lower):
            features = self.backbone.pretrained(images, camera_tokens, layers, strategy)
        camera = None if features.camera is None else features.camera.float()
        return Features(
            [tap.float() for tap in features.taps],
            camera,
            [tokens.float() for tokens in features.layers],
            features.reference,
        )

    def _any_view_output(
        self,
        features: Features,
        size_hw: tuple[int, int],
        grid_hw: tuple[int, int],
        use_ray_pose: bool,
    ) -> Output:
        head = self.head
        assert isinstance(head, DualDPT) and features.camera is not None

        def decode(
            taps: Sequence[torch.Tensor], grid_hw: tuple[int, int]
        ) -> tuple[torch.Tensor, ...]:
            levels = head.levels(taps, grid_hw)
            return (*head.depth(levels, grid_hw), *head.rays(levels, grid_hw))

        names = ("depth", "depth_conf", "ray", "ray_conf")
        output: Output = dict(zip(names, self._in_parts(decode, features.taps, grid_hw)))
        device = features.camera.device
        if use_ray_pose:
            scenes = [
                cameras_from_rays(_numpy(ray), _numpy(sure))
                for ray, sure in zip(output["ray"], output["ray_conf"])
            ]
            extrinsics = np.stack([scene.extrinsics() for scene in scenes])
            intrinsics = np.stack([scene.intrinsics(size_hw) for scene in scenes])
        else:
            extrinsics, intrinsics = decode_pose(_numpy(self.cam_dec(features.camera)), size_hw)
        output["extrinsics"] = torch.from_numpy(extrinsics).float().to(device)
        output["intrinsics"] = torch.from_numpy(intrinsics).float().to(device)
        return output

    def _gaussians(
        self,
        images: torch.Tensor,
        features: Features,
        output: Output,
        grid_hw: tuple[int, int],
        given: Optional[torch.Tensor],
    ) -> Gaussians:
        raw, opacity = self._in_parts(self.gs_head, [*features.taps, images], grid_hw, images=True)
        scenes = [
            gaussians_of_scene(
                _numpy(raw[scene]),
                _numpy(opacity[scene]),
                _numpy(output["depth"][scene]),
                _numpy(output["extrinsics"][scene]),
                _numpy(output["intrinsics"][scene]),
                pose_scale(
                    None if given is None else _numpy(given[scene]),
                    _numpy(output["extrinsics"][scene]),
                ),
            )
            for scene in range(len(raw))
        ]
        parts = ("means", "scales", "rotations", "harmonics", "opacities")
        return Gaussians(*(np.concatenate([getattr(s, part) for s in scenes]) for part in parts))

    def _in_parts(
        self,
        decode: Any,
        inputs: Sequence[torch.Tensor],
        grid_hw: tuple[int, int],
        images: bool = False,
    ) -> list[torch.Tensor]:
        """Decode a few views at a time: (B, N, ...) tensors in, (B, N, ...) tensors out."""
        batch, views = inputs[0].shape[:2]
        flat = [x.flatten(0, 1) for x in inputs]
        parts = []
        for start in range(0, batch * views, self.max_views_in_memory):
            some = [x[start : start + self.max_views_in_memory] for x in flat]
            parts.append(decode(some[:-1], some[-1], grid_hw) if images else decode(some, grid_hw))
        return [torch.cat(part).unflatten(0, (batch, views)) for part in zip(*parts)]

    def _check(
        self,
        images: torch.Tensor,
        extrinsics: Optional[torch.Tensor],
        intrinsics: Optional[torch.Tensor],
        layers: Sequence[int],
        infer_gs: bool,
        use_ray_pose: bool,
    ) -> None:
        if images.ndim != 5 or images.shape[2] != 3 or 0 in images.shape:
            raise InputError(f"images are {tuple(images.shape)}, expected (B, N, 3, H, W)")
        if images.shape[3] % PATCH_SIZE or images.shape[4] % PATCH_SIZE:
            raise InputError(
                f"images are {images.shape[3]}x{images.shape[4]}, expected multiples of "
                f"{PATCH_SIZE}"
            )
        depth = VITS[self.spec.encoder].depth
        if any(not 0 <= layer < depth for layer in layers):
            raise InputError(f"export_feat_layers={list(layers)}: blocks are 0 to {depth - 1}")
        if (extrinsics is None) != (intrinsics is None):
            raise InputError("cameras: give extrinsics and intrinsics together, or neither")
        if not self.spec.any_view:
            asked = {
                "extrinsics": extrinsics is not None,
                "infer_gs": infer_gs,
                "use_ray_pose": use_ray_pose,
            }
            wrong = [name for name, given in asked.items() if given]
            if wrong:
                raise InputError(f"{', '.join(wrong)}: this model takes each view for itself")
        if infer_gs and not self.spec.gaussians:
            raise InputError("infer_gs=True: only da3-giant and da3nested-giant-large find splats")
        if extrinsics is not None and intrinsics is not None:
            expected = tuple(images.shape[:2])
            if (
                tuple(extrinsics.shape[:2]) != expected
                or extrinsics.shape[2:] not in ((3, 4), (4, 4))
                or tuple(intrinsics.shape) != (*expected, 3, 3)
            ):
                raise InputError(
                    f"extrinsics are {tuple(extrinsics.shape)} and intrinsics "
                    f"{tuple(intrinsics.shape)}, expected {(*expected, 4, 4)} and "
                    f"{(*expected, 3, 3)}"
                )


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()


def _host(function: Any, *tensors: torch.Tensor) -> torch.Tensor:
    """Run a numpy function on tensors; the answer is where the first of them is."""
    found = function(*(_numpy(x) for x in tensors))
    return torch.from_numpy(found).to(tensors[0].device)
