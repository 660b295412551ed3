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
from runtime.artifact.manifest import InputSpec, WeightsSpec
from runtime.engines.failures import FEWER_PIXELS, failures_named
from runtime.engines.where import exact_float32, torch_device
from runtime.photo.arrays import as_rgb
from runtime.photo.preprocess import network_size, patched_size, photo_to_tensor, scaled_size
from runtime.predict.choose import PHOTOS, choose
from runtime.predict.found import Prediction, Provenance
from runtime.predict.pipeline import Infers
from runtime.predict.predictor import PhotoModel, Predictor, Prepared, finished
from runtime.scene.focal import check_focal_px, refuse_useless_focal
from runtime.scene.known_points import KnownPoints
from runtime.scene.views import METHODS, USUAL_HW, make_view

LOWER = METHODS[2]  # by the shorter side
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
    spec: ModelSpec,
    checkpoint: Optional[Path],
    seeded: bool,
    short_side: int,
    device: str,
    method: str = LOWER,
) -> Estimator:
    """A model of the registry in eager float32, at each photo's own aspect ratio.

    Args:
        spec: its row.
        checkpoint: weights to use; None finds or fetches them as ``python -m compile`` does.
        seeded: random weights instead.
        short_side: pixels that a photo's shorter side is resized to, as upstream does.
        device: auto, cpu or cuda.
        method: how Depth Anything 3 resizes, as of ``make_view``; with ``upper_bound_resize`` it
            is the longer side that is named.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        InputError: cuda was asked for and there is none.
    """
    from compile.checkpoint import network_of

    found = load_eager_on(spec, checkpoint, seeded, device)
    network = network_of(found.model)
    if spec.family == "v2":
        predict: Predict = EagerV2(spec, network, found.weights, short_side)
    else:
        predict = EagerV3(spec, network, found.weights, short_side, method)
    return Estimator(
        model=spec.name,
        label=found.label,
        kind=spec.kind,
        weights=found.weights,
        predict=predict,
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

        facts["gpu"] = torch.cuda.get_device_name(where)
    model = on_device(model, where, spec.name)
    return Loaded(model, weights, label + (SEEDED if weights.seeded else ""), facts)


def on_device(model: Any, where: Any, name: str) -> Any:
    """An eager model on a ``torch.device``, in float32 that is float32.

    Raises:
        DeviceError: the GPU has no room for it.
    """
    import torch

    exact_float32(torch)
    with failures_named(name, FEWER_PIXELS):
        return model.to(where)


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
        with torch.no_grad(), failures_named(self._spec.name, FEWER_PIXELS):
            depth = self._model(torch.from_numpy(prepared.tensor).to(like.device, like.dtype))[0]
            found = depth.float().cpu().numpy()
        return [(found, time.perf_counter() - start)]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float
    ) -> tuple[Prediction, dict[str, float]]:
        """Bring a map to the photo's pixels: as ``Predictor.finish``."""
        spec = InputSpec(network_size(prepared.photo_hw, self._short_side))
        prediction = finished(prepared, depth, self._spec.output, self._provenance, spec)
        return prediction, {"inference": infer_seconds}


class EagerV3(PhotoModel):
    """A model of Depth Anything 3 in eager float32, each photo for itself: as a ``Predictor``.

    Args:
        network: on its device.
        res, method: how a photo becomes what the network takes, as of ``make_view``; no crop.
    """

    batch = 1

    def __init__(
        self,
        spec: ModelSpec,
        network: Any,
        weights: WeightsSpec,
        res: int,
        method: str = LOWER,
    ) -> None:
        self.model, self.output = spec.name, spec.output
        self._network, self._res, self._method = network, res, method
        self._provenance = Provenance(spec.name, weights)

    def bucket_of(self, photo_hw: tuple[int, int]) -> int:
        """There is one."""
        return 0

    def input_hw(self, photo_hw: tuple[int, int]) -> tuple[int, int]:
        """What a photo of this size is resized to."""
        bound, _, _ = self._method.partition("_bound_")
        return patched_size(scaled_size(photo_hw, self._res, bound))

    def prepare(
        self,
        rgb: np.ndarray,
        focal_px: Optional[float] = None,
        photo_hw: Optional[tuple[int, int]] = None,
        points: Optional[KnownPoints] = None,
    ) -> Prepared:
        """Resize and normalise a photo: as ``Predictor.prepare``."""
        start = time.perf_counter()
        check_focal_px(focal_px)
        self.refuse_useless_focal(focal_px is not None)
        view = make_view(rgb, self._res, self._method)
        if points is not None:
            points.check_inside(view.photo_hw)
        seconds = {"preprocess": time.perf_counter() - start}
        return Prepared(view.tensor()[None], view.photo_hw, 0, seconds, focal_px, points=points)

    def infer(self, group: Sequence[Prepared]) -> list[tuple[np.ndarray, float]]:
        """Run the network: as ``Predictor.infer``."""
        import torch

        start = time.perf_counter()
        (prepared,) = group
        where = next(self._network.parameters()).device
        with torch.no_grad(), failures_named(self.model, FEWER_PIXELS):
            found = self._network(torch.from_numpy(prepared.tensor[None]).to(where))
            depth = found["depth"][0, 0].cpu().numpy()
        return [(depth, time.perf_counter() - start)]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float, grid: str = "photo"
    ) -> tuple[Prediction, dict[str, float]]:
        """Bring a map to the photo's pixels: as ``Predictor.finish``."""
        spec = InputSpec((depth.shape[0], depth.shape[1]), resize="bytes")
        prediction = finished(prepared, depth, self.output, self._provenance, spec, grid)
        return prediction, {**prepared.seconds, "inference": infer_seconds}

    def warm_up(self, runs: int = 1) -> list[float]:
        """Run it on a photo of the usual shape; returns the seconds of the last run."""
        blank = self.prepare(np.full((*USUAL_HW, 3), 127, np.uint8))
        for _ in range(runs):
            ((_, seconds),) = self.infer([blank])
        return [seconds]


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
