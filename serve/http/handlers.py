"""The two kinds of work: photos each for itself, and photos of one scene.

A request and artifacts in, what the device runs and the response out. Both kinds go the same way:
checked, counted, prepared, run in a lane, and encoded. Only ``prepare`` decodes pixels, and
only a lane's ``run`` touches the device.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.predict.predictor import Predictor, Prepared, nearest_bucket
from runtime.predict.scenes import ScenePredictor
from runtime.scene.focal import refuse_useless_focal
from runtime.scene.groups import group_views
from runtime.scene.views import View
from serve.http.batching import Lane
from serve.http.costs import Costs
from serve.http.request_body import DepthRequest, SentPhoto
from serve.http.responses import (
    FOR_PHOTOS,
    FOR_SCENES,
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

    def check(self, asked: DepthRequest) -> None:
        """Refuse what can be refused without work.

        Raises:
            InputError: the model cannot use what was sent.
        """

    def pixels(self, asked: DepthRequest) -> int:
        """How many pixels of depth the response will hold."""

    def cost_s(self, asked: DepthRequest) -> float:
        """Estimated device seconds."""

    def prepare(self, asked: DepthRequest, decode: Decode) -> Any:
        """Photos as the graph takes them: a task for the lane."""

    def lane(self, task: Any) -> Lane:
        """Where the task is run, with others of its kind."""

    def encode(
        self, asked: DepthRequest, task: Any, result: Any, media_type: str, more: dict[str, Any]
    ) -> DepthResponse:
        """What the lane gave for the task, as a response; ``more`` are facts to add."""


class PhotoHandler:
    """Single photos, batched by the shape of their graph.

    Args:
        costs: of one call of each graph.
    """

    media_types: tuple[str, ...] = FOR_PHOTOS

    def __init__(self, predictor: Predictor, costs: Costs) -> None:
        self._predictor, self._costs = predictor, costs

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""
        for bucket, seconds in enumerate(self._predictor.warm_up(runs=2)):
            self._costs.start(_photo_key(bucket), seconds)

    def check(self, asked: DepthRequest) -> None:
        """Refuse a focal length that would change nothing."""
        self._predictor.refuse_useless_focal(asked.options.focal_px is not None)
        self._predictor.refuse_useless_focal(asked.intrinsics is not None, "intrinsics")

    def pixels(self, asked: DepthRequest) -> int:
        """Of the photo, or of the network's input."""
        (size_hw,) = asked.sizes_hw
        if asked.options.size == "model":
            size_hw = self._predictor.input_hw(size_hw)
        return size_hw[0] * size_hw[1]

    def cost_s(self, asked: DepthRequest) -> float:
        """A photo's share of a full batch."""
        (size_hw,) = asked.sizes_hw
        return self._costs[_photo_key(self._predictor.bucket_of(size_hw))] / self._predictor.batch

    def prepare(self, asked: DepthRequest, decode: Decode) -> Prepared:
        """The photo's tensor."""
        (photo,) = asked.photos
        focal_px = self._predictor.focal_px(
            asked.options.focal_px,
            photo if isinstance(photo, bytes) else None,
            None if asked.intrinsics is None else asked.intrinsics[0],
        )
        return self._predictor.prepare(decode(photo), focal_px, points=asked.points)

    def lane(self, task: Prepared) -> Lane:
        """One lane a shape."""
        key = _photo_key(task.bucket)

        def run(group: Sequence[Prepared]) -> Sequence[Any]:
            start = time.perf_counter()
            found = self._predictor.infer(group)
            self._costs.learn(key, time.perf_counter() - start)
            return found

        return Lane(key, run, self._predictor.batch)

    def encode(
        self,
        asked: DepthRequest,
        task: Prepared,
        result: tuple[np.ndarray, float],
        media_type: str,
        more: dict[str, Any],
    ) -> DepthResponse:
        """Depth on the pixels that were asked for, and what it is."""
        grid = "model" if asked.options.size == "model" else "photo"
        prediction, _ = self._predictor.finish(task, *result, grid)
        return encode_photo(prediction, media_type, asked.options, more)


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

    def check(self, asked: DepthRequest) -> None:
        """Refuse a focal length: a scene finds its cameras, or is given both parts of them.

        And points: a scene has one scale.
        """
        if asked.points is not None:
            raise InputError(f"points: not for scenes, as {self._model} takes them; leave them out")
        refuse_useless_focal(self._model, False, asked.options.focal_px is not None)

    def pixels(self, asked: DepthRequest) -> int:
        """Of all photos, or of all views."""
        if asked.options.size == "input":
            return sum(height * width for height, width in asked.sizes_hw)
        height, width = self._scene(asked).manifest.input.size_hw
        return len(asked.photos) * height * width

    def cost_s(self, asked: DepthRequest) -> float:
        """Of all passes."""
        scene, count = self._scene(asked), len(asked.photos)
        return _passes(scene, count) * self._costs[_scene_key(scene, count)]

    def prepare(self, asked: DepthRequest, decode: Decode) -> SceneTask:
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
        start = time.perf_counter()
        try:
            found = task.scene.predict(
                list(task.views),
                extrinsics=asked.extrinsics,
                intrinsics=asked.intrinsics,
                use_ray_pose=asked.options.use_ray_pose,
                ref_view_strategy=asked.options.ref_view_strategy,
            )
        except np.linalg.LinAlgError as error:
            raise InputError(f"cameras that are no cameras ({error})") from None
        took = time.perf_counter() - start
        self._costs.learn(_scene_key(task.scene, count), took / _passes(task.scene, count))
        return found

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
        """The graphs whose size is nearest to the shape of the first photo."""
        sizes_hw = list(self._scenes)
        return self._scenes[sizes_hw[nearest_bucket(asked.sizes_hw[0], sizes_hw)]]


def _scene_key(scene: ScenePredictor, photos: int) -> tuple[Any, ...]:
    manifest = scene.artifact_for(photos).manifest
    return ("scene", manifest.input.size_hw, manifest.views)


def _passes(scene: ScenePredictor, photos: int) -> int:
    return len(group_views(photos, scene.artifact_for(photos).manifest.views))
