"""What Inferentia's casts do to a scene: the emulation of ``compile.numerics``, stage by stage.

An any-view network of Depth Anything 3, a mode and views of one scene in; how far depth and cameras
are from those in float32 out, for each stage on exact inputs, and for the whole program of a scene.
An emulation of documented roundings, not of the chip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import torch

from compile.numerics import MODES, CastEmulation, rounded_mode, traced
from compile.parity import compare
from compile.stages import Stage, stages_of
from compile.targets.attempts import REWRITES
from depth_anything_3.model import DepthAnything3Net
from runtime.artifact.manifest import InputSpec, OutputSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.predict.scenes import CAMERA_ENCODER, SceneOutput, run_scene
from runtime.scene.query import SceneQuery
from runtime.scene.views import fit_view, stack_views

WHOLE = "whole"  # in the place of a stage: all of them, one after the other

Tensors = dict[str, np.ndarray]
Run = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class StageError:
    """One mode at one stage, or at the whole: the worst over outputs and scenes.

    ``max`` and ``mean`` are shares of the range, of depth if it is the whole.
    """

    mode: str
    views: int
    stage: str
    max: float
    mean: float
    pearson: float


@dataclass(frozen=True)
class CameraError:
    """The cameras of the whole: the worst view of the worst scene.

    ``rotation_deg`` is the angle between two cameras, ``focal`` a share of the focal length.
    ``position`` is how far apart they stand, as a share of the largest distance between cameras of
    the scene; None for one view, whose camera is where the scene begins.
    """

    mode: str
    views: int
    rotation_deg: float
    focal: float
    position: Optional[float]


class EmulatedStages:
    """The stages of a network as ``runtime.predict.scenes.run_scene`` takes them, for one scene.

    Args:
        stages: as ``stages_of`` gives them.
        runs: what runs each, by its name.
        camera_tokens: float32 (N, C).
    """

    scenes = 1

    def __init__(
        self, stages: Sequence[Stage], runs: Mapping[str, Run], camera_tokens: np.ndarray
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._runs, self.camera_tokens = runs, camera_tokens
        self.views = len(camera_tokens)
        self.seen: dict[str, tuple[Tensors, Tensors]] = {}  # last inputs and outputs of each

    @torch.no_grad()
    def __call__(self, stage: str, inputs: dict[str, Any]) -> Tensors:
        """Run a stage on arrays by name."""
        taken = self._stages[stage]
        given = {t.name: np.asarray(inputs[t.name], np.float32) for t in taken.inputs}
        made = self._runs[stage](*(torch.from_numpy(array) for array in given.values()))
        made = made if isinstance(made, tuple) else (made,)
        outputs = {t.name: value.numpy() for t, value in zip(taken.outputs, made)}
        self.seen[stage] = given, outputs
        return outputs

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array


def measure_scenes(
    net: DepthAnything3Net,
    size_hw: tuple[int, int],
    photos: Sequence[Path],
    views: int,
    modes: Iterable[str] = MODES,
) -> tuple[list[StageError], list[CameraError]]:
    """Emulate each mode on scenes of some views each, against the same forms in float32.

    Args:
        photos: taken in order, ``views`` a scene; those left over are left out.
    Raises:
        InputError: fewer photos than views, or a mode that does not exist.
    """
    scenes = [photos[at : at + views] for at in range(0, len(photos) - views + 1, views)]
    if not scenes:
        raise InputError(f"{len(photos)} photos, and {views} views a scene; give more photos")
    spec = InputSpec(size_hw=size_hw, resize="bytes")
    stages = stages_of(net, spec, OutputSpec("depth"), views)
    forms = {stage.name: traced(stage.make(REWRITES)) for stage in stages}
    tokens = net.backbone.pretrained.default_camera_tokens(1, views)[0].detach().float().numpy()
    images = [_images(scene, size_hw) for scene in scenes]
    exact = EmulatedStages(stages, forms, tokens)
    references = [_run(exact, scene) for scene in images]
    stage_errors, camera_errors = [], []
    for mode in map(rounded_mode, modes):
        runs = {name: CastEmulation(form, mode).run for name, form in forms.items()}
        found: list[StageError] = []
        cameras: list[CameraError] = []
        for scene, (whole, seen) in zip(images, references):
            emulated = EmulatedStages(stages, runs, tokens)
            for name, (given, expected) in seen.items():
                outputs = emulated(name, given)
                found += [
                    _stage_error(mode.name, views, name, outputs[output], expected[output])
                    for output in expected
                ]
            output, _ = _run(emulated, scene)
            found.append(_stage_error(mode.name, views, WHOLE, output.depth, whole.depth))
            cameras.append(camera_error(mode.name, output, whole))
        names = dict.fromkeys(error.stage for error in found)
        stage_errors += [_worst([e for e in found if e.stage == name]) for name in names]
        camera_errors.append(_worst_camera(cameras))
    return stage_errors, camera_errors


def _images(photos: Sequence[Path], size_hw: tuple[int, int]) -> np.ndarray:
    return stack_views([fit_view(read_photo(photo), size_hw) for photo in photos])


def _run(
    stages: EmulatedStages, images: np.ndarray
) -> tuple[SceneOutput, dict[str, tuple[Tensors, Tensors]]]:
    """The whole program, cameras unknown; then what each stage took and gave.

    The stage for known cameras gets those that were found.
    """
    stages.seen = {}
    output = run_scene(stages, images, SceneQuery())
    stages("ray_head", stages.seen["depth_head"][0])
    stages(CAMERA_ENCODER, {"pose": stages.seen["camera_decoder"][1]["pose"]})
    return output, dict(stages.seen)


def _stage_error(
    mode: str, views: int, stage: str, found: np.ndarray, exact: np.ndarray
) -> StageError:
    case = compare(stage, found, exact)
    span = float(np.ptp(exact))
    mean = float(np.abs(found - exact).mean() / span) if np.isfinite(found).all() else math.inf
    return StageError(mode, views, stage, case.max_rel_range, mean, case.pearson)


def _worst(errors: Sequence[StageError]) -> StageError:
    first = errors[0]
    return StageError(
        mode=first.mode,
        views=first.views,
        stage=first.stage,
        max=max(error.max for error in errors),
        mean=max(error.mean for error in errors),
        pearson=min(error.pearson for error in errors),
    )


def camera_error(mode: str, found: SceneOutput, exact: SceneOutput) -> CameraError:
    """How far the cameras of one scene are off; infinite if they are not finite."""
    views = len(exact.extrinsics)
    if not (np.isfinite(found.extrinsics).all() and np.isfinite(found.intrinsics).all()):
        return CameraError(mode, views, math.inf, math.inf, math.inf if views > 1 else None)
    turns = np.einsum("nij,nkj->nik", found.extrinsics[:, :, :3], exact.extrinsics[:, :, :3])
    # the sine half-angle: an arc cosine has no digits left for small angles
    apart = np.linalg.norm(turns - np.eye(3), axis=(1, 2)) / math.sqrt(8)
    rotation = float(np.degrees(2 * np.arcsin(np.clip(apart, 0, 1))).max())
    ratio = found.intrinsics[:, [0, 1], [0, 1]] / exact.intrinsics[:, [0, 1], [0, 1]]
    position = None
    if views > 1:
        stand = [_centres(output.extrinsics) for output in (found, exact)]
        spread = np.linalg.norm(stand[1][:, None] - stand[1][None], axis=-1).max()
        position = float(np.linalg.norm(stand[0] - stand[1], axis=-1).max() / spread)
    return CameraError(mode, views, rotation, float(np.abs(ratio - 1).max()), position)


def _centres(extrinsics: np.ndarray) -> np.ndarray:
    """Where cameras stand: (N, 3, 4) world-to-camera -> (N, 3)."""
    return -np.einsum("nji,nj->ni", extrinsics[:, :, :3], extrinsics[:, :, 3])


def _worst_camera(errors: Sequence[CameraError]) -> CameraError:
    positions = [error.position for error in errors if error.position is not None]
    return CameraError(
        mode=errors[0].mode,
        views=errors[0].views,
        rotation_deg=max(error.rotation_deg for error in errors),
        focal=max(error.focal for error in errors),
        position=max(positions, default=None),
    )


def recommend_scene(errors: Sequence[StageError], mean: float, pearson: float) -> Optional[str]:
    """The fastest mode whose depth is within the tolerance in every number of views."""
    for name in MODES:
        whole = [e for e in errors if e.mode == name and e.stage == WHOLE]
        if whole and all(e.mean <= mean and e.pearson >= pearson for e in whole):
            return name
    return None


def scene_table(errors: Sequence[StageError], cameras: Sequence[CameraError]) -> str:
    """Depth and cameras of the whole, then each stage's mean error, as Markdown."""
    head = "| mode (emulated) | views | depth max | mean | 1 - correlation | rotation | focal | "
    lines = [f"{head}position |", "|---" + "|---:" * 7 + "|"]
    for camera in cameras:
        (whole,) = (e for e in errors if _place(e) == (camera.mode, camera.views, WHOLE))
        position = "" if camera.position is None else f"{camera.position:.2%}"
        lines.append(
            f"| {camera.mode} | {camera.views} | {whole.max:.2%} | {whole.mean:.3%} | "
            f"{1 - whole.pearson:.1e} | {camera.rotation_deg:.3f}° | {camera.focal:.3%} | "
            f"{position} |"
        )
    stages = [name for name in dict.fromkeys(e.stage for e in errors) if name != WHOLE]
    lines += ["", "| mean of a stage alone | views | " + " | ".join(stages) + " |"]
    lines.append("|---" + "|---:" * (1 + len(stages)) + "|")
    means = {_place(e): e.mean for e in errors}
    for camera in cameras:
        cells = [f"{means[camera.mode, camera.views, stage]:.3%}" for stage in stages]
        lines.append(f"| {camera.mode} | {camera.views} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _place(error: StageError) -> tuple[str, int, str]:
    return error.mode, error.views, error.stage


def scene_facts(errors: Sequence[StageError], cameras: Sequence[CameraError]) -> dict[str, Any]:
    """The same for programs."""
    return {"stages": [asdict(e) for e in errors], "cameras": [asdict(e) for e in cameras]}
