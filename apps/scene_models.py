"""A model for scenes: eager weights or compiled artifacts behind one call.

What ``--model-dir`` says in; views in, a scene and its files out. Weights are read by ``load``, not
before: what a model cannot do is refused first.
"""

import copy
import itertools
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Protocol, Union

import numpy as np

from apps.estimators import EagerV3, on_device
from apps.scene_artifacts import ArtifactScene, Hears, Size, Step
from compile.registry import find_model
from depth_anything_3.config import METRIC, NAMES, NESTED, NETWORKS
from depth_anything_3.pretrained import OWNER, find_pretrained
from depth_anything_3.scene_exports import ExportRequest
from runtime.artifact.folder import MANIFEST, find_artifacts
from runtime.engines.failures import FEWER_PIXELS, failures_named
from runtime.engines.where import torch_device
from runtime.errors import CheckpointError, InputError
from runtime.hub import WEIGHTS
from runtime.predict.found import Provenance, ScenePrediction
from runtime.scene.query import SceneQuery
from runtime.scene.views import METHODS, PROCESS_RES, View, make_view, same_size

CAMERAS, DECODED = "cam_enc", ".head.scratch.output_conv2"  # names in every network
PROCESS_METHOD = METHODS[0]  # upstream's

log = logging.getLogger(__name__)


class SceneModel(Protocol):
    """What the commands for scenes ask of a model.

    Attributes:
        name: of the model. finds_cameras: whether it finds those of its photos.
        finds_splats: whether it can be asked for splats.
        hears: gets the local tokens (V, 1 + P, C) of each run, numpy's or torch's.
    """

    hears: Hears
    name: str
    finds_cameras: bool
    finds_splats: bool

    @property
    def licence(self) -> str:
        """Of its weights."""

    def check(self, query: SceneQuery) -> None:
        """Refuse a question that it has no answer to; no weights are read. InputError: names it."""

    def needed_bytes(self, count: int, sizes_hw: Sequence[Size], splats: bool) -> Optional[int]:
        """What so many photos, of sizes among these, take; None if it does not grow with them."""

    def free_bytes(self) -> Optional[int]:
        """What may be taken where it runs; None if nobody knows."""

    def load(self, sizes_hw: Sequence[Size]) -> None:
        """Read the weights, for photos of these sizes.

        Raises:
            CheckpointError, ArtifactError: they cannot be used.
        """

    def provenance(self) -> Optional[Provenance]:
        """Whose numbers it gives; after ``load``. None if nobody knows."""

    def view(self, photo: np.ndarray) -> View:
        """A photo, uint8 (H, W, 3), as ``infer`` takes it; after ``load``."""

    def at(self, process_res: Optional[int], process_res_method: Optional[str]) -> "SceneModel":
        """The same model, loaded if this one is, for views of another size; InputError: has one."""

    def steps(self, query: SceneQuery, views: int) -> Optional[int]:
        """How often ``infer`` calls ``step``; None if it is not known."""

    def infer(
        self,
        views: Sequence[View],
        photos: Sequence[Path],
        query: SceneQuery,
        intrinsics: Optional[np.ndarray],
        focal_px: Optional[float],
        request: Optional[ExportRequest],
        step: Step,
    ) -> ScenePrediction:
        """Run the network, and write what is requested; see ``DepthAnything3.infer_views``."""

    @property
    def compiled_views(self) -> Sequence[int]:
        """The numbers of views that it is compiled for; none: it takes any."""


def find_scene_model(
    source: str,
    device: str = "auto",
    process_res: Optional[int] = None,
    process_res_method: Optional[str] = None,
    seeded: bool = False,
) -> SceneModel:
    """The model that a name or a folder means; weights are found, but not read.

    Args:
        source: a model's name, a name on the Hub, a folder or file of weights, or a folder of
            artifacts.
        device: auto, cpu, cuda, or what else torch knows.
        process_res, process_res_method: see ``make_view``; None: upstream's. An artifact has its
            own size and takes neither.
        seeded: random weights instead.
    Raises:
        InputError: options that do not go together.
        CheckpointError, ArtifactError: there are no such weights or artifacts.
    """
    folder = Path(source)
    if folder.is_dir() and find_artifacts(folder):
        if seeded:
            raise InputError("--seeded-weights: an artifact has its own weights; leave it out")
        return ArtifactScene(folder, device).at(process_res, process_res_method)
    owner, _, last = source.rpartition("/")
    known = last.lower() if last.lower() in NAMES and owner in ("", OWNER) else None
    if seeded:
        if known is None:
            raise InputError(f"--seeded-weights: {source} is no model's name, as da3-small")
        return EagerScene(known, None, device, process_res, process_res_method)
    if folder.is_dir() and not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder}: neither {WEIGHTS} nor an artifact's {MANIFEST} there; give a folder with "
            f"one of them, or a model's name, as {NAMES[0]}"
        )
    if known is not None and not folder.exists():  # what must be fetched is fetched last
        return EagerScene(known, known, device, process_res, process_res_method)
    weights = find_pretrained(source)
    return EagerScene(weights.model_name, weights.file, device, process_res, process_res_method)


