"""The artifacts of one model, loaded, warm and timed.

Artifacts in; who handles a request out. Each graph is loaded once, whoever needs it.
"""

import functools
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine, load_engine, usual_streams
from runtime.engines.side_by_side import side_by_side
from runtime.errors import InputError
from runtime.predict.choose import takes_scenes
from runtime.predict.found import provenance_of
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import SceneEngine, ScenePredictor
from runtime.predict.streams import AUTO, ONE, choose_streams
from serve.http.costs import Costs
from serve.http.handlers import Handler, PhotoHandler, SceneHandler
from serve.http.request_body import DepthRequest

log = logging.getLogger(__name__)


class Model:
    """Artifacts of one model, for single photos, for scenes, or for both.

    Args:
        artifacts: of one model and target.
        device, threads: as for ``load_engine``.
        streams: of ``runtime.predict.streams.STREAMS``; auto: as many calls at once as serve the
            device best.
    Raises:
        ArtifactError: artifacts that do not belong together, or files that fail verification.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        device: str = "auto",
        threads: Optional[int] = None,
        streams: str = ONE,
    ) -> None:
        self.manifest = artifacts[0].manifest
        self.name, self.target = self.manifest.model, self.manifest.target
        self.licence = self.manifest.weights.licence
        self.warning = provenance_of(artifacts[0]).warning
        self.costs = Costs()
        on_device = usual_streams(self.target, device) if streams == AUTO else 1
        self.graphs = graphs = Graphs(on_device)
        self._photos: Optional[PhotoHandler] = None
        self._scenes: Optional[Handler] = None
        single = [one for one in artifacts if one.manifest.views == 1]
        if single:
            predictor = Predictor(single, device, threads, graphs.load_artifact)
            self._photos = PhotoHandler(predictor, self.costs)
            make = functools.partial(Predictor, single, device)
            asked = ONE if any(map(takes_scenes, artifacts)) else streams
            self._measured = functools.partial(
                choose_streams, predictor, make, device, threads, asked
            )
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
        if self._photos is not None:
            found = self._photos.streams = self._measured()
            log.info("%d calls at once: %s", found.count, found.why)

    @property
    def streams(self) -> dict[str, Any]:
        """How many calls run at once, and why."""
        if self.graphs.streams > 1:
            return {"at_once": self.graphs.streams, "why": "a GPU copies beside what it computes"}
        if self._photos is not None:
            return self._photos.streams.facts()
        return {"at_once": 1, "why": "scenes run one after the other"}

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
    """The graphs of artifacts, each loaded once: single photos and scenes may share them.

    Args:
        streams: engines of each graph; they share its weights.
    """

    def __init__(self, streams: int = 1) -> None:
        self.streams = streams
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
                self._engines[key] = side_by_side(
                    [
                        load_engine(folder, manifest, device, threads, stage)
                        for _ in range(self.streams)
                    ]
                )
            return self._engines[key]

    def load_artifact(self, artifact: Artifact, device: str, threads: Optional[int]) -> Engine:
        """The engine of an artifact that takes one photo at a time, whatever stages it has."""
        if takes_scenes(artifact):
            return SceneEngine(artifact, device, threads, self.load).single_photo
        return self.load(artifact.path, artifact.manifest, device, threads)
