"""Photos through engines, with reading, inference and writing overlapped.

Sources in, one result each out, in the order in which they are done. The slowest of the three sets
the pace; what is in flight is bounded, however many sources there are. A source that cannot be
used becomes an error, never the end of the others.
"""

import collections
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Optional, TypeVar

import numpy as np

from runtime.errors import InputError, StorageError
from runtime.predict.predictor import Predictor, Prepared

Source = TypeVar("Source")
Result = TypeVar("Result")

READ_AHEAD = 2  # photos, beside a batch for each engine
WRITE_BEHIND = 2


@dataclass(frozen=True)
class Loaded:
    """A decoded photo, perhaps decoded smaller than it is, ready for an engine."""

    rgb: np.ndarray
    prepared: Prepared
    seconds: dict[str, float]


@dataclass(frozen=True)
class Ended(Generic[Source, Result]):
    """What became of one source: a result, or the error that stopped it."""

    source: Source
    result: Optional[Result] = None
    error: Optional[Exception] = None


def run_pipeline(
    sources: Iterable[Source],
    predictors: Sequence[Predictor],
    load: Callable[[Source], Loaded],
    write: Callable[[Source, Loaded, np.ndarray, float], Result],
    threads: int = 1,
) -> Iterator[Ended[Source, Result]]:
    """Process sources, lazily taken, one engine a predictor.

    Args:
        predictors: equal ones; each runs in one thread at a time.
        load: reads and prepares a source; runs in any thread.
        write: finishes one: gets the map and the seconds it took; runs in any thread.
        threads: for reading, and as many for writing.
    Raises:
        ArtifactError, DeviceError: an engine failed; what was inferred before is still written.
    """
    batch = predictors[0].batch
    free: queue.Queue[Predictor] = queue.Queue()
    for predictor in predictors:
        free.put(predictor)
    ahead = READ_AHEAD + threads + batch * len(predictors)
    left = iter(sources)
    loading: collections.deque[tuple[Source, Future[Loaded]]] = collections.deque()
    inferring: collections.deque[tuple[_Group[Source], Future[_Maps]]] = collections.deque()
    writing: collections.deque[tuple[Source, Future[Result]]] = collections.deque()
    groups: dict[int, _Group[Source]] = {}

    def infer(group: "_Group[Source]") -> "_Maps":
        predictor = free.get()
        try:
            return predictor.infer([loaded.prepared for _, loaded in group])
        finally:
            free.put(predictor)

    def write_next() -> None:
        group, pending = inferring.popleft()
        for (source, loaded), (depth, seconds) in zip(group, pending.result()):
            writing.append((source, writers.submit(write, source, loaded, depth, seconds)))

    with (
        ThreadPoolExecutor(threads, "read") as readers,
        ThreadPoolExecutor(len(predictors), "infer") as engines,
        ThreadPoolExecutor(threads, "write") as writers,
    ):
        more = True
        try:
            while more or loading or groups or inferring:
                while more and len(loading) < ahead:
                    try:
                        source = next(left)
                    except StopIteration:
                        more = False
                        break
                    loading.append((source, readers.submit(load, source)))
                ready: Optional[_Group[Source]] = None
                if loading:
                    source, read = loading.popleft()
                    try:
                        loaded = read.result()
                    except (InputError, StorageError, OSError) as error:
                        yield Ended(source, error=error)
                        continue
                    group = groups.setdefault(loaded.prepared.bucket, [])
                    group.append((source, loaded))
                    if len(group) == batch:
                        ready = groups.pop(loaded.prepared.bucket)
                elif groups:
                    ready = groups.pop(next(iter(groups)))  # the rest, padded
                if ready:
                    inferring.append((ready, engines.submit(infer, ready)))
                # one group runs on each engine and one waits for each
                while len(inferring) > (2 * len(predictors) if loading or groups else 0) or (
                    inferring and inferring[0][1].done()
                ):
                    write_next()
                    while len(writing) > WRITE_BEHIND + threads * batch or (
                        writing and writing[0][1].done()
                    ):
                        yield _ended(*writing.popleft())
            while writing:
                yield _ended(*writing.popleft())
        finally:
            for _, pending_read in loading:
                pending_read.cancel()


_Maps = list[tuple[np.ndarray, float]]
_Group = list[tuple[Source, Loaded]]


def _ended(source: Source, written: "Future[Result]") -> Ended[Source, Result]:
    try:
        return Ended(source, written.result())
    except (OSError, InputError, StorageError) as error:
        return Ended(source, error=error)
