"""The two kinds of work: photos each for itself, and photos of one scene.

A request and artifacts in, what the device runs and the response out. Both kinds go the same way:
checked, counted, prepared, run in a lane, and encoded. Only ``prepare`` decodes pixels, and
only a lane's ``run`` touches the device.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

import numpy as np

from exports.photo_points import refuse_relative
from exports.selection import CloudOptions
from runtime.errors import InputError
from runtime.photo.decode import focal_px_of
from runtime.predict.buckets import scene_bucket
from runtime.predict.found import ScenePrediction
from runtime.predict.predictor import PhotoModel, Prepared
from runtime.predict.scenes import ScenePredictor
from runtime.predict.streams import Streams
from runtime.scene.focal import (
    PhotoCamera,
    camera_of,
    focal_of,
    refuse_useless_focal,
)
from runtime.scene.groups import group_views
from runtime.scene.views import View
from serve.http.batching import Lane
from serve.http.costs import Costs
from serve.http.problems import Problem
from serve.http.request_body import DepthRequest, SentPhoto
from serve.http.responses import (
    CLOUDS,
    FOR_PHOTOS,
    FOR_SCENES,
    POINTS,
    DepthResponse,
    encode_photo,
    encode_scene,
)

Decode = Callable[[SentPhoto], np.ndarray]  # to uint8 RGB (H, W, 3)


class Handler(Protocol):
    """What the service does with a request of one kind, in this order."""

    media_types: tuple[str, ...]  # that it can answer in, the default first

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""

    def check(self, asked: DepthRequest, media_type: str) -> None:
        """Refuse what can be refused without work.

        Raises:
            InputError: the model cannot use what was sent.
            Problem: it cannot answer in this media type.
        """

    def values(self, asked: DepthRequest, media_type: str) -> int:
        """How many pixels of depth, or points, the response will hold."""

    def cost_s(self, asked: DepthRequest) -> float:
        """Estimated device seconds."""

    def prepare(self, asked: DepthRequest, decode: Decode, media_type: str) -> Any:
        """Photos as the graph takes them: a task for the lane."""

    def lane(self, task: Any) -> Lane:
        """Where the task is run, with others of its kind."""

    def encode(
        self, asked: DepthRequest, task: Any, result: Any, media_type: str, more: dict[str, Any]
    ) -> DepthResponse:
        """What the lane gave for the task, as a response; ``more`` are facts to add."""


@dataclass(frozen=True)
class PhotoTask:
    """A photo as its graph takes it; its pixels and camera if points are wanted."""

    prepared: Prepared
    rgb: Optional[np.ndarray] = None
    camera: Optional[PhotoCamera] = None


class PhotoHandler:
    """Single photos, batched by the shape of their graph.

    Args:
        costs: of one call of each graph.
    """

    media_types: tuple[str, ...] = FOR_PHOTOS

    def __init__(self, predictor: PhotoModel, costs: Costs) -> None:
        self._predictor, self._costs = predictor, costs
        # The model sets another where several calls run at once
        self.streams: Streams[Any] = Streams(predictor)

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""
        for bucket, seconds in enumerate(self._predictor.warm_up(runs=2)):
            self._costs.start(_photo_key(bucket), seconds)

    def check(self, asked: DepthRequest, media_type: str) -> None:
        """Refuse a focal length that would change nothing, and points that would be bent."""
        if media_type in POINTS:
            if asked.points is None and not self._predictor.needs_focal:
                _refuse_points(self._predictor.output.kind)
            return
        self._predictor.refuse_useless_focal(asked.options.focal_px is not None)
        self._predictor.refuse_useless_focal(asked.intrinsics is not None, "intrinsics")

    def values(self, asked: DepthRequest, media_type: str) -> int:
        """Of the photo, or of the network's input."""
        (size_hw,) = asked.sizes_hw
        if asked.options.size == "model":
            size_hw = self._predictor.input_hw(size_hw)
        return size_hw[0] * size_hw[1]

    def cost_s(self, asked: DepthRequest) -> float:
        """A photo's share of a full batch."""
        (size_hw,) = asked.sizes_hw
        return self._costs[_photo_key(self._predictor.bucket_of(size_hw))] / self._predictor.batch

    def prepare(self, asked: DepthRequest, decode: Decode, media_type: str) -> PhotoTask:
        """The photo's tensor."""
        (photo,) = asked.photos
        intrinsics = None if asked.intrinsics is None else asked.intrinsics[0]
        data = photo if isinstance(photo, bytes) else None
        focal_px = None
        if self._predictor.needs_focal or media_type not in POINTS:
            focal_px = self._predictor.focal_px(asked.options.focal_px, data, intrinsics)
        if media_type not in POINTS:
            return PhotoTask(self._predictor.prepare(decode(photo), focal_px, points=asked.points))
        if focal_px is None and asked.points is None and self._predictor.needs_focal:
            _refuse_points(self._predictor.output.kind)
        rgb = decode(photo)
        camera = camera_of(
            asked.sizes_hw[0],
            lambda: None if data is None else focal_px_of(data),
            focal_of(asked.options.focal_px, intrinsics, lambda: None),
        )
        prepared = self._predictor.prepare(rgb, focal_px, points=asked.points)
        return PhotoTask(prepared, rgb, camera)

    def lane(self, task: PhotoTask) -> Lane:
        """One lane a shape."""
        key = _photo_key(task.prepared.bucket)

        def run(group: Sequence[PhotoTask]) -> Sequence[Any]:
            with self._costs.timed(key):
                return self.streams.infer([one.prepared for one in group])

        return Lane(key, run, self._predictor.batch)

    def encode(
        self,
        asked: DepthRequest,
        task: PhotoTask,
        result: tuple[np.ndarray, float],
        media_type: str,
        more: dict[str, Any],
    ) -> DepthResponse:
        """Depth on the pixels that were asked for, and what it is."""
        grid = "model" if asked.options.size == "model" else "photo"
        prediction, _ = self._predictor.finish(task.prepared, *result, grid)
        return encode_photo(prediction, media_type, asked.options, more, task.rgb, task.camera)


