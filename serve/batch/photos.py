"""One input from its bytes to its results: what every engine does around the device.

An item in; decoded pixels, then encoded files in the output and a record, out. Bad input becomes an
error record.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Optional

import numpy as np

from exports.files import depth_files
from exports.photo_points import refuse_relative
from runtime.command_line import sentence
from runtime.errors import DepthError, InputError, LimitError, StorageError
from runtime.photo.decode import MAX_FILE_BYTES, REDUCED, focal_px_of, read_at_least
from runtime.predict.pipeline import Ended, Loaded
from runtime.predict.predictor import Predictor
from runtime.scene.focal import PhotoCamera, camera_of
from runtime.storage import S3Options, Storage
from serve.batch.items import Item, text_of
from serve.batch.job import BatchJob
from serve.batch.known_points import read_known_points, tag_of_points
from serve.batch.places import place_of_file
from serve.batch.records import DONE, ERROR, Record


@dataclass(frozen=True)
class Photos:
    """How a job reads photos and writes results.

    Args:
        options: the digest of what decides a result, beside the photo and its focal length.
    """

    job: BatchJob
    options: str
    output: Storage

    def load(self, item: Item, predictor: Predictor) -> "LoadedPhoto":
        """Read, decode and prepare."""
        start = time.perf_counter()
        tag = self.tag(item)  # before the bytes: a photo that changes meanwhile is done again
        data = read_bytes(item, self.job.s3)
        size_for = predictor.input_hw if self.job.decode == REDUCED else None
        rgb, photo_hw = read_at_least(data, size_for, self.job.max_pixels, item.name)
        given = self.given_focal_px(item)
        points_asked = self.job.files.has_points
        if points_asked and not item.points and not predictor.needs_focal:
            refuse_relative(predictor.output.kind)
        needed = given if predictor.needs_focal or not points_asked else None
        focal_px = predictor.focal_px(needed, data)
        points = None
        if item.points:
            points = read_known_points(item.points, self.job.s3, self.job.points_per_metre)
        prepared = predictor.prepare(rgb, focal_px, photo_hw, points)
        seconds = {"read": time.perf_counter() - start}
        camera = None
        if points_asked:
            camera = camera_of(photo_hw, lambda: focal_px_of(data), given)
        return LoadedPhoto(
            rgb=rgb,
            prepared=prepared,
            seconds=seconds,
            sha256=hashlib.sha256(data).hexdigest(),
            tag=tag,
            camera=camera,
        )

    def write(
        self, item: Item, source: Loaded, predictor: Predictor, depth: np.ndarray, took: float
    ) -> Record:
        """Encode, write, and say so. The same photo and options give the same bytes."""
        assert isinstance(source, LoadedPhoto)
        start = time.perf_counter()
        prediction, _ = predictor.finish(source.prepared, depth, took)
        outputs, digests, size = [], [], 0
        name = item.name.rpartition("/")[2]
        # times belong into the record: the same photo gives the same bytes
        for suffix, data in depth_files(
            prediction, name, self.job.files, source.rgb, camera=source.camera
        ):
            self.output.write(item.name + suffix, data)
            outputs.append(item.name + suffix)
            digests.append(hashlib.sha256(data).hexdigest())
            size += len(data)
        return Record(
            name=item.name,
            address=item.address,
            status=DONE,
            key=self.key(item, source.tag),
            sha256=source.sha256,
            height=source.prepared.photo_hw[0],
            width=source.prepared.photo_hw[1],
            outputs=outputs,
            digests=digests,
            output_bytes=size,
            seconds_read=source.seconds["read"],
            seconds_infer=took,
            seconds_write=time.perf_counter() - start,
        )

    def record(self, ended: "Ended[Item, Record]") -> Record:
        """What became of an input."""
        if ended.result is not None:
            return ended.result
        item, error = ended.source, ended.error
        assert error is not None
        return Record(
            name=item.name,
            address=item.address,
            status=ERROR,
            key=self.key(item),
            code=code_of(error),
            error=text_of(sentence(error)[:500]),
        )

    def given_focal_px(self, item: Item) -> Optional[float]:
        """The most specific one that was given: for this photo, else for the job."""
        given = self.job.focal_px if item.focal_px is None else item.focal_px
        return None if given is None else float(given)

    def tag(self, item: Item) -> str:
        """What tells this content of the photo from another; empty if nobody can ask."""
        try:
            return item.tag or tag_of(item, self.job.s3)
        except DepthError:  # what keeps the photo from being read keeps this, too
            return ""

    def _points_tag(self, points: str) -> str:
        try:
            tag = tag_of_points(points, self.job.s3)
        except DepthError:
            tag = points
        return f"points {tag} {self.job.points_per_metre!r}"

    def key(self, item: Item, tag: Optional[str] = None) -> str:
        """Of all that decides a photo's result; the same key is the same result.

        Args:
            tag: of the bytes that were read; None asks now.
        """
        focal_px = self.given_focal_px(item)
        facts = [self.tag(item) if tag is None else tag, self.options]
        facts += [] if focal_px is None else [repr(focal_px)]
        facts += [self._points_tag(item.points)] if item.points else []
        return hashlib.sha256("|".join(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class LoadedPhoto(Loaded):
    """A decoded photo, and what its bytes were."""

    sha256: str
    tag: str
    camera: Optional[PhotoCamera] = None  # that points are shot through


def read_bytes(item: Item, options: S3Options) -> bytes:
    """The photo's bytes, from disk or from S3."""
    storage, name = place_of_file(item.address, options)
    return storage.read(name, MAX_FILE_BYTES)


def tag_of(item: Item, options: S3Options) -> str:
    """What tells this content of the photo from another, asked for now; empty if it is gone."""
    storage, name = place_of_file(item.address, options)
    found = storage.stat(name)
    return found.tag if found else ""


def code_of(error: Exception) -> str:
    """A word for the table of errors."""
    if isinstance(error, LimitError):
        return "too_large"
    if isinstance(error, InputError):
        return "bad_photo"
    if isinstance(error, StorageError):
        return "storage_failed"
    return "failed" if isinstance(error, DepthError) else type(error).__name__
