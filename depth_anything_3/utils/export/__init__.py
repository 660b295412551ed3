"""Upstream's import path for exports: a prediction, or anything with its fields, to files.

    from depth_anything_3.utils.export import export
    export(prediction, "npz-glb", "out", glb={"num_max_points": 100_000})

Needs no torch. The prediction is never changed; files are there when the call returns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from exports.scene import Scene, ScenePhoto, scene_of
from exports.scene_colmap import ColmapOptions, names_of
from exports.scene_files import asked_formats, refuse_impossible
from exports.write import write_scene
from runtime.errors import InputError
from runtime.photo.decode import photo_size
from runtime.predict.found import ScenePrediction

FIELDS = ("conf", "extrinsics", "intrinsics", "processed_images", "gaussians", "scale_factor")


def export(
    prediction: Any,
    export_format: str,
    export_dir: Union[str, Path],
    **options: Mapping[str, Any],
) -> list[Path]:
    """Write a prediction.

    Args:
        prediction: a ``ScenePrediction``, or an object with upstream's fields.
        export_format: names joined by ``-``: see ``exports.scene_files.ROWS``.
        export_dir: a folder, made if it is not there.
        options: a format -> its options by name. ``colmap`` needs ``image_paths`` there.
    Returns:
        the files written, the description last.
    Raises:
        InputError: unknown formats or options, or a format that needs what the prediction has not.
        MissingDependency: a video, and no PyAV.
        OSError: the disk refuses.
    """
    asked = asked_formats(export_format, options)
    found = as_scene_prediction(prediction)
    colmap: Optional[ColmapOptions] = asked.get("colmap")
    photos = None
    if colmap is not None and colmap.image_paths is not None:
        photos = _photos(colmap.image_paths, colmap.process_res_method, found)
    scene: Scene = scene_of(found, photos)
    refuse_impossible(asked, scene.gives, scene.views)
    return write_scene(scene, Path(export_dir), asked)


def as_scene_prediction(prediction: Any) -> ScenePrediction:
    """The same as ours; the arrays are not copied."""
    sky_mask = getattr(prediction, "sky_mask", None)  # upstream's exporter looks for this name
    if isinstance(prediction, ScenePrediction) and sky_mask is None:
        return prediction
    fields: dict[str, Any] = {name: getattr(prediction, name, None) for name in FIELDS}
    return ScenePrediction(
        depth=prediction.depth,
        kind="depth_m" if getattr(prediction, "is_metric", 0) else "depth",
        sky=getattr(prediction, "sky", None) if sky_mask is None else sky_mask,
        aux=getattr(prediction, "aux", None) or {},
        provenance=getattr(prediction, "provenance", None),
        **fields,
    )


def _photos(paths: Sequence[str], method: str, found: ScenePrediction) -> list[ScenePhoto]:
    """How photos became the views of a prediction, if each is shown whole."""
    if not method.endswith("resize"):
        raise InputError(
            f"process_res_method={method!r}: a prediction does not say what was cropped; use "
            "DepthAnything3.inference(export_dir=...), which knows"
        )
    resized_hw = (found.depth.shape[1], found.depth.shape[2])
    return [
        ScenePhoto(name, photo_size(Path(path)), resized_hw)
        for name, path in zip(names_of(paths), paths)
    ]
