"""A job's records added up, on disk: memory does not grow with the job.

A plan and its records in; counts, rates, times and examples out. Of one name the last record
counts, and a name that is not in the plan does not.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from serve.batch.job_folder import JobFolder
from serve.batch.plan import JobPlan, read_items
from serve.batch.records import DONE, ERROR, Record, read_records
from serve.batch.scratch_rows import ScratchRows

MISSING = "missing"
STAGES = ("read", "infer", "write")
BUCKETS = 60
PER_DECADE = 10  # bins of a histogram of times
PAUSE_S = 300.0  # without a record: the job was not running


@dataclass(frozen=True)
class Rates:
    """Photos a second, done and failed, in equal parts of the time worked, pauses left out."""

    seconds: float
    pauses: int
    done: list[float]
    failed: list[float]


@dataclass(frozen=True)
class Times:
    """How long a stage took. ``bins``: 10 * log10 of seconds, rounded down -> photos."""

    bins: dict[int, int]
    median_s: float
    p95_s: float
    largest_s: float


class Totals:
    """The inputs of a plan and the last record of each."""

    def __init__(self, folder: JobFolder, plan: JobPlan) -> None:
        self._rows = ScratchRows(
            "totals",
            "CREATE TABLE photos (name TEXT PRIMARY KEY, status TEXT, code TEXT, read REAL, "
            "infer REAL, write REAL, finished REAL, bytes INTEGER, record TEXT) WITHOUT ROWID",
        )
        self._rows.rows.create_function("rank", 1, _rank, deterministic=True)
        names = ((item.name, MISSING) for item in read_items(folder, plan))
        self._rows.executemany("INSERT OR IGNORE INTO photos (name, status) VALUES (?, ?)", names)
        self._rows.executemany(
            "UPDATE photos SET status = ?, code = ?, read = ?, infer = ?, write = ?, "
            "finished = ?, bytes = ?, record = ? WHERE name = ?",
            (_row(record) for record in read_records(folder)),
        )

    def counts(self) -> dict[str, int]:
        """Inputs done, failed (``error``) and missing."""
        found = dict(self._rows.execute("SELECT status, count(*) FROM photos GROUP BY status"))
        return {status: found.get(status, 0) for status in (DONE, ERROR, MISSING)}

    def output_bytes(self) -> int:
        """Size of all results."""
        return int(self._rows.execute("SELECT ifnull(sum(bytes), 0) FROM photos").fetchone()[0])

    def rates(self) -> Rates:
        """Photos a second over the time worked; no parts if nothing is done."""
        seconds, pauses, count = 0.0, 0, 0
        for at, passed, _ in self._worked():
            count, seconds, pauses = count + 1, at, passed
        parts = min(BUCKETS, count // 4 + 1) if seconds else 0
        found = {DONE: [0.0] * parts, ERROR: [0.0] * parts}
        for at, _, status in self._worked() if parts else ():
            found[status][min(parts - 1, int(at / seconds * parts))] += parts / seconds
        return Rates(seconds, pauses, found[DONE], found[ERROR])

    def _worked(self) -> Iterator[tuple[float, int, str]]:
        """Seconds worked and pauses until each record, and its status."""
        at, pauses, before = 0.0, 0, -math.inf
        for finished, own, status in self._rows.execute(
            "SELECT finished, read + infer + write, status FROM photos "
            "WHERE status != ? ORDER BY finished",
            (MISSING,),
        ):
            paused = finished - before > PAUSE_S
            at += own if paused else finished - before
            pauses += paused and before > -math.inf
            before = finished
            yield at, pauses, status

    def times(self, stage: str) -> Times:
        """How long one of ``STAGES`` took, photos done."""
        assert stage in STAGES
        count = self.counts()[DONE]
        bins: dict[int, int] = {}
        ranks = [max(0, math.ceil(share * count) - 1) for share in (0.5, 0.95, 1.0)]
        at = dict.fromkeys(ranks, 0.0)
        query = f"SELECT {stage} FROM photos WHERE status = ? ORDER BY {stage}"
        for number, (seconds,) in enumerate(self._rows.execute(query, (DONE,))):
            if number in at:
                at[number] = seconds
            place = math.floor(PER_DECADE * math.log10(max(seconds, 1e-4)))
            bins[place] = bins.get(place, 0) + 1
        return Times(bins, *(at[rank] for rank in ranks))

    def errors(self) -> list[tuple[str, int]]:
        """Each code and how often, the most frequent first."""
        query = "SELECT code, count(*) FROM photos WHERE status = ? GROUP BY code ORDER BY 2 DESC"
        return list(self._rows.execute(query, (ERROR,)))

    def examples(self, code: str, limit: int) -> list[Record]:
        """The first failures with a code, by name."""
        return self._records("status = ? AND code = ? ORDER BY name LIMIT ?", ERROR, code, limit)

    def sample(self, limit: int) -> list[Record]:
        """Some that are done: of the same names always the same."""
        return self._records("status = ? ORDER BY rank(name) LIMIT ?", DONE, limit)

    def photos(self) -> Iterator[tuple[str, Optional[Record]]]:
        """Every input by name, and its record if it has one."""
        for name, text in self._rows.execute("SELECT name, record FROM photos ORDER BY name"):
            yield name, None if text is None else Record(**json.loads(text))

    def _records(self, where: str, *values: object) -> list[Record]:
        query = f"SELECT record FROM photos WHERE {where}"
        return [Record(**json.loads(text)) for (text,) in self._rows.execute(query, values)]

    def close(self) -> None:
        """Remove it."""
        self._rows.close()


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.status,
        record.code,
        record.seconds_read,
        record.seconds_infer,
        record.seconds_write,
        record.finished,
        record.output_bytes,
        json.dumps(vars(record)),
        record.name,
    )


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
