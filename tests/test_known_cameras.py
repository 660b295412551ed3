"""Cameras that are known: each format the right way round, and told apart from what is none."""

import json
import random
import struct

import numpy as np
import pytest
from known_scene import (
    AXIS,
    FOCAL,
    NAMES,
    SIZE_HW,
    WRITERS,
    K,
    pixel,
    to_world,
    world_to_camera,
    write_cameras_json,
    write_colmap_binary,
    write_colmap_text,
    write_kitti,
    write_transforms,
    write_tum,
)

from exports.cameras import encode_cameras
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.camera_files import read_cameras
from runtime.scene.camera_match import Shot, match_cameras
from runtime.scene.views import make_view

SHOTS = [Shot(name, SIZE_HW) for name in NAMES]
NO_INTRINSICS = ("tum", "kitti")


@pytest.mark.parametrize("form", WRITERS)
def test_a_known_scene_comes_out_the_right_way_round(form, tmp_path):
    file = read_cameras(WRITERS[form](tmp_path))
    matched = match_cameras(file, SHOTS, lambda index: 150.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera(), atol=1e-9)
    assert matched.indices == (0, 1, 2) and not matched.missing
    middle = np.array([[150, 0, SIZE_HW[1] / 2], [0, 150, SIZE_HW[0] / 2], [0, 0, 1]])
    expected = middle if form in NO_INTRINSICS else K
    for index, (pose, intrinsics) in enumerate(zip(matched.extrinsics, matched.intrinsics)):
        np.testing.assert_allclose(intrinsics, expected)
        truth = pixel(np.linalg.inv(to_world(index)), expected)
        np.testing.assert_allclose(pixel(pose, intrinsics), truth)


def test_the_point_is_seen_where_it_must_be():
    """The scene itself is not symmetric: a pose that is inverted or mirrored sees it elsewhere."""
    for index in range(len(NAMES)):
        right = pixel(world_to_camera()[index], K)
        mirrored = world_to_camera()[index] @ np.diag([1, -1, -1, 1])
        assert 0 < right[0] < SIZE_HW[1] and 0 < right[1] < SIZE_HW[0]
        assert np.abs(right - pixel(to_world(index), K)).max() > 5
        with pytest.raises(AssertionError):
            pixel(mirrored, K)


def test_pycolmap_reads_and_writes_the_same(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    write_colmap_text(tmp_path / "ours")
    (tmp_path / "ours" / "points3D.txt").write_text("")
    model = pycolmap.Reconstruction(str(tmp_path / "ours"))
    for form in ("binary", "text"):
        (tmp_path / form).mkdir()
        getattr(model, f"write_{form}")(str(tmp_path / form))
        matched = match_cameras(read_cameras(tmp_path / form), SHOTS)
        np.testing.assert_allclose(matched.extrinsics, world_to_camera(), atol=1e-9)
        np.testing.assert_allclose(matched.intrinsics[1], K)


def test_what_scenes_write_is_read_back(tmp_path):
    views = [make_view(np.zeros((*SIZE_HW, 3), np.uint8), 84) for _ in NAMES]
    in_views = np.stack([view.intrinsics_of_view(K) for view in views])
    scene = ScenePrediction(
        np.zeros((3, *views[0].size_hw)), extrinsics=world_to_camera(), intrinsics=in_views
    )
    (tmp_path / "cameras.json").write_bytes(encode_cameras(scene, views, NAMES))
    matched = match_cameras(read_cameras(tmp_path / "cameras.json"), SHOTS)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera(), atol=1e-9)
    np.testing.assert_allclose(matched.intrinsics, np.stack([K] * 3))


