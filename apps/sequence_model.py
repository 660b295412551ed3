"""A scene model as a sequence takes it: a window's views in; depth, cameras, descriptors out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from apps.scene_models import SceneModel
from runtime.predict.found import ScenePrediction
from runtime.scene.loops import describe
from runtime.scene.query import SceneQuery
from runtime.scene.views import View

DESCRIPTORS = "descriptors"  # in a prediction's aux


class WindowModel(Protocol):
    """What the first pass asks of a model."""

    def view(self, rgb: np.ndarray, /) -> View:
        """A frame as the network takes it."""

    def infer(self, views: Sequence[View], query: SceneQuery, /) -> ScenePrediction:
        """Depth and cameras of a window."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A scene model as the first pass takes it; ``describes``: with descriptors of the views."""

    model: SceneModel
    describes: bool = False

    def view(self, rgb: Any) -> View:
        """As ``WindowModel.view``."""
        return self.model.view(rgb)

    def infer(self, views: Sequence[View], query: SceneQuery) -> ScenePrediction:
        """As ``WindowModel.infer``."""
        photos, heard = [Path()] * len(views), list[Any]()
        self.model.hears = heard.append if self.describes else None
        found = self.model.infer(views, photos, query, None, None, None, lambda: None)
        if not heard:
            return found
        tokens = heard[0].detach().cpu().numpy() if hasattr(heard[0], "detach") else heard[0]
        described = describe(tokens[: len(views), 1:])
        return dataclasses.replace(found, aux={**found.aux, DESCRIPTORS: described})
