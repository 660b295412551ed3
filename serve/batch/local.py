"""One machine: engines side by side in one process, with reading and writing in threads.

Decoding, encoding and every engine leave Python's lock, so processes would add only copies.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from runtime.artifact.folder import Artifact
from runtime.engines import usual_streams
from runtime.predict.pipeline import run_pipeline
from runtime.predict.predictor import Predictor
from runtime.predict.streams import choose_streams
from serve.batch.items import Item
from serve.batch.job import BatchJob
from serve.batch.photos import Photos
from serve.batch.records import Record
from serve.batch.simulated import simulated_predictor

log = logging.getLogger(__name__)


def run_local(
    job: BatchJob, artifacts: Sequence[Artifact], photos: Photos, items: Iterable[Item]
) -> Iterator[Record]:
    """Work on items as they come; a record each, in the order in which they are done."""
    yield from run_on(engines(job, artifacts), job, photos, items)


def engines(
    job: BatchJob, artifacts: Sequence[Artifact], threads: Optional[int] = None
) -> Sequence[Predictor]:
    """One a worker, each with its share of the processor, or with so many threads of it."""
    if job.simulated:
        return [engine(job, artifacts, None)] * max(1, job.workers)
    count = job.workers or usual_streams(artifacts[0].manifest.target, job.device)
    if not job.workers and count == 1:
        return _measured(job, artifacts, threads)
    if threads is None and count > 1:
        threads = max(1, (os.cpu_count() or 1) // count)
    if not job.workers:
        log.info("%d engines: as always on a GPU, where one copies while the other computes", count)
    return [engine(job, artifacts, threads) for _ in range(count)]


def _measured(
    job: BatchJob, artifacts: Sequence[Artifact], threads: Optional[int]
) -> Sequence[Predictor]:
    """One engine, or two of one thread each where that does more."""

    def make(count: Optional[int]) -> Predictor:
        return engine(job, artifacts, count)

    chosen = choose_streams(make(threads), make, job.device, threads)
    log.info("%d engine%s: %s", chosen.count, "s" if chosen.narrow else "", chosen.why)
    return chosen.narrow or [chosen.wide]


def engine(job: BatchJob, artifacts: Sequence[Artifact], threads: Optional[int]) -> Predictor:
    """One with so many threads of the processor; None leaves the choice to it."""
    if job.service_ms is not None:
        return simulated_predictor(artifacts, job.service_ms)
    return Predictor(artifacts, job.device, threads)


def run_on(
    predictors: Sequence[Predictor], job: BatchJob, photos: Photos, items: Iterable[Item]
) -> Iterator[Record]:
    """The same, on engines that are loaded."""
    first = predictors[0]
    for ended in run_pipeline(
        items,
        predictors,
        lambda item: photos.load(item, first),
        lambda item, source, depth, took: photos.write(item, source, first, depth, took),
        job.threads or 2 * min(len(predictors), os.cpu_count() or 1),
    ):
        yield photos.record(ended)