class EagerScene:
    """One of Depth Anything 3's models in PyTorch.

    Args:
        weights: a file, or the model's name for its official ones; None: random ones.
        device, process_res, process_res_method: as for ``find_scene_model``.
    """

    def __init__(
        self,
        name: str,
        weights: Union[Path, str, None],
        device: str,
        process_res: Optional[int],
        process_res_method: Optional[str],
    ) -> None:
        self.name, self._weights, self._device = name, weights, device
        self.hears: Hears = None
        self.finds_cameras = find_model(name).any_view
        self.finds_splats = NETWORKS[_first(name)].gaussians
        self._res = PROCESS_RES if process_res is None else process_res
        self._method = process_res_method or PROCESS_METHOD
        self._model: Any = None

    @property
    def licence(self) -> str:
        """As ``SceneModel.licence``."""
        return find_model(self.name).licence if self._weights is not None else ""

    @property
    def compiled_views(self) -> Sequence[int]:
        """As ``SceneModel.compiled_views``."""
        return ()

    def check(self, query: SceneQuery) -> None:
        """As ``SceneModel.check``; and a device that is not here."""
        from depth_anything_3.model import check_query

        self._where()
        check_query(NETWORKS[_first(self.name)], query)

    def needed_bytes(self, count: int, sizes_hw: Sequence[Size], splats: bool) -> Optional[int]:
        """As ``SceneModel.needed_bytes``."""
        from apps.scene_memory import estimated_bytes

        views = [self.view(np.zeros((*size, 3), np.uint8)).size_hw for size in set(sizes_hw)]
        largest = (max(height for height, _ in views), max(width for _, width in views))
        return estimated_bytes(self.name, count, largest, splats)

    def free_bytes(self) -> Optional[int]:
        """As ``SceneModel.free_bytes``."""
        from apps.scene_memory import free_bytes

        return free_bytes(self._where())

    def view(self, photo: np.ndarray) -> View:
        """As ``SceneModel.view``."""
        return make_view(photo, self._res, self._method)

    def at(self, process_res: Optional[int], process_res_method: Optional[str]) -> "EagerScene":
        """As ``SceneModel.at``."""
        other = copy.copy(self)
        other._res = process_res or PROCESS_RES
        other._method = process_res_method or PROCESS_METHOD
        return other

    def load(self, sizes_hw: Sequence[Size]) -> None:
        """As ``SceneModel.load``."""
        from apps.scene_tokens import hear_encoder
        from depth_anything_3.api import DepthAnything3

        if self._model is not None:
            return
        if self._weights is not None:
            found = find_pretrained(self._weights, self.name)
            model = DepthAnything3.from_pretrained(found.file, self.name)
        else:
            model = _seeded(self.name)
        self._model = on_device(model, self._where(), self.name)
        hear_encoder(self._model, lambda tokens: self.hears and self.hears(tokens))

    def provenance(self) -> Optional[Provenance]:
        """As ``SceneModel.provenance``."""
        found: Optional[Provenance] = self._model.provenance
        return found

    def photos(self) -> EagerV3:
        """The same model for photos each by itself, resized as views are; after ``load``."""
        from compile.checkpoint import network_of

        known = self.provenance()
        assert known is not None
        spec = find_model(self.name)
        return EagerV3(spec, network_of(self._model), known.weights, self._res, self._method)

    def steps(self, query: SceneQuery, views: int) -> Optional[int]:
        """The blocks of its encoders, and each few views that its heads decode."""
        from depth_anything_3.model import VIEWS_IN_MEMORY

        blocks, heads = self._parts(query)
        return len(blocks) + len(heads) * -(-views // VIEWS_IN_MEMORY)

    def infer(
        self,
        views: Sequence[View],
        photos: Sequence[Path],
        query: SceneQuery,
        intrinsics: Optional[np.ndarray],
        focal_px: Optional[float],
        request: Optional[ExportRequest],
        step: Step,
    ) -> ScenePrediction:
        """As ``SceneModel.infer``."""
        parts, mine = itertools.chain(*self._parts(query)), threading.get_ident()

        def ran(*_: Any) -> None:
            if threading.get_ident() == mine:  # others may use the model between two steps
                step()

        hooks = [part.register_forward_hook(ran) for part in parts]
        try:
            with failures_named(self.name, FEWER_PIXELS):
                return self._model.infer_views(  # type: ignore[no-any-return]
                    same_size(views), photos, query, intrinsics, focal_px, request
                )
        finally:
            for hook in hooks:
                hook.remove()

    def _parts(self, query: SceneQuery) -> tuple[list[Any], list[Any]]:
        """The modules by which a run's progress is told: blocks, and the last ones of heads."""
        from layers.block import Block

        named = list(self._model.named_modules())
        known = query.has_cameras
        blocks = [m for name, m in named if isinstance(m, Block) and (known or CAMERAS not in name)]
        heads = [m for name, m in named if name.endswith(DECODED)]
        return blocks, heads

    def _where(self) -> Any:
        return torch_device(self._device)


def takes_intrinsics_alone(model: SceneModel) -> bool:
    """Whether intrinsics tell metres, and extrinsics nothing."""
    return model.name == METRIC


def _first(name: str) -> str:
    """The network that answers questions, of one or of two."""
    return NESTED.get(name, (name,))[0]


def _seeded(name: str) -> Any:
    """A model with random weights, which says so in all that it writes."""
    from compile.checkpoint import load_eager

    loaded, weights = load_eager(find_model(name), None)
    model: Any = loaded
    model.provenance = Provenance(name, weights)
    return model
