"""Who runs a sequence's windows: one model, several side by side, or Ray's actors on many machines.

Options in; models that take windows, whichever is free, out. Windows are planned by one process,
and linked and kept by it in their order, so that no two do the same one, and a worker that dies
takes nothing with it.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from apps.scene_models import SceneModel, find_scene_model
from apps.scene_options import ENGINES
from apps.sequence_model import WindowModel, Windows
from runtime.artifact.folder import find_artifacts, read_artifact
from runtime.engines.inferentia import CORES_A_CHIP, cores_of
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.query import SceneQuery
from runtime.scene.views import View
from serve.batch.on_ray import actor_resources, begin_ray

LOCAL, RAY = ENGINES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """The same model, several times.

    Args:
        source, process_res, process_res_method, seeded: as for ``find_scene_model``.
        devices: of workers in their turn. count: of workers; None: one a device.
        engine: of ``ENGINES``.
    Raises:
        InputError: the engine is none of those.
    """

    source: str
    devices: tuple[str, ...] = ("auto",)
    process_res: Optional[int] = None
    process_res_method: Optional[str] = None
    seeded: bool = False
    count: Optional[int] = None
    engine: str = LOCAL

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError(f"engine={self.engine!r}: use one of {', '.join(ENGINES)}")

    @property
    def each(self) -> tuple[str, ...]:
        """The device of each worker."""
        count = self.count or len(self.devices)
        return tuple(self.devices[at % len(self.devices)] for at in range(count))

    @property
    def copies(self) -> int:
        """How many workers share the first device, of this process."""
        return 1 if self.engine == RAY else self.each.count(self.each[0])

    def find(self, device: Optional[str] = None) -> SceneModel:
        """The model; not loaded. Errors as for ``find_scene_model``."""
        device = self.each[0] if device is None else device
        rest = (self.process_res, self.process_res_method, self.seeded)
        return find_scene_model(self.source, device, *rest)

    @contextlib.contextmanager
    def running(
        self, model: SceneModel, size_hw: tuple[int, int], describes: bool
    ) -> Iterator[Sequence[WindowModel]]:
        """All of them, loaded.

        Args:
            model: the first one, loaded. size_hw: of the frames. describes: as for ``Windows``.
        Raises:
            InputError: they would share NeuronCores.
            MissingDependency: Ray is not installed.
        """
        if self.engine == RAY:
            with self._on_ray(size_hw, describes) as models:
                yield models
            return
        if len(self.each) > 1 and self._target() in CORES_A_CHIP:
            raise InputError(
                f"{len(self.each)} workers: NeuronCores are a process's own; use --engine ray, "
                "which begins a process for each"
            )
        others = [self.find(device) for device in self.each[1:]]
        for other in others:
            other.load([size_hw])
        yield [Windows(one, describes) for one in (model, *others)]

    def _target(self) -> str:
        """What the model was compiled for; torchscript: torch runs both that and weights."""
        folders = find_artifacts(Path(self.source)) if Path(self.source).is_dir() else []
        return read_artifact(folders[0]).manifest.target if folders else "torchscript"

    @contextlib.contextmanager
    def _on_ray(self, size_hw: tuple[int, int], describes: bool) -> Iterator[list[WindowModel]]:
        ray = begin_ray()
        path = Path(self.source)
        source = str(path.absolute()) if path.exists() else self.source
        placed, target, cores = replace(self, source=source), self._target(), 1
        if path.is_dir():
            cores = max(
                [1, *(cores_of(read_artifact(one).manifest) for one in find_artifacts(path))]
            )
        asks = actor_resources(target, self.each[0], len(self.each), ray, cores)
        kind = ray.remote(max_restarts=-1, max_task_retries=-1, **asks)(SequenceActor)
        actors = [kind.remote(placed, device, size_hw, describes) for device in self.each]
        log.info("%d workers on Ray", len(actors))
        try:
            yield [OnRay(ray, actor) for actor in actors]
        finally:
            for actor in actors:
                ray.kill(actor)


class SequenceActor:
    """An actor's state: a model that is loaded once."""

    def __init__(
        self, workers: Workers, device: str, size_hw: tuple[int, int], describes: bool
    ) -> None:
        model = workers.find(device.partition(":")[0])  # Ray shows each its own GPU alone
        model.load([size_hw])
        self._windows = Windows(model, describes)

    def infer(self, views: Sequence[View], query: SceneQuery) -> Any:
        """As ``Windows.infer``; what it refuses comes back as a value."""
        try:
            return self._windows.infer(views, query)
        except InputError as error:
            return error


@dataclass(frozen=True, eq=False)
class OnRay:
    """An actor as the first pass takes a model. Ray begins one that has died anew."""

    ray: Any
    actor: Any

    def view(self, rgb: Any) -> View:
        """Not asked: frames become views where they are read."""
        raise NotImplementedError

    def infer(self, views: Sequence[View], query: SceneQuery) -> ScenePrediction:
        """As ``WindowModel.infer``."""
        found = self.ray.get(self.actor.infer.remote(list(views), query))
        if isinstance(found, InputError):
            raise found
        whole: ScenePrediction = found
        return whole
