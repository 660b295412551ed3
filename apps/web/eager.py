"""An eager model behind the service's requests for depth, where there are no artifacts.

A ``SceneModel`` in; what the service asks of a model out: photos of one scene, or one photo, of an
any-view model; one photo of a mono or metric one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np

from apps.scene_models import EagerScene, SceneModel
from exports.selection import CloudOptions
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.focal import refuse_useless_focal
from runtime.scene.query import SceneQuery
from runtime.scene.views import USUAL_HW, View, check_camera_counts, same_size
from serve.http.batching import Lane
from serve.http.costs import Costs
from serve.http.extension import EAGER
from serve.http.handlers import Decode, Handler, PhotoHandler
from serve.http.model import refuse_scenes
from serve.http.request_body import DepthRequest
from serve.http.responses import CLOUDS, FOR_SCENES, DepthResponse, encode_scene

VIEW = "view"  # what is timed: one of the usual size


@dataclass(frozen=True)
class EagerTask:
    """Photos as the network takes them, and what is asked about them."""

    views: tuple[View, ...]
    query: SceneQuery


class EagerModel:
    """A model in PyTorch as the service serves it.

    Args:
        scenes: loaded.
    """

    target = EAGER

    def __init__(self, scenes: SceneModel) -> None:
        self.name, self._scenes, self.costs = scenes.name, scenes, Costs()
        self._photos: Optional[PhotoHandler] = None
        if isinstance(scenes, EagerScene) and not scenes.finds_cameras:
            self._photos = PhotoHandler(scenes.photos(), self.costs)
        self._handler = EagerHandler(scenes, self.costs)

    @property
    def licence(self) -> str:
        """Of its weights."""
        provenance = self._scenes.provenance()
        return self._scenes.licence if provenance is None else provenance.licence

    @property
    def warning(self) -> Optional[str]:
        """Why its numbers mean nothing; None if they do."""
        provenance = self._scenes.provenance()
        return None if provenance is None else provenance.warning

    @property
    def streams(self) -> dict[str, Any]:
        """As ``Served.streams``."""
        return {"at_once": 1, "why": "an eager model runs one call after the other"}

    def warm_up(self) -> None:
        """Run it once, and time it."""
        if self._photos is not None:
            self._photos.warm_up()
        else:
            self.costs.start(VIEW, time_of_a_view(self._scenes))

    def handler_of(self, asked: DepthRequest) -> Handler:
        """As ``Model.handler_of``."""
        if self._photos is None:
            return self._handler
        refuse_scenes(self.name, asked)
        return self._photos


def time_of_a_view(scenes: SceneModel) -> float:
    """Seconds for one view of the usual size; the model is warm afterwards."""
    view = scenes.view(np.full((*USUAL_HW, 3), 127, np.uint8))
    begun = time.perf_counter()
    scenes.infer([view], [], SceneQuery(), None, None, None, lambda: None)
    return time.perf_counter() - begun


class EagerHandler:
    """Photos of one scene through an eager any-view model."""

    media_types: tuple[str, ...] = FOR_SCENES

    def __init__(self, scenes: SceneModel, costs: Costs) -> None:
        self._scenes, self._costs = scenes, costs

    def warm_up(self) -> None:
        """The model does it."""

    def check(self, asked: DepthRequest, media_type: str) -> None:
        """Refuse what scenes do not take, and what this model has no answer to."""
        if asked.points is not None:
            raise InputError(f"points: not for scenes, as {self._scenes.name} takes them")
        refuse_useless_focal(self._scenes.name, False, asked.options.focal_px is not None)
        check_camera_counts(len(asked.photos), asked.extrinsics, asked.intrinsics)
        self._scenes.check(asked.query)

    def values(self, asked: DepthRequest, media_type: str) -> int:
        """Of all photos, or of all views; or as many points as there may be."""
        if media_type in CLOUDS:
            return CloudOptions().num_max_points
        if asked.options.size == "input":
            return sum(height * width for height, width in asked.sizes_hw)
        return len(asked.photos) * USUAL_HW[0] * USUAL_HW[1]

    def cost_s(self, asked: DepthRequest) -> float:
        """Of all views."""
        return len(asked.photos) * self._costs[VIEW]

    def prepare(self, asked: DepthRequest, decode: Decode, media_type: str) -> EagerTask:
        """Views of the photos; one photo is in memory at a time."""
        views = [self._scenes.view(decode(photo)) for photo in asked.photos]
        return EagerTask(tuple(same_size(views)), asked.query)

    def lane(self, task: EagerTask) -> Lane:
        """One lane; scenes share no batch."""

        def run(group: Sequence[EagerTask]) -> Sequence[ScenePrediction]:
            return [self._predict(one) for one in group]

        return Lane(EAGER, run)

    def _predict(self, task: EagerTask) -> ScenePrediction:
        begun = time.perf_counter()
        try:
            found = self._scenes.infer(task.views, [], task.query, None, None, None, lambda: None)
        except np.linalg.LinAlgError as error:
            raise InputError(f"cameras that are no cameras ({error})") from None
        self._costs.learn(VIEW, (time.perf_counter() - begun) / len(task.views))
        return replace(found, provenance=self._scenes.provenance())

    def encode(
        self,
        asked: DepthRequest,
        task: EagerTask,
        result: ScenePrediction,
        media_type: str,
        more: dict[str, Any],
    ) -> DepthResponse:
        """Depth and cameras of all photos, and what they are."""
        return encode_scene(result, task.views, media_type, asked.options, more)
