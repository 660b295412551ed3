"""Photos of a scene through the stages of an any-view artifact.

Artifacts of Depth Anything 3 in; depth and cameras of any number of photos out. The host decides
what depends on values (which view is the reference, poses, scale); it holds no model.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.engines import Engine, load_engine
from runtime.errors import ArtifactError, InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.cameras import (
    decode_pose,
    encode_pose,
    homogeneous,
    inverse,
    normalise_extrinsics,
)
from runtime.scene.ray_pose import cameras_from_rays
from runtime.scene.reference_view import (
    DEFAULT_STRATEGY,
    MIN_VIEWS,
    check_strategy,
    choose_reference,
    original_order,
    reference_first,
)
from runtime.scene.similarity import RANSAC_FROM_VIEWS, Similarity, align_cameras
from runtime.scene.views import View, check_camera_counts, fit_view, stack_views, view_intrinsics

log = logging.getLogger(__name__)

ENCODER_LOCAL, ENCODER_GLOBAL = "encoder_local", "encoder_global"
DEPTH_HEAD, RAY_HEAD = "depth_head", "ray_head"
CAMERA_DECODER, CAMERA_ENCODER = "camera_decoder", "camera_encoder"
CAMERA_TOKENS = "camera_tokens.npy"  # what stands for unknown cameras: float32 (N, C)


@dataclass(frozen=True)
class SceneOutput:
    """What one pass says of N views, in their order."""

    depth: np.ndarray  # float32 (N, H, W)
    depth_conf: np.ndarray  # float32 (N, H, W)
    extrinsics: np.ndarray  # float64 (N, 3, 4), world-to-camera
    intrinsics: np.ndarray  # float64 (N, 3, 3), pixels of the views
    reference: int


class SceneEngine:
    """The stages of one artifact; each is loaded when first needed.

    Args:
        artifact: of an any-view model; its files already verified.
        device, threads: as for ``load_engine``.
    """

    def __init__(
        self, artifact: Artifact, device: str = "auto", threads: Optional[int] = None
    ) -> None:
        self.artifact, self.manifest = artifact, artifact.manifest
        self.views, self.size_hw = self.manifest.views, self.manifest.input.size_hw
        self._device, self._threads = device, threads
        self._engines: dict[str, Engine] = {}
        self._camera_tokens = _camera_tokens(artifact)
        self._lock = threading.Lock()

    def __call__(
        self,
        images: np.ndarray,
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        use_ray_pose: bool = False,
        strategy: str = DEFAULT_STRATEGY,
    ) -> SceneOutput:
        """Run one pass.

        Args:
            images: float32 (N, 3, H, W), normalised; N and the size are the artifact's.
            extrinsics, intrinsics: (N, 4, 4) and (N, 3, 3) in pixels of the images, of known
                cameras, normalised as the network expects them.
            use_ray_pose: find cameras by the ray maps.
            strategy: how the reference view is chosen.
        """
        check_strategy(strategy)
        tokens = self.run(ENCODER_LOCAL, {self.manifest.input.name: images})["tokens"]
        camera_tokens, reference = self._camera_tokens, 0
        if extrinsics is not None and intrinsics is not None:
            pose = encode_pose(extrinsics, intrinsics, self.size_hw).astype(np.float32)
            camera_tokens = self.run(CAMERA_ENCODER, {"pose": pose})["camera_tokens"]
        elif self.views >= MIN_VIEWS:
            reference = choose_reference(tokens[:, 0], strategy)
        order = reference_first(self.views, reference)
        found = self.run(
            ENCODER_GLOBAL,
            {"tokens": np.ascontiguousarray(tokens[order]), "camera_tokens": camera_tokens},
        )
        back = original_order(self.views, reference)
        found = {name: np.ascontiguousarray(array[back]) for name, array in found.items()}
        camera = found.pop("camera")
        maps = self.run(DEPTH_HEAD, found)
        if use_ray_pose:
            rays = self.run(RAY_HEAD, found)
            cameras = cameras_from_rays(rays["ray"], rays["ray_conf"])
            where, how = cameras.extrinsics(), cameras.intrinsics(self.size_hw)
        else:
            pose = self.run(CAMERA_DECODER, {"camera": camera})["pose"]
            where, how = decode_pose(pose, self.size_hw)
        return SceneOutput(maps["depth"], maps["depth_conf"], where, how, reference)

    def single_photo(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An ``Engine`` of its own, for artifacts of one view: a photo to its depth."""
        output = self(inputs[self.manifest.input.name])
        return {"depth": output.depth, "depth_conf": output.depth_conf}

    def run(self, stage: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one stage.

        Raises:
            ArtifactError: it returned something that is not finite.
        """
        with self._lock:
            if stage not in self._engines:
                spec = self.manifest.stage(stage)
                self._engines[stage] = load_engine(
                    self.artifact.path, self.manifest, self._device, self._threads, spec
                )
        outputs = self._engines[stage](inputs)
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise ArtifactError(
                    f"{self.artifact.path}: {stage} returned {name} with values that are not "
                    "finite; rebuild it with `make compile`"
                )
        return outputs


class ScenePredictor:
    """Artifacts of one any-view model, for scenes of any number of photos.

    Args:
        artifacts: at least one; all of the same model and size, with different numbers of views.
        device, threads: as for ``load_engine``.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        device: str = "auto",
        threads: Optional[int] = None,
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
        self._engines = {a.manifest.views: SceneEngine(a, device, threads) for a in artifacts}

    def __call__(
        self,
        photos: Sequence[np.ndarray],
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        align_to_input_ext_scale: bool = True,
        use_ray_pose: bool = False,
        ref_view_strategy: str = DEFAULT_STRATEGY,
    ) -> ScenePrediction:
        """Estimate the depth and the cameras of photos of one scene.

        Args:
            photos: N uint8 RGB arrays (H, W, 3), of any size.
            extrinsics, intrinsics: (N, 3 or 4, 4) world-to-camera and (N, 3, 3) in pixels of the
                photos, of known cameras; both or neither.
            align_to_input_ext_scale, use_ray_pose, ref_view_strategy: as for
                ``DepthAnything3.inference``.
        Returns:
            depth on the grid of the views, which are the photos resized to the compiled size;
            cameras in pixels of the views. ``groups`` says which photos went together.
        Raises:
            InputError: no photo, or cameras that do not fit the photos.
        """
        return self.predict(
            [self.view(photo) for photo in photos],
            extrinsics,
            intrinsics,
            align_to_input_ext_scale,
            use_ray_pose,
            ref_view_strategy,
        )

    def view(self, photo: np.ndarray) -> View:
        """A photo as ``predict`` takes it: uint8 RGB (H, W, 3) -> a small view."""
        return fit_view(photo, self.manifest.input.size_hw)

    def predict(
        self,
        views: Sequence[View],
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        align_to_input_ext_scale: bool = True,
        use_ray_pose: bool = False,
        ref_view_strategy: str = DEFAULT_STRATEGY,
    ) -> ScenePrediction:
        """The same from views, for callers that do not keep the photos in memory."""
        if not len(views):
            raise InputError("no photo given")
        if (extrinsics is None) != (intrinsics is None):
            raise InputError("cameras: give extrinsics and intrinsics together, or neither")
        check_camera_counts(len(views), extrinsics, intrinsics)
        known = view_intrinsics(views, intrinsics)
        where = None if extrinsics is None else homogeneous(extrinsics)
        engine = self._engines[pick_views(len(views), sorted(self._engines))]
        groups = group_views(len(views), engine.views)
        parts = []
        for group in groups:
            some = list(group) + [group[-1]] * (engine.views - len(group))
            one_where = None if where is None else where[some]
            one_known = None if known is None else known[some]
            output = engine(
                stack_views([views[index] for index in some]),
                None if one_where is None else normalise_extrinsics(one_where),
                one_known,
                use_ray_pose,
                ref_view_strategy,
            )
            part = _prediction(output, [views[index] for index in group])
            if one_where is not None and one_known is not None:
                count = len(group)
                align_to_given(part, one_where[:count], one_known[:count], align_to_input_ext_scale)
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return join_groups(parts, groups, linked=where is None or not align_to_input_ext_scale)


def pick_views(photos: int, compiled: Sequence[int]) -> int:
    """Which of the compiled numbers of views to use for some photos.

    The number itself; else the largest below it, whose groups then overlap; else the smallest,
    which the last photo fills up.
    """
    fitting = [views for views in compiled if views <= photos]
    return max(fitting) if fitting else min(compiled)


def group_views(photos: int, views: int) -> list[tuple[int, ...]]:
    """Split photos, in their order, into groups of ``views`` that overlap by a quarter.

    The last group ends with the last photo, so its overlap may be larger. Single views overlap by
    nothing.
    """
    if photos <= views:
        return [tuple(range(photos))]
    if views == 1:
        return [(index,) for index in range(photos)]
    step = views - max(1, views // 4)
    starts = [*range(0, photos - views, step), photos - views]
    return [tuple(range(start, start + views)) for start in starts]


def join_groups(
    parts: Sequence[ScenePrediction], groups: Sequence[tuple[int, ...]], linked: bool
) -> ScenePrediction:
    """Bring groups of views into the scale and axes of the first, by the views they share.

    Args:
        parts: a prediction a group.
        groups: the views of each, ascending.
        linked: whether groups must be aligned; with known cameras they share axes already.
    """
    count = 1 + max(max(group) for group in groups)
    names = ("depth", "conf", "extrinsics", "intrinsics", "processed_images")
    placed: dict[int, dict[str, np.ndarray]] = {}
    for part, group in zip(parts, groups):
        rows = [{name: getattr(part, name)[place] for name in names} for place in range(len(group))]
        shared = [place for place, index in enumerate(group) if index in placed]
        if linked and shared:
            fit = link([placed[group[place]] for place in shared], [rows[p] for p in shared])
            for row in rows:
                row["extrinsics"] = fit.move_cameras(row["extrinsics"][None])[0, :3]
                row["depth"] = (row["depth"] * fit.scale).astype(np.float32)
        for index, row in zip(group, rows):
            placed.setdefault(index, row)
    stacked = {name: np.stack([placed[index][name] for index in range(count)]) for name in names}
    return ScenePrediction(kind=parts[0].kind, groups=tuple(groups), **stacked)


def link(
    known: Sequence[dict[str, np.ndarray]], new: Sequence[dict[str, np.ndarray]]
) -> Similarity:
    """The similarity that brings a group onto views that are placed already.

    The same photo's depth in both, where both are surer than their median, gives the scale; its
    two cameras give rotation and translation.
    """
    ratios, turns = [], np.zeros((3, 3))
    for old, one in zip(known, new):
        sure = old["conf"] >= np.median(old["conf"])
        sure &= one["conf"] >= np.median(one["conf"])
        sure = sure if sure.any() else np.ones_like(sure)
        ratios.append(np.median(old["depth"][sure] / one["depth"][sure]))
    scale = float(np.exp(np.mean(np.log(ratios))))
    pairs = [
        (inverse(old["extrinsics"]), inverse(one["extrinsics"])) for old, one in zip(known, new)
    ]
    for old_camera, new_camera in pairs:
        turns += old_camera[:3, :3] @ new_camera[:3, :3].T
    u, _, v = np.linalg.svd(turns)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    moved = [old[:3, 3] - scale * rotation @ new[:3, 3] for old, new in pairs]
    return Similarity(rotation, np.mean(moved, axis=0), scale)


def align_to_given(
    prediction: ScenePrediction,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    to_input_scale: bool,
) -> None:
    """Bring a prediction and the cameras that were given into one unit, in place.

    One view, or cameras that all stand in one place, tell no scale: depth then keeps the network's
    unit, and a warning says so.

    Args:
        extrinsics: (N, 4, 4), as given; intrinsics: (N, 3, 3), pixels of the views.
        to_input_scale: give depth in the unit of the given cameras; otherwise those are moved into
            the network's.
    """
    assert prediction.extrinsics is not None
    prediction.intrinsics = intrinsics
    try:
        fit = align_cameras(
            prediction.extrinsics, extrinsics, robust=len(extrinsics) >= RANSAC_FROM_VIEWS
        )
    except InputError:
        log.warning("the given cameras tell no scale: depth is in the network's own unit")
        if to_input_scale:
            prediction.extrinsics = extrinsics[:, :3]
        return
    if to_input_scale:
        prediction.extrinsics = extrinsics[:, :3]
        prediction.depth = (prediction.depth / fit.scale).astype(np.float32)
    else:
        prediction.extrinsics = fit.move_cameras(extrinsics)[:, :3]


def _prediction(output: SceneOutput, views: Sequence[View]) -> ScenePrediction:
    """Of the first views of a pass; the rest only filled it up."""
    count = len(views)
    return ScenePrediction(
        depth=output.depth[:count],
        conf=output.depth_conf[:count],
        extrinsics=output.extrinsics[:count],
        intrinsics=output.intrinsics[:count],
        processed_images=np.stack([view.rgb for view in views]),
    )


def _camera_tokens(artifact: Artifact) -> np.ndarray:
    file = artifact.path / CAMERA_TOKENS
    try:
        tokens = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); rebuild the artifact") from error
    expected = artifact.manifest.stage(ENCODER_GLOBAL).inputs[1].shape
    if tokens.dtype != np.float32 or tokens.shape != expected:
        raise ArtifactError(
            f"{file}: {tokens.dtype} {tokens.shape}, expected float32 {expected}; rebuild it"
        )
    return tokens
