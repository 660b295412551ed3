"""What a batch job is told: inputs, output, artifacts and options, checked, frozen."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from exports.colour import COLORMAPS
from exports.files import FORMATS
from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS
from runtime.storage import S3Options, Storage, open_storage

JOB = "_job"
LOCAL, RAY, SIMULATED = ENGINES = ("local", "ray", "simulated")
OVERWRITES = ("never", "changed", "always")


@dataclass(frozen=True)
class BatchJob:
    """One job.

    Args:
        input: folder, file, glob, list of files (.txt), manifest (.jsonl, .csv, .parquet), or
            s3://bucket/prefix.
        output: folder or s3://bucket/prefix.
        artifacts: compiled artifacts, or folders of them.
        workers: engines side by side, each with its share of the processor.
        threads: for reading, and as many for writing; 0: two a worker or, where there are
            fewer, two a processor.
        shard: (i, n): only the i-th of n parts, 0 first; parts have jobs of their own.
        limit: of inputs, for a trial.
        max_error_rate: share of inputs that may fail before the job gives up.
        overwrite: what is done with results that are there: ``changed`` makes those anew whose
            photo, artifact or options changed.
        focal_px: as for ``Predictor``.
        decode: of ``DECODES``, what JPEGs are decoded at.
        service_ms: of each call of the device that the engine ``simulated`` stands in for.
    """

    input: str
    output: str
    artifacts: tuple[Path, ...] = (Path("artifacts"),)
    formats: tuple[str, ...] = ("npz", "png16")
    colormap: str = "Spectral_r"
    engine: str = "local"
    workers: int = 1
    threads: int = 0
    device: str = "auto"
    shard: tuple[int, int] = (0, 1)
    limit: Optional[int] = None
    max_error_rate: float = 0.05
    overwrite: str = "changed"
    max_pixels: int = MAX_PIXELS
    focal_px: Optional[float] = None
    s3: S3Options = field(default_factory=S3Options)
    service_ms: Optional[float] = None
    decode: str = FULL

    def __post_init__(self) -> None:
        if not self.formats or any(name not in FORMATS for name in self.formats):
            raise InputError(f"formats {self.formats}: give some of {', '.join(FORMATS)}")
        for name, value, allowed in (
            ("colormap", self.colormap, COLORMAPS),
            ("engine", self.engine, ENGINES),
            ("overwrite", self.overwrite, OVERWRITES),
            ("decode", self.decode, DECODES),
        ):
            if value not in allowed:
                raise InputError(f"{name}={value!r}: use one of {', '.join(allowed)}")
        index, count = self.shard
        if not 0 <= index < count:
            raise InputError(f"shard {index}/{count}: give i/n with i from 0 to n - 1")
        if self.workers < 1 or self.threads < 0:
            raise InputError(f"workers={self.workers}, threads={self.threads}: give 1 or more")
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
    def folder(self) -> str:
        """Where the job writes down what it knows of itself, below the output."""
        index, count = self.shard
        return JOB if count == 1 else f"{JOB}/shard-{index}-of-{count}"

    def open_output(self) -> Storage:
        """Where results go."""
        return open_storage(self.output, self.s3)

    def options(self, artifacts: Sequence[Artifact]) -> str:
        """A digest of all that decides what a result holds, beside the photo."""
        facts: dict[str, Any] = {
            "artifacts": sorted(artifact.digest for artifact in artifacts),
            "formats": list(self.formats),
            "colormap": self.colormap,
            "max_pixels": self.max_pixels,
            "focal_px": self.focal_px,
        }
        if self.service_ms is not None:
            facts["service_ms"] = self.service_ms
        if self.decode != FULL:
            facts["decode"] = self.decode
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
