"""Photo to depth: picks the graph whose shape fits, pads the batch, times each stage.

RGB uint8 (H, W, 3) in; float32 (H, W) on the same pixels out. The three stages can be called apart,
so that a job can overlap them: ``prepare`` and ``finish`` are pure and may run in any thread,
``infer`` belongs to one thread at a time.
"""

import abc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import InputSpec, OutputSpec
from runtime.engines import Engine, load_engine
from runtime.errors import ArtifactError, InputError
from runtime.photo.arrays import as_rgb
from runtime.photo.decode import focal_px_of
from runtime.photo.postprocess import resize_to_photo
from runtime.photo.preprocess import photo_to_tensor
from runtime.predict.buckets import nearest_bucket
from runtime.predict.found import Prediction, Provenance, provenance_of
from runtime.predict.scenes import SceneEngine
from runtime.scene.focal import (
    check_focal_px,
    focal_of,
    focal_of_input,
    metres,
    refuse_useless_focal,
)
from runtime.scene.known_points import KnownPoints
from runtime.scene.sky import fill_sky


@dataclass(frozen=True)
class Prepared:
    """A photo as one graph takes it."""

    tensor: np.ndarray  # float32 or uint8 (1, 3, h, w)
    photo_hw: tuple[int, int]
    bucket: int
    seconds: dict[str, float]
    focal_px: Optional[float] = None  # of the photo's camera, in the photo's own pixels
    decoded_hw: Optional[tuple[int, int]] = None  # if the photo was decoded smaller than it is
    points: Optional[KnownPoints] = None  # by which depth becomes metres


Load = Callable[[Artifact, str, Optional[int]], Engine]


def load_artifact(artifact: Artifact, device: str, threads: Optional[int]) -> Engine:
    """The engine of an artifact that takes one photo at a time, whatever stages it has.

    Raises:
        ArtifactError, DeviceError: as for ``load_engine``.
    """
    if len(artifact.manifest.stages) > 1:
        return SceneEngine(artifact, device, threads).single_photo
    return load_engine(artifact.path, artifact.manifest, device, threads)


class PhotoModel(abc.ABC):
    """What answers photos each by itself, in three stages: a ``Predictor``, or an eager model.

    Attributes:
        model: its name. output: what its numbers mean. batch: photos that it takes at once.
    """

    model: str
    output: OutputSpec
    batch: int

    def __call__(
        self,
        rgb: np.ndarray,
        focal_px: Optional[float] = None,
        points: Optional[KnownPoints] = None,
    ) -> Prediction:
        """Estimate the depth of one photo.

        Args:
            rgb: pixels, as ``as_rgb`` takes them; RGB order.
            focal_px: focal length of its camera in pixels of the photo, if it is known: a model
                whose metres depend on it (``needs_focal``) then answers in metres.
            points: of the photo, whose distance is known: any model then answers in metres.
        Raises:
            InputError: rgb is no picture, focal_px is not above 0, or the model's depth does not
                depend on it; or as for ``Prediction.in_metres``.
            ArtifactError: the graph returned something that cannot be depth.
        """
        prepared = self.prepare(rgb, focal_px, points=points)
        (result,) = self.infer([prepared])
        return self.finish(prepared, *result)[0]

    @property
    def needs_focal(self) -> bool:
        """True if depth becomes metres only where the focal length is known."""
        return self.output.metric_focal_px is not None

    def refuse_useless_focal(self, given: bool, name: str = "focal_px") -> None:
        """Refuse a focal length that would change nothing; ``name`` is what the caller calls it.

        Raises:
            InputError: it was given, and this model's depth does not depend on it.
        """
        refuse_useless_focal(self.model, self.needs_focal, given, name)

    def focal_px(
        self,
        given: Optional[float],
        photo: Union[Path, bytes, None],
        intrinsics: Optional[np.ndarray] = None,
    ) -> Optional[float]:
        """The focal length to prepare a photo with: given, of the intrinsics, or of its EXIF.

        Args:
            photo: the file or its bytes, None if there are only pixels.
            intrinsics: (3, 3), in pixels of the photo.
        Raises:
            InputError: as for ``focal_of``; or it was given, and depth does not depend on it.
        """
        self.refuse_useless_focal(given is not None)
        self.refuse_useless_focal(intrinsics is not None, "intrinsics")
        if not self.needs_focal:
            return None
        return focal_of(given, intrinsics, lambda: None if photo is None else focal_px_of(photo))

    @abc.abstractmethod
    def bucket_of(self, photo_hw: tuple[int, int]) -> int:
        """Which of its graphs a photo of this size goes to."""

    @abc.abstractmethod
    def input_hw(self, photo_hw: tuple[int, int]) -> tuple[int, int]:
        """What a photo of this size is resized to."""

    @abc.abstractmethod
    def prepare(
        self,
        rgb: np.ndarray,
        focal_px: Optional[float] = None,
        photo_hw: Optional[tuple[int, int]] = None,
        points: Optional[KnownPoints] = None,
    ) -> Prepared:
        """A photo as the network takes it; see ``Predictor.prepare``."""

    @abc.abstractmethod
    def infer(self, group: Sequence[Prepared]) -> list[tuple[np.ndarray, float]]:
        """A float32 map (h, w) and its seconds for each of at most ``batch`` photos."""

    @abc.abstractmethod
    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float, grid: str = "photo"
    ) -> tuple[Prediction, dict[str, float]]:
        """A map as what it is, and the seconds of each stage; see ``Predictor.finish``."""

    @abc.abstractmethod
    def warm_up(self, runs: int = 1) -> list[float]:
        """Load what it needs and run it; the seconds of each graph's last run."""