MODELS = [  # number, name, parameters without distortion, K's four numbers
    (0, "SIMPLE_PINHOLE", (150, 81, 58), (150, 150, 81, 58)),
    (1, "PINHOLE", (150, 140, 81, 58), (150, 140, 81, 58)),
    (2, "SIMPLE_RADIAL", (150, 81, 58, 0), (150, 150, 81, 58)),
    (3, "RADIAL", (150, 81, 58, 0, 0), (150, 150, 81, 58)),
    (4, "OPENCV", (150, 140, 81, 58, 0, 0, 0, 0), (150, 140, 81, 58)),
    (6, "FULL_OPENCV", (150, 140, 81, 58, *[0] * 8), (150, 140, 81, 58)),
    (7, "FOV", (150, 140, 81, 58, 0), (150, 140, 81, 58)),
]
BENT = [
    (2, "SIMPLE_RADIAL", (150, 81, 58, 0.1), (150, 150, 81, 58)),
    (4, "OPENCV", (150, 140, 81, 58, 0, 0, 0, 1e-3), (150, 140, 81, 58)),
    (5, "OPENCV_FISHEYE", (150, 140, 81, 58, 0, 0, 0, 0), (150, 140, 81, 58)),
    (8, "SIMPLE_RADIAL_FISHEYE", (150, 81, 58, 0), (150, 150, 81, 58)),
    (9, "RADIAL_FISHEYE", (150, 81, 58, 0, 0), (150, 150, 81, 58)),
    (10, "THIN_PRISM_FISHEYE", (150, 140, 81, 58, *[0] * 8), (150, 140, 81, 58)),
    (11, "RAD_TAN_THIN_PRISM_FISHEYE", (150, 140, 81, 58, *[0] * 12), (150, 140, 81, 58)),
]


