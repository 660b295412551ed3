"""What a backend's routes share: its service, its model for scenes, its tasks.

Made in each worker; the model comes when it is loaded.
"""

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as WaitTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from apps.scene_models import SceneModel
from apps.web.places import Places
from apps.web.task_queue import TaskQueue
from apps.web.task_work import Work, check_work
from apps.web.tasks import Spool, Task
from runtime.errors import InputError
from serve.http.batching import Lane
from serve.http.batching import Task as Job
from serve.http.problems import Problem
from serve.http.service import Service
from serve.http.worker_states import FAILED

NAME = "depth-anything-inferentia"  # in /status, by which our clients know our backend
HEALTHY, WARNING = 80.0, 95.0  # per cent of a GPU's memory: upstream's marks

log = logging.getLogger(__name__)


@dataclass
class Backend:
    """One worker of a backend.

    Args:
        model_dir: as it was named. limit_s, keep_s: see ``TaskQueue``.
        scenes: the model; None while none is loaded, or if it takes each photo for itself.
    """

    service: Service
    places: Places
    spool: Spool
    model_dir: str
    limit_s: float
    keep_s: float
    scenes: Optional[SceneModel] = None
    load_s: Optional[float] = None
    loaded_at: Optional[float] = None
    queue: TaskQueue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = TaskQueue(
            self.spool,
            self.places,
            self.limit_s,
            self.keep_s,
            self.service.batcher,
            self.prepare,
        )

    @property
    def model(self) -> SceneModel:
        """The model for scenes.

        Raises:
            Problem: it is not ready, or the backend is about to stop.
            InputError: there is none.
        """
        name = self.service.model.name
        if self.scenes is None:
            raise InputError(
                f"{name} takes each photo for itself: use /v1/depth, or start the backend with an "
                "any-view model (da3-small, da3-base, ...)"
            )
        return self.scenes

    def photos_of(self, task: Task) -> list[Path]:
        """Where the photos of a task are."""
        if task.uploads:
            return [self.spool.uploads(task.task_id) / name for name in task.names]
        return [self.places.find(path, "image_paths") for path in task.asked.image_paths]

    def prepare(self, task: Task) -> tuple[SceneModel, Work]:
        """A task that begins: its work, checked anew."""
        if self.scenes is None:
            raise InputError(f"{self.model_dir} takes each photo for itself")
        return self.scenes, check_work(self.scenes, task.asked, self.photos_of(task))

    def reload(self) -> None:
        """Load the model anew, for tasks and for photos, on the device's thread, between two tasks.

        Raises:
            Problem: a task runs, or it was not done in time.
        """
        seconds, name = self.service.settings.deadline_s, self.service.model.name

        def run(group: Sequence[None]) -> Sequence[None]:
            log.info("%s: is loaded again", name)
            self.service.reload()
            return group

        def done(_: Any) -> None:
            if self.service.states.mine != FAILED:  # else tasks wait for the next worker
                self.queue.go_on()

        self.queue.pause()
        job = Job(Lane("reload", run, watched=False), None, time.monotonic() + seconds, _never)
        job.future.add_done_callback(done)
        try:
            self.service.batcher.submit(job).result(seconds)
        except WaitTimeout:
            job.future.cancel()  # if it has not begun
            raise Problem("deadline_passed", "the device is busy; try again later") from None

    def loaded(self, scenes: Optional[SceneModel], seconds: float) -> None:
        """Note a model that has been loaded, and how long that took."""
        self.scenes, self.load_s, self.loaded_at = scenes, seconds, time.time()

    def status(self) -> dict[str, Any]:
        """Upstream's fields, and who answers."""
        loaded, scenes = self.loaded_at is not None, self.scenes
        return {
            "model_loaded": loaded,
            "model_dir": self.model_dir,
            "device": self.service.settings.device,
            "load_time": self.load_s,
            "last_used": self.queue.last_used,
            "uptime": time.time() - self.loaded_at if self.loaded_at is not None else 0.0,
            "gpu_memory": gpu_memory(),
            "server": NAME,
            "model": scenes.name if scenes is not None else None,
            "finds_splats": scenes.finds_splats if scenes is not None else None,
            "finds_cameras": scenes.finds_cameras if scenes is not None else None,
            "licence": scenes.licence if scenes is not None else None,
            "draining": self.service.states.stopping,
        }


def _never() -> bool:
    return False


def gpu_memory() -> Optional[dict[str, float]]:
    """Of the GPU that torch has, in GiB; None without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    gib = 2**30
    return {
        "total_gb": total / gib,
        "allocated_gb": torch.cuda.memory_allocated() / gib,
        "reserved_gb": torch.cuda.memory_reserved() / gib,
        "free_gb": free / gib,
        "utilization_percent": 100 * (1 - free / total),
    }


def health_of(percent: float) -> str:
    """A GPU's memory in a word."""
    return "healthy" if percent < HEALTHY else "warning" if percent < WARNING else "critical"
