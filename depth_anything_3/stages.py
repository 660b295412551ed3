"""The modules of an any-view network under the names of its stages, for the program of a scene.

A network in; a function from a stage's name and tensors to tensors out. Names, tensors and shapes
are those of the compiled stages; two things more come out of eager ones: splats, and the tokens of
single blocks. In which order the stages run is ``runtime.predict.scenes``.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from depth_anything_3.any_view import AnyViewTransformer
from depth_anything_3.dual_dpt import DualDPT
from layers.patch_embed import PATCH_SIZE
from layers.precision import cast
from runtime.predict.scenes import (
    CAMERA,
    CAMERA_DECODER,
    CAMERA_ENCODER,
    DEPTH_HEAD,
    ENCODER_GLOBAL,
    ENCODER_LOCAL,
    IMAGE,
    RAY_HEAD,
    SPLAT_HEAD,
    TAPS,
    layer_name,
)

if TYPE_CHECKING:
    from depth_anything_3.model import DepthAnything3Net

Tensors = dict[str, torch.Tensor]


class EagerStages:
    """A network for scenes of one size and number of views; see ``runtime.predict.scenes.Stages``.

    The encoder computes in the network's ``dtype``, or as an autocast around it says; everything
    else computes in its weights' own type, whatever is around it. What comes out is float32. Heads
    decode ``max_views_in_memory`` views at a time.

    Args:
        net: an any-view network.
        size_hw: of the images, multiples of the patch size.
        layers: blocks whose tokens come out of the encoder's stages too.
    """

    def __init__(
        self,
        net: "DepthAnything3Net",
        scenes: int,
        views: int,
        size_hw: tuple[int, int],
        layers: Sequence[int] = (),
    ) -> None:
        encoder, head = net.backbone.pretrained, net.head
        assert isinstance(encoder, AnyViewTransformer) and isinstance(head, DualDPT)
        self.net, self.encoder, self.head = net, encoder, head
        self.scenes, self.views, self.layers = scenes, views, layers
        self.grid_hw = (size_hw[0] // PATCH_SIZE, size_hw[1] // PATCH_SIZE)
        self._stages: dict[str, tuple[Any, Callable[[Tensors], Tensors]]] = {
            ENCODER_LOCAL: (encoder, self._encode_local),
            ENCODER_GLOBAL: (encoder, self._encode_global),
            DEPTH_HEAD: (head, self._decode_depth),
            RAY_HEAD: (head, self._decode_rays),
            CAMERA_DECODER: (net.cam_dec, self._decode_cameras),
            CAMERA_ENCODER: (net.cam_enc, self._encode_cameras),
        }
        if net.spec.gaussians:
            self._stages[SPLAT_HEAD] = (net.gs_head, self._decode_splats)

    @property
    def camera_tokens(self) -> torch.Tensor:
        """What stands for unknown cameras: float (V, C)."""
        return self.encoder.default_camera_tokens(self.scenes, self.views).flatten(0, 1)

    def __call__(self, stage: str, inputs: dict[str, Any]) -> Tensors:
        """Run one stage on tensors or numpy arrays; what comes out is on the network's device."""
        module, run = self._stages[stage]
        weight = next(module.parameters())
        given = {
            name: cast(torch.as_tensor(array, device=weight.device), weight.dtype)
            for name, array in inputs.items()
        }
        with self.net.autocast() if module is self.encoder else self.net.exact():
            return {name: cast(array, torch.float32) for name, array in run(given).items()}

    def to_host(self, array: torch.Tensor) -> np.ndarray:
        """A tensor as numpy's float32."""
        return to_numpy(array)

    def _encode_local(self, given: Tensors) -> Tensors:
        tokens, kept = self.encoder.encode_local(given[IMAGE], self.layers)
        return {"tokens": tokens, **_named(kept)}

    def _encode_global(self, given: Tensors) -> Tensors:
        taps, camera, kept = self.encoder.encode_global(
            given["tokens"], given["camera_tokens"], self.views, self.grid_hw, self.layers
        )
        return {**dict(zip(TAPS, taps)), CAMERA: camera, **_named(kept)}

    def _decode_depth(self, given: Tensors) -> Tensors:
        """Depth, and rays in the same breath: both begin with the same maps."""

        def decode(*taps: torch.Tensor) -> tuple[torch.Tensor, ...]:
            levels = self.head.levels(taps, self.grid_hw)
            return (*self.head.depth(levels, self.grid_hw), *self.head.rays(levels, self.grid_hw))

        found = self.net.in_parts(decode, *(given[tap] for tap in TAPS))
        return dict(zip(("depth", "depth_conf", "ray", "ray_conf"), found))

    def _decode_rays(self, given: Tensors) -> Tensors:
        found = self._decode_depth(given)
        return {name: found[name] for name in ("ray", "ray_conf")}

    def _decode_cameras(self, given: Tensors) -> Tensors:
        return {"pose": self.net.cam_dec(given[CAMERA])}

    def _encode_cameras(self, given: Tensors) -> Tensors:
        scenes = given["pose"].reshape(self.scenes, self.views, -1)
        return {"camera_tokens": self.net.cam_enc(scenes).flatten(0, 1)}

    def _decode_splats(self, given: Tensors) -> Tensors:
        def decode(image: torch.Tensor, *taps: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.net.gs_head(taps, image, self.grid_hw)

        found = self.net.in_parts(decode, given[IMAGE], *(given[tap] for tap in TAPS))
        return dict(zip(("raw", "opacity"), found))


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A tensor of any type and device as numpy's float32."""
    return tensor.detach().float().cpu().numpy()


def _named(kept: dict[int, torch.Tensor]) -> Tensors:
    return {layer_name(block): tokens for block, tokens in kept.items()}
