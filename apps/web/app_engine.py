"""What the app asks of whoever computes: a model on this machine, or a server elsewhere.

Photos as files in; predictions out. Needs neither torch nor Gradio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Protocol

from exports.scene import ScenePhoto
from runtime.predict.found import Prediction, ScenePrediction

HIGH, LOW = "high_res", "low_res"
METHODS = {HIGH: "lower_bound_resize", LOW: "upper_bound_resize"}  # upstream's names
Told = Callable[[str], None]  # what is done now; raises to end it


WITH_SPLATS = "da3-giant and da3nested-giant-large"


class Stopped(Exception):
    """A person has stopped the work."""


@dataclass(frozen=True)
class SceneAsked:
    """What is asked about the photos of a scene.

    Args:
        method: of ``METHODS``.
        splats: find them too.
        strategy: how the reference view is chosen.
        focal_px: in pixels of the photos, for da3metric-large.
    """

    method: str = LOW
    splats: bool = False
    strategy: str = "saddle_balanced"
    focal_px: Optional[float] = None

    def fields(self) -> dict[str, Any]:
        """As of ``POST /inference``; what says nothing is left out."""
        fields: dict[str, Any] = {"process_res_method": METHODS[self.method]}
        if self.splats:
            fields["infer_gs"] = True
        if self.strategy != "saddle_balanced":
            fields["ref_view_strategy"] = self.strategy
        if self.focal_px:
            fields["focal_px"] = self.focal_px
        return fields


@dataclass(frozen=True)
class FoundScene:
    """A scene, and the photos that it is of."""

    scene: ScenePrediction
    photos: tuple[ScenePhoto, ...]


def why_no_splats(name: str, compiled: bool = False) -> str:
    """Why a model finds none, for people."""
    if compiled:
        return f"{name}, compiled, finds no splats: weights of {WITH_SPLATS} do."
    return f"{name} finds no splats: {WITH_SPLATS} do."


class Engine(Protocol):
    """Who computes.

    Attributes:
        about: a line on which model, where.
        photo_models: label and name of those for single photos.
        scene_model: of scenes; "" if there is none.
        no_splats: why that one finds none, in a sentence; "" if it does.
        takes_focal: whether it needs a focal length.
    """

    about: str
    photo_models: list[tuple[str, str]]
    photo_model: str
    scene_model: str
    no_splats: str
    takes_focal: bool

    def photo(self, photo: Path, model: str) -> Prediction:
        """Depth of one photo.

        Raises:
            DepthError: it cannot be done, in a sentence.
        """

    def check(self, photos: Sequence[Path], asked: SceneAsked) -> str:
        """What a scene will take, in words; or a refusal before anything is done."""

    def scene(self, photos: Sequence[Path], asked: SceneAsked, told: Told) -> FoundScene:
        """Depth and cameras of a scene; what ``told`` raises ends it."""

    def video(self, video: Path, folder: Path, model: str, told: Told) -> Path:
        """A video's depth as a video below a folder."""
