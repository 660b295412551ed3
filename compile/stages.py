"""The graphs that a model is compiled to, in the order in which they run.

A model and an input in; named stages, each with its tensors and with what makes its module, out.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import nn

from compile.deploy import Form, deployment_form, rewritten
from compile.deploy_da3 import (
    CameraDecoder,
    CameraEncoder,
    DepthHead,
    EncoderGlobal,
    EncoderLocal,
    RayHead,
    SingleView,
)
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.nested import NestedDepthAnything3Net
from depth_anything_v2.dpt import DepthAnythingV2
from layers.patch_embed import PATCH_SIZE
from layers.vit import VITS
from runtime.artifact.manifest import InputSpec, OutputSpec, StageSpec, TensorSpec
from runtime.errors import InputError
from runtime.photo.preprocess import MEAN
from runtime.predict.scenes import (
    CAMERA,
    CAMERA_DECODER,
    CAMERA_ENCODER,
    DEPTH_HEAD,
    ENCODER_GLOBAL,
    ENCODER_LOCAL,
    METRIC,
    RAY_HEAD,
    TAPS,
)

Rewrites = Collection[str]
# From the images of one call to what a stage takes, in its order
FromImages = Callable[[np.ndarray], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Stage:
    """One graph to be: ``make`` builds its module with some rewrites."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    make: Callable[[Rewrites], Form]
    # its module can also run as ``encode`` and ``decode``, one after the other
    splits: bool = False
    # by the eager network, for quantisation; None: a stage that is not quantised
    from_images: Optional[FromImages] = None

    def example(self) -> tuple[torch.Tensor, ...]:
        """Zeros as the graph takes them."""
        return tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in self.inputs)

    def described(self, graph: str) -> StageSpec:
        """As the manifest has it, in this file."""
        return StageSpec(self.name, graph, self.inputs, self.outputs)


def stages_of(
    model: nn.Module, spec: InputSpec, output: OutputSpec, views: int = 1
) -> tuple[Stage, ...]:
    """The stages of a model.

    Args:
        model: ``DepthAnythingV2``, ``DepthAnything3Net`` or a nested one, in eval mode.
        spec: what the first graph takes.
        output: what the model puts out.
        views: of one scene, taken at once; any-view networks only.
    Raises:
        InputError: views or a batch that this model does not take.
    """
    image = TensorSpec(spec.name, spec.shape, spec.dtype)
    size_hw = spec.size_hw
    if isinstance(model, DepthAnythingV2):
        if views != 1:
            raise InputError(f"views={views}: this model takes each photo for itself; use --batch")

        def make(rewrites: Rewrites) -> Form:
            return deployment_form(model, spec.shape, rewrites, spec.dtype)

        depth = TensorSpec(output.kind, (spec.batch, *size_hw))
        return (
            Stage(
                name=output.kind,
                inputs=(image,),
                outputs=(depth,),
                make=make,
                splits=True,
                from_images=_as_they_are,
            ),
        )
    if spec.mean != MEAN:
        raise InputError("pixels: stages of Depth Anything 3 take normalised images")
    any_view = any_view_network(model)
    if any_view is None:
        if views != 1:
            raise InputError(f"views={views}: this model takes each photo for itself; use --batch")
        return (_single_view_stage("depth", model, spec, spec.batch),)
    if spec.batch != 1:
        raise InputError(f"batch={spec.batch}: an any-view model takes --views of one scene")
    stages = _any_view_stages(any_view, spec, views)
    if isinstance(model, NestedDepthAnything3Net):
        stages += (_single_view_stage(METRIC, model.da3_metric, spec, views),)
    return stages


def any_view_network(model: nn.Module) -> Optional[DepthAnything3Net]:
    """What of a model looks at several views of a scene and is compiled in stages, if anything."""
    if isinstance(model, NestedDepthAnything3Net):
        return model.da3
    if isinstance(model, DepthAnything3Net) and model.spec.any_view:
        return model
    return None


def _single_view_stage(name: str, net: nn.Module, spec: InputSpec, images: int) -> Stage:
    """A mono or metric network for this many images."""
    assert isinstance(net, DepthAnything3Net)
    (height, width) = spec.size_hw
    return Stage(
        name=name,
        inputs=(TensorSpec(spec.name, (images, 3, height, width), spec.dtype),),
        outputs=tuple(TensorSpec(one, (images, height, width)) for one in ("depth", "sky")),
        make=_maker(SingleView, net, images, (height // PATCH_SIZE, width // PATCH_SIZE)),
        from_images=_as_they_are,
    )


def _as_they_are(images: np.ndarray) -> tuple[np.ndarray, ...]:
    return (images,)


def _maker(
    kind: Callable[..., Form], net: DepthAnything3Net, count: int, grid_hw: tuple[int, int]
) -> Callable[[Rewrites], Form]:
    """What makes a stage of Depth Anything 3 for this many images."""

    def make(rewrites: Rewrites) -> Form:
        with torch.no_grad():
            module = kind(net, count, grid_hw).eval()
        return rewritten(module, rewrites)

    return make


def _any_view_stages(net: DepthAnything3Net, spec: InputSpec, views: int) -> tuple[Stage, ...]:
    dim, (height, width) = VITS[net.spec.encoder].dim, spec.size_hw
    h, w = height // PATCH_SIZE, width // PATCH_SIZE
    image = TensorSpec(spec.name, (views, 3, height, width))
    tokens = TensorSpec("tokens", (views, 1 + h * w, dim))
    camera_tokens = TensorSpec("camera_tokens", (views, dim))
    taps = tuple(TensorSpec(name, (views, h * w, 2 * dim)) for name in TAPS)
    camera = TensorSpec(CAMERA, (views, 2 * dim))
    pose = TensorSpec("pose", (views, 9))
    depth = (
        TensorSpec("depth", (views, height, width)),
        TensorSpec("depth_conf", (views, height, width)),
    )
    rays = (
        TensorSpec("ray", (views, 8 * h, 8 * w, 6)),
        TensorSpec("ray_conf", (views, 8 * h, 8 * w)),
    )

    def form(kind: Callable[..., Form]) -> Callable[[Rewrites], Form]:
        return _maker(kind, net, views, (h, w))

    def encoded(images: np.ndarray) -> tuple[np.ndarray, ...]:
        eager = net.stages(1, views, spec.size_hw)
        with torch.no_grad():
            local = eager(ENCODER_LOCAL, {spec.name: images})["tokens"]
            return local.numpy(), eager.camera_tokens.numpy()

    return (
        Stage(
            name=ENCODER_LOCAL,
            inputs=(image,),
            outputs=(tokens,),
            make=form(EncoderLocal),
            from_images=_as_they_are,
        ),
        Stage(
            name=ENCODER_GLOBAL,
            inputs=(tokens, camera_tokens),
            outputs=(*taps, camera),
            make=form(EncoderGlobal),
            from_images=encoded,
        ),
        Stage(name=DEPTH_HEAD, inputs=taps, outputs=depth, make=form(DepthHead)),
        Stage(name=RAY_HEAD, inputs=taps, outputs=rays, make=form(RayHead)),
        Stage(name=CAMERA_DECODER, inputs=(camera,), outputs=(pose,), make=form(CameraDecoder)),
        Stage(
            name=CAMERA_ENCODER, inputs=(pose,), outputs=(camera_tokens,), make=form(CameraEncoder)
        ),
    )
