"""The routes of the backend, with upstream's names, fields and states: requests to tasks and back.

A ``Backend`` in; a blueprint for the service's application out. Errors are the service's own.
Source: ``services/backend.py`` of Depth Anything 3; what differs is said in docs/backend.md.
"""

import math
import shutil
import threading
from pathlib import Path
from typing import Any, Optional

from flask import Blueprint, Request, Response, request

from apps.export_folder import check_export_folder
from apps.web.archive import archive
from apps.web.backend_state import Backend, gpu_memory, health_of
from apps.web.results import file_response, find_file, json_response
from apps.web.task_request import TaskRequest, parse_json, request_of_form, request_of_json
from apps.web.task_work import check_work
from apps.web.tasks import COMPLETED, PENDING, RUNNING, Task, new_task, new_task_id
from apps.web.uploads import keep_uploads
from runtime.errors import InputError
from serve.http.problems import Problem, shown

LONGEST_WAIT_S = 50.0  # below the deadline that the front gives an answer
MOST_PHOTOS = 10_000
PHOTO_FIELDS = ("images", "image", "files", "file")
FORM = "multipart/form-data"


def make_blueprint(backend: Backend) -> Blueprint:
    """The routes."""
    routes = Blueprint("tasks", __name__)
    _add_submission(routes, backend)
    _add_tasks(routes, backend)
    _add_results(routes, backend)
    _add_status(routes, backend)
    return routes


def _add_submission(routes: Blueprint, backend: Backend) -> None:
    @routes.post("/inference")
    def inference() -> Response:
        model = backend.model
        task_id = new_task_id()
        uploads = backend.spool.uploads(task_id)
        try:
            asked, names = _read(request, uploads)
            photos = [uploads / name for name in names]
            if not names:
                photos = [backend.places.find(path, "image_paths") for path in asked.image_paths]
            work = check_work(model, asked, photos)
            if asked.export_dir is not None:
                folder = backend.places.find(asked.export_dir, "export_dir")
                check_export_folder(folder, photos, cleanup=True)
            shown_names = names or [Path(path).name for path in asked.image_paths]
            estimate = backend.queue.estimate_s(work)
            task = backend.queue.add(
                new_task(task_id, asked, shown_names, bool(names), estimate),
            )
        except BaseException:
            shutil.rmtree(uploads, ignore_errors=True)
            raise
        facts = {
            "success": True,
            "message": f"task {task.task_id} waits for its turn; ask /task/{task.task_id}",
            "task_id": task.task_id,
            "export_dir": task.export_dir,
            "export_format": task.export_format,
            "processing_time": None,
        }
        return json_response(facts)


def _read(sent: Request, uploads: Path) -> tuple[TaskRequest, list[str]]:
    """What is asked, and the names of photos that came with it."""
    if sent.mimetype != FORM:
        return request_of_json(parse_json(sent.get_data(cache=False))), []
    files = [file for name, file in sent.files.items(multi=True) if name in PHOTO_FIELDS]
    strange = sorted(name for name in sent.files if name not in PHOTO_FIELDS)
    if strange:
        raise InputError(f"files in {shown(strange[0])}: send photos as {PHOTO_FIELDS[0]}")
    asked = request_of_form(sent.form.items(multi=True))
    if files and asked.image_paths:
        raise InputError("image_paths, and photos in the form: send either")
    return asked, keep_uploads(files, uploads, MOST_PHOTOS)


def _add_tasks(routes: Blueprint, backend: Backend) -> None:
    queue = backend.queue
    threads = backend.service.settings.in_flight
    waiters = threading.BoundedSemaphore(max(1, threads // 2))

    @routes.get("/task/<task_id>")
    def task(task_id: str) -> Response:
        seconds = _seconds(request.args.get("wait"))
        found = queue.find(task_id)
        if seconds and not found.ended and waiters.acquire(blocking=False):
            try:
                found = queue.wait(task_id, seconds)
            finally:
                waiters.release()
        return json_response(_facts(found))

    @routes.delete("/task/<task_id>")
    def delete(task_id: str) -> Response:
        found = queue.find(task_id)
        if found.ended:
            queue.forget(task_id)
            return json_response({"message": f"task {task_id} is forgotten"})
        found = queue.cancel(task_id)
        said = "is cancelled" if found.ended else "is being cancelled"
        return json_response({"message": f"task {task_id} {said}", "status": found.status})

    @routes.get("/tasks")
    def tasks() -> Response:
        found = queue.all()
        active = [_facts(one) for one in found if one.status in (PENDING, RUNNING)]
        ended = [_facts(one) for one in found if one.ended]
        facts = {
            "tasks": [*active, *ended],
            "active_tasks": active,
            "completed_tasks": ended,
            "active_count": len(active),
            "total_count": len(found),
        }
        return json_response(facts)

    @routes.post("/cleanup")
    def cleanup() -> Response:
        count = queue.clean_up()
        active = sum(not one.ended for one in queue.all())
        said = f"{count} old tasks are forgotten"
        return json_response({"message": said, "active_tasks": active})

    def _facts(one: Task) -> dict[str, Any]:
        facts = one.facts()
        facts["waits_behind"] = queue.place(one)
        return facts


def _add_results(routes: Blueprint, backend: Backend) -> None:
    queue = backend.queue

    def done(task_id: str) -> tuple[Task, Path]:
        found = queue.find(task_id)
        if found.status != COMPLETED:
            raise Problem("not_found", f"the task is {found.status}: it has no files")
        return found, queue.folder_of(found)

    @routes.get("/task/<task_id>/files")
    def files(task_id: str) -> Response:
        found, folder = done(task_id)
        rows = []
        for name in found.files:
            try:
                size = find_file(folder, name).stat().st_size
            except (Problem, OSError):
                continue  # somebody has removed it
            rows.append({"name": name, "bytes": size})
        return json_response({"task_id": task_id, "files": rows})

    @routes.get("/task/<task_id>/files/<path:name>")
    def one_file(task_id: str, name: str) -> Response:
        found, folder = done(task_id)
        if name not in found.files:
            raise Problem("not_found", "the task has no such file")
        return file_response(find_file(folder, name))

    @routes.get("/task/<task_id>/zip")
    def zipped(task_id: str) -> Response:
        found, folder = done(task_id)
        files = [(name, find_file(folder, name)) for name in found.files]  # before the first byte
        response = Response(archive(files), content_type="application/zip")
        response.headers["Content-Disposition"] = f'attachment; filename="{found.task_id}.zip"'
        return response


def _add_status(routes: Blueprint, backend: Backend) -> None:
    @routes.get("/status")
    def status() -> Response:
        return json_response(backend.status())

    @routes.get("/gpu-memory")
    def memory() -> Response:
        found = gpu_memory()
        if found is None:
            return json_response({"available": False, "message": "no CUDA GPU is used here"})
        health = health_of(found["utilization_percent"])
        return json_response({"available": True, **found, "status": health})

    @routes.post("/reload")
    def reload() -> Response:
        backend.reload()
        return json_response({"message": f"{backend.service.model.name} is loaded again"})


def _seconds(text: Optional[str]) -> float:
    """How long a client waits; 0 if it does not say."""
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Problem("bad_request", f"wait={shown(text)}: give seconds, 0 or more")
    return min(seconds, LONGEST_WAIT_S)
