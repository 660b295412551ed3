"""A folder of photos to a folder of depth files, each photo for itself.

A bad photo becomes an outcome with an error, never an exception.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from apps.fit_points import PointFiles
from apps.outcome import Outcome
from exports.cameras import CAMERAS
from exports.files import SIDECAR, FileOptions
from exports.photo_points import refuse_relative
from exports.write import write_prediction
from runtime.command_line import sentence
from runtime.errors import InputError
from runtime.files import ignores_case
from runtime.names import below, folded, name_of_key
from runtime.photo.decode import (
    DECODES,
    FULL,
    MAX_PIXELS,
    REDUCED,
    focal_px_of,
    read_at_least,
    read_file,
)
from runtime.photo.find import find_photos, root_of
from runtime.predict.pipeline import Loaded, run_pipeline
from runtime.predict.predictor import Predictor
from runtime.scene.focal import PhotoCamera, camera_of, check_focal_px, say_if_assumed
from runtime.walk import LeftOut

log = logging.getLogger(__name__)

OWN = (CAMERAS[: -len(SIDECAR)],)  # whose description would be that of a scene's cameras


@dataclass(frozen=True)
class FolderJob:
    """What to read, what to write and how.

    Args:
        source: folder, pattern or file.
        output: folder; what lies in it is never taken for a photo.
        formats, colormap, side_by_side: as for ``FileOptions``.
        recursive: folders in folders, too.
        max_pixels: photos that are larger fail.
        focal_px: of the camera, in pixels of the photos; None: as EXIF says.
        decode: of ``DECODES``: what JPEGs are decoded at.
        fit: where known points are, by which depth becomes metres.
        scene_formats: of ``exports.scene_files``, for all photos together if they show one scene;
            there may be no others then.
    Raises:
        InputError: options that cannot be, alone or together.
    """

    source: Path
    output: Path
    formats: tuple[str, ...] = ("png", "png16", "npz")
    colormap: str = "Spectral_r"
    side_by_side: bool = False
    recursive: bool = False
    max_pixels: int = MAX_PIXELS
    focal_px: Optional[float] = None
    decode: str = FULL
    fit: Optional[PointFiles] = None
    scene_formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.files or self.scene_formats  # checks the formats
        check_focal_px(self.focal_px)
        if self.decode not in DECODES:
            raise InputError(f"decode={self.decode!r}: use one of {', '.join(DECODES)}")
        if self.decode == REDUCED and self.files and self.files.shows_photo:
            raise InputError("side by side and points show the whole photo: decode it in full")

    @property
    def files(self) -> Optional[FileOptions]:
        """The files that each photo gets; None: of a scene that only all photos together get."""
        if not self.formats and self.scene_formats:
            return None
        return FileOptions(self.formats, self.colormap, self.side_by_side)

    def photos(self, left_out: Optional[LeftOut] = None) -> list[Path]:
        """The photos, by name.

        Args:
            left_out: as for ``find_photos``.
        Raises:
            InputError: as for ``find_photos``; or the output's disk takes two names for one.
        """
        others = [] if self.fit is None else self.fit.folders()
        leave_out = [self.output, *others]
        photos = find_photos(self.source, self.recursive, leave_out, left_out)
        if ignores_case(self.output):
            seen: dict[str, Path] = {}
            for photo in photos:
                other = seen.setdefault(folded(self.name(photo)), photo)
                if other != photo:
                    raise InputError(
                        f"{other} and {photo}: the disk of {self.output} takes their names for "
                        "one; give another output"
                    )
        return photos

    def name(self, photo: Path) -> str:
        """What a photo's files are called after: its path below the source, suffix kept.

        Plain, and another one for each photo.
        """
        if self.source.is_file():
            return name_of_key(photo.name, OWN)
        return name_of_key(photo.relative_to(root_of(self.source)).as_posix(), OWN)

    def base(self, photo: Path) -> Path:
        """Where a photo's files go.

        Raises:
            InputError: its name is longer than a disk takes.
        """
        return below(self.output, self.name(photo))


@dataclass(frozen=True)
class LoadedPhoto(Loaded):
    """A decoded photo, and the camera that its points are shot through."""

    camera: Optional[PhotoCamera] = None


def check_points(job: FolderJob, predictor: Predictor, focal: str = "focal_px") -> None:
    """Refuse points of depth that will not be metres, and a focal length that changes nothing.

    Args:
        focal: what the caller calls it.
    Raises:
        InputError: either of them.
    """
    if job.files is None or not job.files.has_points:
        predictor.refuse_useless_focal(job.focal_px is not None, focal)
    elif job.fit is None and not predictor.needs_focal:
        refuse_relative(predictor.output.kind)


def run_folder(
    job: FolderJob,
    predictor: Predictor,
    photos: Optional[Sequence[Path]] = None,
    beside: Sequence[Predictor] = (),
) -> Iterator[Outcome]:
    """Process every photo of a job.

    Args:
        photos: the job's, if they have been listed.
        beside: equal predictors that work at the same time.
    Yields:
        one outcome a photo, in the order in which they are done.
    Raises:
        InputError: nothing to process, or a focal length that the model does not use.
        ArtifactError: the predictor cannot run; photos done so far stay.
        OSError: the output's disk is full or gone; likewise.
    """
    check_points(job, predictor)
    size_for = predictor.input_hw if job.decode == REDUCED else None

    def load(photo: Path) -> Loaded:
        start = time.perf_counter()
        data = read_file(photo)
        rgb, photo_hw = read_at_least(data, size_for, job.max_pixels, str(photo))
        needed = job.focal_px if predictor.needs_focal else None
        focal_px = predictor.focal_px(needed, data)
        points = None if job.fit is None else job.fit.of(photo)
        decoded = time.perf_counter() - start
        prepared = predictor.prepare(rgb, focal_px, photo_hw, points)
        camera = None
        if job.files and job.files.has_points:
            camera = camera_of(photo_hw, lambda: focal_px_of(data), job.focal_px)
            say_if_assumed(camera, str(photo), photo_hw[1], "--focal-px")
        return LoadedPhoto(rgb, prepared, {"decode": decoded}, camera)

    def write(photo: Path, loaded: Loaded, depth: np.ndarray, seconds: float) -> list[Path]:
        assert isinstance(loaded, LoadedPhoto)
        prediction, took = predictor.finish(loaded.prepared, depth, seconds)
        took = {**loaded.seconds, **took}
        return write_prediction(
            prediction, job.base(photo), job.files, loaded.rgb, took, loaded.camera
        )

    every = job.photos() if photos is None else photos
    for ended in run_pipeline(every, [predictor, *beside], load, write):
        if ended.error is None:
            yield Outcome(ended.source, ended.result or [])
        else:
            yield Outcome(ended.source, error=sentence(ended.error, str(ended.source)))
