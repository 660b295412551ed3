"""The app behind its page: scenes that are kept, views of them, lengths, a server's client."""

import io
import json
import os
import shutil
import threading
import time
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import ROOT

from apps.da3 import main
from apps.web import app_sessions
from apps.web.app_engine import FoundScene, Stopped
from apps.web.app_measure import mark, measure
from apps.web.app_sessions import (
    Sessions,
    ViewAsked,
    save_to_gallery,
    take_photos,
)
from apps.web.app_words import in_thread
from apps.web.gallery import groups_in, scenes_in
from apps.web.gradio_door import check_python
from exports.scene import ScenePhoto, scene_of
from runtime.errors import InputError, MissingDependency
from runtime.predict.found import ScenePrediction

HW = (30, 40)


def wall(kind="depth", sky=False):
    """Two views of a wall at distance 2, as 40 pixels of focal length see it."""
    depth = np.full((2, *HW), 2, np.float32)
    rgb = np.random.default_rng(0).integers(20, 230, (2, *HW, 3), dtype=np.uint8)
    cameras = np.tile(np.eye(4, dtype=np.float32)[:3], (2, 1, 1))
    lens = np.tile(np.array([[40, 0, 20], [0, 40, 15], [0, 0, 1]], np.float32), (2, 1, 1))
    mask = np.zeros((2, *HW), bool)
    mask[:, :5] = True
    return ScenePrediction(
        depth=depth,
        kind=kind,
        conf=np.full_like(depth, 2),
        sky=mask if sky else None,
        extrinsics=cameras,
        intrinsics=lens,
        processed_images=rgb,
    )


@pytest.fixture
def session(tmp_path):
    sessions = Sessions(tmp_path / "work", keep_s=3600)
    found = sessions.find(sessions.new())
    found.keep(FoundScene(wall(), tuple(ScenePhoto(f"{n}.png", HW, HW) for n in range(2))))
    return found


def test_two_points_are_as_far_apart_as_the_camera_says():
    found = measure(scene_of(wall("depth_m")), 0, [(0, 10), (20, 10)])
    assert found.distance == pytest.approx(1.0) and found.depths == (2.0, 2.0)
    assert found.text().startswith("**1 m**")
    relative = measure(scene_of(wall()), 1, [(0, 10), (20, 10)])
    assert "not metric" in relative.text() and " m" not in relative.text().split("between")[0]


def test_what_has_no_depth_is_not_measured():
    with pytest.raises(InputError, match="sky"):
        measure(scene_of(wall(sky=True)), 0, [(0, 1), (20, 20)])


def test_marks_are_drawn_on_a_copy():
    picture = np.zeros((*HW, 3), np.uint8)
    marked = mark(picture, [(5, 5), (30, 20)])
    assert not picture.any() and marked[5, 5].tolist() == [255, 59, 48]


def test_each_switch_changes_the_file(session):
    plain = session.view(ViewAsked()).read_bytes()
    for change in (
        {"show_cameras": False},
        {"max_points_k": 0.5},
        {"filter_black": True},
        {"percentile": 60.0},
    ):
        other = session.view(ViewAsked(**change)).read_bytes()
        same = change in (
            {"filter_black": True},
            {"percentile": 60.0},
        )  # nothing is black, all sure
        assert (other == plain) == same
    assert session.view(ViewAsked()).read_bytes() == plain


def test_black_and_white_background_can_be_left_out(tmp_path):
    found = wall()
    found.processed_images[:, :10] = 0
    found.processed_images[:, 20:] = 255
    sessions = Sessions(tmp_path, 60)
    session = sessions.find(sessions.new())
    session.keep(FoundScene(found, tuple(ScenePhoto(f"{n}.png", HW, HW) for n in range(2))))
    sizes = {
        name: len(session.view(ViewAsked(show_cameras=False, **asked)).read_bytes())
        for name, asked in (
            ("all", {}),
            ("no black", {"filter_black": True}),
            ("no white", {"filter_white": True}),
        )
    }
    assert sizes["no black"] < sizes["all"] and sizes["no white"] < sizes["all"]


def test_a_length_that_is_known_makes_metres_of_a_scene(session):
    session.scale = 3.0
    scene = session.scene()
    assert scene.found.unit == "metre" and scene.found.scale_factor == 3.0
    assert measure(scene, 0, [(0, 10), (20, 10)]).distance == pytest.approx(3.0)


