"""gunicorn, set up for one model: how many workers, what each is told, and what happens when one
ends.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from runtime.artifact.archive import unpack
from runtime.errors import ArtifactError, DepthError
from runtime.predict.choose import Choice
from serve.http import broken_body, metrics, neuron_cores
from serve.http.extension import EAGER, Door, Served
from serve.http.listener import listening_address
from serve.http.logs import logging_config
from serve.http.settings import Settings
from serve.http.worker_states import WorkerStates

if TYPE_CHECKING:
    from serve.http.service import Service

log = logging.getLogger(__name__)

NO_RELOAD = (
    "SIGHUP: nothing is read again while the service runs; start it anew for other settings or "
    "another model"
)
ARCHIVE = "model.tar.gz"
ARCHIVE_BYTES = 32 << 30
LOADING_S = 900  # that a worker may take to load a model
BOOT_FAILED = 3  # gunicorn gives up when a worker ends with this
RETRY_LOAD_S = 5.0
# What a front lets through, gunicorn takes: it has bounds of its own
MOST_HEADERS, LONGEST_HEADER, LONGEST_LINE = 6000, 16_380, 8190
REST_S = 3  # for gunicorn to end, once a front has waited for all that was accepted


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


def worker_count(
    settings: Settings,
    target: str,
    devices: Path = neuron_cores.DEVICES,
    cores: int = 1,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """How many processes: as told, else as many as find ``cores`` NeuronCores each, else one."""
    if settings.workers:
        return settings.workers
    return max(1, neuron_cores.workers_that_fit(target, cores, environment, devices))


def engine_threads(settings: Settings, workers: int) -> Optional[int]:
    """CPU threads of each worker's engine; None leaves the choice to it."""
    if settings.engine_threads:
        return settings.engine_threads
    return None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


class Master(Arbiter):
    """gunicorn's master process; its workers can see that it stops."""

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers and wait for them."""
        self.app.states.stop()
        super().stop(graceful)

    def handle_hup(self) -> None:
        """SIGHUP: settings and model stay what they are."""
        log.warning(NO_RELOAD)


class Server(BaseApplication):
    """What the master process is told; ``run`` returns when it has been told to stop.

    Args:
        choice: the artifacts to serve.
        scratch: a folder of this service alone.
        behind: the Unix socket on which a front asks; else clients ask themselves, at the settings'
            address.
        door: what brings a model or routes of its own.
    Raises:
        InputError: more workers than there are NeuronCores for, or a host that is none.
    """

    cores = 1  # NeuronCores of each worker, if its target has any
    _place = 0  # of the worker that this process is

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        scratch: Path,
        behind: Optional[Path] = None,
        door: Optional[Door] = None,
    ) -> None:
        self.settings, self.choice, self.behind, self.door = settings, choice, behind, door
        self.address = f"unix:{behind}" if behind else listening_address(settings)
        self.target = choice.artifacts[0].manifest.target if choice.artifacts else EAGER
        self.cores = neuron_cores.cores_a_worker(choice.artifacts, os.environ)
        self.workers = worker_count(settings, self.target, cores=self.cores)
        neuron_cores.check_workers(self.target, self.workers, self.cores, os.environ)
        metrics.make_room(self.workers)
        self.states = WorkerStates()
        self._free_places: list[int] = []  # of workers that have ended
        super().__init__()

    def run(self) -> None:
        """Serve."""
        Master(self).run()

    def load_config(self) -> None:
        """Tell gunicorn."""
        settings = self.settings
        options = {
            "bind": [self.address],
            "workers": self.workers,
            "worker_class": "gthread",
            "threads": settings.threads,
            "worker_connections": 16 * settings.threads,
            "backlog": 2048,
            "keepalive": int(settings.keep_alive_s),
            "timeout": LOADING_S,
            "graceful_timeout": int(settings.drain_s),
            "preload_app": False,  # devices and their threads do not survive a fork
            "logconfig_dict": logging_config(settings.log_level),
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "proc_name": "depth-serve",
            "pre_request": broken_body.begin,
            "pre_fork": self._forking,
            "post_fork": self._forked,
            "child_exit": self._ended,
        }
        if self.behind:
            options.update(
                worker_connections=settings.threads,  # no worker holds what another could begin
                keepalive=0,
                graceful_timeout=REST_S,
                limit_request_fields=MOST_HEADERS,
                limit_request_field_size=LONGEST_HEADER,
                limit_request_line=LONGEST_LINE,
            )
        if "control_socket_disable" in self.cfg.settings:  # newer ones open a socket in HOME
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application of a worker; called in its process.

        Behind a front, and where other workers answer already, it loads before it takes any
        connection. Else it loads in the background, and says so to whoever asks.
        """
        from serve.http.model import Model
        from serve.http.routes import create_app
        from serve.http.service import Service

        def load() -> Served:
            threads = engine_threads(self.settings, self.workers)
            if self.door is not None:
                return self.door.load(self.settings, threads)
            settings = self.settings
            return Model(self.choice.artifacts, settings.device, threads, settings.streams)

        def stop() -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        self.states.enter(self._place)
        metrics.begin()
        service = Service(
            self.settings, self.choice, load, self.states, stop, self.behind is not None
        )
        extensions = self.door.extend(service) if self.door is not None else ()
        if self.behind or self.states.any_ready():
            _load_or_end(service)
        else:
            threading.Thread(target=_load_or_end, args=(service,), daemon=True).start()
        return create_app(service, extensions)

    def _forking(self, server: Any, worker: Any) -> None:
        if worker.age > self.workers:  # it takes the place of another
            metrics.RESTARTS.inc()
            if self._free_places:
                worker.place = self._free_places.pop()

    def _forked(self, server: Any, worker: Any) -> None:
        self._place = _place_of(worker)
        metrics.enter(self._place)
        cores = neuron_cores.core_variables(self.target, self._place, self.cores, os.environ)
        os.environ.update(cores)

    def _ended(self, server: Any, worker: Any) -> None:
        self._free_places.append(_place_of(worker))
        self.states.forget(worker.pid)
        metrics.forget(_place_of(worker))


def _place_of(worker: Any) -> int:
    """A worker's number, from 0: its own or, as ``_forking`` says, that of the one it replaces."""
    place: int = getattr(worker, "place", worker.age - 1)
    return place


def _load_or_end(service: "Service") -> None:
    """Load; a worker that cannot ends, and takes the service with it if it was the first."""
    try:
        service.load()
    except BaseException as error:
        if service.states.stopping:
            os._exit(0)  # it was told to end while it loaded
        text = str(error) if isinstance(error, DepthError) else repr(error)
        log.critical("the model cannot be loaded: %s", text, exc_info=not text)
        if service.states.any_ready():
            time.sleep(RETRY_LOAD_S)
            os._exit(1)
        os._exit(BOOT_FAILED)