def _refuse_points(kind: str) -> None:
    try:
        refuse_relative(kind)
    except InputError as error:
        raise Problem("not_acceptable", str(error)) from None


def _photo_key(bucket: int) -> tuple[Any, ...]:
    return ("photo", bucket)


@dataclass(frozen=True)
class SceneTask:
    """Photos of a scene as its graphs take them, and what they are asked."""

    scene: ScenePredictor
    views: tuple[View, ...]
    asked: DepthRequest


class SceneHandler:
    """Photos of one scene, which go through the graphs together.

    Args:
        scenes: one a compiled size, all of one model.
        costs: of one pass through the graphs, by size and number of views.
    """

    media_types: tuple[str, ...] = FOR_SCENES

    def __init__(self, scenes: Sequence[ScenePredictor], costs: Costs) -> None:
        self._scenes = {scene.manifest.input.size_hw: scene for scene in scenes}
        self._model = scenes[0].manifest.model
        self._costs = costs

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""
        for size_hw, scene in self._scenes.items():
            grey = scene.view(np.full((*size_hw, 3), 127, np.uint8))
            for artifact in scene.artifacts:
                views = [grey] * artifact.manifest.views
                scene.predict(views)  # loads
                start = time.perf_counter()
                scene.predict(views)
                self._costs.start(_scene_key(scene, len(views)), time.perf_counter() - start)

    def check(self, asked: DepthRequest, media_type: str) -> None:
        """Refuse a focal length: a scene finds its cameras, or is given both parts of them.

        And points: a scene has one scale.
        """
        if asked.points is not None:
            raise InputError(f"points: not for scenes, as {self._model} takes them; leave them out")
        refuse_useless_focal(self._model, False, asked.options.focal_px is not None)

    def values(self, asked: DepthRequest, media_type: str) -> int:
        """Of all photos, or of all views; or as many points as there may be."""
        if media_type in CLOUDS:
            return CloudOptions().num_max_points
        if asked.options.size == "input":
            return sum(height * width for height, width in asked.sizes_hw)
        height, width = self._scene(asked).manifest.input.size_hw
        return len(asked.photos) * height * width

    def cost_s(self, asked: DepthRequest) -> float:
        """Of all passes."""
        scene, count = self._scene(asked), len(asked.photos)
        return _passes(scene, count) * self._costs[_scene_key(scene, count)]

    def prepare(self, asked: DepthRequest, decode: Decode, media_type: str) -> SceneTask:
        """Views of the photos; one photo is in memory at a time."""
        scene = self._scene(asked)
        return SceneTask(scene, tuple(scene.view(decode(photo)) for photo in asked.photos), asked)

    def lane(self, task: SceneTask) -> Lane:
        """One lane a size and number of views; scenes share no batch."""
        key = _scene_key(task.scene, len(task.views))

        def run(group: Sequence[SceneTask]) -> Sequence[ScenePrediction]:
            return [self._predict(one) for one in group]

        return Lane(key, run)

    def _predict(self, task: SceneTask) -> ScenePrediction:
        asked, count = task.asked, len(task.views)
        try:
            with self._costs.timed(_scene_key(task.scene, count), _passes(task.scene, count)):
                return task.scene.predict(list(task.views), asked.query)
        except np.linalg.LinAlgError as error:
            raise InputError(f"cameras that are no cameras ({error})") from None

    def encode(
        self,
        asked: DepthRequest,
        task: SceneTask,
        result: ScenePrediction,
        media_type: str,
        more: dict[str, Any],
    ) -> DepthResponse:
        """Depth and cameras of all photos, and what they are."""
        return encode_scene(result, task.views, media_type, asked.options, more)

    def _scene(self, asked: DepthRequest) -> ScenePredictor:
        """The graphs whose size is nearest to the shape of most photos."""
        sizes_hw = list(self._scenes)
        return self._scenes[sizes_hw[scene_bucket(asked.sizes_hw, sizes_hw)]]


def _scene_key(scene: ScenePredictor, photos: int) -> tuple[Any, ...]:
    manifest = scene.artifact_for(photos).manifest
    return ("scene", manifest.input.size_hw, manifest.views)


def _passes(scene: ScenePredictor, photos: int) -> int:
    return len(group_views(photos, scene.artifact_for(photos).manifest.views))
