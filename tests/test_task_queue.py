"""Tasks in line: bounded, cancelled, failed, and after a restart; no server, no model."""

import contextlib
import json
import math
import threading
import time
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from apps.web import task_queue
from apps.web.places import Places
from apps.web.task_queue import COST, TaskQueue
from apps.web.task_request import TaskRequest
from apps.web.tasks import CANCELLED, COMPLETED, FAILED, PENDING, RUNNING, Spool, new_task
from runtime.errors import InputError
from serve.http.batching import Batcher
from serve.http.problems import Problem

WAIT_S = 20.0


class Line:
    """A queue whose work waits to be told: ``steps`` of them, each let go by ``go_on``."""

    def __init__(self, folder, monkeypatch, limit_s=100.0, runs=True):
        self.let_go, self.begun, self.wrong = threading.Semaphore(0), threading.Event(), None
        self.spool = Spool(folder / "spool")
        batcher = Batcher(0.0, lambda error: None)
        self.queue = TaskQueue(
            *(self.spool, Places(folder, folder / "spool"), limit_s, 3600.0, batcher),
            lambda task: (None, type("Work", (), {"effort": 1.0})),
        )

        def do_work(model, work, place, told, device):
            self.begun.set()
            for step in range(100):
                told(step / 100, f"step {step}")
                if self.let_go.acquire(timeout=0.01):
                    break
                if self.wrong is not None:
                    raise self.wrong
            return ["scene.json"]

        monkeypatch.setattr(task_queue, "do_work", do_work)
        if runs:
            batcher.start()
            self.queue.start()

    def add(self, name="a.png", cost_s=1.0):
        request = TaskRequest(image_paths=(name,))
        task = new_task(f"task-{time.monotonic_ns()}", request, [name], False, cost_s)
        return self.queue.add(task)

    def on_disk(self, task):
        text = (self.spool.folder / "tasks" / f"{task.task_id}.json").read_text()
        return json.loads(text)["status"]


@pytest.fixture
def line(tmp_path, monkeypatch):
    return Line(tmp_path, monkeypatch)


def test_tasks_are_done_one_after_the_other_and_their_states_are_on_the_disk(line):
    first, second = line.add(), line.add("b.png")
    assert line.begun.wait(WAIT_S)
    assert line.queue.find(first.task_id).status == RUNNING == line.on_disk(first)
    assert line.queue.place(second) == 0 and line.on_disk(second) == PENDING
    line.let_go.release(2)
    ended = [line.queue.wait(task.task_id, WAIT_S) for task in (first, second)]
    assert [task.status for task in ended] == [COMPLETED] * 2
    assert ended[0].completed_at <= ended[1].started_at
    assert [line.on_disk(task) for task in ended] == [COMPLETED] * 2


def test_a_wait_ends_with_the_task_or_with_its_time(line):
    task = line.add()
    begun = time.monotonic()
    assert line.queue.wait(task.task_id, 0.05).status in (PENDING, RUNNING)
    assert time.monotonic() - begun < 5
    threading.Timer(0.1, line.let_go.release).start()
    assert line.queue.wait(task.task_id, WAIT_S).status == COMPLETED


def test_more_than_the_estimated_seconds_is_refused_with_when_to_try_again(tmp_path, monkeypatch):
    line = Line(tmp_path, monkeypatch, limit_s=10.0)
    line.add(cost_s=6.0)
    with pytest.raises(Problem) as refused:
        line.add(cost_s=6.0)
    assert refused.value.code == "overloaded" and refused.value.retry_after_s >= 1
    assert len(line.queue.all()) == 1 and len(list((tmp_path / "spool/tasks").iterdir())) == 1
    line.let_go.release()
    line.queue.wait(line.queue.all()[0].task_id, WAIT_S)
    assert line.add(cost_s=6.0).status == PENDING


def test_one_that_waits_and_one_that_runs_are_cancelled(line):
    running, waiting = line.add(), line.add("b.png")
    assert line.begun.wait(WAIT_S)
    assert line.queue.cancel(waiting.task_id).status == CANCELLED
    line.queue.cancel(running.task_id)
    assert line.queue.wait(running.task_id, WAIT_S).status == CANCELLED
    assert line.on_disk(running) == line.on_disk(waiting) == CANCELLED
    third = line.add("c.png")
    line.let_go.release()
    assert line.queue.wait(third.task_id, WAIT_S).status == COMPLETED


