"""A folder of photos of one scene to depth files that share a scale, and the cameras they were
taken with.

Photos are read one by one and kept only as small views; a bad photo becomes an outcome with an
error, and the scene is what the others show.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.folder import FolderJob, Outcome, find_photos, output_base
from exports.depth_file import write_prediction
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.photo.decode import read_photo
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.found import ScenePrediction
from runtime.predict.predictor import Prediction
from runtime.predict.scenes import ScenePredictor
from runtime.scene.reference_view import DEFAULT_STRATEGY
from runtime.scene.views import View

CAMERAS = "cameras.json"


def run_scene(
    job: FolderJob, predictor: ScenePredictor, strategy: str = DEFAULT_STRATEGY
) -> Iterator[Outcome]:
    """Process the photos of a job as one scene.

    Yields:
        one outcome a photo: errors first, then depth as it is written.
    Raises:
        InputError: no photo can be read.
        ArtifactError: the predictor cannot run.
    """
    views: list[View] = []
    photos: list[Path] = []
    for photo in find_photos(job):
        try:
            views.append(predictor.view(read_photo(photo, job.max_pixels)))
            photos.append(photo)
        except InputError as error:
            yield Outcome(photo, error=str(error))
    if not views:
        raise InputError(f"{job.source}: not one photo can be read")
    start = time.perf_counter()
    scene = predictor.predict(views, ref_view_strategy=strategy)
    seconds = (time.perf_counter() - start) / len(views)
    job.output.mkdir(parents=True, exist_ok=True)
    names = [output_base(job, photo).relative_to(job.output).as_posix() for photo in photos]
    text = json.dumps(describe_cameras(scene, views, names, predictor), indent=2)
    write_whole(job.output / CAMERAS, (text + "\n").encode())
    for index, photo in enumerate(photos):
        yield _write(job, predictor, scene, views[index], photo, index, seconds)


def describe_cameras(
    scene: ScenePrediction, views: list[View], names: list[str], predictor: ScenePredictor
) -> dict[str, Any]:
    """The scene's cameras, for programs: intrinsics in pixels of the photos themselves."""
    assert scene.intrinsics is not None and scene.extrinsics is not None
    manifest, artifact = predictor.manifest, predictor.artifacts[0]
    return {
        "convention": "OpenCV: x right, y down, z forward; world_to_camera is 3x4; intrinsics are "
        "in pixels of the upright photo, from its upper left corner",
        "unit": scene.unit,
        "groups": [[names[index] for index in group] for group in scene.groups],
        "model": manifest.model,
        "artifact": {"name": manifest.name, "digest": artifact.digest},
        "weights": {"source": manifest.weights.source, "licence": manifest.weights.licence},
        "photos": [
            {
                "name": name,
                "size": {"height": view.photo_hw[0], "width": view.photo_hw[1]},
                "intrinsics": view.intrinsics_of_photo(intrinsics).tolist(),
                "world_to_camera": extrinsics.tolist(),
            }
            for name, view, intrinsics, extrinsics in zip(
                names, views, scene.intrinsics, scene.extrinsics
            )
        ],
    }


def _write(
    job: FolderJob,
    predictor: ScenePredictor,
    scene: ScenePrediction,
    view: View,
    photo: Path,
    index: int,
    seconds: float,
) -> Outcome:
    base = output_base(job, photo)
    try:
        prediction = Prediction(
            resize_to_photo(scene.depth[index], view.photo_hw),
            OutputSpec(scene.kind),
            predictor.artifacts[0],
            {"inference": seconds},
        )
        base.parent.mkdir(parents=True, exist_ok=True)
        rgb = read_photo(photo, job.max_pixels)
        files = write_prediction(
            prediction, rgb, base, photo.name, job.formats, job.colormap, job.side_by_side
        )
    except (OSError, InputError) as error:
        return Outcome(photo, error=f"{photo}: {error}")
    return Outcome(photo, files)
