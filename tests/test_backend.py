"""``da3 backend``: upstream's routes, fields and states, and what upstream's has not."""

import io
import json
import os
import signal
import time
import zipfile
from pathlib import Path

import pytest
from backend_process import backend
from PIL import Image
from served import ROOT, ask, get, post, problem
from tiny_scene import make_scene_artifact

from apps.da3 import main
from apps.export_folder import MARKER
from apps.web.app_engine import SceneAsked, Stopped
from apps.web.app_measure import measure
from apps.web.app_remote import RemoteEngine
from apps.web.client import Client, ServerError
from exports.scene import scene_of
from runtime.errors import InputError

# What a client of upstream's sends and reads
UPSTREAM = {
    "export_dir": "out/plain",
    "export_format": "mini_npz-glb",
    "extrinsics": None,
    "intrinsics": None,
    "process_res": 504,
    "process_res_method": "upper_bound_resize",
    "export_feat_layers": [],
    "align_to_input_ext_scale": True,
    "conf_thresh_percentile": 40,
    "num_max_points": 1000,
    "show_cameras": True,
    "feat_vis_fps": 15,
}
TASK = (
    *("task_id", "status", "message", "progress", "created_at", "started_at", "completed_at"),
    *("export_dir", "request", "num_images", "export_format", "process_res_method", "video_path"),
)
FILES = [
    *("depth_vis/0000.jpg", "depth_vis/0001.jpg", "exports/mini_npz/results.npz"),
    *("scene.glb", "scene.jpg", "scene.json"),
]
TOKEN = "a-secret"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_scene_artifact(tmp_path_factory.mktemp("artifacts"), 3).path


@pytest.fixture(scope="module")
def here(tmp_path_factory, save_photo):
    folder = tmp_path_factory.mktemp("here")
    for number in range(2):
        save_photo(folder / "room" / f"{number}.png", 40, 60, seed=number)
    save_photo(folder.parent / "outside.png", 40, 60)
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "room" / "bad.png").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def base(models, here):
    with backend(models, here) as running:
        yield running.base


def send(base, **fields):
    asked = {"image_paths": ["room/0.png", "room/1.png"], **fields}
    headers = {"Content-Type": "application/json"}
    return ask(base, "POST", "/inference", json.dumps(asked), headers)


def done(base, answer):
    assert answer[0] == 200, answer[2]
    task_id = json.loads(answer[2])["task_id"]
    return json.loads(get(base, f"/task/{task_id}?wait=30")[2])


def test_a_client_written_to_upstreams_fields_gets_its_files(base, here):
    answer = send(base, **UPSTREAM)
    facts = json.loads(answer[2])
    assert facts["success"] is True and facts["processing_time"] is None
    assert facts["export_dir"] == "out/plain" and facts["export_format"] == "mini_npz-glb"
    task = done(base, answer)
    assert set(TASK) <= set(task)
    assert (task["status"], task["progress"]) == ("completed", 1.0), task["message"]
    assert task["created_at"] <= task["started_at"] <= task["completed_at"] <= time.time()
    assert task["num_images"] == 2 and task["video_path"] == "room/0.png"
    assert task["request"]["num_max_points"] == 1000
    there = [file.relative_to(here / "out/plain") for file in (here / "out/plain").rglob("*")]
    names = [place.as_posix() for place in there if (here / "out/plain" / place).is_file()]
    assert sorted(names) == sorted([*FILES, MARKER]) and task["files"] == FILES
    listed = json.loads(get(base, "/tasks")[2])
    assert task["task_id"] in [one["task_id"] for one in listed["completed_tasks"]]
    assert listed["total_count"] == listed["active_count"] + len(listed["completed_tasks"])


def test_files_come_one_by_one_by_range_and_as_one_archive(base):
    task = done(base, send(base))
    path = f"/task/{task['task_id']}"
    rows = json.loads(get(base, f"{path}/files")[2])["files"]
    assert [row["name"] for row in rows] == FILES
    status, _, packed = get(base, f"{path}/zip")
    assert status == 200
    archive = zipfile.ZipFile(io.BytesIO(packed))
    assert archive.namelist() == FILES and archive.testzip() is None
    for row in rows:
        status, headers, body = get(base, f"{path}/files/{row['name']}")
        assert status == 200 and len(body) == row["bytes"] and headers["ETag"]
        assert archive.read(row["name"]) == body
    start, end = get(base, f"{path}/files/scene.glb"), 9
    part = get(base, f"{path}/files/scene.glb", {"Range": f"bytes=0-{end}"})
    assert (part[0], part[2]) == (206, start[2][: end + 1])
    same = get(base, f"{path}/files/scene.glb", {"If-None-Match": start[1]["ETag"]})
    assert same[0] == 304
    for name in ("../../lock", "nothing.glb", "%2e%2e/lock", ".da3-export"):
        assert get(base, f"{path}/files/{name}")[0] == 404
    assert ask(base, "DELETE", path)[0] == 200
    assert problem(get(base, path))["code"] == "not_found"
    assert get(base, f"{path}/zip")[0] == 404


