"""What is judged: a registry model run eagerly, or compiled artifacts, behind one interface.

RGB uint8 (H, W, 3) in; float32 (H, W) on the photo's own pixels out, and what the numbers mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from compile.registry import find_model
from runtime.artifact.folder import find_artifacts, read_artifact
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.predictor import Predictor
from runtime.scene.views import make_view

SEEDED = "-seeded"  # at the end of a label: the weights are random


@dataclass(frozen=True)
class Estimator:
    """A model ready to run. ``label`` goes into file names, ``facts`` into the report."""

    model: str
    label: str
    kind: str
    weights: WeightsSpec
    predict: Callable[[np.ndarray], np.ndarray]
    facts: dict[str, Any]


def eager_estimator(
    name: str, checkpoint: Optional[Path], seeded: bool, short_side: int, device: str
) -> Estimator:
    """A model of the registry in eager float32, at each photo's own aspect ratio.

    Args:
        checkpoint: weights to use; None finds or fetches them as ``python -m compile`` does.
        seeded: random weights instead.
        short_side: pixels that a photo's shorter side is resized to, as upstream does.
        device: auto, cpu or cuda.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        InputError: cuda was asked for and there is none.
    """
    import torch

    from compile.checkpoint import load_model
    from compile.job import CompileJob, find_weights

    spec = find_model(name)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: torch sees no CUDA GPU here; use --device cpu")
    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    job = CompileJob(spec.name, checkpoint=checkpoint, seeded="always" if seeded else "never")
    model, weights = load_model(spec, find_weights(job, spec))
    model = model.to(where)
    label = spec.name if checkpoint is None else f"{spec.name}-{checkpoint.stem}"
    label += SEEDED if weights.seeded else ""
    facts = {"how": f"eager float32 on {where}", "short_side": short_side}
    if where == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()

    def predict(rgb: np.ndarray) -> np.ndarray:
        if spec.family == "v2":
            return model.infer_image(rgb[..., ::-1], short_side)  # it takes BGR, as OpenCV reads
        view = make_view(rgb, short_side, "lower_bound_resize")
        with torch.no_grad():
            found = model(torch.from_numpy(view.tensor()[None, None]).to(where))
        return resize_to_photo(found["depth"][0, 0].cpu().numpy(), view.photo_hw)

    return Estimator(spec.name, label, spec.kind, weights, predict, facts)


def artifact_estimator(paths: Sequence[Path], device: str) -> Estimator:
    """Compiled artifacts of one model, one or several sizes of it, as the main job runs them.

    Args:
        paths: artifacts, or folders of them.
        device: auto, cpu or cuda.
    Raises:
        ArtifactError: no artifact there, a damaged one, or several that do not belong together.
    """
    folders = [found for path in paths for found in find_artifacts(path) or [path]]
    predictor = Predictor([read_artifact(folder) for folder in folders], device)
    manifest = predictor.artifacts[0].manifest
    facts = {
        "how": f"compiled, {manifest.target} {manifest.precision}",
        "artifacts": {artifact.manifest.name: artifact.digest for artifact in predictor.artifacts},
    }
    label = f"{manifest.model}-{manifest.target}{SEEDED if manifest.weights.seeded else ''}"
    return Estimator(
        manifest.model,
        label,
        predictor.output.kind,
        manifest.weights,
        lambda rgb: predictor(rgb).depth,
        facts,
    )
