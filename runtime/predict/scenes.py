"""The program of a scene: from views to depth and cameras, by the stages of an any-view network.

Stages and images in, depth and cameras out. The stages are the graphs of an artifact or the modules
of an eager network, under the same names; all that depends on values (which view is the reference,
poses, splats, scale) is decided here, on the host, for both. It holds no model.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Protocol

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.engines import load_engine
from runtime.engines.staged import Loader, StagedEngine
from runtime.errors import ArtifactError, InputError
from runtime.predict.found import RELATIVE, ScenePrediction, provenance_of
from runtime.predict.given_cameras import align_to_given
from runtime.scene.cameras import decode_pose, encode_pose
from runtime.scene.gaussians import Gaussians, gaussians_of_scenes
from runtime.scene.groups import group_views, join_groups, pick_views
from runtime.scene.query import SceneQuery
from runtime.scene.ray_pose import cameras_from_rays
from runtime.scene.reference_view import MIN_VIEWS, choose_reference, references_first
from runtime.scene.sky import SKY_MASK, metric_depth, to_metres
from runtime.scene.views import View, fit_view, stack_views

log = logging.getLogger(__name__)

# What the stages are called, in manifests too.
ENCODER_LOCAL, ENCODER_GLOBAL, DEPTH_HEAD = "encoder_local", "encoder_global", "depth_head"
RAY_HEAD, CAMERA_DECODER, CAMERA_ENCODER = "ray_head", "camera_decoder", "camera_encoder"
METRIC = "metric"  # of nested models: their other network, which takes each view for itself
SPLAT_HEAD = "splat_head"  # of eager networks only, as are the tokens of single blocks
# What the first stage takes, and what the second one gives.
IMAGE, CAMERA, TAPS = "image", "camera", ("tap_0", "tap_1", "tap_2", "tap_3")

Array = Any  # numpy's from an artifact, torch's from an eager network, on whichever device


class Stages(Protocol):
    """A network in stages, for scenes that all have the same number of views and one size.

    Views of all scenes come one after the other: every array is (V, ...), V = scenes * views.
    Inputs are the stages' own arrays or numpy's; outputs are the stages' own, and are not changed.
    """

    scenes: int
    views: int

    @property
    def camera_tokens(self) -> Array:
        """What stands for unknown cameras: float32 (V, C)."""

    def __call__(self, stage: str, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run a stage."""

    def to_host(self, array: Array) -> np.ndarray:
        """An array as numpy's float32."""


