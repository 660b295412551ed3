"""``da3 backend``: the service with one model, tasks beside it, and the gallery.

Parsed options in; a service until it is told to stop, and its exit status, out. It is the service
of ``serve``, with its settings from the environment; this door brings the model and the routes.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import gc
import logging
import logging.config
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from apps.scene_artifacts import ArtifactScene
from apps.scene_models import SceneModel, find_scene_model
from runtime.artifact.folder import find_artifacts
from runtime.command_line import UsageError
from runtime.errors import InputError
from runtime.predict.choose import BOTH, Choice, check_licence, choose, needs_consent, takes_scenes
from runtime.scene.views import USUAL_HW
from serve.http.scratch import scratch_folder
from serve.http.settings import Settings, from_environment

if TYPE_CHECKING:
    from apps.web.backend_state import Backend
    from serve.http.extension import Extension, Served
    from serve.http.service import Service

    Found = tuple[Served, Optional[SceneModel]]  # for photos and for tasks: the same weights

BODY_MB = 256.0  # of a request with photos, if nobody says otherwise
LOCK, LOCK_WAIT_S = "lock", 30.0

log = logging.getLogger("da3")


def run_backend(args: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit status.

    Raises:
        UsageError: a root that is no folder.
        InputError: settings that do not fit, or another backend on the same folder.
    """
    if not args.root.is_dir():
        raise UsageError(f"--root {args.root}: no such folder")
    settings = settings_of(args)
    choice = choice_of(args, settings)
    with scratch_folder() as scratch, locked(args.workspace_dir):
        # Imported here: metrics find their folder when they are imported
        from serve.http.logs import logging_config
        from serve.http.start import run_service

        logging.config.dictConfig(logging_config(settings.log_level))
        log.info("da3 backend on http://%s:%d, dashboard at /dashboard", args.host, args.port)
        if not args.gallery_dir.is_dir():
            log.warning("%s: no such folder, so there is no gallery", args.gallery_dir)
        return run_service(settings, choice, scratch, BackendDoor(args))


def settings_of(args: argparse.Namespace) -> Settings:
    """The service's settings, from the environment and these options.

    Raises:
        InputError: several workers: tasks have one line.
    """
    given = from_environment(os.environ)
    if given.workers > 1:
        raise InputError(f"DEPTH_WORKERS={given.workers}: a backend has one, as its tasks one line")
    body = given.max_body_mb if os.environ.get("DEPTH_MAX_BODY_MB") else BODY_MB
    device = args.device if args.device in ("auto", "cpu", "cuda") else "auto"
    return dataclasses.replace(
        given,
        host=args.host,
        port=args.port,
        safe_ports="",
        workers=1,
        device=device,
        max_body_mb=body,
    )


def has_artifacts(source: str) -> bool:
    """Whether a model is a folder of artifacts."""
    folder = Path(source)
    return folder.is_dir() and bool(find_artifacts(folder))


def choice_of(args: argparse.Namespace, settings: Settings) -> Choice:
    """The artifacts of a backend's model as they are now; none for an eager model.

    Raises:
        ArtifactError: they cannot be used.
        InputError: a licence that the operator has ruled out.
    """
    choice = Choice(())
    if has_artifacts(args.model_dir):
        choice = choose([Path(args.model_dir)], settings.model, BOTH, device=settings.device)
    if settings.commercial_only:
        _check_licence(args, choice)
    return choice


def _check_licence(args: argparse.Namespace, choice: Choice) -> None:
    check_licence(choice.artifacts)
    if not choice.artifacts:
        model = find_scene_model(args.model_dir, args.device, seeded=args.seeded_weights)
        if needs_consent(model.licence):
            raise InputError(
                f"{model.name}: its weights' licence is {model.licence}, and COMMERCIAL_ONLY=1"
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder of tasks alone, until all processes of this backend have ended.

    Raises:
        InputError: another backend has it, and keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise InputError(
                        f"{folder}: another backend works in it; stop that one, or name another "
                        "--workspace-dir"
                    ) from None
            time.sleep(0.1)
        yield


class BackendDoor:
    """What a backend adds to the service: its model and its routes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._backend: Optional[Backend] = None

    def extend(self, service: "Service") -> "Sequence[Extension]":
        """As ``Door.extend``."""
        from apps.web.backend_state import Backend
        from apps.web.pages import backend_extensions
        from apps.web.places import Places
        from apps.web.tasks import Spool

        args = self._args
        self._backend = Backend(
            service=service,
            places=Places(args.root, args.workspace_dir),
            spool=Spool(args.workspace_dir),
            model_dir=str(args.model_dir),
            limit_s=args.queue_s,
            keep_s=args.keep_hours * 3600,
        )
        return backend_extensions(self._backend, args.gallery_dir)

    def load(self, settings: Settings, threads: Optional[int]) -> "Served":
        """As ``Door.load``."""
        from apps.web.eager import time_of_a_view
        from apps.web.task_queue import COST

        backend = self._backend
        assert backend is not None
        backend.scenes = None  # at a reload, the old one goes before the new one is there
        gc.collect()  # networks and their hooks refer to each other
        begun = time.monotonic()
        backend.service.choice = choice = choice_of(self._args, settings)
        served, scenes = (
            self._compiled(choice, settings, threads) if choice.artifacts else self._eager()
        )
        if scenes is not None:
            backend.queue.costs.start(COST, time_of_a_view(scenes))
        backend.loaded(scenes, time.monotonic() - begun)
        backend.queue.start()
        return served

    def _eager(self) -> "Found":
        from apps.web.eager import EagerModel

        args = self._args
        scenes = find_scene_model(args.model_dir, args.device, seeded=args.seeded_weights)
        scenes.load([USUAL_HW])
        return EagerModel(scenes), scenes

    def _compiled(self, choice: Choice, settings: Settings, threads: Optional[int]) -> "Found":
        from serve.http.model import Model

        model = Model(choice.artifacts, settings.device, threads)
        if not any(map(takes_scenes, choice.artifacts)):
            return model, None
        scenes = ArtifactScene(Path(self._args.model_dir), settings.device, model.graphs.load)
        scenes.load([USUAL_HW])
        return model, scenes
