"""Tasks in line: bounded by estimated seconds, one at a time, between the service's requests.

Requests in; tasks that anybody may ask about, wait for and cancel, out. What is true of a task is
on the disk before anybody is told. A task has the service's device while its network runs, and
between two steps gives way to requests for depth.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Optional

from apps.scene_models import SceneModel
from apps.web import task_metrics
from apps.web.places import Places
from apps.web.task_work import Work, do_work
from apps.web.tasks import (
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    PENDING,
    RUNNING,
    Spool,
    Task,
)
from runtime.command_line import sentence
from runtime.errors import DeviceError, InputError
from serve.http.admission import Admission
from serve.http.batching import Batcher
from serve.http.costs import Costs
from serve.http.problems import Problem

MOST_ENDED = 1000  # that are remembered
OLD_S = 600.0  # after which ``cleanup`` forgets what has ended: upstream's ten minutes
SWEEP_S = 60.0
MOST_WAITING = 1000
COST = "task"  # of a view of the usual size

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Ends the work of a task whose client does not want it any more."""


class TaskQueue:
    """The tasks of one process.

    Args:
        spool: where they are written down.
        places: where their files may be.
        limit_s: estimated seconds of all that waits and runs.
        keep_s: how long what has ended is remembered.
        batcher: who has the device.
        prepare: a task to its work, checked anew: photos may have gone meanwhile.
    """

    def __init__(
        self,
        spool: Spool,
        places: Places,
        limit_s: float,
        keep_s: float,
        batcher: Batcher,
        prepare: Callable[[Task], tuple[SceneModel, Work]],
    ) -> None:
        self.spool, self.places, self.costs = spool, places, Costs()
        self.last_used: Optional[float] = None
        self._keep_s, self._batcher, self._prepare = keep_s, batcher, prepare
        self._admission = Admission(limit_s, MOST_WAITING)
        self._changed, self._turn = threading.Condition(), threading.Lock()
        self._started = False
        self._tasks: dict[str, Task] = {}
        self._line: list[str] = []  # those that wait, in turn
        self._held: dict[str, contextlib.ExitStack] = {}
        self._unwanted: set[str] = set()  # running ones that are to end
        task_metrics.begin()
        for task in spool.load():
            self._tasks[task.task_id] = task
            if task.task_id in spool.died:
                task_metrics.ended(task)
            if task.status == PENDING:
                self._line.append(task.task_id)
                self._hold(task, bound=False)
        self._count()

    def start(self) -> None:
        """Begin to work, if it has not begun."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._loop, name="tasks", daemon=True).start()

    def pause(self) -> None:
        """Begin no task before ``go_on``, which any thread may call.

        Raises:
            Problem: ``overloaded``: one runs, or somebody else has paused.
        """
        if not self._turn.acquire(blocking=False):
            raise Problem(
                "overloaded",
                "a task runs, or the model is being loaded; try again later",
                retry_after_s=5,
            )

    def go_on(self) -> None:
        """End a pause."""
        self._turn.release()

    def estimate_s(self, work: Work) -> float:
        """Seconds that some work will take."""
        return self.costs[COST] * work.effort

    def add(self, task: Task) -> Task:
        """Put a task in line.

        Raises:
            Problem: ``overloaded``; it is not in line then.
            StorageError: it cannot be written down.
        """
        with self._changed:
            self._hold(task)
            try:
                self.spool.save(task)
            except BaseException:
                self._release(task.task_id)
                raise
            self._tasks[task.task_id] = task
            self._line.append(task.task_id)
            task_metrics.submitted()
            self._count()
            self._changed.notify_all()
        self._sweep()
        return task

    def find(self, task_id: str) -> Task:
        """A task.

        Raises:
            Problem: there is none of that name.
        """
        with self._changed:
            return self._find(task_id)

    def wait(self, task_id: str, seconds: float) -> Task:
        """A task once it has ended, or as it is after so many seconds."""
        end = time.monotonic() + seconds
        with self._changed:
            while not self._find(task_id).ended and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._find(task_id)

    def all(self) -> list[Task]:
        """All of them, oldest first."""
        with self._changed:
            return sorted(self._tasks.values(), key=lambda task: task.created_at)

    def place(self, task: Task) -> Optional[int]:
        """How many go before a task that waits."""
        with self._changed:
            return self._line.index(task.task_id) if task.task_id in self._line else None

    def cancel(self, task_id: str) -> Task:
        """End a task that waits or runs; a running one ends at its next step."""
        with self._changed:
            task = self._find(task_id)
            if task.status == PENDING:
                self._line.remove(task_id)
                self._end(task.now(CANCELLED, "cancelled while it waited"))
            elif task.status == RUNNING:
                self._unwanted.add(task_id)
                self._tasks[task_id] = replace(task, message="is being cancelled")
            return self._tasks[task_id]

    def forget(self, task_id: str) -> None:
        """Remove a task that has ended, with what is its own in the spool."""
        with self._changed:
            self._find(task_id)
            del self._tasks[task_id]
        self.spool.forget(task_id)

    def clean_up(self, older_s: float = OLD_S) -> int:
        """Forget tasks that ended so long ago; returns how many."""
        then = time.time() - older_s
        old = [task for task in self.all() if task.ended and (task.completed_at or 0) <= then]
        for task in old:
            with contextlib.suppress(Problem):  # somebody else has forgotten it
                self.forget(task.task_id)
        return len(old)

    def folder_of(self, task: Task) -> Path:
        """Where the files of a task are, or will be."""
        if task.export_dir is not None:
            return self.places.find(task.export_dir, "export_dir")
        return self.spool.results(task.task_id)

    def _find(self, task_id: str) -> Task:
        task = self._tasks.get(task_id)
        if task is None:
            raise Problem("not_found", "there is no task of that number, or it is forgotten")
        return task

    def _hold(self, task: Task, bound: bool = True) -> None:
        """Count what a task will take; ``bound`` False: whatever there is already."""
        stack = contextlib.ExitStack()
        held = self._admission.accepted(task.estimated_s, math.inf, bound)
        stack.enter_context(held)
        self._held[task.task_id] = stack

    def _count(self) -> None:
        """Say what there is to do. Called with the lock."""
        running = sum(task.status == RUNNING for task in self._tasks.values())
        task_metrics.active(len(self._line), running, self._admission.cost_s)

    def _release(self, task_id: str) -> None:
        held = self._held.pop(task_id, None)
        if held is not None:
            held.close()

    def _end(self, task: Task) -> None:
        """Write down what became of a task, then say it. Called with the lock."""
        self._release(task.task_id)
        try:
            self.spool.save(task)
        except Exception as error:  # it has ended all the same
            log.error("task %s: cannot be written down (%s)", task.task_id, error)
        self._tasks[task.task_id] = task
        self._unwanted.discard(task.task_id)
        task_metrics.ended(task)
        self._count()
        self._changed.notify_all()
        log.info("task", extra={"task": task.task_id, "status": task.status})

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._line:
                    self._changed.wait(SWEEP_S)
                task = self._tasks[self._line.pop(0)].now(RUNNING, "begins", progress=0.0)
                self._tasks[task.task_id] = task
                self._count()
            try:
                self.spool.save(task)
                with self._turn:
                    ended = self._run(task)
            except Exception as error:
                log.error("task %s failed", task.task_id, exc_info=True)
                ended = self._latest(task).now(FAILED, sentence(error))
            with self._changed:
                self._end(ended)

    def _run(self, task: Task) -> Task:
        """Do a task; returns what became of it."""
        begun = time.monotonic()

        def told(progress: float, message: str) -> None:
            with self._changed:
                if task.task_id in self._unwanted:
                    raise Cancelled
                known = self._tasks[task.task_id]
                self._tasks[task.task_id] = replace(known, progress=progress, message=message)

        try:
            model, work = self._prepare(task)
            told(0.0, "begins")
            folder, device = self.folder_of(task), self._batcher.long_work
            files = do_work(model, work, folder, told, device)
        except Cancelled:
            return self._latest(task).now(CANCELLED, "cancelled while it ran; nothing was written")
        except DeviceError:
            raise  # the worker is replaced
        except Exception as error:
            expected = isinstance(error, (InputError, OSError, Problem))
            log.log(logging.INFO if expected else logging.ERROR, "task %s: %s", task.task_id, error)
            said = error.detail if isinstance(error, Problem) else sentence(error)
            return self._latest(task).now(FAILED, said)
        took = time.monotonic() - begun
        self.costs.learn(COST, took / max(work.effort, 1e-6))
        self.last_used = time.time()
        done = f"done in {took:.1f} s: {len(files)} files"
        return self._latest(task).now(COMPLETED, done, progress=1.0, files=files)

    def _latest(self, task: Task) -> Task:
        with self._changed:
            return self._tasks[task.task_id]

    def _sweep(self) -> None:
        """Forget what is older than is kept, and the oldest of too many."""
        self.clean_up(self._keep_s)
        ended = [task for task in self.all() if task.status in ENDED]
        for task in ended[: max(0, len(ended) - MOST_ENDED)]:
            with contextlib.suppress(Problem):
                self.forget(task.task_id)
