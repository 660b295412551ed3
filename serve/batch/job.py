"""What a batch job is told: inputs, output, artifacts and options, checked, frozen."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from exports.files import FileOptions
from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS, REDUCED
from runtime.scene.focal import check_focal_px
from runtime.scene.known_points import MILLIMETRES
from runtime.storage import SCHEME, S3Options
from serve.batch.job_folder import JobFolder, open_job

LOCAL, RAY, SIMULATED = RUNNERS = ("local", "ray", "simulated")
NEVER, CHANGED, ALWAYS = OVERWRITES = ("never", "changed", "always")


@dataclass(frozen=True)
class BatchJob:
    """One job.

    Args:
        input: folder, file, glob, list of files (.txt), manifest (.jsonl, .csv, .parquet), or
            s3://bucket/prefix.
        output: folder or s3://bucket/prefix.
        artifacts: compiled artifacts, or folders of them.
        formats, colormap: as for ``FileOptions``.
        engine: of ``RUNNERS``.
        workers: engines side by side, each with its share of the processor; 0: two on a GPU, or
            where a measurement says that two of one thread do more, else one.
        threads: for reading, and as many for writing; 0: two a worker or, if there are fewer, two
            a processor.
        shard: (i, n): only the i-th of n parts, 0 first; parts have jobs of their own.
        limit: of inputs, for a trial.
        max_error_rate: share of inputs that may fail before the job gives up.
        overwrite: what is done with results that are there: ``changed`` makes those anew whose
            photo, focal length, artifact or options changed.
        focal_px: of the camera, in pixels of the photo, for photos whose row in a manifest says
            none; None: as EXIF says.
        decode: of ``DECODES``, what JPEGs are decoded at.
        points_per_metre: stored values a metre, of a manifest's points that are a PNG.
        service_ms: of each call of the device that the engine ``simulated`` stands in for.
    Raises:
        InputError: a value that cannot be, or values that do not go together.
    """

    input: str
    output: str
    artifacts: tuple[Path, ...] = (Path("artifacts"),)
    formats: tuple[str, ...] = ("npz",)
    colormap: str = "Spectral_r"
    engine: str = LOCAL
    workers: int = 0
    threads: int = 0
    device: str = "auto"
    shard: tuple[int, int] = (0, 1)
    limit: Optional[int] = None
    max_error_rate: float = 0.05
    overwrite: str = CHANGED
    max_pixels: int = MAX_PIXELS
    focal_px: Optional[float] = None
    s3: S3Options = field(default_factory=S3Options)
    service_ms: Optional[float] = None
    decode: str = FULL
    points_per_metre: float = MILLIMETRES

    def __post_init__(self) -> None:
        FileOptions(self.formats, self.colormap)  # checks them
        self.open()  # checks output and shard
        check_focal_px(self.focal_px)
        for name, value, allowed in (
            ("engine", self.engine, RUNNERS),
            ("overwrite", self.overwrite, OVERWRITES),
            ("decode", self.decode, DECODES),
        ):
            if value not in allowed:
                raise InputError(f"{name}={value!r}: use one of {', '.join(allowed)}")
        if self.decode == REDUCED and self.files.has_points:
            raise InputError("points show the whole photo: decode it in full")
        if self.workers < 0 or self.threads < 0:
            raise InputError(f"workers={self.workers}, threads={self.threads}: give 0 or more")
        if not 0 < self.points_per_metre < math.inf:
            raise InputError(f"points_per_metre={self.points_per_metre}: give a number above 0")
        if self.max_pixels < 1:
            raise InputError(f"max_pixels={self.max_pixels}: give 1 or more")
        if not 0 <= self.max_error_rate <= 1:
            raise InputError(f"max_error_rate={self.max_error_rate}: give a share, 0 to 1")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit={self.limit}: give 1 or more")
        if (self.service_ms is None) == (self.engine == SIMULATED):
            raise InputError(
                f"engine={self.engine}, service_ms={self.service_ms}: the engine simulated needs "
                "the milliseconds of a call, and no other takes them"
            )
        if self.service_ms is not None and not 0 <= self.service_ms < math.inf:
            raise InputError(f"service_ms={self.service_ms}: give milliseconds, 0 or more")

    @property
    def files(self) -> FileOptions:
        """The files that each photo gets."""
        return FileOptions(self.formats, self.colormap)

    def placed(self) -> "BatchJob":
        """The same job from whatever folder it is looked at: no path in it is relative.

        Processes on other machines stand in the folder of whoever began them.
        """
        return replace(
            self,
            input=_absolute(self.input),
            output=_absolute(self.output),
            artifacts=tuple(path.absolute() for path in self.artifacts),
        )

    @property
    def simulated(self) -> bool:
        """True if no graph runs."""
        return self.service_ms is not None

    def open(self) -> JobFolder:
        """Where results go, and what the job knows of itself."""
        return open_job(self.output, self.shard, self.s3)

    def options(self, artifacts: Sequence[Artifact]) -> str:
        """A digest of all that decides what a result holds, beside the photo and its focal length.

        The engine's device, workers and threads are not in it: they change floats by rounding only.
        """
        facts: dict[str, Any] = {
            "artifacts": sorted(artifact.digest for artifact in artifacts),
            "formats": list(self.formats),
            "colormap": self.colormap,
            "max_pixels": self.max_pixels,
        }
        if self.service_ms is not None:
            facts["service_ms"] = self.service_ms
        if self.decode != FULL:
            facts["decode"] = self.decode
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _absolute(place: str) -> str:
    return place if place.startswith(SCHEME) else str(Path(place).absolute())
