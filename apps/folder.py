"""A folder of photos to a folder of depth files.

A bad photo becomes an outcome with an error, never an exception.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

from exports.depth_file import write_prediction
from runtime.errors import InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS, REDUCED, SUFFIXES, read_at_least
from runtime.predict.pipeline import Loaded, run_pipeline
from runtime.predict.predictor import Predictor


@dataclass(frozen=True)
class FolderJob:
    """What to read, what to write and how."""

    source: Path
    output: Path
    formats: tuple[str, ...] = ("png", "png16", "npz")
    colormap: str = "Spectral_r"
    side_by_side: bool = False
    recursive: bool = False
    max_pixels: int = MAX_PIXELS
    focal_px: Optional[float] = None  # of the camera, in pixels of the photos; None: as EXIF says
    decode: str = FULL  # of DECODES: what JPEGs are decoded at

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise InputError(f"decode={self.decode!r}: use one of {', '.join(DECODES)}")
        if self.decode == REDUCED and self.side_by_side:
            raise InputError("side by side is the whole photo: decode it in full")


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: files, or the error that stopped it."""

    photo: Path
    files: list[Path] = field(default_factory=list)
    error: Optional[str] = None


def find_photos(job: FolderJob) -> list[Path]:
    """Photos of a job, by name; a file given as the source is the only one.

    Raises:
        InputError: no such file or folder, or no photo in it.
    """
    if job.source.is_file():
        return [job.source]
    if not job.source.is_dir():
        raise InputError(f"{job.source}: no such file or folder")
    output = job.output.resolve()
    inside = job.source.resolve().parents
    if job.source.resolve() == output:
        raise InputError(f"{job.source}: is both input and output; name another folder")
    found = job.source.rglob("*") if job.recursive else job.source.glob("*")
    photos = sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
        and (output in inside or output not in path.resolve().parents)
    )
    if not photos:
        raise InputError(f"{job.source}: no photo there ({', '.join(SUFFIXES)})")
    return photos


def output_base(job: FolderJob, photo: Path) -> Path:
    """Where a photo's files go: its relative path, suffix kept, so that no two photos meet."""
    relative = Path(photo.name) if photo == job.source else photo.relative_to(job.source)
    return job.output / relative


def run_folder(job: FolderJob, predictor: Predictor) -> Iterator[Outcome]:
    """Process every photo of a job.

    Yields:
        one outcome a photo, in the order in which they are done.
    Raises:
        InputError: nothing to process.
        ArtifactError: the predictor cannot run; photos done so far stay.
    """

    size_for = predictor.input_hw if job.decode == REDUCED else None

    def load(photo: Path) -> Loaded:
        start = time.perf_counter()
        rgb, photo_hw = read_at_least(photo, size_for, job.max_pixels)
        focal_px = predictor.focal_px(job.focal_px, photo)
        decoded = time.perf_counter() - start
        return Loaded(rgb, predictor.prepare(rgb, focal_px, photo_hw), {"decode": decoded})

    def write(photo: Path, loaded: Loaded, depth: np.ndarray, seconds: float) -> list[Path]:
        prediction = predictor.finish(loaded.prepared, depth, seconds)
        prediction.seconds.update(loaded.seconds)
        base = output_base(job, photo)
        base.parent.mkdir(parents=True, exist_ok=True)
        return write_prediction(
            prediction, loaded.rgb, base, photo.name, job.formats, job.colormap, job.side_by_side
        )

    for ended in run_pipeline(find_photos(job), [predictor], load, write):
        if ended.error is None:
            yield Outcome(ended.source, ended.result or [])
        else:
            yield Outcome(ended.source, error=_said(ended.source, ended.error))


def _said(photo: Path, error: Exception) -> str:
    """The error's sentence, which names the photo."""
    return str(error) if str(photo) in str(error) else f"{photo}: {error}"
