"""Where a job writes down what it knows of itself: ``_job/`` of its output.

An output's address in; its objects by their names within the job's folder. A shard is a job with a
folder of its own, ``_job/shard-0-of-8/``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from runtime.errors import InputError
from runtime.storage import Entry, S3Options, Storage, open_storage

JOB = "_job"
SUCCESS = "_SUCCESS"  # there if every input of the plan has a record


@dataclass(frozen=True)
class JobFolder:
    """A job's own folder, below the output that its results go to. Errors as for ``Storage``."""

    output: Storage
    folder: str = JOB

    def address(self, name: str = "") -> str:
        """Where an object is, for people."""
        return f"{self.output.address.rstrip('/')}/{self.folder}/{name}"

    def stat(self, name: str) -> Optional[Entry]:
        """One object; None if there is none."""
        return self.output.stat(f"{self.folder}/{name}")

    def read(self, name: str, limit_bytes: int) -> bytes:
        """An object, whole."""
        return self.output.read(f"{self.folder}/{name}", limit_bytes)

    def write(self, name: str, data: bytes) -> None:
        """Make or replace an object, at once."""
        self.output.write(f"{self.folder}/{name}", data)

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        self.output.delete(f"{self.folder}/{name}")

    def below(self, start: str) -> Iterator[str]:
        """Names of the objects in one of its folders, ``records/``; by name."""
        for entry in self.output.below(f"{self.folder}/{start}"):
            yield entry.name[len(self.folder) + 1 :]

    @property
    def finished(self) -> bool:
        """True if every input of the plan has a record."""
        return self.stat(SUCCESS) is not None


def open_job(output: str, shard: tuple[int, int], s3: S3Options) -> JobFolder:
    """The folder of the job that writes to an output, or of one of its shards.

    Args:
        output: folder or s3://bucket/prefix.
        shard: (i, n), as for ``BatchJob``.
    Raises:
        InputError: no such shard, or no bucket is named.
    """
    index, count = shard
    if not 0 <= index < count:
        raise InputError(f"shard {index}/{count}: give i/n with i from 0 to n - 1")
    folder = JOB if count == 1 else f"{JOB}/shard-{index}-of-{count}"
    return JobFolder(open_storage(output, s3), folder)
