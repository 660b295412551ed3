"""An eager model or compiled artifacts behind one call.

RGB uint8 (H, W, 3) in; a prediction on the photo's own pixels out, which says what it is and where
it comes from. The judge of every model runs them through here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np

from compile.registry import ModelSpec
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.engines.where import torch_device
from runtime.photo.arrays import as_rgb
from runtime.photo.postprocess import resize_to_photo
from runtime.photo.preprocess import network_size, photo_to_tensor
from runtime.predict.choose import PHOTOS, choose
from runtime.predict.found import Prediction, Provenance
from runtime.predict.pipeline import Infers
from runtime.predict.predictor import Predictor, Prepared
from runtime.scene.focal import check_focal_px, focal_of_input, metres, refuse_useless_focal
from runtime.scene.views import make_view

SEEDED = "-seeded"  # at the end of a label: the weights are random

Predict = Callable[[np.ndarray, Optional[float]], Prediction]


class Stages(Infers, Protocol):
    """A model that takes photos in three stages: a ``Predictor``, or an eager model."""

    def prepare(self, rgb: np.ndarray, /) -> Prepared:
        """A photo as the network takes it."""

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float, /
    ) -> tuple[Prediction, dict[str, float]]:
        """A map on the photo's pixels, and what it is."""


@dataclass(frozen=True)
class Estimator:
    """A model ready to run. ``label`` goes into file names, ``facts`` into reports."""

    model: str
    label: str
    kind: str
    weights: WeightsSpec
    predict: Predict
    facts: dict[str, Any]

    def __call__(self, rgb: np.ndarray, focal_px: Optional[float] = None) -> Prediction:
        """Estimate the depth of one photo.

        Args:
            rgb: uint8 (H, W, 3).
            focal_px: of its camera, in pixels of the photo, for da3metric-large.
        Raises:
            InputError: not a photo, or a focal length that is wrong or does nothing.
        """
        return self.predict(rgb, focal_px)


def eager_estimator(
    spec: ModelSpec, checkpoint: Optional[Path], seeded: bool, short_side: int, device: str
) -> Estimator:
    """A model of the registry in eager float32, at each photo's own aspect ratio.

    Args:
        spec: its row.
        checkpoint: weights to use; None finds or fetches them as ``python -m compile`` does.
        seeded: random weights instead.
        short_side: pixels that a photo's shorter side is resized to, as upstream does.
        device: auto, cpu or cuda.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        InputError: cuda was asked for and there is none.
    """
    from compile.checkpoint import network_of

    found = load_eager_on(spec, checkpoint, seeded, device)
    predict = EagerV2 if spec.family == "v2" else _eager_v3
    return Estimator(
        model=spec.name,
        label=found.label,
        kind=spec.kind,
        weights=found.weights,
        predict=predict(spec, network_of(found.model), found.weights, short_side),
        facts={**found.facts, "short_side": short_side},
    )


class Loaded(NamedTuple):
    """An eager model on its device, what its weights are, and how reports name it."""

    model: Any
    weights: WeightsSpec
    label: str
    facts: dict[str, Any]


def load_eager_on(spec: ModelSpec, checkpoint: Optional[Path], seeded: bool, device: str) -> Loaded:
    """A model of the registry in eager float32; arguments and errors as ``eager_estimator``."""
    from compile.checkpoint import load_eager
    from compile.job import CompileJob, find_weights

    where = torch_device(device)
    job = CompileJob(spec.name, checkpoint=checkpoint, seeded="always" if seeded else "never")
    model, weights = load_eager(spec, find_weights(job, spec))
    label = spec.name if checkpoint is None else f"{spec.name}-{checkpoint.stem}"
    facts = {"how": f"eager float32 on {where.type}"}
    if where.type == "cuda":
        import torch

        facts["gpu"] = torch.cuda.get_device_name()
    return Loaded(model.to(where), weights, label + (SEEDED if weights.seeded else ""), facts)


