"""The device's thread: work waits here, is batched by shape, and is dropped when it is too late.

Tasks in, futures out. One thread runs everything, because a device does one thing at a time; a CPU
that does more with two small calls at once has two.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

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
        self._since: dict[int, float] = {}  # time.monotonic() of the runs in progress, by thread

    def start(self, at_once: int = 1) -> None:
        """Begin, with as many runs at once."""
        for _ in range(at_once):
            threading.Thread(target=self._loop, name="device", daemon=True).start()

    @property
    def busy_since(self) -> float:
        """time.monotonic() of the oldest run in progress; 0: none."""
        return min(self._since.copy().values(), default=0.0)

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
            if not group:
                continue
            start, lane = time.monotonic(), group[0].lane
            if lane.watched:
                self._since[threading.get_ident()] = start
            try:
                results = lane.run([task.payload for task in group])
            except Exception as error:
                for task in group:
                    task.future.set_exception(error)
                self._failed(error)
                continue
            finally:
                self._since.pop(threading.get_ident(), None)
            took = (time.monotonic() - start) / len(group)
            for task, result in zip(group, results):
                task.future.set_result(Done(result, start - task.arrived, took, len(group)))

    def _next_group(self) -> list[Task]:
        """The oldest task and those that can go with it; expired ones are answered, not run."""
        with self._changed:
            while not any(self._lanes.values()):
                self._changed.wait()
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
