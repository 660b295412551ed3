"""The app's work on this machine: models of the registry for photos, one model for scenes.

Files in; predictions out. Each model is loaded when it is first asked for; one of photos and one
of scenes are kept.
"""

import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, cast

from apps.compiled import ARTIFACTS
from apps.estimators import Estimator, Stages, artifact_estimator, eager_estimator
from apps.inference import choose_model
from apps.scene_models import PROCESS_METHOD, SceneModel, find_scene_model
from apps.upstream_v2 import Wanted, find_estimator
from apps.web.app_engine import METHODS, FoundScene, SceneAsked, Told, why_no_splats
from apps.web.app_video import make_depth_video
from apps.web.task_request import TaskRequest
from apps.web.task_work import check_work, infer_work
from compile.registry import MODELS
from depth_anything_3.config import METRIC
from exports.scene import ScenePhoto
from runtime.errors import DepthError, InputError
from runtime.photo.decode import photo_size, read_photo
from runtime.photo.frames import video_size
from runtime.predict.choose import needs_consent, read_artifacts
from runtime.predict.found import Prediction
from runtime.scene.views import PROCESS_RES


class LocalEngine:
    """Models of this machine.

    Args:
        model_dir, device, seeded: of the model for scenes, as of ``find_scene_model``.
    """

    def __init__(self, model_dir: str, device: str, seeded: bool) -> None:
        self._device, self._lock = device, threading.Lock()
        self._find = functools.partial(find_scene_model, model_dir, device, seeded=seeded)
        self.photo_models = [(f"{row.name}: {row.licence}", row.name) for row in MODELS.values()]
        self.photo_model = choose_model(ask=False)
        self._scenes: Optional[SceneModel] = None
        self._loaded = False
        try:
            found = self._find()
        except DepthError as error:
            self.scene_model, self.about = "", f"No scenes: {error}"
            self.no_splats, self.takes_focal = self.about, False
            return
        self._scenes, self.scene_model, self.takes_focal = found, found.name, found.name == METRIC
        compiled = bool(found.compiled_views)
        self.no_splats = "" if found.finds_splats else why_no_splats(found.name, compiled)
        licence = found.licence or "random weights: nothing it says means anything"
        self.about = f"Scenes by {found.name}, on this machine. Licence of its weights: {licence}."

    def photo(self, photo: Path, model: str) -> Prediction:
        """As ``Engine.photo``."""
        rgb = read_photo(photo)
        with self._lock:
            return self._estimator(model, photo_size(photo))(rgb)

    def check(self, photos: Sequence[Path], asked: SceneAsked) -> str:
        """As ``Engine.check``."""
        model = self._model()
        work = check_work(model, self._request(asked), photos)
        sized = model.at(None, asked_method(asked))
        needed = sized.needed_bytes(len(photos), work.sizes_hw, asked.splats)
        free = sized.free_bytes()
        if needed is None or free is None:
            return ""
        return f"about {needed / 2**30:.1f} of {free / 2**30:.1f} GiB"

    def scene(self, photos: Sequence[Path], asked: SceneAsked, told: Told) -> FoundScene:
        """As ``Engine.scene``."""
        with self._lock:
            model = self._model()
            work = check_work(model, self._request(asked), photos)
            if not self._loaded:
                told(f"loads {model.name}")
                model.load(work.sizes_hw)
                self._loaded = True

            def tell(progress: float, what: str) -> None:
                told(f"{what} ({progress:.0%})")

            scene, views = infer_work(model, work, tell)
        names = zip(work.names, views)
        return FoundScene(scene, tuple(ScenePhoto.of_view(name, view) for name, view in names))

    def video(self, video: Path, folder: Path, model: str, told: Told) -> Path:
        """As ``Engine.video``."""
        with self._lock:
            if model == self.scene_model and self._model().finds_cameras:
                from apps.sequence_video import make_sequence_video

                return make_sequence_video(video, folder / "sequence", self._model(), told)
            estimator = self._estimator(model, video_size(video))
            stages = cast(Stages, estimator.predict)
            return make_depth_video(video, folder, stages, estimator.label, told)

    def _model(self) -> SceneModel:
        if self._scenes is None:
            raise InputError(self.about)
        _check_licence(self.scene_model, self._scenes.licence)
        return self._scenes

    def _request(self, asked: SceneAsked) -> TaskRequest:
        return TaskRequest(
            process_res_method=METHODS[asked.method],
            export_format="gs_ply-glb" if asked.splats else "glb",
            infer_gs=asked.splats,
            ref_view_strategy=asked.strategy,
            focal_px=asked.focal_px or None,
        )

    @functools.lru_cache(maxsize=1)  # noqa: B019 the engine lives as long as the program
    def _estimator(self, name: str, size_hw: tuple[int, int]) -> Estimator:
        spec = MODELS[name]
        _check_licence(name, spec.licence)
        if spec.family == "v2":
            wanted = Wanted(spec, None, spec.short_side, device=self._device)
            return find_estimator(wanted, [size_hw])
        there = read_artifacts([ARTIFACTS])[0] if ARTIFACTS.is_dir() else []
        if any(one.manifest.model == name and one.manifest.views == 1 for one in there):
            return artifact_estimator([ARTIFACTS], self._device, name)
        return eager_estimator(spec, None, False, PROCESS_RES, self._device, PROCESS_METHOD)


def _check_licence(name: str, licence: str) -> None:
    """Refuse weights that may not be used commercially, if the operator says so."""
    if os.environ.get("COMMERCIAL_ONLY") == "1" and needs_consent(licence):
        raise InputError(f"{name}: its weights' licence is {licence}, and COMMERCIAL_ONLY=1")


def asked_method(asked: SceneAsked) -> Optional[str]:
    """The method, if it is not the one that is taken anyway."""
    method = METHODS[asked.method]
    return None if method == TaskRequest().process_res_method else method