def test_photos_may_come_with_the_request(base, here):
    hostile = "../../<img src=x onerror=alert(1)>.png"
    photos = [("a.png", here / "room/0.png"), (hostile, here / "room/1.png")]
    client = Client(base, "")
    fields = {"export_format": "npz", "show_cameras": False, "export_feat_layers": []}
    sent = client.post_form("/inference", fields, photos)
    task = client.get(f"/task/{sent['task_id']}?wait=30")
    assert task["status"] == "completed", task["message"]
    assert task["names"] == ["a.png", "<img src=x onerror=alert(1)>.png"]
    assert task["request"]["show_cameras"] is False
    kept = here / "workspace/backend/uploads" / task["task_id"]
    assert sorted(file.name for file in kept.iterdir()) == sorted(task["names"])
    facts = json.loads(get(base, f"/task/{task['task_id']}/files/scene.json")[2])
    assert facts["photos"] == task["names"]
    client.delete(f"/task/{task['task_id']}")
    assert not kept.exists()


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"use_ray_poses": True}, "bad_photo", "no such field: 'use_ray_poses'"),
        ({"<script>": 1}, "bad_photo", "no such field"),
        ({"image_paths": []}, "bad_photo", "no photo"),
        ({"image_paths": "room/0.png"}, "bad_photo", "a list of paths"),
        ({"image_paths": ["room/no.png"]}, "bad_photo", "no such file"),
        ({"image_paths": ["room/bad.png"]}, "bad_photo", "bad.png"),
        ({"image_paths": ["room"]}, "bad_photo", "no such file"),
        ({"image_paths": ["a\0b"]}, "bad_photo", "no path"),
        ({"image_paths": ["../outside.png"]}, "forbidden_path", "--root"),
        ({"image_paths": ["link.png"]}, "forbidden_path", "--root"),
        ({"image_paths": ["/etc/passwd"]}, "forbidden_path", "--root"),
        ({"export_dir": "../elsewhere"}, "forbidden_path", "--root"),
        ({"export_dir": "workspace/backend/results"}, "forbidden_path", "--root"),
        ({"export_dir": "workspace"}, "forbidden_path", "--root"),
        ({"export_dir": "room"}, "bad_photo", "lies in it"),
        ({"export_format": "obj"}, "bad_photo", "Unsupported export format"),
        ({"export_format": "gs_ply"}, "bad_photo", "infer_gs"),
        ({"process_res": 98}, "bad_photo", "one size"),
        ({"process_res": 504.0}, "bad_photo", "a whole number"),
        ({"process_res_method": "squash"}, "bad_photo", "upper_bound_resize"),
        ({"show_cameras": 1}, "bad_photo", "true or false"),
        ({"conf_thresh_percentile": 140}, "bad_photo", "0 to 100"),
        ({"extrinsics": [[1]]}, "bad_photo", "extrinsics"),
        ({"intrinsics": [[[1, 0, 0], [0, 1, 0], [0, 0, 1]]] * 2}, "bad_photo", "extrinsics"),
        ({"ref_view_strategy": "best"}, "bad_photo", "saddle_balanced"),
        ({"export_kwargs": {"glb": {"sparkle": 1}}}, "bad_photo", "no option sparkle"),
        ({"focal_px": 300}, "bad_photo", "focal_px"),
        ({"use_ray_pose": True}, "bad_photo", "ray_head"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_waits(fields, code, said, base):
    facts = problem(send(base, **fields))
    assert facts["code"] == code and said in facts["detail"], facts


@pytest.mark.parametrize("body", ["", "[]", "{", '{"image_paths": [NaN]}', "[" * 100_000])
def test_a_body_that_is_none_is_a_problem(body, base):
    answer = ask(base, "POST", "/inference", body, {"Content-Type": "application/json"})
    assert problem(answer)["status"] == 400


def test_options_that_upstreams_backend_drops_do_something(base, here):
    plain = done(base, send(base, export_format="glb", export_dir="out/a"))
    odd = send(
        base,
        export_format="glb",
        export_dir="out/b",
        ref_view_strategy="first",
        export_kwargs={"glb": {"export_depth_vis": False}},
    )
    assert plain["status"] == "completed" and done(base, odd)["files"] == [
        "scene.glb",
        "scene.json",
    ]
    again = done(base, send(base, export_format="npz", export_dir="out/b"))
    assert again["files"] == ["exports/npz/results.npz", "scene.json"]
    assert not (here / "out/b/scene.glb").exists(), "a second task replaces the first one's files"


def test_status_and_documents_are_there(base):
    status = json.loads(get(base, "/status")[2])
    assert status["model_loaded"] is True and status["gpu_memory"] is None
    for name in ("model_dir", "device", "load_time", "last_used", "uptime"):
        assert name in status
    assert json.loads(get(base, "/gpu-memory")[2])["available"] is False
    assert "active_tasks" in json.loads(ask(base, "POST", "/cleanup")[2])
    assert ask(base, "POST", "/reload")[0] == 200
    paths = json.loads(get(base, "/openapi.json")[2])["paths"]
    assert {"/inference", "/task/{task_id}", "/tasks", "/v1/depth"} <= set(paths)
    status, headers, page = get(base, "/dashboard")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"innerHTML" not in page and b"http://" not in page and b"https://" not in page
    assert b'<a href="dashboard">' in get(base, "/")[2]
    counted = get(base, "/metrics")[2].decode()
    assert "depth_requests" in counted
    for name in ('depth_tasks_active{status="running"} 0.0', "depth_task_queue_seconds 0.0"):
        assert name in counted
    assert 'depth_tasks_total{event="completed"}' in counted


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_no_time_is_refused(wait, base):
    task = done(base, send(base))
    assert problem(get(base, f"/task/{task['task_id']}?wait={wait}"))["code"] == "bad_request"


def test_the_commands_use_a_backend_that_sees_their_files_and_one_that_does_not(
    base, here, monkeypatch, tmp_path, capsys, save_photo
):
    save_photo(tmp_path / "room" / "a.png", 40, 60)
    asked = ["images", "room", "--use-backend", "--backend-url", base, "--export-format", "glb"]
    found = {}
    for place in (here, tmp_path):
        monkeypatch.chdir(place)
        (place / "room" / "bad.png").unlink(missing_ok=True)
        assert main([*asked, "--export-dir", "made", "--no-show-cameras"]) == 0
        found[place] = capsys.readouterr().out.split()
    assert "made/scene.glb" in found[here] and "made/scene.glb" in found[tmp_path]
    for place in (here, tmp_path):
        assert (
            json.loads((place / "made/scene.json").read_text())["formats"]["glb"]["options"][
                "show_cameras"
            ]
            is False
        )
    assert main([*asked, "--export-dir", "made"]) == 1, "it holds an earlier export"
    (here / "room/bad.png").write_bytes(b"no photo")


def test_without_a_backend_the_command_says_how_to_start_one(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    words = ["image", "room/0.png", "--use-backend", "--backend-url", "http://127.0.0.1:9"]
    assert main(words) == 1
    assert "start it with `da3 backend`" in capsys.readouterr().err


def test_a_token_is_asked_for_by_all_but_pages_without_data(models, tmp_path):
    with backend(models, tmp_path, DEPTH_TOKEN=TOKEN, DEPTH_FRONT="none") as running:
        base = running.base
        for path in ("/tasks", "/status", "/task/x", "/gpu-memory"):
            assert problem(get(base, path))["code"] == "unauthorized"
        assert problem(send(base))["code"] == "unauthorized"
        for path in ("/dashboard", "/", "/ping"):
            assert get(base, path)[0] == 200
        assert get(base, "/tasks", {"Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert TOKEN not in running.log


def test_a_kill_fails_the_task_that_ran_and_the_others_go_on(models, tmp_path, save_photo):
    first = save_photo(tmp_path / "many" / "0000.png", 1200, 1600)
    for number in range(1, 300):
        os.link(first, first.with_name(f"{number:04d}.png"))
    save_photo(tmp_path / "room" / "0.png", 40, 60)
    many = sorted(f"many/{file.name}" for file in first.parent.iterdir())
    with backend(models, tmp_path, status=-9) as running:
        ids = []
        for paths in (many, ["room/0.png"]):
            answer = send(running.base, image_paths=paths, export_format="npz", export_dir=None)
            ids.append(json.loads(answer[2])["task_id"])
        task = {"progress": 0}
        while not task["progress"]:
            task = json.loads(get(running.base, f"/task/{ids[0]}")[2])
            time.sleep(0.05)
        assert task["status"] == "running"
        os.killpg(running.pid, signal.SIGKILL)
        for pid in running.workers:
            os.kill(pid, signal.SIGKILL)
        running.process.wait()
    with backend(models, tmp_path) as running:
        found = [json.loads(get(running.base, f"/task/{one}?wait=30")[2]) for one in ids]
        assert [task["status"] for task in found] == ["failed", "completed"]
        assert "ended while this ran" in found[0]["message"]
        assert Path(tmp_path, "workspace/backend/tasks", f"{ids[1]}.json").is_file()


def test_a_photo_waits_for_a_step_of_a_long_task_and_not_for_its_end(tmp_path, save_photo):
    step_s, count = 0.4, 12
    photo = save_photo(tmp_path / "0.png", 40, 60)
    names = [f"{number}.png" for number in range(count)]
    for name in names[1:]:
        os.link(photo, tmp_path / name)
    program = (str(ROOT / "tests/stand_in_scene.py"),)
    more = {"DEPTH_FRONT": "none", "STAND_IN_STEP_S": str(step_s)}
    with backend("da3-giant", tmp_path, program=program, **more) as running:
        base = running.base
        answer = send(base, image_paths=names, export_format="npz", export_dir=None)
        task_id = json.loads(answer[2])["task_id"]
        task, deadline, between = {"message": ""}, time.monotonic() + 60, set()
        while "step 1 of" not in task["message"]:
            task = json.loads(get(base, f"/task/{task_id}")[2])
            assert time.monotonic() < deadline, task
        while task["status"] == "running":
            assert post(base, photo.read_bytes())[0] == 200
            task = json.loads(get(base, f"/task/{task_id}")[2])
            between.add(task["message"])  # the step after which the photo was answered
            assert time.monotonic() < deadline, task
        assert task["status"] == "completed", "and the photos do not keep it from its end"
        steps = [said for said in between if "step" in said]
        assert len(steps) >= 3, "photos were answered after several of the task's steps"


def test_photos_that_are_none_never_leave_anything_in_the_spool(base, here):
    uploads = here / "workspace/backend/uploads"
    before = set(uploads.iterdir()) if uploads.exists() else set()
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    bad = here / "room/bad.png"
    with pytest.raises(Exception, match=r"bad\.png"):
        Client(base, "").post_form("/inference", {}, [("bad.png", bad)])
    with pytest.raises(Exception, match="no such field"):
        Client(base, "").post_form("/inference", {"nothing": 1}, [("0.png", here / "room/0.png")])
    assert (set(uploads.iterdir()) if uploads.exists() else set()) == before


def test_the_app_is_a_client_of_a_backend(base, tmp_path, save_photo):
    photos = [save_photo(tmp_path / f"{n}.png", 40, 60, seed=n) for n in range(2)]
    engine = RemoteEngine(base)
    assert engine.scene_model == "da3-small" and "Apache-2.0" in engine.about
    assert f"{base}: da3-small finds no splats" in engine.no_splats
    words = []
    found = engine.scene(photos, SceneAsked(strategy="first"), words.append)
    assert found.scene.depth.shape == (2, 28, 42) and found.scene.conf is not None
    assert [photo.name for photo in found.photos] == ["0.png", "1.png"]
    assert found.scene.provenance.model == "da3-small" and words
    scene = scene_of(found.scene, found.photos)
    assert measure(scene, 0, [(3, 3), (20, 20)]).unit == "relative"
    depth = engine.photo(photos[0], "da3-small")
    assert depth.depth.shape == (40, 60) and depth.output.kind == "depth"

    def stop(what):
        raise Stopped

    with pytest.raises(Stopped):
        engine.scene(photos, SceneAsked(), stop)
    tasks = engine.client.get("/tasks")
    assert tasks["active_count"] == 0

    def cut(*args):
        raise InputError("the answer is cut off")

    engine._fetched = cut
    with pytest.raises(InputError, match="cut off"):
        engine.scene(photos, SceneAsked(), words.append)
    after = engine.client.get("/tasks")
    assert after["total_count"] == tasks["total_count"], "the task does not stay on the server"
    with pytest.raises(ServerError, match="no such"):
        engine.client.post("/inference", {"image_paths": ["none.png"]})


def test_a_backends_document_has_its_paths(base):
    paths = json.loads(get(base, "/openapi.json")[2])["paths"]
    assert {path for path in paths if path.startswith("/task")} == {
        *("/task/{task_id}", "/task/{task_id}/files", "/task/{task_id}/files/{name}"),
        *("/task/{task_id}/zip", "/tasks"),
    }
