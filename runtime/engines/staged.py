"""An artifact of several graphs as one function: a stage's name and its inputs to its outputs.

A stage is loaded when it is first needed: most scenes need no ray maps, and know no cameras. It
does not know what the stages are for, nor in which order they run.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Optional

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.engines import Engine, load_engine
from runtime.errors import ArtifactError

AT_ONCE = ("openvino", "onnx")  # targets whose graphs are loaded while others load or run
CAMERA_TOKENS = "camera_tokens.npy"  # what stands for unknown cameras: float32 (N, C)

Loader = Callable[..., Engine]  # called as ``load_engine`` is


class StagedEngine:
    """The stages of an artifact for one scene of ``views`` views.

    Args:
        artifact: of an any-view model; its files already verified.
        device, threads: as for ``load_engine``.
        load: what loads a stage.
    Raises:
        ArtifactError: its camera tokens are missing or damaged.
    """

    scenes = 1

    def __init__(
        self,
        artifact: Artifact,
        device: str = "auto",
        threads: Optional[int] = None,
        load: Loader = load_engine,
    ) -> None:
        self.artifact, self.views = artifact, artifact.manifest.views
        self.camera_tokens = _read_camera_tokens(artifact)
        self._device, self._threads, self._load = device, threads, load
        self._engines: dict[str, Future[Engine]] = {}
        self._lock = threading.Lock()

    def __call__(self, stage: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one stage on its inputs by name, with the shapes that the manifest gives.

        Raises:
            ArtifactError: there is no such stage, it cannot be loaded, or it returned something
                that is not finite.
        """
        outputs = self._engine(stage)(inputs)
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise ArtifactError(
                    f"{self.artifact.path}: {stage} returned {name} with values that are not "
                    "finite; rebuild it with `make compile`"
                )
        return outputs

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """The array itself: an artifact's are on the host."""
        return array

    def load_ahead(self, stages: Sequence[str]) -> None:
        """Begin to load stages that will be needed, in this order, beside what else is done.

        As many at once as there are threads: making a graph ready hardly uses more than one.
        Nothing is begun for an engine of one thread, nor on devices, which load in turn. An error
        is met by whoever needs the stage.
        """
        threads = self._threads or os.cpu_count() or 1
        if self.artifact.manifest.target in AT_ONCE and threads > 1:
            left = [stage for stage in stages if stage not in self._engines]
            shared = iter(left)
            for _ in left[:threads]:
                threading.Thread(target=self._load_all, args=(shared,), name="load").start()

    def _load_all(self, stages: Iterator[str]) -> None:
        for stage in stages:
            try:
                self._engine(stage)
            except Exception:
                return

    def _engine(self, stage: str) -> Engine:
        """A stage, loaded once: by whoever asks first."""
        with self._lock:
            engine = self._engines.get(stage)
            is_first = engine is None
            if engine is None:
                engine = self._engines[stage] = Future()
        if is_first:
            try:
                engine.set_result(self._loaded(stage))
            except BaseException as error:
                with self._lock:
                    del self._engines[stage]
                engine.set_exception(error)
        return engine.result()

    def _loaded(self, stage: str) -> Engine:
        manifest = self.artifact.manifest
        spec = manifest.stage(stage)
        return self._load(self.artifact.path, manifest, self._device, self._threads, spec)


def _read_camera_tokens(artifact: Artifact) -> np.ndarray:
    file = artifact.path / CAMERA_TOKENS
    try:
        tokens = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); rebuild the artifact") from error
    shapes = [
        tensor.shape
        for stage in artifact.manifest.stages
        for tensor in stage.inputs
        if tensor.name == "camera_tokens"
    ]
    if tokens.dtype != np.float32 or [tokens.shape] != shapes:
        raise ArtifactError(
            f"{file}: {tokens.dtype} {tokens.shape}, expected float32 {shapes}; rebuild it"
        )
    return tokens
