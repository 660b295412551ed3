"""What became of each input, in Parquet: written in small parts, so that a kill loses seconds.

A part is complete or not there. A photo whose result was written and whose record was lost is done
again, and its result is the same bytes under the same name.
"""

import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Optional

from runtime.storage import Storage
from serve.batch.parquet import to_bytes, to_rows

DONE, ERROR = "done", "error"
ROWS, SECONDS = 2000, 5.0  # after which a part is written
PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Record:
    """What became of one input."""

    name: str
    address: str
    status: str  # done or error
    key: str  # of photo, artifact and options: the same key is the same result
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


COLUMNS = {
    one.name: one.type if isinstance(one.type, type) and one.type in (str, int, float) else list
    for one in fields(Record)
}


class RecordWriter:
    """Collects records and writes a part every few seconds, or when it is large enough."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.storage, self.folder = storage, f"{folder}/records"
        self._run = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self._rows: list[dict[str, Any]] = []
        self._part, self._since = 0, time.monotonic()

    def add(self, record: Record) -> None:
        """Take one; it is on disk a few seconds later."""
        self._rows.append(vars(record))
        if len(self._rows) >= ROWS or time.monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        self._since = time.monotonic()
        if not self._rows:
            return
        name = f"{self.folder}/{self._run}-{self._part:06d}.parquet"
        self.storage.write(name, to_bytes(self._rows, COLUMNS))
        self._rows, self._part = [], self._part + 1


def read_records(storage: Storage, folder: str) -> Iterator[Record]:
    """All records, oldest part first; of one name, the last counts."""
    for name in part_names(storage, folder):
        data = storage.read(name, PART_BYTES)
        for row in to_rows(data):
            yield Record(**row)


def part_names(storage: Storage, folder: str) -> list[str]:
    """Parts of a job, oldest first."""
    start = f"{folder}/records/"
    return sorted(one.name for one in storage.below(start) if one.name.endswith(".parquet"))


class Known(NamedTuple):
    """What an index keeps of a record."""

    status: str
    key: str
    finished: float


class RecordIndex:
    """The last record of each name, on disk: memory does not grow with the job."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="depth-records-")  # noqa: SIM115
        self._rows = sqlite3.connect(self._file.name)
        self._rows.execute("PRAGMA journal_mode=OFF")
        self._rows.execute("PRAGMA synchronous=OFF")
        self._rows.execute(
            "CREATE TABLE records (name TEXT PRIMARY KEY, status TEXT, key TEXT, "
            "finished REAL) WITHOUT ROWID"
        )
        for record in read_records(storage, folder):
            self.add(record)

    def add(self, record: Record) -> None:
        """Note a new one."""
        row = (record.name, record.status, record.key, record.finished)
        self._rows.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", row)

    def find(self, name: str) -> Optional[Known]:
        """What became of an input; None if nothing did yet."""
        where = "SELECT status, key, finished FROM records WHERE name = ?"
        found: Optional[tuple[str, str, float]] = self._rows.execute(where, (name,)).fetchone()
        return Known(*found) if found else None

    def close(self) -> None:
        """Remove it."""
        self._rows.close()
        self._file.close()