class Predictor(PhotoModel):
    """Artifacts of one model in one or more shapes, used as one.

    Args:
        artifacts: at least one; all of the same model, weights, target and batch.
        device: auto, cpu or cuda, as for ``load_engine``.
        threads: CPU threads of the engine; None leaves the choice to it.
        load: makes an artifact's engine when it is first needed.
        simulated: ``load`` makes engines that compute nothing, and every prediction says so.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        device: str = "auto",
        threads: Optional[int] = None,
        load: Load = load_artifact,
        simulated: bool = False,
    ) -> None:
        if not artifacts:
            raise ArtifactError("no artifact given; make one with `make compile`")
        for artifact in artifacts:
            _check_same_model(artifacts[0], artifact)
            if artifact.manifest.views > 1:
                raise ArtifactError(
                    f"{artifact.path}: takes {artifact.manifest.views} photos of one scene; use "
                    "--views all, or compile with --views 1"
                )
            artifact.verify()
        self.artifacts = list(artifacts)
        self.model = artifacts[0].manifest.model
        self.batch = artifacts[0].manifest.input.batch
        self.output = artifacts[0].manifest.output
        self._sizes_hw = [artifact.manifest.input.size_hw for artifact in artifacts]
        self._engines: dict[int, Engine] = {}
        self._device, self._threads, self._load = device, threads, load
        self.simulated = simulated
        self._lock = threading.Lock()

    def bucket_of(self, photo_hw: tuple[int, int]) -> int:
        """Which of the artifacts a photo of this size goes to."""
        return nearest_bucket(photo_hw, self._sizes_hw)

    def input_hw(self, photo_hw: tuple[int, int]) -> tuple[int, int]:
        """What a photo of this size is resized to."""
        return self._sizes_hw[self.bucket_of(photo_hw)]

    def prepare(
        self,
        rgb: np.ndarray,
        focal_px: Optional[float] = None,
        photo_hw: Optional[tuple[int, int]] = None,
        points: Optional[KnownPoints] = None,
    ) -> Prepared:
        """Pick a graph by aspect ratio and make its input: resized to fit it exactly.

        ``photo_hw``: size of the photo, if ``rgb`` was decoded smaller than it is. Depth comes
        back on that size, and ``focal_px`` and ``points`` are in its pixels.
        """
        start = time.perf_counter()
        rgb = as_rgb(rgb)
        check_focal_px(focal_px)
        self.refuse_useless_focal(focal_px is not None)
        decoded_hw = (rgb.shape[0], rgb.shape[1])
        photo_hw = photo_hw or decoded_hw
        if points is not None:
            points.check_inside(photo_hw)
        bucket = self.bucket_of(photo_hw)
        spec = self.artifacts[bucket].manifest.input
        tensor = photo_to_tensor(rgb, spec.size_hw, spec.mean, spec.std, spec.dtype, spec.resize)
        seconds = {"preprocess": time.perf_counter() - start}
        return Prepared(
            tensor=tensor,
            photo_hw=photo_hw,
            bucket=bucket,
            seconds=seconds,
            focal_px=focal_px,
            decoded_hw=None if decoded_hw == tuple(photo_hw) else decoded_hw,
            points=points,
        )

    def infer(self, group: Sequence[Prepared]) -> list[tuple[np.ndarray, float]]:
        """Run one batch, padded to the compiled size.

        Args:
            group: one to ``batch`` photos prepared for the same graph.
        Returns:
            a float32 map (h, w) for each, and the seconds it took, shared equally.
        Raises:
            InputError: too many photos, or photos for different graphs.
        """
        buckets = {prepared.bucket for prepared in group}
        if not group or len(group) > self.batch or len(buckets) > 1:
            raise InputError(
                f"{len(group)} photos for {len(buckets)} graphs: give 1 to {self.batch} for one"
            )
        engine = self._engine(group[0].bucket)
        spec = self.artifacts[group[0].bucket].manifest.input
        start = time.perf_counter()
        tensors = [prepared.tensor for prepared in group]
        tensors += tensors[-1:] * (self.batch - len(group))
        found = engine({spec.name: np.concatenate(tensors)})
        maps: np.ndarray = found[self.output.kind]
        seconds = (time.perf_counter() - start) / len(group)
        if maps.shape != (self.batch, *spec.size_hw) or not np.isfinite(maps).all():
            raise ArtifactError(
                f"{self.artifacts[group[0].bucket].path}: the graph returned {maps.shape} with "
                f"{int((~np.isfinite(maps)).sum())} values that are not finite, expected "
                f"{(self.batch, *spec.size_hw)} finite ones; rebuild it with `make compile`"
            )
        if "sky" in found:
            maps = np.stack([fill_sky(depth, sky) for depth, sky in zip(maps, found["sky"])])
        return [(depth, seconds) for depth in maps[: len(group)]]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float, grid: str = "photo"
    ) -> tuple[Prediction, dict[str, float]]:
        """Bring a map to the photo's own pixel grid, and to metres by focal length or known points.

        With ``grid="model"`` it stays on the pixels of the network's input.

        Returns:
            the prediction, and the seconds that each stage took.
        Raises:
            InputError: the known points do not go together, or not with this map.
        """
        start, artifact = time.perf_counter(), self.artifacts[prepared.bucket]
        provenance = provenance_of(artifact, self.simulated)
        prediction = finished(
            prepared, depth, self.output, provenance, artifact.manifest.input, grid
        )
        postprocess = time.perf_counter() - start
        return prediction, {
            **prepared.seconds,
            "inference": infer_seconds,
            "postprocess": postprocess,
        }

    def warm_up(self, runs: int = 1) -> list[float]:
        """Load every graph and run it, so that the first photo is as fast as the next.

        Args:
            runs: how often each graph runs.
        Returns:
            the seconds of each graph's last run, in the order of the artifacts.
        """
        seconds = []
        for bucket, size_hw in enumerate(self._sizes_hw):
            dtype = self.artifacts[bucket].manifest.input.dtype
            blank = Prepared(
                tensor=np.zeros((1, 3, *size_hw), dtype),
                photo_hw=size_hw,
                bucket=bucket,
                seconds={},
            )
            for _ in range(runs):
                start = time.perf_counter()
                self.infer([blank])
                took = time.perf_counter() - start
            seconds.append(took)
        return seconds

    def _engine(self, bucket: int) -> Engine:
        """The graph's engine, loaded when first needed."""
        with self._lock:
            if bucket not in self._engines:
                self._engines[bucket] = self._load(
                    self.artifacts[bucket], self._device, self._threads
                )
            return self._engines[bucket]


