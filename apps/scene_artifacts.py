"""Compiled artifacts of an any-view model as what the commands for scenes ask of a model.

A folder in; what ``apps.scene_models.SceneModel`` says, out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from depth_anything_3.scene_exports import ExportRequest
from runtime.engines import load_engine
from runtime.engines.staged import Loader
from runtime.errors import ArtifactError, InputError
from runtime.predict.choose import SCENE, choose, read_artifacts, takes_scenes
from runtime.predict.found import Provenance, ScenePrediction, provenance_of
from runtime.predict.scenes import CAMERA_ENCODER, IMAGE, RAY_HEAD, ScenePredictor
from runtime.scene.query import SceneQuery
from runtime.scene.views import View

Size = tuple[int, int]
Step = Callable[[], object]
Hears = Optional[Callable[[Any], object]]


class ArtifactScene:
    """Compiled artifacts of an any-view model.

    Args:
        folder: an artifact, or a folder of them.
        device: auto, cpu or cuda.
        load: what loads a graph.
    """

    finds_cameras = True
    finds_splats = False  # no artifact has the head

    def __init__(self, folder: Path, device: str, load: Loader = load_engine) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise InputError(f"--device {device}: artifacts run on auto, cpu or cuda")
        model = _model_of(folder)
        self._chosen, self._device = choose([folder], model, SCENE, device=device), device
        self._folder, self._load = folder, load
        self.name = self._chosen.model
        self._step: Step = lambda: None
        self.hears: Hears = None
        self._predictor: Any = None

    @property
    def licence(self) -> str:
        """As ``SceneModel.licence``."""
        return self._chosen.artifacts[0].manifest.weights.licence

    @property
    def compiled_views(self) -> Sequence[int]:
        """As ``SceneModel.compiled_views``."""
        return sorted({one.manifest.views for one in self._chosen.artifacts})

    def check(self, query: SceneQuery) -> None:
        """As ``SceneModel.check``."""
        wrong = [name for name in ("infer_gs", "export_feat_layers") if getattr(query, name)]
        if wrong:
            raise InputError(
                f"{', '.join(wrong)}: no artifact has them; name weights instead of an artifact"
            )
        needed = {RAY_HEAD: query.use_ray_pose, CAMERA_ENCODER: query.has_cameras}
        stages = [stage for stage, is_needed in needed.items() if is_needed]
        try:
            for artifact in self._chosen.artifacts:
                for stage in stages:
                    artifact.manifest.stage(stage)
        except ArtifactError as error:  # it says which there are
            raise InputError(str(error)) from None

    def needed_bytes(self, count: int, sizes_hw: Sequence[Size], splats: bool) -> Optional[int]:
        """None: groups of views go through one after the other."""
        return None

    def free_bytes(self) -> Optional[int]:
        """None."""
        return None

    def view(self, photo: np.ndarray) -> View:
        """As ``SceneModel.view``."""
        view: View = self._predictor.view(photo)
        return view

    def at(self, process_res: Optional[int], process_res_method: Optional[str]) -> "ArtifactScene":
        """As ``SceneModel.at``."""
        if process_res is not None or process_res_method is not None:
            raise InputError(
                f"--process-res, --process-res-method: {self._folder} was compiled for one size; "
                "leave them out, or name weights instead of an artifact"
            )
        return self

    def load(self, sizes_hw: Sequence[Size]) -> None:
        """As ``SceneModel.load``; of several sizes the one nearest to the photos."""
        chosen = self._chosen.of_one_size(sizes_hw)
        self._predictor = ScenePredictor(chosen.artifacts, self._device, load=self._loaded)

    def provenance(self) -> Optional[Provenance]:
        """As ``SceneModel.provenance``."""
        return provenance_of(self._chosen.artifacts[0])

    def steps(self, query: SceneQuery, views: int) -> Optional[int]:
        """None: one for each stage of each group."""
        return None

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
        self._step = step
        found: ScenePrediction = self._predictor.predict(views, query)
        if request is not None:
            request.write(found, views)
        return found

    def _loaded(self, *given: Any, **named: Any) -> Any:
        engine = self._load(*given, **named)

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            outputs: dict[str, np.ndarray] = engine(inputs)
            if self.hears is not None and IMAGE in inputs and "tokens" in outputs:
                self.hears(outputs["tokens"])
            self._step()
            return outputs

        return run


def _model_of(folder: Path) -> str:
    """The one model of a folder's artifacts that takes scenes; "" if there is none."""
    takers = [one for one in read_artifacts([folder])[0] if takes_scenes(one)]
    names = sorted({one.manifest.model for one in takers})
    if len(names) > 1:
        raise InputError(
            f"{folder}: artifacts of {', '.join(names)}; name one of them, as {takers[0].path}"
        )
    return names[0] if names else ""