@pytest.mark.parametrize("number, name, params, expected", MODELS, ids=[one[1] for one in MODELS])
def test_lenses_without_distortion_are_pinholes(number, name, params, expected, tmp_path):
    fx, fy, cx, cy = expected
    for folder in (
        write_colmap_text(tmp_path / "text", name, params),
        write_colmap_binary(tmp_path / "binary", number, params),
    ):
        matched = match_cameras(read_cameras(folder), SHOTS)
        np.testing.assert_array_equal(matched.intrinsics[0], [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


@pytest.mark.parametrize("number, name, params, expected", BENT, ids=[one[1] for one in BENT])
def test_lenses_with_distortion_are_refused_or_ignored_if_asked(
    number, name, params, expected, tmp_path
):
    fx, fy, cx, cy = expected
    for folder in (
        write_colmap_text(tmp_path / "text", name, params),
        write_colmap_binary(tmp_path / "binary", number, params),
    ):
        file = read_cameras(folder)
        with pytest.raises(InputError, match=f"{name}.*image_undistorter.*--ignore-distortion"):
            match_cameras(file, SHOTS)
        matched = match_cameras(file, SHOTS, ignore_distortion=True)
        np.testing.assert_array_equal(matched.intrinsics[0], [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def test_a_photo_of_another_size_scales_its_camera_and_of_another_shape_is_refused(tmp_path):
    file = read_cameras(write_colmap_text(tmp_path))
    half = [Shot(name, (60, 80)) for name in NAMES]
    scaled = match_cameras(file, half).intrinsics[0]
    expected = np.array([[75, 0, 40.5], [0, 70, 29], [0, 0, 1]])
    np.testing.assert_allclose(scaled, expected)
    for size_hw in ((120, 150), (160, 120)):
        with pytest.raises(
            InputError, match="knows it as 160 x 120, which is no photo of the same"
        ):
            match_cameras(file, [Shot(name, size_hw) for name in NAMES])


@pytest.mark.parametrize("turned, size_hw", [(6, (160, 120)), (3, SIZE_HW), (8, (120, 120))])
def test_a_camera_of_pixels_as_they_are_stored_is_not_taken_for_an_upright_photo(
    turned, size_hw, tmp_path
):
    shots = [Shot(name, size_hw, turned=turned) for name in NAMES]
    with pytest.raises(InputError, match="its EXIF turns it"):
        match_cameras(read_cameras(write_colmap_text(tmp_path)), shots)
    upright = [Shot(name, SIZE_HW, turned=turned) for name in NAMES]
    ours = read_cameras(write_cameras_json(tmp_path / "cameras.json"))
    np.testing.assert_allclose(match_cameras(ours, upright).intrinsics[0], K)


def test_cameras_find_their_photos_by_path_name_or_stem(tmp_path):
    file = read_cameras(write_transforms(tmp_path / "transforms.json"))
    for names in (NAMES, [f"images/{n}" for n in NAMES], [f"{n[:-4]}.jpg" for n in NAMES]):
        shots = [Shot(name, SIZE_HW) for name in names]
        np.testing.assert_allclose(
            match_cameras(file, shots[::-1]).extrinsics, world_to_camera()[::-1], atol=1e-9
        )
    some = match_cameras(file, [Shot("x.png", SIZE_HW), *SHOTS[1:]])
    assert some.indices == (1, 2) and some.missing == ("x.png",)
    with pytest.raises(InputError, match=r"none of them of x\.png, y\.png"):
        match_cameras(file, [Shot("x.png", SIZE_HW), Shot("y.png", SIZE_HW)])
    with pytest.raises(InputError, match="more than one camera or photo of"):
        match_cameras(file, [Shot(f"{folder}/{NAMES[0]}", SIZE_HW) for folder in "ab"])


def test_a_photo_of_the_same_name_in_another_folder_gets_no_camera(tmp_path):
    write_transforms(tmp_path / "transforms.json")
    shots = [Shot(f"images/{NAMES[0]}", SIZE_HW), Shot(f"other/{NAMES[0]}", SIZE_HW)]
    matched = match_cameras(read_cameras(tmp_path / "transforms.json"), shots)
    assert matched.indices == (0,) and matched.missing == (f"other/{NAMES[0]}",)


def test_times_choose_the_nearest_pose_and_order_or_numbers_if_there_are_none(tmp_path):
    stamps = (1305031102.175304, 1305031102.211214, 1305031102.243211)
    file = read_cameras(write_tum(tmp_path / "tum.txt", stamps))
    late = [Shot(f"rgb/{stamp + 0.015:.6f}.png", SIZE_HW) for stamp in stamps[1:]]
    matched = match_cameras(file, late, lambda index: 100.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera()[1:], atol=1e-9)
    with pytest.raises(InputError, match="none of them of"):
        match_cameras(file, [Shot("rgb/1305031109.5.png", SIZE_HW)], lambda index: 100.0)
    with pytest.raises(InputError, match="give --focal-px"):
        match_cameras(file, late)
    frames = [Shot("a.png", SIZE_HW, index=9, time_s=2.004), Shot("b.png", SIZE_HW, 0, 0.0)]
    relative = read_cameras(write_tum(tmp_path / "relative.txt"))
    matched = match_cameras(relative, frames, lambda index: 100.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera()[[2, 0]], atol=1e-9)
    whole = [Shot(name, SIZE_HW) for name in NAMES[::2]]  # numbers of photos, not seconds
    matched = match_cameras(relative, whole, lambda index: 100.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera()[::2], atol=1e-9)
    named = read_cameras(write_kitti(tmp_path / "kitti.txt"))
    matched = match_cameras(named, [Shot("000002.png", SIZE_HW)], lambda index: 100.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera()[2:], atol=1e-9)
    matched = match_cameras(named, [Shot("x.png", SIZE_HW, index=1)], lambda index: 100.0)
    np.testing.assert_allclose(matched.extrinsics, world_to_camera()[1:2], atol=1e-9)
    with pytest.raises(InputError, match=r"3 poses \(KITTI\) for 1 photos"):
        match_cameras(named, [Shot("x.png", SIZE_HW)], lambda index: 100.0)


def test_blenders_angle_is_a_focal_length(tmp_path):
    file = write_transforms(tmp_path / "t.json")
    facts = json.loads(file.read_text())
    for key in ("fl_x", "fl_y", "cx", "cy"):
        del facts[key]
    facts["camera_angle_x"] = 2 * np.arctan(SIZE_HW[1] / 2 / FOCAL[0])
    file.write_text(json.dumps(facts))
    k = match_cameras(read_cameras(file), SHOTS).intrinsics[0]
    np.testing.assert_allclose(k, [[FOCAL[0], 0, 80], [0, FOCAL[0], 60], [0, 0, 1]])


@pytest.mark.parametrize("more", [{"k1": 0.1}, {"camera_model": "OPENCV_FISHEYE"}, {"p2": -1e-4}])
def test_distortion_in_transforms_is_seen(more, tmp_path):
    file = read_cameras(write_transforms(tmp_path / "t.json", **more))
    with pytest.raises(InputError, match="distortion"):
        match_cameras(file, SHOTS)


@pytest.mark.parametrize(
    "text, match",
    [
        ("{", "not JSON"),
        ("[1, 2]", "neither frames"),
        ('{"frames": 3}', "no list of frames"),
        ('{"frames": [{"file_path": "a.png"}]}', "a.png: no pose"),
        (
            '{"frames": [{"file_path": "a", "transform_matrix": [[2,0,0,0],[0,2,0,0],[0,0,2,0]]}]}',
            "no rotation",
        ),
        ('{"photos": [{"name": "a"}]}', "without name, size"),
        ("1 2 3\n", "no cameras that are known here"),
        ("", "no cameras that are known here"),
        ("0 0 0 0 9 0 0 0\n", "no quaternion"),
        ("nan 0 0 0 0 0 0 1\n", "expected numbers"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0\n", "no rotation"),
    ],
)
def test_files_that_hold_no_cameras_are_called_what_they_are(text, match, tmp_path):
    file = tmp_path / "file.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=match):
        read_cameras(file)


def test_damaged_colmap_models_are_refused(tmp_path):
    for name, length in (("cameras.bin", 30), ("images.bin", 90), ("images.bin", 200)):
        folder = write_colmap_binary(tmp_path / f"{name}{length}")
        file = folder / name
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(InputError, match="damaged"):
            read_cameras(folder)
    folder = write_colmap_binary(tmp_path / "unknown", 77)
    with pytest.raises(InputError, match="camera model 77 is not known"):
        read_cameras(folder)
    folder = write_colmap_binary(tmp_path / "many")
    (folder / "images.bin").write_bytes(struct.pack("<Q", 1 << 60))
    with pytest.raises(InputError, match="damaged"):
        read_cameras(folder)
    (folder / "cameras.bin").unlink()
    with pytest.raises(InputError, match=r"missing beside images\.bin"):
        read_cameras(folder)
    folder = write_colmap_text(tmp_path / "text", "PINHOLE", (*FOCAL, *AXIS, 5))
    with pytest.raises(InputError, match="5 parameters"):
        read_cameras(folder)
    with pytest.raises(InputError, match="a folder without a COLMAP model"):
        read_cameras(tmp_path)


@pytest.mark.parametrize("form", WRITERS)
def test_damaged_files_are_refused_or_give_cameras(form, tmp_path):
    """Bytes changed, lost and put in at random: no other error than ours, nothing that is none."""
    place = WRITERS[form](tmp_path)
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    whole = {file: file.read_bytes() for file in files}
    rng, taken = random.Random(0), 0
    for _ in range(100):
        file = rng.choice(files)
        data, at = bytearray(whole[file]), rng.randrange(len(whole[file]))
        change = rng.choice(
            [b"", b"9", b"-", b"e9", b"0", b"\0", b"\xff", b"NaN", b" ", b"9" * 400]
        )
        data[at : at + rng.randrange(9)] = change
        file.write_bytes(data)
        try:
            matched = match_cameras(read_cameras(place), SHOTS, lambda index: 100.0)
        except InputError:
            pass
        else:
            taken += 1
            assert np.isfinite(matched.extrinsics).all() and np.isfinite(matched.intrinsics).all()
        file.write_bytes(whole[file])
    assert taken < 100


@pytest.mark.parametrize(
    "more",
    [
        {"w": 0.5},
        {"w": -160},
        {"fl_x": 0},
        {"fl_x": -3},
        {"fl_y": 10**400},
        {"cx": float("nan")},
        {"w": 10**30},
        {"h": True},
        {"fl_x": "150"},
    ],
)
def test_numbers_that_are_none_of_a_camera_are_refused(more, tmp_path):
    with pytest.raises(InputError, match=r"expected a number|a camera of|are no intrinsics"):
        read_cameras(write_transforms(tmp_path / "t.json", **more))