@pytest.mark.parametrize(
    "error",
    [InputError("no such camera"), MemoryError(), OSError(28, "No space left"), KeyError(1)],
)
def test_a_task_that_fails_says_why_and_the_next_one_runs(error, line):
    line.wrong = error
    failed = line.queue.wait(line.add().task_id, WAIT_S)
    assert failed.status == FAILED and failed.message
    said = getattr(error, "strerror", None) or str(error)
    assert said in failed.message or type(error).__name__ in failed.message
    line.wrong = None
    line.let_go.release()
    assert line.queue.wait(line.add("b.png").task_id, WAIT_S).status == COMPLETED


def test_after_a_restart_who_ran_has_failed_and_who_waited_goes_on(tmp_path, monkeypatch):
    before = Line(tmp_path, monkeypatch, runs=False)
    ran, waits, ended = before.add(), before.add("b.png"), before.add("c.png")
    before.spool.save(ran.now(RUNNING, "infers"))
    before.spool.save(ended.now(COMPLETED, "done"))
    (tmp_path / "spool/tasks/bad.json").write_text("{")
    after = Line(tmp_path, monkeypatch)
    assert REGISTRY.get_sample_value("depth_task_queue_seconds") == 1.0, "of the one that waits"
    found = after.queue.find(ran.task_id)
    assert (found.status, after.on_disk(ran)) == (FAILED, FAILED) and "ended" in found.message
    after.let_go.release()
    assert after.queue.wait(waits.task_id, WAIT_S).status == COMPLETED
    assert after.queue.find(ended.task_id).status == COMPLETED
    assert len(after.queue.all()) == 3


def test_what_is_old_is_forgotten_with_its_files(line):
    task = line.add()
    line.let_go.release()
    done = line.queue.wait(task.task_id, WAIT_S)
    results = line.spool.results(task.task_id)
    results.mkdir(parents=True)
    assert line.queue.clean_up() == 0, "it has just ended"
    line.queue._tasks[task.task_id] = replace(done, completed_at=done.completed_at - 601)
    assert line.queue.clean_up() == 1 and not results.exists()
    with pytest.raises(Problem, match="no task"):
        line.queue.find(task.task_id)
    assert not list((line.spool.folder / "tasks").iterdir())


def counted():
    events = ("submitted", "completed", "failed", "cancelled")
    found = {e: REGISTRY.get_sample_value("depth_tasks_total", {"event": e}) or 0 for e in events}
    for status in (PENDING, RUNNING):
        found[status] = REGISTRY.get_sample_value("depth_tasks_active", {"status": status})
    sums = (REGISTRY.get_sample_value("depth_task_seconds_count", {"event": e}) for e in events)
    return {**found, "timed": sum(filter(None, sums))}


def test_tasks_are_counted_as_they_come_run_and_end(line):
    before = counted()
    assert (before[PENDING], before[RUNNING]) == (0, 0)
    first, second = line.add(), line.add("b.png")
    assert line.begun.wait(WAIT_S)
    line.queue.cancel(second.task_id)
    third = line.add("c.png")
    now = counted()
    assert (now[PENDING], now[RUNNING]) == (1, 1)
    line.let_go.release()
    line.queue.wait(first.task_id, WAIT_S)
    line.wrong = InputError("no such camera")
    line.queue.wait(third.task_id, WAIT_S)
    after = counted()
    gained = {name: after[name] - before[name] for name in after}
    assert gained == {
        **{"submitted": 3, "completed": 1, "failed": 1, "cancelled": 1},
        **{PENDING: 0, RUNNING: 0, "timed": 2},
    }


def test_a_task_that_died_with_its_worker_is_counted_as_failed(tmp_path, monkeypatch):
    before = Line(tmp_path, monkeypatch, runs=False)
    before.spool.save(before.add().now(RUNNING, "infers"))
    failed = counted()["failed"]
    Line(tmp_path, monkeypatch, runs=False)
    assert counted()["failed"] == failed + 1
    Line(tmp_path, monkeypatch, runs=False)
    assert counted()["failed"] == failed + 1, "once"


def test_estimates_are_learned_from_tasks(line):
    line.queue.costs.start(COST, 100.0)
    line.let_go.release()
    line.queue.wait(line.add().task_id, WAIT_S)
    assert line.queue.costs[COST] < 100.0 and not math.isnan(line.queue.costs[COST])


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "spool/tasks", "", "a\0b", "link/a"])
def test_places_are_below_the_root_and_not_the_programs_own(name, tmp_path):
    root = tmp_path / "root"
    (root / "spool").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    places = Places(root, root / "spool")
    assert places.find("a/../b", "x") == root.resolve() / "b"
    assert places.find(str(root / "b"), "x") == root.resolve() / "b"
    with contextlib.suppress(InputError), pytest.raises(Problem, match="--root"):
        places.find(name, "x")
