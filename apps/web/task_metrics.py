"""What a backend counts of its tasks, beside what the service counts of its requests.

In the service's own way, by ``serve.http.metrics``: on its page, for Prometheus, in its files.
"""

from prometheus_client import Counter, Gauge, Histogram

from apps.web.tasks import CANCELLED, COMPLETED, ENDED, FAILED, PENDING, RUNNING, Task
from serve.http import metrics

SUBMITTED = "submitted"
EVENTS = (SUBMITTED, COMPLETED, FAILED, CANCELLED)
BUCKETS_S = (1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800)

assert metrics.MEDIA_TYPE  # imported first: it says where processes count

TASKS = Counter("depth_tasks", "Tasks, by what happened to them", ["event"])
TASK_SECONDS = Histogram(
    "depth_task_seconds",
    "Time of one task from its begin to its end, by how it ended",
    ["event"],
    buckets=BUCKETS_S,
)
TASKS_ACTIVE = Gauge(
    "depth_tasks_active",
    "Tasks that wait or run",
    ["status"],
    multiprocess_mode="livesum",
)
TASK_QUEUE_SECONDS = Gauge(
    "depth_task_queue_seconds",
    "Estimated work of tasks that wait or run",
    multiprocess_mode="livesum",
)


def begin() -> None:
    """Have every event there from the start, so that the first of a kind is an increase."""
    for event in EVENTS:
        TASKS.labels(event)


def submitted() -> None:
    """A task is in line."""
    TASKS.labels(SUBMITTED).inc()


def ended(task: Task) -> None:
    """A task has ended."""
    assert task.status in ENDED
    TASKS.labels(task.status).inc()
    if task.started_at is not None and task.completed_at is not None:
        TASK_SECONDS.labels(task.status).observe(max(0.0, task.completed_at - task.started_at))


def active(waiting: int, running: int, estimated_s: float) -> None:
    """What there is to do."""
    TASKS_ACTIVE.labels(PENDING).set(waiting)
    TASKS_ACTIVE.labels(RUNNING).set(running)
    TASK_QUEUE_SECONDS.set(estimated_s)
