"""``--use-backend``: a ``da3`` command whose network runs in a backend, ours or upstream's.

Parsed arguments in; files where the command would have put them, their paths on stdout, and an exit
status out. A backend on this machine reads and writes the files itself, if it may; any other gets
the photos sent, and its files are fetched.
"""

import argparse
import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apps import da3_video
from apps.da3_inputs import ScenePhotos
from apps.da3_job import Given, asked_of, kind_of_input, read_given
from apps.da3_options import export_options
from apps.da3_progress import Progress
from apps.export_folder import MARKER, check_export_folder, new_folder, writing_export
from apps.scene_options import MODEL
from apps.web.client import Client, ServerError, path_of_file
from runtime.command_line import UsageError
from runtime.errors import DepthError, InputError
from runtime.names import below

OURS = "depth-anything-inferentia"  # as ``backend_state.NAME``; this module starts without it
WAIT_S, PAUSE_S = 20, 0.5
OF_OURS = ("use_ray_pose", "ref_view_strategy", "infer_gs", "export_kwargs", "focal_px")

log = logging.getLogger("da3")


def run_on_backend(args: argparse.Namespace) -> int:
    """Do a command in a backend; returns the exit status.

    Raises:
        ServerError: it refuses, or cannot be reached.
        InputError: the input or the export folder cannot be used.
    """
    now, progress = datetime.datetime.now(), Progress(args.quiet)
    _refuse_options(args)
    client = Client(args.backend_url)
    status = client.get("/status")
    ours = isinstance(status, dict) and status.get("server") == OURS
    if args.model_dir != MODEL and isinstance(status, dict):
        log.info("the backend has %s; --model-dir does nothing", status.get("model_dir"))
    given = read_given(kind_of_input(args), args, asked_of(args))
    for said in given.scene.failed:
        log.warning("failed: %s", said)
    folder = args.export_dir or new_folder(now)
    read = [args.input, *([args.cameras] if args.cameras else [])]
    check_export_folder(folder, read, args.auto_cleanup)
    with _photos(given, folder, progress) as scene:
        asked = fields_of(given, args)
        left = sorted(name for name in asked if name in OF_OURS) if not ours else []
        if left:
            raise InputError(
                f"{args.backend_url}: not our backend, and upstream's drops {', '.join(left)}; "
                "leave them out, or start `da3 backend` of this project"
            )
        failed = _do(client, ours, asked, scene, folder, args, progress)
    return 1 if failed or given.scene.failed else 0


def fields_of(given: Given, args: argparse.Namespace) -> dict[str, Any]:
    """The fields of a request, without photos and places; ours only if they say something."""
    query, known = given.query, given.intrinsics
    fields: dict[str, Any] = {
        "export_format": args.export_format,
        "export_feat_layers": list(args.export_feat),
        "align_to_input_ext_scale": args.align_to_input_ext_scale,
        "conf_thresh_percentile": args.conf_thresh_percentile,
        "num_max_points": args.num_max_points,
        "show_cameras": args.show_cameras,
        "feat_vis_fps": args.feat_vis_fps,
    }
    if args.process_res is not None:
        fields["process_res"] = args.process_res
    if args.process_res_method is not None:
        fields["process_res_method"] = args.process_res_method
    if query.extrinsics is not None:
        fields["extrinsics"] = query.extrinsics.tolist()
    if known is not None:
        fields["intrinsics"] = known.tolist()
    default = type(query)()
    if query.use_ray_pose:
        fields["use_ray_pose"] = True
    if query.ref_view_strategy != default.ref_view_strategy:
        fields["ref_view_strategy"] = query.ref_view_strategy
    if args.infer_gs is not None:
        fields["infer_gs"] = args.infer_gs
    options = export_options(args)
    if options:
        fields["export_kwargs"] = options
    if args.focal_px is not None:
        fields["focal_px"] = args.focal_px
    return fields


def _refuse_options(args: argparse.Namespace) -> None:
    wrong = {"--seeded-weights": args.seeded_weights, "--memory-gib": args.memory_gib is not None}
    for option, is_given in wrong.items():
        if is_given:
            raise UsageError(f"{option}: the backend has its model and its memory; leave it out")


@contextlib.contextmanager
def _photos(given: Given, folder: Path, progress: Progress) -> Iterator[ScenePhotos]:
    """The photos as files: of a video its frames, which lie beside the export for the time."""
    if given.plan is None:
        yield given.scene
        return
    from runtime.files import partial_folder

    with partial_folder(folder.absolute().parent) as scratch:
        with progress.stage("frames", "frame", len(given.plan.places)) as step:
            scene, facts = da3_video.extract(given.plan, scratch / da3_video.FOLDER, step)
        for said in facts["problems"]:
            log.warning("failed: %s", said)
        yield scene


def _do(
    client: Client,
    ours: bool,
    asked: dict[str, Any],
    scene: ScenePhotos,
    folder: Path,
    args: argparse.Namespace,
    progress: Progress,
) -> bool:
    """Send, wait, and have the files in their folder; returns whether it failed."""
    if client.is_local:
        places = {
            "image_paths": [str(photo.absolute()) for photo in scene.photos],
            "export_dir": str(folder.absolute()),
        }
        try:
            sent = client.post("/inference", {**places, **asked})
        except ServerError as error:
            if not ours or error.status != 403:
                raise
            log.info("the backend may not read there (%s): the photos are sent", error)
        else:
            task = _ended(client, sent["task_id"], progress)
            if not _is_done(task):
                return True
            for name in task.get("files") or _there(folder):
                print(folder / name)
            return False
    elif not ours:
        raise InputError(
            f"{args.backend_url}: not our backend, and not on this machine: it takes no photos"
        )
    photos = list(zip(scene.names, scene.photos))
    sent = client.post_form("/inference", asked, photos)
    task = _ended(client, sent["task_id"], progress)
    if not _is_done(task):
        return True
    with writing_export(args.export_dir, datetime.datetime.now()) as export:
        for name in task["files"]:
            client.save(path_of_file(task["task_id"], name), below(export.scratch, name))
    for name in task["files"]:
        print(export.folder / name)
    with contextlib.suppress(ServerError):
        client.delete(f"/task/{task['task_id']}")
    return False


def _there(folder: Path) -> list[str]:
    """What upstream's backend has written: it does not say."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != MARKER)
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _is_done(task: dict[str, Any]) -> bool:
    if task["status"] == "completed":
        return True
    log.error("the task is %s: %s", task["status"], task["message"])
    return False


def _ended(client: Client, task_id: str, progress: Progress) -> dict[str, Any]:
    """A task once it has ended; a person who stops waiting has it cancelled."""
    try:
        with progress.stage("backend", "look") as step:
            return wait_for(client, task_id, lambda task: step())
    except BaseException:
        with contextlib.suppress(DepthError):
            client.delete(f"/task/{task_id}")
        raise


def wait_for(
    client: Client, task_id: str, told: Callable[[dict[str, Any]], object], wait_s: float = WAIT_S
) -> dict[str, Any]:
    """Ask until a task has ended.

    Args:
        told: called with the task each time that it is asked.
        wait_s: how long the backend may hold a question; upstream's answers at once.
    """
    while True:
        begun = time.monotonic()
        task: dict[str, Any] = client.get(f"/task/{task_id}?wait={wait_s:g}")
        told(task)
        if task["status"] not in ("pending", "running"):
            return task
        time.sleep(max(0.0, PAUSE_S - (time.monotonic() - begun)))
