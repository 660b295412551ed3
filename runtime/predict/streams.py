"""One engine with all of the processor's threads, or two of one thread each: which does more.

Small networks and those in int8 leave a part of a call's threads idle: two calls side by side do
more in a second. That is measured where the engines will run, for about a second. OpenVINO's
results do not depend on the number of threads, to the bit, so nothing else changes.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, Optional, TypeVar

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.predict.pipeline import Infers
from runtime.predict.predictor import Predictor, Prepared

log = logging.getLogger(__name__)

AUTO, ONE = STREAMS = ("auto", "one")
COUNT = 2
MEASURE_S = 0.2  # of each way, at most about
SLOWEST_S = 0.25  # a call that takes longer is not for this: its network fills the processor
LARGEST_BYTES = 64 << 20  # of the artifacts, which are held once more for each stream
GAIN = 1.05  # below this the difference is noise
TARGETS = ("openvino",)  # those whose results are known not to depend on threads

Make = Callable[[Optional[int]], Predictor]
Maps = list[tuple[np.ndarray, float]]
Network = TypeVar("Network", bound=Infers)


class Streams(Generic[Network]):
    """Engines that may run at the same time.

    Args:
        wide: with all threads.
        narrow: of one thread each; none, if one after the other is as good.
        why: what was measured, or why nothing was.
    """

    def __init__(self, wide: Network, narrow: Sequence[Network] = (), why: str = "") -> None:
        self.wide, self.narrow, self.why = wide, tuple(narrow), why
        self._lock, self._running = threading.Lock(), 0
        self._free: queue.SimpleQueue[Network] = queue.SimpleQueue()
        for one in self.narrow:
            self._free.put(one)

    @property
    def count(self) -> int:
        """How many calls may run at once."""
        return max(1, len(self.narrow))

    def infer(self, group: Sequence[Prepared]) -> Maps:
        """As ``Predictor.infer``, ``count`` at once: a call that is alone has all threads."""
        if not self.narrow:
            return self.wide.infer(group)
        with self._engine() as engine:
            return engine.infer(group)

    def facts(self) -> dict[str, Any]:
        """What was chosen and why, as JSON values."""
        return {"at_once": self.count, "why": self.why}

    @contextmanager
    def _engine(self) -> Iterator[Network]:
        with self._lock:
            self._running += 1
            is_alone = self._running == 1
        engine = self.wide if is_alone else self._free.get()
        try:
            yield engine
        finally:
            if not is_alone:
                self._free.put(engine)
            with self._lock:
                self._running -= 1


def choose_streams(
    wide: Predictor, make: Make, device: str, threads: Optional[int], asked: str = AUTO
) -> Streams[Predictor]:
    """Measure and choose.

    Args:
        wide: as ``make`` makes them, of ``threads``.
        make: a predictor of the same artifacts with so many threads.
        threads: that ``wide`` has; None: all.
        asked: of ``STREAMS``; ``one`` measures nothing.
    """
    reason = "asked for one" if asked == ONE else _why_not(wide.artifacts, device, threads)
    if reason:
        return Streams(wide, why=reason)
    if max(wide.warm_up(runs=2)) > SLOWEST_S:
        return Streams(wide, why=f"a call takes over {SLOWEST_S} s")
    narrow = tuple(make(1) for _ in range(COUNT))
    for one in narrow:
        one.warm_up()
    alone, together = _rate([wide], MEASURE_S), _rate(narrow, MEASURE_S)
    why = (
        f"{together:.1f} calls a second on {COUNT} of one thread, {alone:.1f} on one of all threads"
    )
    return Streams(wide, narrow if together > GAIN * alone else (), why)


def _why_not(artifacts: Sequence[Artifact], device: str, threads: Optional[int]) -> str:
    """Why there can be nothing to gain; empty if there may be."""
    cores = min(threads or COUNT, os.cpu_count() or 1)
    size = sum(spec.bytes for artifact in artifacts for spec in artifact.manifest.files)
    manifest = artifacts[0].manifest
    if manifest.target not in TARGETS or device not in ("auto", "cpu"):
        return f"only {', '.join(TARGETS)} on the CPU has several"
    if manifest.input.batch > 1 or len(manifest.stages) > 1:
        return "graphs of a batch, or in stages, run one after the other"
    if cores < COUNT:
        return "there is one thread"
    if size > LARGEST_BYTES:
        return f"the artifacts are over {LARGEST_BYTES >> 20} MiB"
    return ""


def _rate(engines: Sequence[Predictor], seconds: float) -> float:
    """Calls a second of warm engines side by side, each graph run at least twice."""
    start = time.perf_counter()

    def passes(engine: Predictor) -> int:
        done = 0
        while done < 2 or time.perf_counter() - start < seconds:
            engine.warm_up()
            done += 1
        return done

    with ThreadPoolExecutor(len(engines)) as pool:
        done = sum(pool.map(passes, engines))
    return done * len(engines[0].artifacts) / (time.perf_counter() - start)