class EagerV2:
    """A model of Depth Anything V2 in eager float32, in the three stages of a ``Predictor``.

    Args:
        model: on its device.
        short_side: pixels that a photo's shorter side is resized to.
    """

    batch = 1

    def __init__(self, spec: ModelSpec, model: Any, weights: WeightsSpec, short_side: int) -> None:
        self._spec, self._model, self._short_side = spec, model, short_side
        self._provenance = Provenance(spec.name, weights)

    def __call__(self, rgb: np.ndarray, focal_px: Optional[float] = None) -> Prediction:
        """What ``infer_image`` gives for a photo, and what it is."""
        refuse_useless_focal(self._spec.name, False, focal_px is not None)
        prepared = self.prepare(rgb)
        (result,) = self.infer([prepared])
        return self.finish(prepared, *result)[0]

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """Resize and normalise a photo: as ``Predictor.prepare``."""
        rgb = as_rgb(rgb)
        photo_hw = (rgb.shape[0], rgb.shape[1])
        tensor = photo_to_tensor(rgb, network_size(photo_hw, self._short_side))
        return Prepared(tensor, photo_hw, bucket=0, seconds={})

    def infer(self, group: Sequence[Prepared]) -> list[tuple[np.ndarray, float]]:
        """Run the network: as ``Predictor.infer``."""
        import torch

        start = time.perf_counter()
        (prepared,) = group
        like = next(self._model.parameters())
        with torch.no_grad():
            depth = self._model(torch.from_numpy(prepared.tensor).to(like.device, like.dtype))[0]
        return [(depth.float().cpu().numpy(), time.perf_counter() - start)]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float
    ) -> tuple[Prediction, dict[str, float]]:
        """Bring a map to the photo's pixels: as ``Predictor.finish``."""
        prediction = Prediction(
            depth=resize_to_photo(depth, prepared.photo_hw),
            output=self._spec.output,
            provenance=self._provenance,
            input=InputSpec(network_size(prepared.photo_hw, self._short_side)),
            photo_hw=prepared.photo_hw,
        )
        return prediction, {"inference": infer_seconds}


def _eager_v3(spec: ModelSpec, model: Any, weights: WeightsSpec, short_side: int) -> Predict:
    import torch

    def predict(rgb: np.ndarray, focal_px: Optional[float] = None) -> Prediction:
        metric_focal_px = spec.metric_focal_px
        refuse_useless_focal(spec.name, metric_focal_px is not None, focal_px is not None)
        check_focal_px(focal_px)
        view = make_view(rgb, short_side, "lower_bound_resize")
        where = next(model.parameters()).device
        with torch.no_grad():
            found = model(torch.from_numpy(view.tensor()[None, None]).to(where))
        depth = resize_to_photo(found["depth"][0, 0].cpu().numpy(), view.photo_hw)
        output = spec.output
        if focal_px is not None and metric_focal_px is not None:
            focal = focal_of_input(focal_px, view.photo_hw, view.size_hw)
            depth, output = metres(depth, np.asarray(focal), metric_focal_px), OutputSpec("depth_m")
        return Prediction(
            depth=depth,
            output=output,
            provenance=Provenance(spec.name, weights),
            input=InputSpec(view.size_hw, resize="bytes"),
            photo_hw=view.photo_hw,
            focal_px=focal_px,
        )

    return predict


def artifact_estimator(paths: Sequence[Path], device: str, model: str = "") -> Estimator:
    """Compiled artifacts of one model, one or several sizes of it, as the main job runs them.

    Args:
        paths: artifacts, or folders of them.
        device: auto, cpu or cuda.
        model: which one; empty if there is only one.
    Raises:
        ArtifactError: no artifact there, a damaged one, or several models.
    """
    predictor = Predictor(choose(paths, model, PHOTOS, device=device).artifacts, device)
    manifest = predictor.artifacts[0].manifest
    facts = {
        "how": f"compiled, {manifest.target} {manifest.precision}",
        "artifacts": {artifact.manifest.name: artifact.digest for artifact in predictor.artifacts},
    }
    return Estimator(
        model=manifest.model,
        label=f"{manifest.model}-{manifest.target}{SEEDED if manifest.weights.seeded else ''}",
        kind=predictor.output.kind,
        weights=manifest.weights,
        predict=predictor,
        facts=facts,
    )
