"""A folder of photos of one scene to depth files that share a scale, and the cameras.

Photos are read one by one and kept only as small views; a bad photo becomes an outcome with an
error, and the scene is what the others show.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from apps.folder import FolderJob
from apps.outcome import Outcome, failure, outcome_of
from exports.cameras import CAMERAS, encode_cameras
from exports.scene import ScenePhoto, scene_of
from exports.scene_files import asked_formats
from exports.write import write_prediction, write_scene
from runtime.errors import InputError
from runtime.files import write_whole
from runtime.photo.decode import FULL, read_photo
from runtime.predict.found import Prediction
from runtime.predict.scenes import ScenePredictor
from runtime.scene.focal import refuse_useless_focal
from runtime.scene.reference_view import DEFAULT_STRATEGY
from runtime.scene.views import View

SCENE_OPTIONS = {"glb": {"export_depth_vis": False}}  # depth_vis is a format of its own


def run_scene_folder(
    job: FolderJob,
    predictor: ScenePredictor,
    strategy: str = DEFAULT_STRATEGY,
    photos: Optional[Sequence[Path]] = None,
) -> Iterator[Outcome]:
    """Process the photos of a job as one scene.

    Args:
        photos: the job's, if they have been listed.
    Yields:
        one outcome a photo: errors first, then depth as it is written.
    Raises:
        InputError: no photo can be read, or options that scenes do not have.
        ArtifactError: the predictor cannot run.
        OSError: the cameras cannot be written, or the output's disk is full or gone.
    """
    refuse_useless_focal(predictor.manifest.model, False, job.focal_px is not None)
    if job.decode != FULL:
        raise InputError(f"decode={job.decode}: only for photos on their own; leave it out")
    job.output.mkdir(parents=True, exist_ok=True)  # before all the work
    views: list[View] = []
    read: list[Path] = []
    for photo in job.photos() if photos is None else photos:
        try:
            views.append(predictor.view(read_photo(photo, job.max_pixels)))
            read.append(photo)
        except Exception as error:
            yield failure(photo, error)
    if not views:
        raise InputError(f"{job.source}: not one photo can be read")
    start = time.perf_counter()
    scene = predictor.predict(views, ref_view_strategy=strategy)
    seconds = {"inference": (time.perf_counter() - start) / len(views)}
    names = list(map(job.name, read))
    write_whole(job.output / CAMERAS, encode_cameras(scene, views, names))
    if job.scene_formats:
        shown = [ScenePhoto.of_view(name, view) for name, view in zip(names, views)]
        asked = asked_formats(job.scene_formats, SCENE_OPTIONS)
        write_scene(scene_of(scene, shown), job.output, asked)
    for index, (photo, view) in enumerate(zip(read, views)):
        found = scene.photo(index, view.photo_hw)
        yield outcome_of(photo, functools.partial(_write, photo, found, job, seconds))


def _write(photo: Path, found: Prediction, job: FolderJob, seconds: dict[str, float]) -> list[Path]:
    rgb = read_photo(photo, job.max_pixels) if job.side_by_side else None
    return write_prediction(found, job.base(photo), job.files, rgb, seconds)
