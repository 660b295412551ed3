"""Photos through engines, with reading, inference and writing overlapped.

Sources in, one result each out, in the order in which they are done. The slowest of the three sets
the pace; what is in flight is bounded, however many sources there are. A source that cannot be
used becomes an error, never the end of the others; only an engine or a storage that is gone is.
"""

import collections
import logging
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Optional, Protocol, TypeVar

import numpy as np

from runtime.errors import DepthError, StorageGone
from runtime.files import is_gone
from runtime.predict.predictor import Prepared

log = logging.getLogger(__name__)

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


_Maps = list[tuple[np.ndarray, float]]


class Infers(Protocol):
    """What runs one batch: a ``Predictor``, or an eager model with its stages."""

    batch: int

    def infer(self, group: Sequence[Prepared], /) -> _Maps:
        """A float32 map (h, w) and its seconds for each of at most ``batch`` photos."""


_Group = list[tuple[Source, Loaded]]


def run_pipeline(
    sources: Iterable[Source],
    predictors: Sequence[Infers],
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
        StorageGone, or an OSError of a disk that is full or gone: nothing more can be written.
    """
    stopped: list[Exception] = []

    def finish(*found: Any) -> Result:
        if stopped:  # the storage is gone: ask it once
            raise stopped[0]
        try:
            return write(*found)
        except Exception as error:
            if is_gone(error):
                stopped.append(error)
            raise

    with (
        ThreadPoolExecutor(threads, "read") as readers,
        ThreadPoolExecutor(len(predictors), "infer") as engines,
        ThreadPoolExecutor(threads, "write") as writers,
    ):
        flight: _Flight[Source, Result] = _Flight(
            predictors=predictors,
            read=lambda source: readers.submit(load, source),
            infer=lambda run, group: engines.submit(run, group),
            write=lambda *found: writers.submit(finish, *found),
            threads=threads,
        )
        try:
            yield from flight.run(iter(sources))
        finally:
            flight.cancel()


class _Flight(Generic[Source, Result]):
    """What is read, grouped, inferred and written at this moment; all of it is bounded.

    Args:
        read, infer, write: submit one piece of work to its threads.
    """

    def __init__(
        self,
        predictors: Sequence[Infers],
        read: Callable[[Source], "Future[Loaded]"],
        infer: Callable[..., "Future[_Maps]"],
        write: Callable[..., "Future[Result]"],
        threads: int,
    ) -> None:
        self._read, self._infer, self._write = read, infer, write
        self._engines, self._batch = len(predictors), predictors[0].batch
        self._ahead = READ_AHEAD + threads + self._batch * self._engines
        self._behind = WRITE_BEHIND + threads * self._batch
        self._free: queue.Queue[Infers] = queue.Queue()
        for predictor in predictors:
            self._free.put(predictor)
        self._loading: collections.deque[tuple[Source, Future[Loaded]]] = collections.deque()
        self._groups: dict[int, _Group[Source]] = {}  # by bucket, until they are a batch
        self._inferring: collections.deque[tuple[_Group[Source], Future[_Maps]]] = (
            collections.deque()
        )
        self._writing: collections.deque[tuple[Source, Future[Result]]] = collections.deque()

    def run(self, left: Iterator[Source]) -> Iterator[Ended[Source, Result]]:
        """Take sources until there are no more, and give back what became of each."""
        more = True
        while more or self._loading or self._groups or self._inferring:
            more = more and self._read_ahead(left)
            if self._loading:
                source, read = self._loading.popleft()
                try:
                    ready = self._grouped(source, read.result())
                except Exception as error:
                    yield failed(source, error)
                    continue
            else:  # the rest, padded
                ready = self._groups.pop(next(iter(self._groups))) if self._groups else None
            if ready:
                self._inferring.append((ready, self._infer(self._run_engine, ready)))
            yield from self._finished()
        while self._writing:
            yield _ended(*self._writing.popleft())

    def cancel(self) -> None:
        """Begin nothing that has not begun."""
        for _, pending in self._loading:
            pending.cancel()

    def _read_ahead(self, left: Iterator[Source]) -> bool:
        """Have as many sources read as may be; False if there are no more."""
        while len(self._loading) < self._ahead:
            try:
                source = next(left)
            except StopIteration:
                return False
            self._loading.append((source, self._read(source)))
        return True

    def _grouped(self, source: Source, loaded: Loaded) -> "Optional[_Group[Source]]":
        """Put a photo with those for the same graph; the group, if it is a batch now."""
        bucket = loaded.prepared.bucket
        group = self._groups.setdefault(bucket, [])
        group.append((source, loaded))
        return self._groups.pop(bucket) if len(group) == self._batch else None

    def _run_engine(self, group: "_Group[Source]") -> _Maps:
        predictor = self._free.get()
        try:
            return predictor.infer([loaded.prepared for _, loaded in group])
        finally:
            self._free.put(predictor)

    def _finished(self) -> Iterator[Ended[Source, Result]]:
        """Hand over what has been inferred, and give back what has been written.

        One group runs on each engine and one waits for each; what is over that is waited for.
        """
        waiting = 2 * self._engines if self._loading or self._groups else 0
        while len(self._inferring) > waiting or (self._inferring and self._inferring[0][1].done()):
            group, pending = self._inferring.popleft()
            try:
                maps = pending.result()
            except DepthError:  # what an engine says on purpose holds for every photo
                raise
            except Exception as error:
                yield from [failed(source, error) for source, _ in group]
                continue
            for (source, loaded), (depth, seconds) in zip(group, maps):
                self._writing.append((source, self._write(source, loaded, depth, seconds)))
            while len(self._writing) > self._behind or (
                self._writing and self._writing[0][1].done()
            ):
                yield _ended(*self._writing.popleft())


def _ended(source: Source, written: "Future[Result]") -> Ended[Source, Result]:
    try:
        return Ended(source, written.result())
    except Exception as error:
        if is_gone(error):
            raise
        return failed(source, error)


def failed(source: Source, error: Exception) -> Ended[Source, Result]:
    """What becomes of a source that raised this; errors as for ``note``."""
    note(source, error)
    return Ended(source, error=error)


def note(source: object, error: Exception) -> None:
    """Log what nobody foresaw of a source with its way, before the next one is taken.

    Raises:
        StorageGone: it is that, and no fault of the source.
    """
    if isinstance(error, StorageGone):
        raise error
    if not isinstance(error, (DepthError, OSError)):
        log.debug("%s: what went wrong with it", source, exc_info=error)
