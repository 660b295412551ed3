"""Folders of scenes: cameras and depth come out as they were written, and are judged right."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_scene_scores import HW, exact, sample, views_of
from tiny_scene import make_scene_artifact

from depth_anything_3.utils.export import export
from metric_depth import evaluate
from metric_depth.colmap_points import has_points, points_by_image, sparse_depth
from metric_depth.datasets import parse_name
from metric_depth.depth_maps import read_colmap_map, read_npy, read_png, read_raw
from metric_depth.scene_estimators import Found, SceneEstimator, check_finds_cameras
from metric_depth.scene_folders import LAYOUTS, open_scenes
from metric_depth.scene_judge import judge_scenes, sample_facts, summarise_scenes
from metric_depth.scene_report import SCENE_COLUMNS, read_scene_runs, scene_table
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.predict.scenes import ScenePredictor
from runtime.scene.cameras import inverse, quaternion_from_rotation

TRUTH = sample(5)
NAMES = [f"room/{at}.png" for at in range(5)]


def save_photos(folder, names=NAMES):
    for at, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", HW[::-1], (50 * at, 90, 200)).save(folder / name)


def save_colmap(folder, names=NAMES, model="PINHOLE", more=""):
    """A COLMAP model as text, of ``TRUTH``."""
    folder.mkdir(parents=True, exist_ok=True)
    (fx, _, cx), (_, fy, cy), _ = TRUTH.intrinsics[0]
    lens = f"1 {model} {HW[1]} {HW[0]} {fx} {fy} {cx} {cy} {more}\n"
    (folder / "cameras.txt").write_text(f"# cameras\n{lens}")
    lines = []
    for at, (name, pose) in enumerate(zip(names, TRUTH.extrinsics)):
        x, y, z, w = quaternion_from_rotation(pose[:3, :3])
        numbers = " ".join(repr(float(v)) for v in (w, x, y, z, *pose[:3, 3]))
        lines.append(f"{at + 1} {numbers} 1 {name}\n\n")
    (folder / "images.txt").write_text("".join(lines))


def save_png(file, depth):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(file)


def save_colmap_map(file, depth):
    file.parent.mkdir(parents=True, exist_ok=True)
    height, width = depth.shape
    columns = depth.astype("<f4").T.reshape(width, height, 1).tobytes(order="F")
    file.write_bytes(f"{width}&{height}&1&".encode() + columns)


@pytest.fixture
def room(tmp_path):
    """A COLMAP project with depth in millimetres."""
    folder = tmp_path / "room"
    save_photos(folder / "images")
    save_colmap(folder / "sparse" / "0")
    for name, depth in zip(NAMES, TRUTH.depth):
        save_png(folder / "depth" / Path(name).with_suffix(".png"), depth)
    return folder


def load(kind, folder, views=None):
    (entry,) = open_scenes(kind, folder, "x", None, views).entries
    return entry.load()


def estimator(change=lambda found: found, told=None):
    """A model that knows the truth, as far as views are taken in order."""

    def find(photos, cameras=None):
        if told is not None:
            told.append(cameras)
        indices = [int(photo[0, 0, 0]) // 50 for photo in photos]
        own = replace(
            TRUTH,
            photos=photos,
            extrinsics=TRUTH.extrinsics[indices],
            intrinsics=TRUTH.intrinsics[indices],
            depth=[TRUTH.depth[index] for index in indices],
        )
        return Found(change(exact(own)), views_of(own))

    weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0")
    return SceneEstimator("da3-small", "da3-small", weights, find, {"how": "by heart"})


def test_a_colmap_folder_gives_its_cameras_and_depth(room):
    found = load("colmap", room)
    np.testing.assert_allclose(found.extrinsics, TRUTH.extrinsics, atol=1e-12)
    np.testing.assert_allclose(found.intrinsics, TRUTH.intrinsics)
    np.testing.assert_allclose(np.stack(found.depth), np.stack(TRUTH.depth), atol=6e-4)
    assert [photo[0, 0, 0] for photo in found.photos] == [0, 50, 100, 150, 200]
    assert found.unit == "the cameras' own" and found.threshold is None


@pytest.mark.parametrize("kind", ["npy", "dense", "none"])
def test_a_colmap_folder_has_depth_in_one_of_several_forms(kind, tmp_path):
    save_photos(tmp_path / "images")
    save_colmap(tmp_path / "sparse")
    for name, depth in zip(NAMES, TRUTH.depth):
        if kind == "npy":
            file = tmp_path / "depth" / Path(name).with_suffix(".npy")
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, depth)
        if kind == "dense":
            save_colmap_map(tmp_path / "stereo" / "depth_maps" / f"{name}.geometric.bin", depth)
    found = load("colmap", tmp_path)
    if kind == "none":
        assert found.depth is None
    else:
        np.testing.assert_array_equal(np.stack(found.depth), np.stack(TRUTH.depth))


def test_an_eth3d_folder_has_raw_depth_and_upstreams_threshold(tmp_path):
    names = [f"dslr_images_undistorted/{at}.JPG" for at in range(5)]
    save_photos(tmp_path / "delivery_area" / "images", names)
    save_colmap(tmp_path / "delivery_area" / "dslr_calibration_undistorted", names)
    for name, depth in zip(names, TRUTH.depth):
        file = tmp_path / "delivery_area" / "ground_truth_depth" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(np.where(np.arange(HW[1]) < 3, np.inf, depth).astype("<f4").tobytes())
    found = load("eth3d", tmp_path)
    np.testing.assert_allclose(found.extrinsics, TRUTH.extrinsics, atol=1e-12)
    assert (found.unit, found.threshold) == ("metre", 0.25)
    assert np.isnan(found.depth[0][:, :3]).all() and (found.depth[0][:, 3:] > 0).all()


def test_a_scannetpp_folder_has_nerfstudios_cameras(tmp_path):
    dslr = tmp_path / "0a5c013435" / "dslr"
    names = [f"DSC0{at}.JPG" for at in range(5)]
    save_photos(dslr / "undistorted_images", names)
    (fx, _, cx), (_, fy, cy), _ = TRUTH.intrinsics[0]
    frames = [
        {"file_path": name, "transform_matrix": (pose @ np.diag([1, -1, -1, 1])).tolist()}
        for name, pose in zip(names, inverse(TRUTH.extrinsics))
    ]
    facts = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": HW[1], "h": HW[0], "frames": frames}
    (dslr / "nerfstudio").mkdir()
    (dslr / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(facts))
    for name, depth in zip(names, TRUTH.depth):
        save_png(dslr / "undistorted_depths" / Path(name).with_suffix(".png"), depth)
    found = load("scannetpp", tmp_path)
    np.testing.assert_allclose(found.extrinsics, TRUTH.extrinsics, atol=1e-12)
    np.testing.assert_allclose(found.intrinsics, TRUTH.intrinsics)
    assert (found.unit, found.threshold) == ("metre", 0.05)
    assert np.nanmax(np.abs(np.stack(found.depth) - np.stack(TRUTH.depth))) < 6e-4


def test_views_are_spaced_evenly_and_those_with_depth_come_first(room):
    assert [photo[0, 0, 0] for photo in load("colmap", room, views=2).photos] == [0, 100]
    (room / "depth" / "room" / "0.png").unlink()
    found = load("colmap", room)
    assert [photo[0, 0, 0] for photo in found.photos] == [50, 100, 150, 200]
    assert len(found.depth) == 4


def test_a_folder_of_scenes_is_opened_by_name(room, tmp_path):
    for name in ("b", "a", "c"):
        save_photos(tmp_path / "all" / name / "images")
        save_colmap(tmp_path / "all" / name / "sparse" / "0")
    (tmp_path / "all" / "notes").mkdir()
    opened = open_scenes("colmap", tmp_path / "all", "all", None, None)
    assert [entry.name for entry in opened.entries] == ["a", "b", "c"]
    some = open_scenes("colmap", tmp_path / "all", "all", 2, None)
    assert [entry.name for entry in some.entries] == ["a", "b"]


def test_who_knows_the_truth_is_perfect_on_a_folder(room):
    (outcome,) = judge_scenes(estimator(), open_scenes("colmap", room, "room", None, None))
    assert outcome.error is None and outcome.views == 5
    assert [outcome.scores.pose[f"auc_{angle}"] for angle in (3, 5, 15, 30)] == [1] * 4
    assert outcome.scores.aligned["f1"] == 1 and outcome.scores.aligned["accuracy"] < 1e-3
    assert outcome.picture is not None
    told = summarise_scenes([outcome])
    assert told["scores"]["auc_30"] == 1 and told["unaligned"]["f1"] == 1
    assert told["scenes"] == 1 and told["photos"] == 5


def test_a_scene_half_as_large_is_right_aligned_only(room):
    def halved(found):
        small = found.extrinsics.copy()
        small[:, :3, 3] /= 2
        return replace(found, extrinsics=small, depth=found.depth / 2)

    (outcome,) = judge_scenes(estimator(halved), open_scenes("colmap", room, "room", None, None))
    assert outcome.scores.scale == pytest.approx(2, rel=1e-3)
    assert outcome.scores.aligned["abs_rel"] < 1e-3
    assert outcome.scores.unaligned["abs_rel"] == pytest.approx(0.5, abs=1e-3)


def test_true_cameras_are_told_on_request_only(room):
    dataset = open_scenes("colmap", room, "room", None, None)
    told = []
    list(judge_scenes(estimator(told=told), dataset))
    (outcome,) = judge_scenes(estimator(told=told), dataset, given_cameras=True)
    assert told[0] is None and outcome.scores.pose == {}
    np.testing.assert_allclose(told[1][0], TRUTH.extrinsics, atol=1e-12)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda room: (room / "sparse/0/cameras.txt").unlink(), "cameras.txt: missing"),
        (lambda room: (room / "sparse/0/images.txt").write_text("1 2 3\n"), "is no image"),
        (lambda room: save_colmap(room / "sparse/0", model="OPENCV", more="0.1 0 0 0"), "distort"),
        (lambda room: save_colmap(room / "sparse/0", ["other" + n[5:] for n in NAMES]), "none"),
        (lambda room: (room / "images/room/1.png").write_bytes(b"no photo"), "1.png"),
        (lambda room: save_png(room / "depth/room/1.png", np.ones((14, 28))), "its depth is 14 x"),
        (lambda room: (room / "depth/room/1.png").write_bytes(b"x"), "cannot be read as a PNG"),
        (lambda room: Image.new("RGB", (30, 42)).save(room / "images/room/1.png"), "30 x 42"),
    ],
)
def test_a_scene_that_cannot_be_used_is_an_outcome_with_its_error(spoil, message, room):
    spoil(room)
    (outcome,) = judge_scenes(estimator(), open_scenes("colmap", room, "room", None, None))
    assert outcome.scores is None and message in outcome.error


@pytest.mark.parametrize(
    "kind, message", [("colmap", "no scene in it"), ("eth3d", "dslr_calibration_undistorted")]
)
def test_a_folder_without_scenes_says_what_is_expected(kind, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_scenes(kind, tmp_path, "x", None, None)
    with pytest.raises(InputError, match="no such folder"):
        open_scenes(kind, tmp_path / "gone", "x", None, None)


def test_names_of_scenes_are_names_of_datasets(tmp_path):
    assert parse_name("views").has_scenes and not parse_name("generated").has_scenes
    assert parse_name(f"colmap:{tmp_path / 'kitchen'}").title == "colmap-kitchen"
    for text, says in (("colmap", "give colmap:FOLDER"), ("views:x", "views has no folder")):
        with pytest.raises(InputError, match=says):
            parse_name(text)
    assert set(LAYOUTS) == {"colmap", "eth3d", "scannetpp"}


# --- maps


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no map of COLMAP's"),
        (b"4&3&3&" + bytes(144), "no map of COLMAP's"),
        (b"4&3&1&" + bytes(47), "47 bytes of depth, expected 48 for 4 x 3"),
        (b"999999&999999&1&", "0 bytes of depth"),
        (b"9999999&1&1&", "no map of COLMAP's"),
        (b"-4&3&1&", "no map of COLMAP's"),
    ],
)
def test_a_damaged_map_of_colmap_is_refused(content, message, tmp_path):
    (tmp_path / "map").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_colmap_map(tmp_path / "map")


def test_maps_are_read_column_by_column_or_row_by_row(tmp_path):
    depth = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_colmap_map(tmp_path / "map", depth)
    known = np.where(depth > 0, depth, np.nan)
    np.testing.assert_array_equal(read_colmap_map(tmp_path / "map"), known)
    (tmp_path / "raw").write_bytes(depth.tobytes())
    np.testing.assert_array_equal(read_raw(tmp_path / "raw", (3, 4)), known)
    with pytest.raises(InputError, match="48 bytes of depth, expected 64 for 4 x 4"):
        read_raw(tmp_path / "raw", (4, 4))
    np.save(tmp_path / "a.npy", np.where(depth > 9, np.inf, depth))
    found = read_npy(tmp_path / "a.npy")
    assert np.isnan(found[0, 0]) and np.isinf(found[2, 2:]).all() and found[1, 1] == 5
    save_png(tmp_path / "a.png", depth)
    np.testing.assert_allclose(read_png(tmp_path / "a.png", 1000), known)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 3)), np.array([["a"]]), np.array([[None]]), np.zeros(3, complex)]
)
def test_arrays_that_are_no_depth_are_refused_and_nothing_is_unpickled(array, tmp_path):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_npy(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_npy(tmp_path / "b.npy")


# --- the command


def run(tmp_path, *arguments):
    output = tmp_path / "evaluation"
    return evaluate.main([*map(str, arguments), "--output", str(output)]), output


def test_artifacts_are_judged_on_scenes_to_json_table_and_page(room, tmp_path, capsys):
    artifact = make_scene_artifact(tmp_path / "artifacts", 5)
    command = ("--artifact", artifact.path, "--dataset", f"colmap:{room}")
    status, output = run(tmp_path, *command)
    assert status == 0
    (found,) = read_scene_runs(output)
    assert found["dataset"] == "colmap-room" and found["scenes"] == 1 and found["photos"] == 5
    assert found["command"].startswith("python -m metric_depth.evaluate --artifact")
    (scene,) = found["samples"]
    assert {"pose", "aligned", "unaligned", "scale", "threshold", "views"} <= set(scene)
    assert 0 <= found["scores"]["auc_30"] <= 1 and found["scores"]["f1"] is not None
    printed = capsys.readouterr().out
    assert "AUC30" in printed and "F1 as is" in printed and "colmap-room" in printed
    page = (output / "index.html").read_text()
    assert "<h2>Scenes</h2>" in page and scene["picture"] in page and "AUC30" in page
    assert (output / scene["picture"]).is_file()
    status, output = run(tmp_path, *command, "--given-cameras", "--views", 3)
    (found,) = read_scene_runs(output)
    assert found["given_cameras"] and found["photos"] == 3
    assert "auc_30" not in found["scores"] and found["scores"]["f1"] is not None
    assert "told the true cameras" in (output / "index.html").read_text()


def test_what_a_model_exports_is_its_own_truth(tmp_path):
    """Cameras and depth go out as files, come back as truth, and the same model scores 1."""
    artifact = make_scene_artifact(tmp_path / "artifacts", 5)
    save_photos(tmp_path / "mine" / "images")
    files = [tmp_path / "mine" / "images" / name for name in NAMES]
    scene = ScenePredictor([artifact])([read_photo(file) for file in files])
    names = {"image_paths": [str(file) for file in files]}
    export(scene, "colmap", tmp_path / "mine" / "sparse" / "0", colmap=names)
    for name, depth in zip(NAMES, scene.depth):
        file = tmp_path / "mine" / "depth" / Path(name).with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, depth)
    status, output = run(
        tmp_path, "--artifact", artifact.path, "--dataset", f"colmap:{tmp_path / 'mine'}"
    )
    (found,) = read_scene_runs(output)
    assert status == 0
    assert [found["scores"][f"auc_{angle}"] for angle in (3, 5, 15, 30)] == [1] * 4
    for scores in (found["scores"], found["unaligned"]):
        assert scores["f1"] == 1 and scores["abs_rel"] == pytest.approx(0, abs=1e-5)


def test_an_eager_model_is_judged_on_scenes(room, tmp_path):
    status, output = run(
        tmp_path,
        *("--model", "da3-small", "--seeded-weights", "--size", 28, "--views", 2),
        *("--dataset", f"colmap:{room}"),
    )
    (found,) = read_scene_runs(output)
    assert status == 0 and found["label"] == "da3-small-seeded" and found["photos"] == 2
    assert found["estimator"] == {"how": "eager float32 on cpu", "process_res": 28}
    assert found["scores"]["rotation_deg"] > 0 and found["scores"]["abs_rel"] > 0


def test_a_bad_scene_counts_and_is_named(room, tmp_path, capsys):
    artifact = make_scene_artifact(tmp_path / "artifacts", 5)
    (room / "images" / "room" / "3.png").write_bytes(b"no photo")
    status, output = run(tmp_path, "--artifact", artifact.path, "--dataset", f"colmap:{room}")
    assert status == 1 and "failed: room: " in capsys.readouterr().err
    assert "3.png" in (output / "index.html").read_text()


def test_names_of_scenes_are_shown_as_text(room, tmp_path):
    hostile = '<img src=x onerror="alert(1)">{{ 7 * 7 }}'
    room.rename(tmp_path / hostile)
    save_colmap(tmp_path / "b<script>" / "sparse")  # no photos: fails
    artifact = make_scene_artifact(tmp_path / "artifacts", 5)
    status, output = run(tmp_path, "--artifact", artifact.path, "--dataset", f"colmap:{tmp_path}")
    page = (output / "index.html").read_text()
    assert status == 1 and hostile not in page and "<script" not in page and "b&lt;script" in page
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;{{ 7 * 7 }}" in page
    assert [one["name"] for one in read_scene_runs(output)[0]["samples"]] == [hostile]


@pytest.mark.parametrize(
    "arguments, says, status",
    [
        (["--dataset", "views"], "demo finds no cameras; scenes are judged with --model da3-s", 1),
        (["--model", "vits", "--dataset", "views"], "vits finds no cameras", 1),
        (["--views", "3"], "--views and --given-cameras are for scenes", 2),
        (["--given-cameras"], "--views and --given-cameras are for scenes", 2),
    ],
)
def test_what_does_not_go_together_is_said_first(arguments, says, status, tmp_path, capsys):
    assert run(tmp_path, *arguments)[0] == status
    assert says in capsys.readouterr().err and not (tmp_path / "evaluation").exists()


def test_without_scipy_the_extra_is_named_before_any_work(tmp_path, capsys, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr("runtime.optional.importlib.import_module", absent)
    assert run(tmp_path, "--model", "da3-small", "--dataset", "views")[0] == 1
    assert re.search(r"scipy.spatial is not installed.*evaluate", capsys.readouterr().err)
    assert not (tmp_path / "evaluation").exists()


def test_the_table_has_dashes_where_nothing_was_scored():
    facts = {"label": "da3-small", "dataset": "x", "scenes": 2, "photos": 8, "unaligned": {}}
    lines = scene_table([{**facts, "scores": {"auc_3": 0.5}}]).splitlines()
    assert lines[1].split() == [
        "da3-small",
        "x",
        "2",
        "8",
        "0.500",
        *["-"] * (len(SCENE_COLUMNS) - 1),
    ]


def test_models_that_find_cameras_are_named():
    from compile.registry import MODELS

    check_finds_cameras(MODELS["da3-small"])
    with pytest.raises(InputError, match="da3mono-large finds no cameras"):
        check_finds_cameras(MODELS["da3mono-large"])


# --- COLMAP's points


def save_points(model, count=400, seen_by=5):
    """Points in front of the cameras, each seen by the first ``seen_by`` that can."""
    random = np.random.RandomState(0)
    first = inverse(TRUTH.extrinsics)[0]
    local = random.uniform((-1, -0.7, 3), (1, 0.7, 5), (count, 3))
    points = local @ first[:3, :3].T + first[:3, 3]
    lines = []
    for number, point in enumerate(points):
        track = "".join(f" {at + 1} {number}" for at in range(seen_by))
        place = " ".join(repr(float(one)) for one in point)
        lines.append(f"{number + 1} {place} 9 9 9 0.5{track}\n")
    (model / "points3D.txt").write_text("# points\n" + "".join(lines))
    return points


def observed(model, count):
    """Give every image the observations that its points name, as COLMAP itself demands."""
    lines = (model / "images.txt").read_text().splitlines()
    seen = " ".join(f"{at}.5 1.5 {at + 1}" for at in range(count))
    for at in range(1, len(lines), 2):
        lines[at] = seen
    (model / "images.txt").write_text("\n".join(lines) + "\n")


def test_points_of_a_text_and_a_binary_model_are_the_same(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not here: extra dev")
    text, binary = tmp_path / "text", tmp_path / "binary"
    save_colmap(text)
    points = save_points(text, 30)
    observed(text, 30)
    binary.mkdir()
    pycolmap.Reconstruction(str(text)).write_binary(str(binary))
    assert has_points(text) and has_points(binary) and not has_points(tmp_path)
    for model in (text, binary):
        found = points_by_image(model)
        assert sorted(found) == NAMES
        for name in NAMES:
            np.testing.assert_allclose(
                found[name][np.lexsort(found[name].T)], points[np.lexsort(points.T)]
            )


def test_points_that_two_images_see_do_not_count(tmp_path):
    save_colmap(tmp_path)
    save_points(tmp_path, 10, seen_by=2)
    assert all(len(points) == 0 for points in points_by_image(tmp_path).values())


def test_a_map_has_the_nearest_point_of_each_cell():
    lens = np.array([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]])
    points = [[0.005, 0.005, 1], [0.02, 0.02, 4], [0, 0, -1], [9, 0, 1], [-0.49, -0.29, 1]]
    depth = sparse_depth(np.array(points), lens, np.eye(4), (60, 100))
    assert depth.shape == (60, 100) and depth[30, 50] == 1 and depth[1, 1] == 1
    assert np.isfinite(depth).sum() == 2
    small = sparse_depth(np.array(points), lens, np.eye(4), (60, 100), longer_side=10)
    assert small.shape == (6, 10) and small[3, 5] == 1 and small[0, 0] == 1
    assert np.isnan(sparse_depth(np.zeros((0, 3)), lens, np.eye(4), (60, 100))).all()


def test_a_project_without_maps_is_judged_by_its_points(tmp_path):
    save_photos(tmp_path / "images")
    save_colmap(tmp_path / "sparse" / "0")
    points = save_points(tmp_path / "sparse" / "0")
    found = load("colmap", tmp_path)
    assert found.depth_from == "COLMAP's points"
    for pose, depth in zip(TRUTH.extrinsics, found.depth):
        far = (points @ pose[:3, :3].T + pose[:3, 3])[:, 2].astype(np.float32)
        assert np.isin(depth[np.isfinite(depth)], far).all() and np.isfinite(depth).sum() > 20

    def knows(scene):
        return replace(scene, depth=np.where(np.isnan(found.depth), 7, found.depth) * 2)

    (outcome,) = judge_scenes(estimator(knows), open_scenes("colmap", tmp_path, "x", None, None))
    assert outcome.scores.aligned["abs_rel"] == pytest.approx(1)  # cameras are right, depth is not
    assert sample_facts(outcome)["depth_from"] == "COLMAP's points"


def test_points_that_do_not_count_leave_cameras_to_be_judged(tmp_path):
    save_photos(tmp_path / "images")
    save_colmap(tmp_path / "sparse" / "0")
    save_points(tmp_path / "sparse" / "0", seen_by=2)
    assert load("colmap", tmp_path).depth is None


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_damaged_points_are_refused(suffix, tmp_path):
    save_colmap(tmp_path)
    for content in (b"\x05", b"\x05" + bytes(20), b"1 2 x\n", b"1 0 0 1 9 9 9 0 97 1 98 2 99 3\n"):
        (tmp_path / "images.bin").write_bytes(b"\x01" + bytes(7) + content)
        (tmp_path / f"points3D{suffix}").write_bytes(content)
        with pytest.raises(InputError, match="a damaged COLMAP model"):
            points_by_image(tmp_path)
