"""A job from its plan to its last record: begun, continued, stopped, finished.

``_SUCCESS`` is written when every input of the plan has a record, and never before. What a run
says, and the exit status, follow from the records that stand when it ends, whoever made them.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.predict.found import SIMULATED
from runtime.scene.focal import refuse_useless_focal
from runtime.storage import Folder
from runtime.walk import UNREAD, LeftOut, told
from serve.batch.items import Item, place_of
from serve.batch.job import ALWAYS, NEVER, RAY, BatchJob
from serve.batch.job_folder import JOB, SUCCESS, JobFolder
from serve.batch.listing import checked_focal, is_list, list_inputs
from serve.batch.local import run_local
from serve.batch.photos import Photos
from serve.batch.plan import JobPlan, make_plan, provenance_facts, read_items, read_plan, the_plan
from serve.batch.records import DONE, ERROR, Known, Record, RecordIndex, RecordWriter
from serve.batch.totals import MISSING, Totals

MARK = f"{JOB}/SIMULATED"  # in every shard's output, too
ALL_DONE, UNFINISHED, SOME_FAILED = 0, 1, 3

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """Counts of a job's plan, as a run leaves it.

    Args:
        done: results that this run made.
        failed: error records that stand, old and new; ``codes`` counts their kinds.
        kept: results that were there already and hold.
        stopped: a signal ended the run before every input had a record.
        given_up: more than ``max_error_rate`` failed before every input had a record.
        left_out: files that are no inputs, of each kind, as the plan says.
    """

    planned: int
    done: int = 0
    failed: int = 0
    kept: int = 0
    stopped: bool = False
    given_up: bool = False
    codes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """As the function of this name."""
        return exit_status(self.finished, self.failed, self.left_out.get(UNREAD, 0))

    @property
    def finished(self) -> bool:
        """True if every input has a record."""
        return self.left == 0

    @property
    def left(self) -> int:
        """Inputs that have no record, or that the run did not come to."""
        return self.planned - self.done - self.failed - self.kept

    def add_error(self, code: str, max_error_rate: float) -> None:
        """Count an error record that stands; over this share of the inputs, give up."""
        self.failed += 1
        self.codes[code] = self.codes.get(code, 0) + 1
        self.given_up = self.failed > max_error_rate * self.planned


def exit_status(finished: bool, failed: int, unread: int) -> int:
    """What a job's state is as an exit status, whatever this run had to do.

    Returns:
        ``UNFINISHED`` if inputs have no record, ``SOME_FAILED`` if some records are errors or
        folders of the input could not be read.
    """
    if not finished:
        return UNFINISHED
    return SOME_FAILED if failed or unread else ALL_DONE


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
        only_failed: work only on inputs with an error record.
    Raises:
        InputError: no photo there, a focal length that the model does not use, a plan of other
            inputs that is not finished, or an output that would hold simulated results beside real
            ones.
        StorageError: the output cannot be written.
    """
    folder = job.open()
    folder.output.sweep()
    plan = find_plan(job, folder, artifacts, only_failed)
    index, writer = RecordIndex(folder), RecordWriter(folder)
    summary = Summary(plan.count, left_out=plan.left_out)
    photos = Photos(job, job.options(artifacts), folder.output)
    tell_listing(plan)

    def pending() -> Iterator[Item]:
        for item in read_items(folder, plan):
            if stop.is_set():
                return
            found = index.find(item.name)
            if is_pending(job, photos, item, found, plan.made, only_failed):
                if not summary.given_up:  # whoever mended a photo changed its tag
                    yield replace(item, tag="") if only_failed else item
            elif found is not None and found.status == DONE:
                summary.kept += 1
            elif found is not None:
                summary.add_error(found.code, job.max_error_rate)

    try:
        for record in runner_of(job)(job, artifacts, photos, pending()):
            writer.add(record)
            if record.status == DONE:
                summary.done += 1
            else:
                summary.add_error(record.code, job.max_error_rate)
            progress(summary, record)
    finally:
        writer.flush()
        index.close()
        folder.output.sweep()  # what engines that died in other processes left
    # if nothing was left out the job is finished, and says how many failed
    summary.given_up = summary.given_up and not summary.finished
    summary.stopped = stop.is_set() and not summary.finished
    if summary.finished:
        finish(folder, plan)
    return summary


def tell_listing(plan: JobPlan) -> None:
    """What the inputs are not, once for each run."""
    if plan.left_out:
        log.info("%s: %s", plan.input, told(plan.left_out))
    if plan.unused_focal:
        log.warning(
            "%s: focal_px of %d rows does nothing, the depth of %s does not depend on it",
            plan.input,
            plan.unused_focal,
            plan.provenance.get("model", "this model"),
        )


