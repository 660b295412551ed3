"""Tasks and where they are written down: one JSON file each, replaced whole at each change.

A task in, a file out, and back after a restart. Whoever ran when the program died has failed;
whoever waited goes on to wait.
Source: ``TaskStatus`` in ``services/backend.py`` of Depth Anything 3.
"""

import json
import logging
import time
import uuid
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Optional

from apps.web.task_request import TaskRequest
from runtime.errors import DepthError
from runtime.storage import S3Options, open_storage
from serve.batch.job_folder import JobFolder

PENDING, RUNNING, COMPLETED = "pending", "running", "completed"
FAILED, CANCELLED = "failed", "cancelled"
STATES = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED)
ENDED = (COMPLETED, FAILED, CANCELLED)
DIED = "the backend ended while this ran; send it again"
MAX_BYTES = 64 << 20
MOST_TEXT = 2000  # characters of a message

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One task: upstream's fields, and ours below ``video_path``. Times are Unix seconds.

    Args:
        uploads: photos that came with the request lie in the spool.
        estimated_s: of work, as guessed when it came.
        files: of its export, by name below its folder.
    """

    task_id: str
    status: str
    message: str
    request: dict[str, Any]
    num_images: int
    export_format: str
    process_res_method: str
    created_at: float
    progress: Optional[float] = None
    started_at: Optional[float] = None
    completed_at: Optional[float] = None
    export_dir: Optional[str] = None
    video_path: Optional[str] = None
    uploads: bool = False
    names: list[str] = field(default_factory=list)
    estimated_s: float = 0.0
    files: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED

    @property
    def asked(self) -> TaskRequest:
        """What it is asked."""
        known = {one.name for one in fields(TaskRequest)}
        facts = {name: value for name, value in self.request.items() if name in known}
        for name in ("image_paths", "export_feat_layers"):
            facts[name] = tuple(facts.get(name) or ())
        return TaskRequest(**facts)

    def facts(self) -> dict[str, Any]:
        """As clients see it."""
        return asdict(self)

    def now(self, status: str, message: str, **changes: Any) -> "Task":
        """The same in another state."""
        at = {RUNNING: "started_at"}.get(status, "completed_at" if status in ENDED else "")
        if at:
            changes.setdefault(at, time.time())
        return replace(self, status=status, message=message[:MOST_TEXT], **changes)


def new_task_id() -> str:
    """A number that no other task has."""
    return str(uuid.uuid4())


def new_task(
    task_id: str, request: TaskRequest, names: list[str], uploads: bool, estimated_s: float
) -> Task:
    """A task that waits."""
    first = names[0] if uploads else request.image_paths[0]
    return Task(
        task_id=task_id,
        status=PENDING,
        message="waits for its turn",
        request=request.facts(),
        num_images=len(names),
        export_format=request.export_format,
        process_res_method=request.process_res_method,
        created_at=time.time(),
        export_dir=request.export_dir,
        video_path=first,
        uploads=uploads,
        names=names,
        estimated_s=round(estimated_s, 3),
    )


class Spool:
    """The folder of a backend: its tasks, what came with them, and results that have no folder.

    Args:
        folder: its own; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.died: set[str] = set()  # tasks that ``load`` found running
        self._records = JobFolder(open_storage(str(folder), S3Options()), "tasks")

    def uploads(self, task_id: str) -> Path:
        """Where the photos of a task are that came with it."""
        return self.folder / "uploads" / task_id

    def results(self, task_id: str) -> Path:
        """Where its files go if it names no folder."""
        return self.folder / "results" / task_id

    def save(self, task: Task) -> None:
        """Write a task down.

        Raises:
            StorageError: the disk refuses.
        """
        text = json.dumps(task.facts(), ensure_ascii=False, allow_nan=False)
        name = f"{task.task_id}.json"
        self._records.write(name, text.encode("utf-8", "surrogateescape"))

    def forget(self, task_id: str) -> None:
        """Remove a task and all that is its own here."""
        import shutil

        self._records.delete(f"{task_id}.json")
        for folder in (self.uploads(task_id), self.results(task_id)):
            shutil.rmtree(folder, ignore_errors=True)

    def load(self) -> list[Task]:
        """All tasks, oldest first, as they are after a restart; what is damaged is left out."""
        found = []
        for name in self._records.below(""):
            try:
                text = self._records.read(name, MAX_BYTES).decode("utf-8", "surrogateescape")
                task = Task(**json.loads(text))
            except (DepthError, ValueError, TypeError) as error:
                log.warning("%s/tasks/%s: left out (%s)", self.folder, name, error)
                continue
            if task.status == RUNNING:
                task = task.now(FAILED, DIED)
                self.died.add(task.task_id)
                self.save(task)
            found.append(task)
        return sorted(found, key=lambda task: task.created_at)
