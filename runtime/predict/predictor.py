"""Photo to depth: picks the graph whose shape fits, pads the batch, times each stage.

RGB uint8 (H, W, 3) in; float32 (H, W) on the same pixels out. The three stages can be called apart,
so that a job can overlap them: ``prepare`` and ``finish`` are pure and may run in any thread,
``infer`` belongs to one thread at a time.
"""

import functools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import OutputSpec
from runtime.engines import Engine, load_engine
from runtime.errors import ArtifactError, InputError
from runtime.photo.decode import focal_px_of
from runtime.photo.postprocess import limits_of, resize_to_photo
from runtime.photo.preprocess import check_photo, photo_to_tensor
from runtime.predict.scenes import SceneEngine
from runtime.scene.sky import fill_sky


@dataclass(frozen=True)
class Prepared:
    """A photo as one graph takes it."""

    tensor: np.ndarray  # float32 or uint8 (1, 3, h, w)
    photo_hw: tuple[int, int]
    bucket: int
    seconds: dict[str, float]
    focal_px: Optional[float] = None  # of the photo's camera, in the photo's own pixels
    decoded_hw: Optional[tuple[int, int]] = None  # where the photo was decoded smaller than it is


@dataclass(frozen=True)
class Prediction:
    """Depth of one photo, and what it is.

    ``grid`` is ``photo`` where depth is on the photo's own pixels, ``model`` where it is on those
    of the network's input. ``simulated``: no graph ran, and depth is made up. ``decoded_hw``: how
    large the photo was decoded, where that was not at its own size.
    """

    depth: np.ndarray  # float32 (H, W)
    output: OutputSpec
    artifact: Artifact
    seconds: dict[str, float] = field(default_factory=dict)
    focal_px: Optional[float] = None  # that metres were found by, in the photo's own pixels
    grid: str = "photo"
    simulated: bool = False
    decoded_hw: Optional[tuple[int, int]] = None

    @functools.cached_property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value of depth."""
        return limits_of(self.depth)


def nearest_bucket(photo_hw: tuple[int, int], sizes_hw: Sequence[tuple[int, int]]) -> int:
    """Index of the size whose aspect ratio is nearest, as a ratio; of equals, the largest."""

    def distance(size_hw: tuple[int, int]) -> tuple[float, int]:
        stretch = (size_hw[0] / size_hw[1]) / (photo_hw[0] / photo_hw[1])
        return round(abs(math.log(stretch)), 9), -size_hw[0] * size_hw[1]

    return min(range(len(sizes_hw)), key=lambda index: distance(sizes_hw[index]))


class Predictor:
    """Artifacts of one model in one or more shapes, used as one.

    Args:
        artifacts: at least one; all of the same model, weights, target and batch.
        device: auto, cpu or cuda, as for ``load_engine``.
        threads: CPU threads of the engine; None leaves the choice to it.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self, artifacts: Sequence[Artifact], device: str = "auto", threads: Optional[int] = None
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
        self.batch = artifacts[0].manifest.input.batch
        self.output = artifacts[0].manifest.output
        self._sizes_hw = [artifact.manifest.input.size_hw for artifact in artifacts]
        self._engines: dict[int, Engine] = {}
        self._device, self._threads = device, threads
        self._lock = threading.Lock()

    def __call__(self, rgb: np.ndarray, focal_px: Optional[float] = None) -> Prediction:
        """Estimate the depth of one photo.

        Args:
            rgb: uint8 (H, W, 3).
            focal_px: focal length of its camera in pixels of the photo, where it is known. A
                model whose metres depend on it (``needs_focal``) then answers in metres.
        Raises:
            InputError: rgb has another shape or dtype, or focal_px is not above 0.
            ArtifactError: the graph returned something that cannot be depth.
        """
        prepared = self.prepare(rgb, focal_px)
        (result,) = self.infer([prepared])
        return self.finish(prepared, *result)

    @property
    def needs_focal(self) -> bool:
        """True if depth becomes metres only where the focal length is known."""
        return self.output.metric_focal_px is not None

    def focal_px(self, given: Optional[float], photo: Union[Path, bytes]) -> Optional[float]:
        """The focal length to prepare a photo with: the one given, else EXIF's where it counts."""
        if given is None and self.needs_focal:
            return focal_px_of(photo)
        return given

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
    ) -> Prepared:
        """Pick a graph by aspect ratio and make its input: resized to fit it exactly.

        ``photo_hw``: size of the photo, where ``rgb`` was decoded smaller than it is. Depth comes
        back on that size, and ``focal_px`` is in its pixels.
        """
        start = time.perf_counter()
        check_photo(rgb)
        if focal_px is not None and not 0 < focal_px < math.inf:
            raise InputError(f"focal_px={focal_px}: give the focal length in pixels, above 0")
        decoded_hw = (rgb.shape[0], rgb.shape[1])
        photo_hw = photo_hw or decoded_hw
        bucket = self.bucket_of(photo_hw)
        spec = self.artifacts[bucket].manifest.input
        tensor = photo_to_tensor(rgb, spec.size_hw, spec.mean, spec.std, spec.dtype, spec.resize)
        seconds = {"preprocess": time.perf_counter() - start}
        return Prepared(
            tensor,
            photo_hw,
            bucket,
            seconds,
            focal_px if self.needs_focal else None,
            None if decoded_hw == tuple(photo_hw) else decoded_hw,
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
    ) -> Prediction:
        """Bring a map to the photo's own pixel grid, and to metres where that takes a focal.

        With ``grid="model"`` it stays on the pixels of the network's input.
        """
        start = time.perf_counter()
        output, artifact = self.output, self.artifacts[prepared.bucket]
        if grid == "photo":
            depth = resize_to_photo(depth, prepared.photo_hw)
        if prepared.focal_px is not None and output.metric_focal_px is not None:
            input_hw = artifact.manifest.input.size_hw
            stretch = sum(a / b for a, b in zip(input_hw, prepared.photo_hw)) / 2
            depth = depth * np.float32(prepared.focal_px * stretch / output.metric_focal_px)
            output = OutputSpec("depth_m")
        seconds = {
            **prepared.seconds,
            "inference": infer_seconds,
            "postprocess": time.perf_counter() - start,
        }
        return Prediction(
            depth,
            output,
            artifact,
            seconds,
            prepared.focal_px,
            grid,
            decoded_hw=prepared.decoded_hw,
        )

    def warm_up(self) -> None:
        """Load every graph and run it once, so that the first photo is as fast as the next."""
        for bucket, size_hw in enumerate(self._sizes_hw):
            dtype = self.artifacts[bucket].manifest.input.dtype
            self.infer([Prepared(np.zeros((1, 3, *size_hw), dtype), size_hw, bucket, {})])

    def _engine(self, bucket: int) -> Engine:
        """The graph's engine, loaded when first needed."""
        with self._lock:
            if bucket not in self._engines:
                artifact = self.artifacts[bucket]
                where = (self._device, self._threads)
                if len(artifact.manifest.stages) > 1:
                    self._engines[bucket] = SceneEngine(artifact, *where).single_photo
                else:
                    self._engines[bucket] = load_engine(artifact.path, artifact.manifest, *where)
            return self._engines[bucket]


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
