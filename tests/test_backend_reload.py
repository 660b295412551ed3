"""``POST /reload``: photos and tasks are answered by the new model, and the old one is gone."""

import argparse
import gc
import io
import threading
import time
import weakref
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from stand_in_scene import StandInScene

from apps.web import backend
from apps.web.backend import BackendDoor
from runtime.errors import CheckpointError
from runtime.predict.choose import Choice
from serve.http.problems import Problem
from serve.http.routes import create_app
from serve.http.service import Service
from serve.http.settings import Settings
from serve.http.worker_states import FAILED, WorkerStates

WAIT_S = 20.0


class Numbered(StandInScene):
    """Says that all is as far away as models have been loaded; stops at a step if it is told to."""

    there: ClassVar = weakref.WeakSet()
    let_go, inside = threading.Event(), threading.Event()

    def __init__(self, number):
        assert not list(self.there), "the old one goes before the new one comes"
        self.there.add(self)
        self.number, self.itself = number, self  # a circle, as networks and their hooks are

    def infer(self, views, photos, query, intrinsics, focal_px, request, step):
        def slow():
            step()
            if len(views) > 1:
                self.inside.set()
                assert self.let_go.wait(WAIT_S)
                step()  # gives way to whatever waits

        found = super().infer(views, photos, query, intrinsics, focal_px, None, slow)
        found.depth[:] = self.number
        if request is not None:
            request.write(found, views)
        return found


@pytest.fixture
def client(tmp_path, monkeypatch, save_photo):
    """A backend's application, and the service behind it, with a stand-in for its model."""
    for number in range(2):
        save_photo(tmp_path / f"{number}.png", 40, 60, seed=number)
    monkeypatch.chdir(tmp_path)
    loads, stopped = [], []

    def find(*args, **named):
        loads.append(None)
        if (tmp_path / "broken").exists():
            raise CheckpointError("no weights")
        return Numbered(len(loads))

    monkeypatch.setattr(backend, "find_scene_model", find)
    for one in (Numbered.there, Numbered.let_go, Numbered.inside):
        one.clear()
    args = argparse.Namespace(
        root=tmp_path,
        workspace_dir=tmp_path / "spool",
        gallery_dir=tmp_path / "none",
        model_dir="da3-giant",
        device="cpu",
        seeded_weights=False,
        queue_s=100.0,
        keep_hours=1.0,
    )
    door, settings = BackendDoor(args), Settings(deadline_s=WAIT_S)
    states = WorkerStates()
    states.enter(0)
    stop = lambda: stopped.append(None)  # noqa: E731
    service = Service(settings, Choice(()), lambda: door.load(settings, None), states, stop)
    app = create_app(service, door.extend(service))
    service.load()
    found = app.test_client()
    found.service, found.stopped, found.queue = service, stopped, door._backend.queue
    return found


def depth(client):
    headers = {"Content-Type": "application/x-image", "Accept": "application/x-npz"}
    answer = client.post("/v1/depth", data=Path("0.png").read_bytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    with np.load(io.BytesIO(answer.data)) as arrays:
        return float(np.median(arrays["depth"]))


def begin(client, *names):
    asked = {"image_paths": list(names), "export_format": "npz"}
    return client.post("/inference", json=asked).json["task_id"]


def end(client, task_id):
    task = client.get(f"/task/{task_id}?wait={WAIT_S}").json
    assert task["status"] == "completed", task["message"]
    data = client.get(f"/task/{task_id}/files/exports/npz/results.npz").data
    with np.load(io.BytesIO(data)) as arrays:
        return float(np.median(arrays["depth"]))


def test_photos_and_tasks_are_answered_by_the_model_that_was_loaded_last(client):
    assert depth(client) == end(client, begin(client, "0.png")) == 1
    assert client.post("/reload").status_code == 200
    assert depth(client) == end(client, begin(client, "0.png")) == 2
    gc.collect()
    assert [one.number for one in Numbered.there] == [2]


def test_a_model_is_not_loaded_anew_inside_a_task(client):
    task = begin(client, "0.png", "1.png")
    assert Numbered.inside.wait(WAIT_S)
    refused = client.post("/reload")
    assert refused.json["code"] == "overloaded"
    Numbered.let_go.set()
    assert end(client, task) == 1
    deadline = time.monotonic() + WAIT_S
    while client.post("/reload").status_code != 200:  # the task is said to have ended a bit before
        assert time.monotonic() < deadline
    assert depth(client) == 2


def test_if_it_cannot_be_loaded_the_worker_ends_and_tasks_wait_for_the_next(client, tmp_path):
    (tmp_path / "broken").touch()
    assert client.post("/reload").status_code >= 400
    assert client.service.states.mine == FAILED and client.stopped
    assert client.post("/inference", json={"image_paths": ["0.png"]}).status_code == 503
    assert client.get("/status").json["model"] is None
    with pytest.raises(Problem, match="being loaded"):
        client.queue.pause()  # it is paused
