"""A job from its plan to its last record: begun, continued, stopped, finished.

``_SUCCESS`` is written when every input of the plan has a record, and never before.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Optional

from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.predict.found import SIMULATED
from runtime.storage import Storage
from serve.batch.job import JOB, RAY, BatchJob
from serve.batch.listing import Item, list_inputs
from serve.batch.local import run_local
from serve.batch.photos import Photos, tag_of
from serve.batch.plan import Plan, make_plan, read_items, read_plan
from serve.batch.records import DONE, ERROR, Known, Record, RecordIndex, RecordWriter
from serve.batch.totals import MISSING, Totals

SUCCESS = "_SUCCESS"
MARK = f"{JOB}/SIMULATED"  # in every shard's output, too


@dataclass
class Summary:
    """Counts of a run."""

    planned: int
    done: int = 0
    failed: int = 0
    kept: int = 0  # results that were there already
    stopped: bool = False
    given_up: bool = False
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """True if every input has a record."""
        return not self.stopped and not self.given_up


def run_job(
    job: BatchJob,
    artifacts: Sequence[Artifact],
    stop: threading.Event,
    progress: Callable[[Summary, Record], None],
    only_failed: bool = False,
) -> Summary:
    """Run a job, or go on with it.

    Args:
        stop: set to end soon: what is in flight is finished and recorded.
        progress: called with every record.
        only_failed: work on inputs with an error record alone.
    Raises:
        InputError: no photo there, a plan of other inputs that is not finished, or an output that
            would hold simulated results beside real ones.
        StorageError: the output cannot be written.
    """
    output, folder = job.open_output(), job.folder
    output.sweep()
    options = job.options(artifacts)
    keep_apart(job, output)
    plan = find_plan(job, output, options, only_failed)
    index = RecordIndex(output, folder)
    writer = RecordWriter(output, folder)
    summary = Summary(plan.count)
    photos = Photos(job, options, output)

    def pending() -> Iterator[Item]:
        for item in read_items(output, folder, plan):
            if stop.is_set() or summary.given_up:
                return
            if is_pending(job, photos, item, index.find(item.name), plan.made, only_failed):
                yield item
            else:
                summary.kept += 1

    try:
        for record in engine_of(job)(job, artifacts, photos, pending()):
            writer.add(record)
            if record.status == DONE:
                summary.done += 1
            else:
                summary.failed += 1
                summary.codes[record.code] = summary.codes.get(record.code, 0) + 1
                if summary.failed > job.max_error_rate * plan.count:
                    summary.given_up = True
            progress(summary, record)
    finally:
        writer.flush()
        index.close()
        output.sweep()  # what engines that died in other processes left
    summary.stopped = stop.is_set() and not _all_done(summary)
    # more failed than may, but nothing was left out: the job is finished, and says how many
    summary.given_up = summary.given_up and not _all_done(summary)
    if summary.finished:
        finish(output, folder, plan)
    return summary


def engine_of(job: BatchJob) -> Callable[..., Iterator[Record]]:
    """The function that runs a job's items."""
    if job.engine != RAY:
        return run_local
    from serve.batch.on_ray import run_on_ray

    return run_on_ray


def keep_apart(job: BatchJob, output: Storage) -> None:
    """Mark the output of a simulated job, so that nothing real ever comes into it.

    Raises:
        InputError: the output is of the other kind.
    """
    simulated, marked = job.service_ms is not None, output.stat(MARK) is not None
    if marked and not simulated:
        raise InputError(f"{output.address}: holds simulated results; give a real job another one")
    if simulated and not marked:
        if next(output.list(), None) is not None:
            raise InputError(f"{output.address}: is not empty; give a simulated job its own output")
        output.write(MARK, f"{SIMULATED}\n".encode())


def find_plan(job: BatchJob, output: Storage, options: str, only_failed: bool) -> Plan:
    """The plan to work on: an unfinished one is gone on with, else the inputs are listed anew.

    Raises:
        InputError: another job is unfinished in that output, or there is none to retry.
    """
    found = read_plan(output, job.folder)
    unfinished = found is not None and output.stat(f"{job.folder}/{SUCCESS}") is None
    if found is not None and (unfinished or only_failed):
        if found.input != job.input:
            raise InputError(
                f"{output.address}: holds a job on {found.input}, not {job.input}; give it another "
                "output"
            )
        if found.options == options or only_failed:
            return found
    if only_failed:
        raise InputError(f"{output.address}: no job there; begin it with `run`")
    output.delete(f"{job.folder}/{SUCCESS}")
    return make_plan(output, job.folder, job.input, options, list_inputs(job), job.service_ms)


def is_pending(
    job: BatchJob,
    photos: Photos,
    item: Item,
    found: Optional[Known],
    since: float,
    only_failed: bool = False,
) -> bool:
    """Whether an input is to be worked on, given its last record and when the job began."""
    if found is None:
        return not only_failed
    if only_failed:
        return found.status == ERROR
    if job.overwrite == "always" and found.finished < since:
        return True
    if job.overwrite == "never":
        return False
    return found.key != photos.key(item.tag or tag_of(item, job.s3))


def finish(output: Storage, folder: str, plan: Plan) -> None:
    """Write ``_SUCCESS``, if every input has a record."""
    totals = Totals(output, folder, plan)
    counts = totals.counts()
    totals.close()
    missing = counts.pop(MISSING)
    if missing:
        raise InputError(f"{missing} of {plan.count} inputs have no record; run the job again")
    facts = {"plan": plan.digest, "inputs": plan.count, **counts, **plan.label()}
    text = json.dumps(facts, indent=2)
    output.write(f"{folder}/{SUCCESS}", (text + "\n").encode())


def as_json(summary: Summary) -> str:
    """One line."""
    return json.dumps(asdict(summary))


def _all_done(summary: Summary) -> bool:
    return summary.done + summary.failed + summary.kept == summary.planned
