"""What became of each input, in Parquet: written in small parts, so that a kill loses seconds.

A part is complete or not there. A photo whose result was written and whose record was lost is done
again, and its result is the same bytes under the same name.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Optional

from runtime.errors import InputError
from serve.batch.job_folder import JobFolder
from serve.batch.parquet import to_bytes, to_rows
from serve.batch.scratch_rows import ScratchRows

RECORDS = "records/"
DONE, ERROR = "done", "error"
PART_ROWS, PART_SECONDS = 2000, 5.0  # after which a part is written
PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Record:
    """What became of one input."""

    name: str
    address: str
    status: str  # done or error
    key: str  # of photo, focal length, artifacts and options: the same key is the same result
    code: str = ""
    error: str = ""
    sha256: str = ""  # of the photo's bytes
    height: int = 0
    width: int = 0
    outputs: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)  # sha256 of each of the outputs
    output_bytes: int = 0
    seconds_read: float = 0.0
    seconds_infer: float = 0.0
    seconds_write: float = 0.0
    finished: float = field(default_factory=time.time)  # seconds since 1970


RECORD_COLUMNS = {
    one.name: one.type if isinstance(one.type, type) and one.type in (str, int, float) else list
    for one in fields(Record)
}


class RecordWriter:
    """Collects records and writes a part every few seconds, or when it is large enough."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._run = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self._rows: list[dict[str, Any]] = []
        self._part, self._since = 0, time.monotonic()

    def add(self, record: Record) -> None:
        """Take one; it is on disk a few seconds later."""
        self._rows.append(vars(record))
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._since > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write those that are not on disk yet."""
        self._since = time.monotonic()
        if not self._rows:
            return
        name = f"{RECORDS}{self._run}-{self._part:06d}.parquet"
        self.folder.write(name, to_bytes(self._rows, RECORD_COLUMNS))
        self._rows, self._part = [], self._part + 1


def read_records(folder: JobFolder) -> Iterator[Record]:
    """All records, oldest part first; of one name, the last counts.

    Raises:
        InputError: a part is damaged.
        StorageError: a part cannot be read.
    """
    for name in part_names(folder):
        try:
            data = folder.read(name, PART_BYTES)
            for row in to_rows(data, folder.address(name), RECORD_COLUMNS):
                yield Record(**row)
        except InputError as error:
            raise InputError(
                f"{error}; remove it and run the job again: the inputs it tells of are done again, "
                "and come out the same"
            ) from None


def part_names(folder: JobFolder) -> list[str]:
    """Parts of a job, oldest first."""
    return sorted(name for name in folder.below(RECORDS) if name.endswith(".parquet"))


class Known(NamedTuple):
    """What an index keeps of a record."""

    status: str
    key: str
    finished: float
    code: str


class RecordIndex:
    """The last record of each name, on disk: memory does not grow with the job."""

    def __init__(self, folder: JobFolder) -> None:
        self._rows = ScratchRows(
            "records",
            "CREATE TABLE records (name TEXT PRIMARY KEY, status TEXT, key TEXT, "
            "finished REAL, code TEXT) WITHOUT ROWID",
        )
        for record in read_records(folder):
            self.add(record)

    def add(self, record: Record) -> None:
        """Note a new one."""
        row = (record.name, record.status, record.key, record.finished, record.code)
        self._rows.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", row)

    def find(self, name: str) -> Optional[Known]:
        """What became of an input; None if nothing did yet."""
        where = "SELECT status, key, finished, code FROM records WHERE name = ?"
        found: Optional[tuple[str, str, float, str]] = self._rows.execute(where, (name,)).fetchone()
        return Known(*found) if found else None

    def close(self) -> None:
        """Remove it."""
        self._rows.close()
