"""What ``DepthAnything3.inference`` is asked to write: checked before the network runs.

Upstream's arguments in; files of a prediction out. Needs no torch.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from exports.scene import EXIF, GIVEN, ScenePhoto, Stage, scene_of
from exports.scene_colmap import names_of
from exports.scene_files import SCENE_FORMATS, Asked, asked_formats, refuse_impossible
from exports.write import write_scene
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.views import View

log = logging.getLogger(__name__)

GS_VIDEO = "gs_video"
# Upstream's arguments -> that format's options
RENDER = {"render_exts": "extrinsics", "render_ixts": "intrinsics", "render_hw": "out_image_hw"}
CLOUDS = tuple(
    name for name, row in SCENE_FORMATS.items() if "cameras" in row.needs and name != GS_VIDEO
)


@dataclass(frozen=True)
class ExportRequest:
    """Which files of a scene are written, and where.

    Args:
        folder: of the files.
        asked: formats and their options.
        names: of the photos, if they have any.
        told: called with each file before it is written.
        stage: told how far a long one is; None: a bar on a terminal.
        began: called once, when the network is done and the first file is made.
    """

    folder: Path
    asked: Asked
    names: Optional[tuple[str, ...]] = None
    told: Callable[[Path], None] = lambda file: None
    stage: Optional[Stage] = None
    began: Callable[[], object] = lambda: None

    @property
    def has_clouds(self) -> bool:
        """Whether cameras, and so a focal length, matter."""
        return any(name in self.asked for name in CLOUDS)

    def check(self, views: int, any_view: bool, splats: bool, features: bool) -> None:
        """Refuse formats that there will be nothing for.

        Args:
            any_view: cameras are found, or given.
        Raises:
            InputError: names them, and says what would work.
        """
        there = {
            "images": True,
            "cameras": any_view or views == 1,
            "gaussians": splats,
            "features": features,
            "photos": self.names is not None,
        }
        refuse_impossible(self.asked, {what for what, is_there in there.items() if is_there}, views)
        if self.names is not None and len(self.names) != views:
            raise InputError(f"image_paths: {len(self.names)} for {views} photos; give one each")

    def write(
        self,
        found: ScenePrediction,
        views: Sequence[View],
        intrinsics: Optional[np.ndarray] = None,
        given: bool = False,
    ) -> list[Path]:
        """Write all files; they are there when this returns.

        Args:
            views: how the photos became what the network saw.
            intrinsics: (1, 3, 3), in pixels of the view, if the prediction has none.
            given: whether the caller said them, or EXIF.
        """
        self.began()
        photos = None
        if self.names is not None:
            photos = [ScenePhoto.of_view(name, view) for name, view in zip(self.names, views)]
        scene = scene_of(found, photos, intrinsics, GIVEN if given else EXIF)
        scene = replace(scene, stage=self.stage)
        return write_scene(scene, self.folder, self.asked, self.told)


def export_request(
    photos: Sequence[Any],
    export_dir: Optional[Union[str, Path]],
    export_format: str,
    export_kwargs: Optional[Mapping[str, Mapping[str, Any]]],
    **plain: Any,
) -> Optional[ExportRequest]:
    """What upstream's arguments mean; None if nothing is to be written.

    Args:
        photos: as the caller gave them.
        export_dir: a folder; None: nothing is written.
        export_format: names joined by ``-``: see ``exports.scene_files.ROWS``.
        export_kwargs: a format -> its options; they come before the plain arguments, and are not
            changed.
        plain: ``conf_thresh_percentile`` and ``num_max_points`` of clouds, ``show_cameras`` of glb,
            ``feat_vis_fps``; ``render_exts``, ``render_ixts`` and ``render_hw`` are gs_video's
            ``extrinsics``, ``intrinsics`` and ``out_image_hw``, and do nothing without it, as its
            options in ``export_kwargs``.
    Raises:
        InputError: unknown formats or options.
    """
    if export_dir is None:
        return None
    render = {name: plain[name] for name in RENDER if plain.get(name) is not None}
    if render and GS_VIDEO not in export_format.split("-"):
        log.warning("%s: cameras of gs_video, which is not asked for", ", ".join(render))
    cloud = {name: plain[name] for name in ("conf_thresh_percentile", "num_max_points")}
    options: dict[str, dict[str, Any]] = {
        "glb": {**cloud, "show_cameras": plain["show_cameras"]},
        "ply": cloud,
        "feat_vis": {"fps": plain["feat_vis_fps"]},
        GS_VIDEO: {RENDER[name]: value for name, value in render.items()},
        "colmap": {"conf_thresh_percentile": plain["conf_thresh_percentile"]},
    }
    own = {name: dict(some) for name, some in (export_kwargs or {}).items()}
    if GS_VIDEO not in export_format.split("-"):
        for some in (own, options):
            some.pop(GS_VIDEO, None)
    if "glb" in own and "ply" not in own:  # the same points
        own["ply"] = {key: value for key, value in own["glb"].items() if key in cloud}
    own.update({name: {**some, **own.get(name, {})} for name, some in options.items()})
    asked = asked_formats(export_format, own)
    paths = getattr(asked.get("colmap"), "image_paths", None)
    if paths is None and all(isinstance(photo, (str, Path)) for photo in photos):
        paths = [str(photo) for photo in photos]
    names = None if paths is None or "colmap" not in asked else tuple(names_of(paths))
    return ExportRequest(Path(export_dir), asked, names)