def test_downloads_hold_what_they_say(session):
    files = {file.name: file for file in session.downloads(ViewAsked())}
    assert {"scene.glb", "scene.ply", "scene.json", "results.npz"} <= set(files)
    colmap = zipfile.ZipFile(files["colmap.zip"])
    assert {"cameras.bin", "images.bin", "points3D.bin"} <= set(colmap.namelist())
    depth = zipfile.ZipFile(files["depth_16bit.zip"])
    assert depth.namelist() == ["depth_16bit/0000.png", "depth_16bit/0001.png"]
    picture = Image.open(io.BytesIO(depth.read("depth_16bit/0000.png")))
    assert picture.mode.startswith("I;16") and picture.size == HW[::-1]
    with np.load(files["results.npz"]) as arrays:
        assert arrays["depth"].shape == (2, *HW)
    assert json.loads(files["scene.json"].read_text())["unit"] == "relative"


def test_a_scene_is_saved_where_the_gallery_shows_it(session, tmp_path):
    now = datetime(2026, 1, 2, 3, 4, 5)
    place = save_to_gallery(session, tmp_path / "gallery", " my room ", ViewAsked(), now)
    assert place.name == "20260102_030405_pct10"
    assert groups_in(tmp_path / "gallery") == ["my room"]
    (scene,) = scenes_in(tmp_path / "gallery", "my room")
    assert scene.model and scene.thumbnail and scene.description and len(scene.depth) == 2
    with pytest.raises(InputError, match="there already"):
        save_to_gallery(session, tmp_path / "gallery", "my room", ViewAsked(), now)
    for name in ("../out", "a/b", ".hidden"):
        with pytest.raises(InputError):
            save_to_gallery(session, tmp_path / "gallery", name, ViewAsked(), now)


def test_sessions_are_known_by_a_number_alone_and_go_when_they_are_old(tmp_path, save_photo):
    sessions = Sessions(tmp_path / "work", keep_s=0.05)
    key = sessions.new()
    session = sessions.find(key)
    taken = take_photos(session, [save_photo(tmp_path / "in" / "b.png"), tmp_path / "notes.txt"])
    assert [photo.name for photo in taken] == ["b.png"]
    for wrong in (None, "", str(session.folder), "../etc"):
        with pytest.raises(InputError, match="upload"):
            sessions.find(wrong)
    time.sleep(0.1)
    sessions.new()
    assert not session.folder.exists()
    with pytest.raises(InputError, match="upload"):
        sessions.find(key)


def test_what_somebody_removes_meanwhile_does_not_stop_the_sweep(tmp_path, monkeypatch):
    sessions = Sessions(tmp_path / "work", keep_s=3600)
    kept, gone = (sessions.find(sessions.new()).folder for _ in range(2))
    for folder in (kept, gone):
        (folder / "images" / "0.png").write_bytes(b"0123")
    walk, stat = os.walk, Path.stat

    def walks(folder):
        for place, folders, names in walk(folder):
            yield place, folders, [*names, "removed meanwhile"]

    def stats(path, **named):
        if path.is_relative_to(gone):
            shutil.rmtree(gone, ignore_errors=True)
        return stat(path, **named)

    monkeypatch.setattr(app_sessions.os, "walk", walks)
    assert app_sessions._bytes_in(kept) == 4
    monkeypatch.setattr(Path, "stat", stats)
    assert app_sessions._last_used(gone) == 0.0
    sessions.sweep()
    assert kept.is_dir() and len(sessions._sessions) == 1


def test_work_that_is_cancelled_while_it_waits_in_line_never_begins():
    stop, begun = threading.Event(), []

    def work(told):
        begun.append(True)
        told("begins")
        return 7

    stop.set()
    with pytest.raises(Stopped):
        list(in_thread(stop, work))
    assert not begun
    stop.clear()
    assert list(in_thread(stop, work))[-1] == 7


def test_an_old_python_is_told_what_to_do_instead(capsys):
    with pytest.raises(MissingDependency, match=r"3\.10 or newer.*make serve.*--server"):
        check_python((3, 9))
    check_python((3, 10))


def test_the_commands_options_are_upstreams(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gradio", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in (
        *("--model-dir", "--workspace-dir", "--gallery-dir", "--host", "--port", "--share"),
        *("--debug", "--cache-examples", "--cache-gs-tag", "--server"),
    ):
        assert option in text
    assert (ROOT / "app.py").is_file()
