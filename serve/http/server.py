"""gunicorn, set up for one model: how many workers, what each is told, and what happens when one
ends.
"""

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Optional

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from runtime.artifact.archive import unpack
from runtime.artifact.folder import Artifact
from runtime.errors import ArtifactError, DepthError
from serve.http import metrics
from serve.http.logs import logging_config
from serve.http.settings import Settings
from serve.http.worker_states import Board

log = logging.getLogger(__name__)

ARCHIVE = "model.tar.gz"
ARCHIVE_BYTES = 32 << 30
CORES_A_CHIP = {"neuron": 4, "neuronx": 2}  # Inferentia 1 and 2
LOADING_S = 900  # that a worker may take to load a model
KEEP_ALIVE_S = 15
BOOT_FAILED = 3  # gunicorn gives up when a worker ends with this
RETRY_LOAD_S = 5.0


def model_folder(settings: Settings, scratch: Path) -> Path:
    """The folder of artifacts: as given, or an archive's, unpacked into ``scratch``.

    Raises:
        ArtifactError: neither is there, or the archive is bad.
    """
    given = settings.model_dir
    archive = given if given.is_file() else given / ARCHIVE
    if archive.is_file():
        unpack(archive, scratch / "model", ARCHIVE_BYTES)
        return scratch / "model"
    if not given.is_dir():
        raise ArtifactError(f"{given}: no such folder; mount artifacts there, or set MODEL_DIR")
    return given


def worker_count(settings: Settings, target: str, devices: Path = Path("/dev")) -> int:
    """How many processes: as told, else one a NeuronCore, else one."""
    if settings.workers:
        return settings.workers
    chips = [file for file in devices.glob("neuron*") if file.name[len("neuron") :].isdigit()]
    return max(1, len(chips) * CORES_A_CHIP.get(target, 0))


def engine_threads(settings: Settings, workers: int) -> Optional[int]:
    """CPU threads of each worker's engine; None leaves the choice to it."""
    if settings.engine_threads:
        return settings.engine_threads
    return None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


class Master(Arbiter):
    """gunicorn's master process; its workers can see that it stops, and not only they."""

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers and wait for them."""
        self.app.board.stop()
        super().stop(graceful)


class Server(BaseApplication):
    """What the master process is told; ``run`` returns when it has been told to stop."""

    def __init__(self, settings: Settings, artifacts: list[Artifact], scratch: Path) -> None:
        self.settings, self.artifacts = settings, artifacts
        self.target = artifacts[0].manifest.target
        self.workers = worker_count(settings, self.target)
        self.board = Board(_made(scratch / "workers"))
        super().__init__()

    def run(self) -> None:
        """Serve."""
        Master(self).run()

    def load_config(self) -> None:
        """Tell gunicorn."""
        settings = self.settings
        options = {
            "bind": [f"{settings.host}:{settings.port}"],
            "workers": self.workers,
            "worker_class": "serve.http.worker.DepthWorker",
            "threads": settings.threads,
            "worker_connections": 16 * settings.threads,
            "backlog": 2048,
            "keepalive": KEEP_ALIVE_S,
            "timeout": LOADING_S,
            "graceful_timeout": int(settings.drain_s),
            "preload_app": False,  # devices and their threads do not survive a fork
            "logconfig_dict": logging_config(settings.log_level),
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "proc_name": "depth-serve",
            "pre_fork": self._forking,
            "post_fork": self._forked,
            "child_exit": self._ended,
        }
        if "control_socket_disable" in self.cfg.settings:  # newer ones open a socket in HOME
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application of a worker; called in its process.

        Where other workers answer already, this one loads before it takes any connection; where
        none does, it loads in the background and says so to whoever asks.
        """
        from serve.http.app import Service, create_app
        from serve.http.model import Model

        def load() -> Model:
            return Model(
                self.artifacts, self.settings.device, engine_threads(self.settings, self.workers)
            )

        def stop() -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        service = Service(self.settings, load, self.board, stop)
        if self.board.any_ready():
            _load_or_end(service)
        else:
            threading.Thread(target=_load_or_end, args=(service,), daemon=True).start()
        return create_app(service)

    def _forking(self, server: Any, worker: Any) -> None:
        if worker.age > self.workers:  # it takes the place of another
            metrics.RESTARTS.inc()

    def _forked(self, server: Any, worker: Any) -> None:
        if self.target in CORES_A_CHIP:
            os.environ["NEURON_RT_NUM_CORES"] = "1"  # before its runtime is imported

    def _ended(self, server: Any, worker: Any) -> None:
        self.board.forget(worker.pid)
        metrics.forget(worker.pid)


def _load_or_end(service: Any) -> None:
    """Load; a worker that cannot ends, and takes the service with it if it was the first."""
    try:
        service.load()
    except BaseException as error:
        text = str(error) if isinstance(error, DepthError) else repr(error)
        log.critical("the model cannot be loaded: %s", text, exc_info=not text)
        if service.board.any_ready():
            time.sleep(RETRY_LOAD_S)
            os._exit(1)
        os._exit(BOOT_FAILED)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
