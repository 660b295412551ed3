"""The artifacts of one model, loaded, warm and timed.

Artifacts in; who handles a request out. Each graph is loaded once, whoever needs it.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine, load_engine
from runtime.errors import InputError
from runtime.predict.choose import takes_scenes
from runtime.predict.found import provenance_of
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import SceneEngine, ScenePredictor
from serve.http.costs import Costs
from serve.http.handlers import Handler, PhotoHandler, SceneHandler
from serve.http.request_body import DepthRequest


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
        self.manifest = artifacts[0].manifest
        self.name, self.target = self.manifest.model, self.manifest.target
        self.licence = self.manifest.weights.licence
        self.warning = provenance_of(artifacts[0]).warning
        self.costs = Costs()
        self.graphs = graphs = Graphs()
        self._photos: Optional[Handler] = None
        self._scenes: Optional[Handler] = None
        single = [one for one in artifacts if one.manifest.views == 1]
        if single:
            predictor = Predictor(single, device, threads, graphs.load_artifact)
            self._photos = PhotoHandler(predictor, self.costs)
        sizes: dict[tuple[int, int], list[Artifact]] = {}
        for one in filter(takes_scenes, artifacts):
            sizes.setdefault(one.manifest.input.size_hw, []).append(one)
        scenes = [ScenePredictor(group, device, threads, graphs.load) for group in sizes.values()]
        if scenes:
            self._scenes = SceneHandler(scenes, self.costs)

    def warm_up(self) -> None:
        """Load every graph, run it, and time it."""
        for handler in (self._photos, self._scenes):
            if handler is not None:
                handler.warm_up()

    def handler_of(self, asked: DepthRequest) -> Handler:
        """Who works on a request: a photo alone, or photos and cameras of one scene.

        Raises:
            InputError: this model cannot do that.
        """
        alone = len(asked.photos) == 1 and asked.extrinsics is None
        if alone and self._photos is not None:
            return self._photos
        if self._scenes is None:
            refuse_scenes(self.name, asked)
        assert self._scenes is not None
        return self._scenes


def refuse_scenes(model: str, asked: DepthRequest) -> None:
    """Refuse what is no photo by itself.

    Raises:
        InputError: several photos, or one with extrinsics.
    """
    if len(asked.photos) == 1 and asked.extrinsics is None:
        return
    what = "extrinsics" if len(asked.photos) == 1 else f"{len(asked.photos)} photos"
    raise InputError(
        f"{what}: {model} takes one photo a request, without extrinsics; a scene needs an any-view "
        "model (da3-small, da3-base, ...)"
    )


class Graphs:
    """The graphs of artifacts, each loaded once: single photos and scenes may share them."""

    def __init__(self) -> None:
        self._engines: dict[tuple[Path, str], Engine] = {}
        self._lock = threading.Lock()

    def load(
        self,
        folder: Path,
        manifest: Manifest,
        device: str = "auto",
        threads: Optional[int] = None,
        stage: Optional[StageSpec] = None,
    ) -> Engine:
        """As ``load_engine``."""
        stage = stage or manifest.stages[0]
        key = (folder, stage.name)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = load_engine(folder, manifest, device, threads, stage)
            return self._engines[key]

    def load_artifact(self, artifact: Artifact, device: str, threads: Optional[int]) -> Engine:
        """The engine of an artifact that takes one photo at a time, whatever stages it has."""
        if takes_scenes(artifact):
            return SceneEngine(artifact, device, threads, self.load).single_photo
        return self.load(artifact.path, artifact.manifest, device, threads)
