"""A model that finds scenes, eager or compiled, behind one call.

RGB uint8 photos of one scene in; what was found, and how each photo became a view, out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from apps.estimators import SEEDED, load_eager_on
from compile.registry import MODELS, ModelSpec
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.predict.choose import SCENE, choose
from runtime.predict.found import ScenePrediction
from runtime.predict.scenes import ScenePredictor
from runtime.scene.views import View, make_view, same_size


class Found(NamedTuple):
    """A scene, and the views that the network saw of its photos."""

    scene: ScenePrediction
    views: list[View]


Cameras = tuple[np.ndarray, np.ndarray]  # extrinsics and intrinsics, in pixels of the photos
Find = Callable[[Sequence[np.ndarray], Optional[Cameras]], Found]


@dataclass(frozen=True)
class SceneEstimator:
    """A model ready to run. ``label`` goes into file names, ``facts`` into reports.

    ``find`` takes photos of one scene, and their true cameras if the network is to be told.
    """

    model: str
    label: str
    weights: WeightsSpec
    find: Find
    facts: dict[str, Any]


def check_finds_cameras(spec: ModelSpec) -> None:
    """Refuse a model that takes each photo for itself.

    Raises:
        InputError: it names those that do not.
    """
    if not spec.any_view:
        names = " or ".join(name for name, row in MODELS.items() if row.any_view)
        raise InputError(f"{spec.name} finds no cameras; scenes are judged with --model {names}")


def eager_scenes(
    spec: ModelSpec, checkpoint: Optional[Path], seeded: bool, process_res: int, device: str
) -> SceneEstimator:
    """A model of the registry in eager float32.

    Args:
        spec: its row.
        checkpoint: weights to use; None finds or fetches them as ``python -m compile`` does.
        seeded: random weights instead.
        process_res: pixels that a photo's longer side is resized to.
        device: auto, cpu or cuda.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        InputError: a model that finds no cameras, or cuda where there is none.
    """
    check_finds_cameras(spec)
    loaded = load_eager_on(spec, checkpoint, seeded, device)

    def find(photos: Sequence[np.ndarray], cameras: Optional[Cameras] = None) -> Found:
        extrinsics, intrinsics = cameras or (None, None)
        scene = loaded.model.inference(
            list(photos), extrinsics, intrinsics, process_res=process_res
        )
        return Found(scene, same_size([make_view(photo, process_res) for photo in photos]))

    facts = {**loaded.facts, "process_res": process_res}
    return SceneEstimator(spec.name, loaded.label, loaded.weights, find, facts)


def artifact_scenes(paths: Sequence[Path], device: str, model: str = "") -> SceneEstimator:
    """Compiled artifacts of one any-view model and size.

    Args:
        paths: artifacts, or folders of them.
        device: auto, cpu or cuda.
        model: which one; empty if there is only one.
    Raises:
        ArtifactError: no artifact that takes scenes, a damaged one, or several models or sizes.
    """
    predictor = ScenePredictor(choose(paths, model, SCENE, device=device).artifacts, device)
    manifest = predictor.manifest

    def find(photos: Sequence[np.ndarray], cameras: Optional[Cameras] = None) -> Found:
        extrinsics, intrinsics = cameras or (None, None)
        views = [predictor.view(photo) for photo in photos]
        return Found(predictor.predict(views, extrinsics=extrinsics, intrinsics=intrinsics), views)

    return SceneEstimator(
        model=manifest.model,
        label=f"{manifest.model}-{manifest.target}{SEEDED if manifest.weights.seeded else ''}",
        weights=manifest.weights,
        find=find,
        facts={
            "how": f"compiled, {manifest.target} {manifest.precision}",
            "artifacts": {one.manifest.name: one.digest for one in predictor.artifacts},
        },
    )