@dataclass(frozen=True)
class EncodedScenes:
    """What the blocks tell the heads about V views, in the views' order."""

    taps: dict[str, Array]  # tap_0 to tap_3: float (V, h*w, 2C)
    camera: Array  # float (V, 2C)
    references: list[int]  # of each scene, the view that the others are told from
    # float (V, h*w, C) for each block asked for; from the first global block on the reference view
    # comes first, as upstream exports them
    layers: dict[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class SceneOutput:
    """What one pass says of V views, in their order. Maps are the stages' own arrays."""

    depth: Array  # float32 (V, H, W)
    depth_conf: Array  # float32 (V, H, W)
    extrinsics: np.ndarray  # float64 (V, 3, 4), world-to-camera
    intrinsics: np.ndarray  # float64 (V, 3, 3), pixels of the views
    references: list[int]  # of each scene
    ray: Optional[Array] = None  # float32 (V, 8h, 8w, 6); None if nobody needed it
    ray_conf: Optional[Array] = None  # float32 (V, 8h, 8w)
    gaussians: Optional[Gaussians] = None
    layers: dict[int, Array] = field(default_factory=dict)  # see ``EncodedScenes``
    sky: Optional[Array] = None  # float32 (V, H, W); of nested models
    scale_factor: Optional[float] = None  # by which depth and translations became metres


def run_scene(stages: Stages, images: Array, query: SceneQuery) -> SceneOutput:
    """Run the whole program once.

    Args:
        images: float32 (V, 3, H, W), normalised, in one of the kinds that the stages take.
        query: its cameras in pixels of the images, of each scene as ``SceneQuery.normalised`` has
            them; ``align_to_input_ext_scale`` is the caller's affair.
    Raises:
        InputError: ray poses, and images too small for them.
    """
    encoded = encode_scenes(stages, images, query)
    size_hw = (images.shape[2], images.shape[3])
    maps = stages(DEPTH_HEAD, encoded.taps)
    if query.use_ray_pose:
        if "ray" not in maps:  # an eager head decodes both at once
            maps = {**maps, **stages(RAY_HEAD, encoded.taps)}
        rays = cameras_from_rays(stages.to_host(maps["ray"]), stages.to_host(maps["ray_conf"]))
        extrinsics, intrinsics = rays.extrinsics(), rays.intrinsics(size_hw)
    else:
        pose = stages(CAMERA_DECODER, {CAMERA: encoded.camera})["pose"]
        extrinsics, intrinsics = decode_pose(stages.to_host(pose), size_hw)
    gaussians = None
    if query.infer_gs:
        found = stages(SPLAT_HEAD, {**encoded.taps, IMAGE: images})
        gaussians = gaussians_of_scenes(
            stages.scenes,
            stages.to_host(found["raw"]),
            stages.to_host(found["opacity"]),
            stages.to_host(maps["depth"]),
            extrinsics,
            intrinsics,
            query.extrinsics,
        )
    return SceneOutput(
        depth=maps["depth"],
        depth_conf=maps["depth_conf"],
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        references=encoded.references,
        ray=maps.get("ray"),
        ray_conf=maps.get("ray_conf"),
        gaussians=gaussians,
        layers=encoded.layers,
    )


def encode_scenes(stages: Stages, images: Array, query: SceneQuery) -> EncodedScenes:
    """The first half of the program: all blocks, with the choice of the reference view between.

    Arguments are those of ``run_scene``. With known cameras, and in scenes of one or two views, the
    first view is the reference.
    """
    local = stages(ENCODER_LOCAL, {IMAGE: images})
    tokens, references = local["tokens"], [0] * stages.scenes
    if query.extrinsics is not None and query.intrinsics is not None:
        pose = encode_pose(query.extrinsics, query.intrinsics, (images.shape[2], images.shape[3]))
        pose = pose.reshape(-1, pose.shape[-1]).astype(np.float32)
        camera_tokens = stages(CAMERA_ENCODER, {"pose": pose})["camera_tokens"]
    else:
        camera_tokens = stages.camera_tokens
        if stages.views >= MIN_VIEWS:
            first = stages.to_host(tokens[:, 0]).reshape(stages.scenes, stages.views, -1)
            references = [choose_reference(scene, query.ref_view_strategy) for scene in first]
    order = references_first(stages.views, references)
    moves = any(references)
    found = stages(
        ENCODER_GLOBAL,
        {"tokens": tokens[order] if moves else tokens, "camera_tokens": camera_tokens},
    )
    outputs = {**local, **found}
    layers = {layer: outputs[layer_name(layer)] for layer in query.export_feat_layers}
    if moves:
        back = np.argsort(order).tolist()
        found = {name: found[name][back] for name in (*TAPS, CAMERA)}
    taps = {name: found[name] for name in TAPS}
    return EncodedScenes(taps, found[CAMERA], references, layers)


def later_stages(query: SceneQuery, is_nested: bool) -> list[str]:
    """The stages that ``run_scene`` runs for a query after the first one, and what follows it."""
    cameras = RAY_HEAD if query.use_ray_pose else CAMERA_DECODER
    return [ENCODER_GLOBAL, DEPTH_HEAD, cameras, *([METRIC] if is_nested else [])]


def layer_name(block: int) -> str:
    """What an encoder stage calls the tokens of a single block among its outputs."""
    return f"layer_{block}"


class SceneEngine:
    """The program over the stages of one artifact.

    Args:
        artifact: of an any-view model; its files already verified.
        device, threads: as for ``load_engine``.
        load: what loads a stage.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: str = "auto",
        threads: Optional[int] = None,
        load: Loader = load_engine,
    ) -> None:
        self.artifact, self.views = artifact, artifact.manifest.views
        self._stages = StagedEngine(artifact, device, threads, load)

    def __call__(
        self, images: np.ndarray, query: Optional[SceneQuery] = None, count: Optional[int] = None
    ) -> SceneOutput:
        """Run one pass: float32 (N, 3, H, W), N and the size as compiled; else as ``run_scene``.

        A nested model's output is in metres.

        Args:
            count: how many of the views are photos; the others fill the graph up.
        Raises:
            InputError: the query asks for what only an eager network gives; or a nested model finds
                no metres.
        """
        query = query or SceneQuery()
        if query.infer_gs or query.export_feat_layers:
            raise InputError(
                "infer_gs, export_feat_layers: no artifact has them; use DepthAnything3 from Python"
            )
        is_nested = any(stage.name == METRIC for stage in self.artifact.manifest.stages)
        self._stages.load_ahead(later_stages(query, is_nested))
        output = run_scene(self._stages, images, query)
        if not is_nested:
            return output
        return _in_metres(output, self._stages(METRIC, {IMAGE: images}), count)

    def single_photo(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An ``Engine`` of its own, for artifacts of one view: a photo to its depth."""
        manifest = self.artifact.manifest
        output = self(inputs[manifest.input.name])
        return {manifest.output.kind: output.depth, "depth_conf": output.depth_conf}


def _in_metres(
    output: SceneOutput, metric: dict[str, np.ndarray], count: Optional[int]
) -> SceneOutput:
    """The first ``count`` views of a scene in the metres that a metric network sees in them."""
    depth, conf, extrinsics, intrinsics = (
        array[:count]
        for array in (output.depth, output.depth_conf, output.extrinsics, output.intrinsics)
    )
    sky = metric["sky"][:count]
    metres = metric_depth(metric["depth"][:count], intrinsics)
    scene = to_metres(depth, conf, extrinsics, metres, sky)
    return replace(
        output,
        depth=scene.depth,
        depth_conf=scene.confidence,
        extrinsics=scene.extrinsics,
        intrinsics=intrinsics,
        sky=sky,
        scale_factor=scene.scale,
    )


class ScenePredictor:
    """Artifacts of one any-view model, for scenes of any number of photos.

    Args:
        artifacts: at least one; all of the same model and size, with different numbers of views.
        device, threads: as for ``load_engine``.
        load: what loads a graph; called as ``load_engine`` is.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        device: str = "auto",
        threads: Optional[int] = None,
        load: Loader = load_engine,
    ) -> None:
        if not artifacts:
            raise ArtifactError("no artifact given; make one with `make compile`")
        self.artifacts = list(artifacts)
        first = artifacts[0].manifest
        for artifact in artifacts:
            manifest = artifact.manifest
            artifact.verify()
            manifest.stage(ENCODER_LOCAL)  # else it takes each photo for itself
            same = (manifest.model, manifest.input.size_hw, manifest.weights.sha256)
            if same != (first.model, first.input.size_hw, first.weights.sha256):
                raise ArtifactError(
                    f"{artifact.path} and {artifacts[0].path} differ in model, size or weights"
                )
        self.manifest = first
        self._engines = {
            artifact.manifest.views: SceneEngine(artifact, device, threads, load)
            for artifact in artifacts
        }

    def __call__(
        self,
        photos: Sequence[np.ndarray],
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        **asked: Any,
    ) -> ScenePrediction:
        """Estimate the depth and the cameras of photos of one scene.

        Args:
            photos: N uint8 RGB arrays (H, W, 3), of any size.
            extrinsics, intrinsics: (N, 3 or 4, 4) world-to-camera and (N, 3, 3) in pixels of the
                photos, of known cameras; both or neither.
            asked: other fields of ``SceneQuery``, by name.
        Returns:
            depth on the grid of the views, which are the photos resized to the compiled size;
            cameras in pixels of the views. ``groups`` says which photos went together.
        Raises:
            InputError: no photo, cameras that do not fit the photos, or a question that only an
                eager network can answer.
        """
        views = [self.view(photo) for photo in photos]
        return self.predict(views, extrinsics=extrinsics, intrinsics=intrinsics, **asked)

    def view(self, photo: np.ndarray) -> View:
        """A photo as ``predict`` takes it: uint8 RGB (H, W, 3) -> a small view."""
        return fit_view(photo, self.manifest.input.size_hw)

    def artifact_for(self, count: int) -> Artifact:
        """Which of the artifacts a scene of this many photos goes through."""
        return self._engine_for(count).artifact

    def predict(
        self, views: Sequence[View], query: Optional[SceneQuery] = None, **asked: Any
    ) -> ScenePrediction:
        """The same from views, for callers that do not keep the photos in memory.

        Args:
            query: what is asked; or fields of it by name, which come before it.
        """
        if not len(views):
            raise InputError("no photo given")
        query = replace(query or SceneQuery(), **asked).in_pixels_of(views)
        engine = self._engine_for(len(views))
        groups = group_views(len(views), engine.views)
        parts = [self._pass(engine, views, query, group) for group in groups]
        if len(parts) == 1:
            return parts[0]
        linked = not query.has_cameras or not query.align_to_input_ext_scale
        names = ["depth", "conf", "extrinsics", "intrinsics", "processed_images"]
        names += ["sky"] if parts[0].sky is not None else []
        maps = [{name: getattr(part, name) for name in names} for part in parts]
        joined: Any = join_groups(maps, groups, linked)
        kinds = {part.kind for part in parts}
        return replace(
            parts[0],
            kind=kinds.pop() if len(kinds) == 1 else RELATIVE,
            groups=tuple(groups),
            **joined,
        )

    def _engine_for(self, count: int) -> SceneEngine:
        return self._engines[pick_views(count, list(self._engines))]

    def _pass(
        self,
        engine: SceneEngine,
        views: Sequence[View],
        query: SceneQuery,
        group: tuple[int, ...],
    ) -> ScenePrediction:
        """One group of views; if they are fewer than compiled, the last one fills them up."""
        count = len(group)
        filled = [*group, *[group[-1]] * (engine.views - count)]
        images = stack_views([views[index] for index in filled])
        output = engine(images, query.of_views(filled).normalised(), count)
        found = ScenePrediction(
            depth=output.depth[:count],
            kind=self.manifest.output.kind,
            conf=output.depth_conf[:count],
            sky=None if output.sky is None else output.sky >= SKY_MASK,
            extrinsics=output.extrinsics[:count],
            intrinsics=output.intrinsics[:count],
            processed_images=np.stack([views[index].rgb for index in group]),
            scale_factor=output.scale_factor,
            provenance=provenance_of(engine.artifact),
            input=engine.artifact.manifest.input,
        )
        return align_to_given(found, query.of_views(group))
