"""What a task is asked: the fields of ``POST /inference``, upstream's and ours, checked.

Parsed JSON or the fields of a form in; one frozen ``TaskRequest`` out. No disk is looked at.
Source: ``InferenceRequest`` in ``services/backend.py`` of Depth Anything 3.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np

from apps.scene_models import PROCESS_METHOD
from depth_anything_3.scene_exports import ExportRequest, export_request
from runtime.errors import InputError
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import DEFAULT_STRATEGY
from runtime.scene.views import METHODS, PROCESS_RES
from serve.http.problems import shown

UPSTREAM_FORMAT = "mini_npz-glb"
MOST_RES, MOST_POINTS = 4096, 100_000_000


@dataclass(frozen=True)
class TaskRequest:
    """A task's fields, called as upstream calls them; those below ``feat_vis_fps`` are ours.

    Cameras are nested lists, as they came. ``infer_gs`` None: if a format needs splats.
    """

    image_paths: tuple[str, ...] = ()
    export_dir: Optional[str] = None
    export_format: str = UPSTREAM_FORMAT
    extrinsics: Any = None
    intrinsics: Any = None
    process_res: int = PROCESS_RES
    process_res_method: str = PROCESS_METHOD
    export_feat_layers: tuple[int, ...] = ()
    align_to_input_ext_scale: bool = True
    conf_thresh_percentile: float = 40.0
    num_max_points: int = 1_000_000
    show_cameras: bool = True
    feat_vis_fps: float = 15
    use_ray_pose: bool = False
    ref_view_strategy: str = DEFAULT_STRATEGY
    infer_gs: Optional[bool] = None
    export_kwargs: Optional[dict[str, dict[str, Any]]] = None
    focal_px: Optional[float] = None

    def facts(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    def query(self) -> SceneQuery:
        """What the network is asked.

        Raises:
            InputError: cameras or options that do not go together.
        """
        return SceneQuery(
            extrinsics=_array(self.extrinsics, "extrinsics"),
            intrinsics=_array(self.intrinsics, "intrinsics") if self.extrinsics else None,
            align_to_input_ext_scale=self.align_to_input_ext_scale,
            export_feat_layers=self.export_feat_layers,
            infer_gs=self.needs_splats if self.infer_gs is None else self.infer_gs,
            use_ray_pose=self.use_ray_pose,
            ref_view_strategy=self.ref_view_strategy,
        )

    @property
    def known_intrinsics(self) -> Optional[np.ndarray]:
        """(N, 3, 3), which may come without extrinsics."""
        return _array(self.intrinsics, "intrinsics")

    @property
    def needs_splats(self) -> bool:
        """Whether a format is of splats."""
        from exports.scene_files import SCENE_FORMATS

        asked = self.exports((Path("photo"),), Path()).asked
        return any("gaussians" in SCENE_FORMATS[name].needs for name in asked)

    def exports(
        self,
        photos: tuple[Path, ...],
        folder: Path,
        names: Optional[tuple[str, ...]] = None,
        told: Callable[[Path], None] = lambda file: None,
    ) -> ExportRequest:
        """Which files are written.

        Raises:
            InputError: unknown formats or options.
        """
        request = export_request(
            photos,
            folder,
            self.export_format,
            self.export_kwargs,
            conf_thresh_percentile=self.conf_thresh_percentile,
            num_max_points=self.num_max_points,
            show_cameras=self.show_cameras,
            feat_vis_fps=self.feat_vis_fps,
        )
        assert request is not None
        return replace(request, names=names or tuple(photo.name for photo in photos), told=told)


NAMES = tuple(one.name for one in fields(TaskRequest))
TEXT, FLAG, WHOLE, NUMBER = "text", "true or false", "a whole number", "a number"
KINDS = {
    "export_dir": TEXT,
    "export_format": TEXT,
    "process_res_method": TEXT,
    "ref_view_strategy": TEXT,
    "process_res": WHOLE,
    "num_max_points": WHOLE,
    "align_to_input_ext_scale": FLAG,
    "show_cameras": FLAG,
    "use_ray_pose": FLAG,
    "infer_gs": FLAG,
    "conf_thresh_percentile": NUMBER,
    "feat_vis_fps": NUMBER,
    "focal_px": NUMBER,
}
MAY_BE_NULL = (
    *("export_dir", "extrinsics", "intrinsics", "infer_gs", "export_kwargs", "focal_px"),
    "export_feat_layers",
)


def request_of_json(facts: Any) -> TaskRequest:
    """A request from parsed JSON.

    Raises:
        InputError: an unknown field, or one of another kind, named.
    """
    if not isinstance(facts, dict):
        raise InputError('the body is no JSON object; give {"image_paths": ["a.jpg", ...]}')
    unknown = sorted(str(name) for name in facts if name not in NAMES)
    if unknown:
        raise InputError(
            f"no such field: {', '.join(map(shown, unknown))}; there are {', '.join(NAMES)}"
        )
    values = {name: _value(name, value) for name, value in facts.items()}
    request = TaskRequest(**{name: value for name, value in values.items() if value is not None})
    _check_ranges(request)
    return request


def request_of_form(pairs: Iterable[tuple[str, str]]) -> TaskRequest:
    """A request from a form's fields: text as it is, all else as JSON has it.

    Raises:
        InputError: as ``request_of_json``, or a field twice.
    """
    facts: dict[str, Any] = {}
    for name, text in pairs:
        if name in facts:
            raise InputError(f"{shown(name)}: given twice")
        facts[name] = text if KINDS.get(name) == TEXT else _parsed(name, text)
    return request_of_json(facts)


def parse_json(text: bytes) -> Any:
    """JSON as its standard has it.

    Raises:
        InputError: it is none.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise InputError("the body: JSON that is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the body is not JSON ({error})") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text.strip().lower() if KINDS.get(name) == FLAG else text)
    except (ValueError, RecursionError):
        raise InputError(f"{name}={shown(text)}: give it as JSON") from None


