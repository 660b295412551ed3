"""A folder of photos to a folder of depth files.

Decoding, inference and writing overlap, so the slowest of them sets the pace; what is in flight is
bounded. A bad photo becomes an outcome with an error, never an exception.
"""

import collections
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

from runtime.depth_file import write_prediction
from runtime.errors import InputError
from runtime.photo import MAX_PIXELS, SUFFIXES, focal_px_of, read_photo
from runtime.predictor import Predictor, Prepared

READ_AHEAD = 2
WRITE_BEHIND = 2


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
    photos = collections.deque(find_photos(job))
    reading: collections.deque[_Reading] = collections.deque()
    writing: collections.deque[tuple[Path, Future[list[Path]]]] = collections.deque()
    groups: dict[int, list[_Read]] = {}
    with ThreadPoolExecutor(1, "read") as readers, ThreadPoolExecutor(1, "write") as writers:
        try:
            while photos or reading or groups:
                while photos and len(reading) < READ_AHEAD + predictor.batch:
                    photo = photos.popleft()
                    reading.append((photo, readers.submit(_read, job, predictor, photo)))
                full: list[_Read] = []
                if reading:
                    photo, pending = reading.popleft()
                    try:
                        read = pending.result()
                    except InputError as error:
                        yield Outcome(photo, error=str(error))
                        continue
                    group = groups.setdefault(read.prepared.bucket, [])
                    group.append(read)
                    if len(group) == predictor.batch:
                        full = groups.pop(read.prepared.bucket)
                else:
                    full = groups.pop(next(iter(groups)))  # the rest, padded
                if not full:
                    continue
                maps = predictor.infer([read.prepared for read in full])
                for read, (depth, seconds) in zip(full, maps):
                    done = writers.submit(_write, job, predictor, read, depth, seconds)
                    writing.append((read.photo, done))
                while len(writing) > WRITE_BEHIND or (writing and writing[0][1].done()):
                    yield _outcome(*writing.popleft())
            while writing:
                yield _outcome(*writing.popleft())
        finally:
            for _, future in reading:
                future.cancel()  # what has been inferred is still written


@dataclass(frozen=True)
class _Read:
    photo: Path
    rgb: np.ndarray
    prepared: Prepared
    decode_seconds: float


_Reading = tuple[Path, "Future[_Read]"]


def _read(job: FolderJob, predictor: Predictor, photo: Path) -> _Read:
    start = time.perf_counter()
    rgb = read_photo(photo, job.max_pixels)
    focal_px = job.focal_px
    if focal_px is None and predictor.needs_focal:
        focal_px = focal_px_of(photo)
    decoded = time.perf_counter() - start
    return _Read(photo, rgb, predictor.prepare(rgb, focal_px), decoded)


def _write(
    job: FolderJob, predictor: Predictor, read: _Read, depth: np.ndarray, seconds: float
) -> list[Path]:
    prediction = predictor.finish(read.prepared, depth, seconds)
    prediction.seconds["decode"] = read.decode_seconds
    base = output_base(job, read.photo)
    base.parent.mkdir(parents=True, exist_ok=True)
    return write_prediction(
        prediction, read.rgb, base, read.photo.name, job.formats, job.colormap, job.side_by_side
    )


def _outcome(photo: Path, written: "Future[list[Path]]") -> Outcome:
    try:
        return Outcome(photo, written.result())
    except (OSError, InputError) as error:
        return Outcome(photo, error=f"{photo}: {error}")
