"""Clouds and COLMAP models through the main job and through batches."""

import json

import numpy as np
import pytest
from PIL import Image
from test_scene_colmap import read_model
from test_scene_exports import read_glb
from test_scene_files import digests, read_ply
from tiny_scene import make_scene_artifact

import inference
from runtime.photo.decode import read_photo
from serve.batch.__main__ import main as batch


@pytest.fixture
def room(tmp_path, make_photo):
    for seed, name in enumerate(("a/1.png", "b/1.png")):
        (tmp_path / "room" / name).parent.mkdir(parents=True)
        Image.fromarray(make_photo(30, 40, seed)).save(tmp_path / "room" / name)
    make_scene_artifact(tmp_path / "artifacts", 2, seeded=True)
    return ["--artifact", str(tmp_path / "artifacts"), "--input", str(tmp_path / "room")]


def test_a_scene_of_the_main_job_becomes_clouds_and_a_colmap_model(room, tmp_path, capsys):
    words = [*room, "--views", "all", "--recursive", "--formats", "npz,glb,ply,colmap,depth_vis"]
    for out in ("out", "again"):
        assert inference.main([*words, "--output", str(tmp_path / out)]) == 0, capsys.readouterr()
    said = json.loads((tmp_path / "out" / "scene.json").read_text())
    assert said["photos"] == ["a/1.png", "b/1.png"]
    assert "random weights" in said["warning"]
    assert list(said["formats"]) == ["glb", "ply", "colmap", "depth_vis"]
    _, images, points = read_model(tmp_path / "out")
    assert [image[0] for image in images.values()] == ["a/1.png", "b/1.png"] and points
    header = (tmp_path / "out" / "scene.ply").read_bytes().partition(b"end_header")[0].decode()
    assert "comment warning: made with random weights" in header
    assert "comment unit: relative" in header and "comment licence: Apache-2.0" in header
    document, _ = read_glb(tmp_path / "out" / "scene.glb")
    extras = document["scenes"][0]["extras"]
    assert extras["model"] == "da3-small" and "random weights" in extras["warning"]
    one, two = digests(tmp_path / "out"), digests(tmp_path / "again")
    assert {name for name in one if not name.endswith(".json")} == {
        *(f"{name}.npz" for name in ("a/1.png", "b/1.png")),
        *(f"{name}.bin" for name in ("cameras", "rigs", "frames", "images", "points3D")),
        *("scene.glb", "scene.ply", "depth_vis/0000.jpg", "depth_vis/0001.jpg"),
    }
    times = [name for name in one if one[name] != two[name]]
    assert all(name.endswith(".png.json") for name in times)  # seconds are in these


def test_a_scene_can_have_nothing_but_a_cloud(room, tmp_path):
    words = [*room, "--views", "all", "--recursive", "--formats", "ply"]
    assert inference.main([*words, "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "scene.ply").exists()
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_formats_of_scenes_need_views_all(room, tmp_path, capsys):
    assert inference.main([*room, "--formats", "colmap", "--output", str(tmp_path / "out")]) == 2
    assert "add --views all" in capsys.readouterr().err


@pytest.fixture
def street(tmp_path, make_photo):
    """A photo and a metric model that takes no focal length."""
    (tmp_path / "street").mkdir()
    Image.fromarray(make_photo(30, 40, 0)).save(tmp_path / "street" / "1.png")
    return tmp_path / "street"


def check_cloud(folder, street, focal_px):
    points = read_ply(folder / "1.png.ply")
    depth = np.load(folder / "1.png.npz")["depth_m"].ravel()
    np.testing.assert_array_equal(points["z"], depth)
    columns = np.tile(np.arange(40), 30)
    rows = np.repeat(np.arange(30), 40)
    np.testing.assert_allclose(points["x"], (columns + 0.5 - 20) / focal_px * depth, rtol=1e-5)
    np.testing.assert_allclose(points["y"], (rows + 0.5 - 15) / focal_px * depth, rtol=1e-5)
    rgb = read_photo(street / "1.png").reshape(-1, 3)
    np.testing.assert_array_equal(np.stack([points["red"], points["blue"]]), rgb[:, [0, 2]].T)
    _, shapes = read_glb(folder / "1.png.glb")
    np.testing.assert_allclose(shapes[0][1][:, 1], -points["y"], rtol=1e-5)


def test_photos_in_metres_become_clouds_through_both_doors(street, make_artifact, tmp_path):
    artifact = str(make_artifact(kind="depth_m", model="vits-indoor").path)
    words = ["--artifact", artifact, "--input", str(street), "--formats", "npz,ply,glb"]
    out, jobs = str(tmp_path / "out"), str(tmp_path / "jobs")
    assert inference.main([*words, "--output", out, "--focal-px", "50"]) == 0
    check_cloud(tmp_path / "out", street, 50)
    assert batch(["run", *words, "--output", jobs, "--focal-px", "50"]) == 0
    for name in ("1.png.ply", "1.png.glb"):
        ours = [(folder / name).read_bytes() for folder in (tmp_path / "out", tmp_path / "jobs")]
        assert ours[0] == ours[1]


def test_a_focal_length_that_nobody_knows_is_warned_of(street, make_artifact, tmp_path, caplog):
    artifact = str(make_artifact(kind="depth_m", model="vits-indoor").path)
    words = ["--artifact", artifact, "--input", str(street), "--formats", "npz,ply,glb"]
    assert inference.main([*words, "--output", str(tmp_path / "out")]) == 0
    assert "470.4 pixels, so for 5 degrees" in caplog.text
    check_cloud(tmp_path / "out", street, 470.4)
    said = json.loads((tmp_path / "out" / "1.png.json").read_text())
    assert said["points"]["focal_from"] == "upstream's default"


def test_relative_depth_becomes_no_cloud_and_that_is_said_at_once(
    street, tiny_artifact, tmp_path, capsys
):
    words = ["--artifact", str(tiny_artifact.path), "--input", str(street), "--formats", "ply"]
    assert inference.main([*words, "--output", str(tmp_path / "out")]) == 1
    assert "points need metres" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.*"))
    assert batch(["run", *words, "--output", str(tmp_path / "jobs")]) == 3  # rows may have points
    assert not list((tmp_path / "jobs").glob("*.ply"))


def test_points_of_a_photo_that_is_decoded_smaller_are_refused(street, tiny_artifact, tmp_path):
    words = ["--artifact", str(tiny_artifact.path), "--input", str(street), "--formats", "ply"]
    for run in (inference.main, lambda more: batch(["run", *more])):
        assert run([*words, "--output", str(tmp_path / "out"), "--decode", "reduced"]) in (1, 2)