def finished(
    prepared: Prepared,
    depth: np.ndarray,
    output: OutputSpec,
    provenance: Provenance,
    spec: InputSpec,
    grid: str = "photo",
) -> Prediction:
    """What a network's map is on the photo's pixels, and in metres if that can be: ``finish``.

    Args:
        output: of the network. spec: what it took.
    """
    if grid == "photo":
        depth = resize_to_photo(depth, prepared.photo_hw)
    if prepared.focal_px is not None and output.metric_focal_px is not None:
        focal_px = focal_of_input(prepared.focal_px, prepared.photo_hw, spec.size_hw)
        depth = metres(depth, np.asarray(focal_px), output.metric_focal_px)
        output = OutputSpec("depth_m")
    prediction = Prediction(
        depth=depth,
        output=output,
        provenance=provenance,
        input=spec,
        photo_hw=prepared.photo_hw,
        focal_px=prepared.focal_px,
        grid=grid,
        decoded_hw=prepared.decoded_hw,
    )
    return prediction if prepared.points is None else prediction.in_metres(prepared.points)


def _check_same_model(first: Artifact, other: Artifact) -> None:
    a, b = first.manifest, other.manifest
    for what in ("model", "target", "precision", "output", "weights"):
        if getattr(a, what) != getattr(b, what):
            raise ArtifactError(
                f"{other.path} and {first.path} differ in {what}: {getattr(b, what)} and "
                f"{getattr(a, what)}; give artifacts of one compile"
            )
    if a.input.batch != b.input.batch:
        raise ArtifactError(f"{other.path} and {first.path} have different batches")
