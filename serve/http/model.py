"""The artifacts of one model, loaded, warm and timed: what the device's thread runs.

A folder of artifacts in; lanes of work and their estimated cost out.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.predict.predictor import Predictor, Prepared, nearest_bucket
from runtime.predict.scenes import ENCODER_LOCAL, ScenePredictor
from runtime.scene.groups import group_views, pick_views
from serve.http.batching import Lane
from serve.http.request_body import Job

log = logging.getLogger(__name__)

LATEST = 0.2  # weight of the newest measurement in the running estimate of a lane's seconds


class Model:
    """Artifacts of one model, for single photos, for scenes, or for both.

    Args:
        artifacts: of one model and target.
        device, threads: as for ``load_engine``.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self, artifacts: Sequence[Artifact], device: str = "auto", threads: Optional[int] = None
    ) -> None:
        self.artifacts = list(artifacts)
        self.manifest = artifacts[0].manifest
        single = [one for one in artifacts if one.manifest.views == 1]
        self.predictor = Predictor(single, device, threads) if single else None
        staged: dict[tuple[int, int], list[Artifact]] = {}
        for one in artifacts:
            if any(stage.name == ENCODER_LOCAL for stage in one.manifest.stages):
                staged.setdefault(one.manifest.input.size_hw, []).append(one)
        self.scenes = {
            size_hw: ScenePredictor(group, device, threads) for size_hw, group in staged.items()
        }
        self._seconds: dict[Any, float] = {}
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""
        if self.predictor is not None:
            for bucket, artifact in enumerate(self.predictor.artifacts):
                spec = artifact.manifest.input
                blank = Prepared(np.zeros((1, 3, *spec.size_hw), spec.dtype), (1, 1), bucket, {})
                self._time(("photo", bucket), lambda blank=blank: self.predictor.infer([blank]))
        for size_hw, scene in self.scenes.items():
            for artifact in scene.artifacts:
                views = artifact.manifest.views
                if views > 1 or self.predictor is None:
                    grey = [scene.view(np.full((*size_hw, 3), 127, np.uint8))] * views
                    self._time(("scene", size_hw), lambda s=scene, g=grey: s.predict(g))

    def _time(self, key: Any, run: Any) -> None:
        run()  # loads
        start = time.perf_counter()
        run()
        self._seconds[key] = max(self._seconds.get(key, 0.0), time.perf_counter() - start)
        log.info("warm", extra={"lane": str(key), "seconds": round(self._seconds[key], 4)})

    def is_scene(self, job: Job) -> bool:
        """True if the photos are worked on together.

        Raises:
            InputError: this model cannot do that.
        """
        alone = len(job.photos) == 1 and job.extrinsics is None
        if alone and self.predictor is not None:
            return False
        if not self.scenes:
            raise InputError(
                f"{len(job.photos)} photos, and cameras or not: {self.manifest.model} takes one "
                "photo a request; scenes need a model of Depth Anything 3"
            )
        return True

    def cost_s(self, job: Job) -> float:
        """Estimated device seconds of a request."""
        if self.is_scene(job):
            size_hw = self.scene_size(job)
            compiled = [one.manifest.views for one in self.scenes[size_hw].artifacts]
            views = pick_views(len(job.photos), compiled)
            return len(group_views(len(job.photos), views)) * self.seconds(("scene", size_hw))
        assert self.predictor is not None
        bucket = self.predictor.bucket_of(job.sizes_hw[0])
        return self.seconds(("photo", bucket)) / self.predictor.batch

    def scene_size(self, job: Job) -> tuple[int, int]:
        """The compiled size nearest to the shape of the first photo."""
        sizes = list(self.scenes)
        return sizes[nearest_bucket(job.sizes_hw[0], sizes)]

    def seconds(self, key: Any) -> float:
        """Running estimate of one call of a lane."""
        return self._seconds.get(key, 0.0)

    def photo_lane(self, bucket: int) -> Lane:
        """Single photos of one shape; its tasks are ``Prepared``."""
        assert self.predictor is not None
        key, predictor = ("photo", bucket), self.predictor

        def run(group: Sequence[Prepared]) -> Sequence[Any]:
            start = time.perf_counter()
            found = predictor.infer(group)
            self._learn(key, time.perf_counter() - start)
            return found

        return Lane(key, run, predictor.batch)

    def scene_lane(self, size_hw: tuple[int, int]) -> Lane:
        """Scenes of one shape; its tasks are keyword arguments of ``ScenePredictor.predict``."""
        scene = self.scenes[size_hw]

        def run(group: Sequence[dict[str, Any]]) -> Sequence[Any]:
            try:
                return [scene.predict(**arguments) for arguments in group]
            except np.linalg.LinAlgError as error:
                raise InputError(f"cameras that are no cameras ({error})") from None

        return Lane(("scene", size_hw), run)

    def _learn(self, key: Any, took: float) -> None:
        with self._lock:
            self._seconds[key] = (1 - LATEST) * self._seconds.get(key, took) + LATEST * took