def _value(name: str, value: Any) -> Any:
    """A field's value, checked; None if it is null and may be."""
    if value is None and name in MAY_BE_NULL:
        return None
    kind = KINDS.get(name)
    if kind is not None and not _fits(kind, value):
        raise InputError(f"{name}={shown(value)}: give {kind}")
    if name == "image_paths":
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InputError("image_paths: give a list of paths")
        return tuple(value)
    if name == "export_feat_layers":
        if not isinstance(value, list) or not all(_fits(WHOLE, one) for one in value):
            raise InputError("export_feat_layers: give a list of block numbers")
        return tuple(value)
    if name == "export_kwargs":
        inner = isinstance(value, dict) and all(isinstance(one, Mapping) for one in value.values())
        if not inner:
            raise InputError('export_kwargs: give options by format, as {"glb": {...}}')
    if name in ("extrinsics", "intrinsics"):
        _array(value, name)
    return float(value) if kind == NUMBER else value


def _fits(kind: str, value: Any) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if kind == WHOLE:
        return isinstance(value, int)
    return abs(value) < 1e300 and math.isfinite(value)


def _array(value: Any, name: str) -> Optional[np.ndarray]:
    if value is None:
        return None
    rows = (3, 4) if name == "extrinsics" else (3,)
    columns = 4 if name == "extrinsics" else 3
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    fits = array.ndim == 3 and array.shape[1] in rows and array.shape[2] == columns
    if not fits or not np.isfinite(array).all():
        sizes = " or ".join(map(str, rows))
        raise InputError(f"{name}: give finite numbers, photos x {sizes} x {columns}")
    return array


def _check_ranges(request: TaskRequest) -> None:
    if request.process_res_method not in METHODS:
        raise InputError(
            f"process_res_method={shown(request.process_res_method)}: use {', '.join(METHODS)}"
        )
    for name, low, high in (
        ("process_res", 14, MOST_RES),
        ("num_max_points", 1, MOST_POINTS),
        ("conf_thresh_percentile", 0, 100),
        ("feat_vis_fps", 0.1, 240),
    ):
        if not low <= getattr(request, name) <= high:
            raise InputError(f"{name}={getattr(request, name):g}: give {low:g} to {high:g}")
    if len(request.export_feat_layers) > 1000:
        raise InputError("export_feat_layers: over 1,000 blocks; no model has them")
    if request.extrinsics is not None and request.intrinsics is None:
        raise InputError("cameras: give extrinsics and intrinsics together, or neither")