def runner_of(job: BatchJob) -> Callable[..., Iterator[Record]]:
    """The function that runs a job's items."""
    if job.engine != RAY:
        return run_local
    from serve.batch.on_ray import run_on_ray

    return run_on_ray


class FocalRule:
    """What becomes of a row's focal length: checked, and counted if the model does not use it.

    A column of a table may be there for other models, so it is no fault; the job's own option is.

    Raises:
        InputError: the job has one, and neither depth nor points depend on it.
    """

    def __init__(self, job: BatchJob, artifacts: Sequence[Artifact]) -> None:
        manifest = artifacts[0].manifest
        by_depth = manifest.output.metric_focal_px is not None
        self._needed = by_depth or job.files.has_points
        self.unused = 0
        refuse_useless_focal(manifest.model, self._needed, job.focal_px is not None)

    def __call__(self, focal_px: float, where: str) -> Optional[float]:
        """The focal length to use; errors as for ``checked_focal``."""
        checked = checked_focal(focal_px, where)
        self.unused += not self._needed
        return checked if self._needed else None


def keep_apart(job: BatchJob, folder: JobFolder) -> None:
    """Mark the output of a simulated job, so that nothing real ever comes into it.

    Raises:
        InputError: the output is of the other kind.
    """
    output = folder.output
    marked = output.stat(MARK) is not None
    if marked and not job.simulated:
        raise InputError(f"{output.address}: holds simulated results; give a real job another one")
    if job.simulated and not marked:
        if next(output.list(), None) is not None:
            raise InputError(f"{output.address}: is not empty; give a simulated job its own output")
        output.write(MARK, f"{SIMULATED}\n".encode())


def find_plan(
    job: BatchJob, folder: JobFolder, artifacts: Sequence[Artifact], only_failed: bool = False
) -> JobPlan:
    """The plan to work on: an unfinished one is gone on with, else the inputs are listed anew.

    One that was made with another limit, other options or artifacts, or before its list was
    edited, is made anew; what is done is kept all the same, if it would come out the same.

    Raises:
        InputError: another job is unfinished in that output, or there is none to retry; or as for
            ``list_inputs``.
    """
    focal, left_out = FocalRule(job, artifacts), LeftOut()
    keep_apart(job, folder)
    wanted = JobPlan(
        input=place_of(job.input),
        options=job.options(artifacts),
        provenance=provenance_facts(artifacts, job.simulated),
        limit=job.limit,
        input_tag=_input_tag(job),
        service_ms=job.service_ms,
    )
    found = the_plan(folder) if only_failed else read_plan(folder)
    if found is not None and (only_failed or not folder.finished):
        if place_of(found.input) != wanted.input:
            raise InputError(
                f"{folder.output.address}: holds a job on {found.input}, not {wanted.input}; give "
                "it another output"
            )
        if only_failed and found.provenance != wanted.provenance:
            raise InputError(
                f"{folder.output.address}: its results were made with other artifacts; `run` makes "
                "them anew"
            )
        if only_failed:
            folder.delete(SUCCESS)  # until the run has ended
            return found
        if _same(found, wanted):
            return found
    inputs = list_inputs(job, focal, left_out)
    return make_plan(
        folder,
        wanted,
        inputs,
        lambda: {"left_out": left_out.facts(), "unused_focal": focal.unused},
    )


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
    if job.overwrite == ALWAYS and found.finished < since:
        return True
    if job.overwrite == NEVER:
        return False
    return found.key != photos.key(item)


def finish(folder: JobFolder, plan: JobPlan) -> None:
    """Write ``_SUCCESS``, if every input has a record."""
    totals = Totals(folder, plan)
    counts = totals.counts()
    totals.close()
    missing = counts.pop(MISSING)
    if missing:
        raise InputError(f"{missing} of {plan.count} inputs have no record; run the job again")
    facts = {"plan": plan.digest, "inputs": plan.count, **counts, **plan.facts()}
    folder.write(SUCCESS, (json.dumps(facts, indent=2) + "\n").encode())


def as_json(summary: Summary, provenance: dict[str, Any]) -> str:
    """One line: the counts, and what made the results."""
    return json.dumps({**asdict(summary), **provenance})


def _same(found: JobPlan, wanted: JobPlan) -> bool:
    """Whether a plan is what would be made now, but for what has come into a folder since."""
    return (found.options, found.limit, found.input_tag, found.schema_version) == (
        wanted.options,
        wanted.limit,
        wanted.input_tag,
        wanted.schema_version,
    )


def _input_tag(job: BatchJob) -> str:
    if not is_list(job.input):
        return ""
    file = Path(job.input)
    entry = Folder(file.parent).stat(file.name)
    return entry.tag if entry else ""
