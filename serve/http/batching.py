"""The device's threads: work waits here, is batched by shape, and is dropped when it is too late.

Tasks in, futures out. One thread runs them, because a device does one thing at a time, or two where
two calls at once do more. Long work has a thread of its own, and between two of its steps gives the
device to what waits.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

from runtime.errors import DeviceError
from serve.http.problems import Problem

log = logging.getLogger(__name__)

Runner = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Lane:
    """Work that can share a batch: how it is run, and how much of it at once."""

    key: Hashable
    run: Runner
    batch: int = 1
    watched: bool = True  # False: nobody knows how long it takes, so that it never hangs


@dataclass
class Task:
    """One piece of work; ``future`` gets its result and the seconds it waited and took."""

    lane: Lane
    payload: Any
    deadline: float  # time.monotonic()
    gone: Callable[[], bool]  # whether nobody waits for it any more
    arrived: float = field(default_factory=time.monotonic)
    future: "Future[Done]" = field(default_factory=Future)


@dataclass(frozen=True)
class Done:
    """A result with its times, in seconds."""

    result: Any
    queued_s: float
    took_s: float
    batched: int


class Batcher:
    """Runs tasks one batch at a time, oldest first.

    Args:
        window_s: how long a batch that is not full waits for more.
        failed: called once with the exception of a run that failed; the tasks have it already.
    """

    def __init__(self, window_s: float, failed: Callable[[BaseException], None]) -> None:
        self.window_s, self._failed = window_s, failed
        self._lanes: dict[Hashable, deque[Task]] = {}
        self._changed = threading.Condition()
        self._long = threading.Lock()  # long work has it
        self._runs = 0  # groups that have the device
        self._held = True  # the device, by long work; before the beginning
        self._claim: Optional[Sequence[Future[Done]]] = None  # what long work lets go first
        self._busy: dict[int, float] = {}  # thread -> time.monotonic() of its run in progress

    def start(self, at_once: int = 1) -> None:
        """Begin, with so many groups at once."""
        self._give()
        for _ in range(at_once):
            threading.Thread(target=self._loop, name="device", daemon=True).start()

    @property
    def busy_since(self) -> float:
        """time.monotonic() of the oldest run in progress that is watched; 0: none."""
        return min(self._busy.copy().values(), default=0.0)

    @contextmanager
    def long_work(self) -> Iterator[Callable[[], None]]:
        """Have the device in this thread, for work of many steps.

        Gives what the work calls between two steps: whatever waits then is run first, and the work
        goes on before what comes later, so that neither keeps the other from its end. ``failed``
        hears of a ``DeviceError`` that the work ends with, of no other. One such work at a time.
        """
        over = threading.Event()
        with self._long:
            self._take()
            try:
                yield lambda: None if over.is_set() else self._give_way()
            except DeviceError as error:
                self._failed(error)
                raise
            finally:
                over.set()
                self._give()

    def _give_way(self) -> None:
        with self._changed:
            due = [task.future for lane in self._lanes.values() for task in lane]
        if due:
            self._give()
            self._take(due)

    def _take(self, before: Sequence["Future[Done]"] = ()) -> None:
        """Have the device once it is free and these are done."""
        with self._changed:
            self._claim = before
            for future in before:
                future.add_done_callback(self._look)  # also of one that nobody waits for any more
            while self._held or self._runs or not self._is_claimed():
                self._changed.wait()
            self._claim, self._held = None, True

    def _look(self, _: "Future[Done]") -> None:
        with self._changed:
            self._changed.notify_all()

    def _is_claimed(self) -> bool:
        """Whether it is long work's turn."""
        return self._claim is not None and all(future.done() for future in self._claim)

    def _give(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def submit(self, task: Task) -> "Future[Done]":
        """Put a task in line."""
        with self._changed:
            self._lanes.setdefault(task.lane.key, deque()).append(task)
            self._changed.notify_all()
        return task.future

    @property
    def waiting(self) -> int:
        """Tasks that have not begun."""
        with self._changed:
            return sum(map(len, self._lanes.values()))

    def _loop(self) -> None:
        while True:
            group = self._next_group()
            try:
                if group:
                    self._run(group)
            finally:
                with self._changed:
                    self._runs -= 1
                    self._changed.notify_all()

    def _run(self, group: list[Task]) -> None:
        start, lane = time.monotonic(), group[0].lane
        if lane.watched:
            self._busy[threading.get_ident()] = start
        try:
            results = lane.run([task.payload for task in group])
        except Exception as error:
            for task in group:
                task.future.set_exception(error)
            self._failed(error)
            return
        finally:
            self._busy.pop(threading.get_ident(), None)
        took = (time.monotonic() - start) / len(group)
        for task, result in zip(group, results):
            task.future.set_result(Done(result, start - task.arrived, took, len(group)))

    def _next_group(self) -> list[Task]:
        """The oldest task and those that can go with it, and the device for them.

        Expired ones are answered, not run.
        """
        with self._changed:
            while self._held or self._is_claimed() or not any(self._lanes.values()):
                self._changed.wait()
            self._runs += 1
            lane = min((tasks for tasks in self._lanes.values() if tasks), key=_age)
            batch = lane[0].lane.batch
            closes = lane[0].arrived + self.window_s
            while len(lane) < batch and (left := closes - time.monotonic()) > 0:
                self._changed.wait(left)
            group: list[Task] = []
            while lane and len(group) < batch:
                task = lane.popleft()
                if not task.future.set_running_or_notify_cancel():
                    continue  # its request has been answered: too late
                if task.gone():
                    task.future.set_exception(Problem("body_incomplete", "the client has gone"))
                elif time.monotonic() >= task.deadline:
                    task.future.set_exception(
                        Problem("deadline_passed", "it was not begun; ask for more time, or later")
                    )
                else:
                    group.append(task)
            return group


def _age(tasks: "deque[Task]") -> float:
    return tasks[0].arrived
