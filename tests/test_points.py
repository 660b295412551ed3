"""Photos to points: upstream's numbers, files that others read back, and a camera that is known."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps import points as app
from apps.fit_points import PointFiles
from compile.registry import MODELS
from exports.glb import POINTS, Geometry, encode_glb
from exports.photo_points import (
    AXES,
    GLB_AXES,
    PhotoPoints,
    PointOptions,
    points_glb,
    points_of,
    points_ply,
)
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError
from runtime.photo.decode import focal_px_of, read_photo
from runtime.predict.found import SEEDED, Prediction, Provenance
from runtime.scene.focal import PhotoCamera, camera_of, focal_of_fov, fov_of
from runtime.scene.intrinsics import read_intrinsics

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "exports"
CAMERAS = {"default": (470.4, 470.4), "focal": (300.0, 250.0)}
EXIF_IFD, FOCAL_35_MM = 0x8769, 0xA405


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "v2_pointcloud.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def prediction(depth, kind="depth_m", seeded=False):
    weights = WeightsSpec("seeded" if seeded else "checkpoint", "0" * 64, "Apache-2.0")
    provenance = Provenance("vits-indoor", weights)
    return Prediction(
        depth, OutputSpec(kind), provenance, InputSpec((14, 14)), depth.shape, focal_px=None
    )


def gathered(points):
    places, colours = zip(*points.blocks())
    return np.concatenate(places), np.concatenate(colours)


def read_back(data, kind):
    """Points, colours and what the file says, as trimesh reads them."""
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    found = trimesh.load(io.BytesIO(data), file_type=kind)
    if kind == "glb":
        (cloud,) = found.geometry.values()
        return cloud.vertices, cloud.colors[:, :3], found.metadata
    return found.vertices, found.colors[:, :3], None


@pytest.mark.parametrize("name", CAMERAS)
def test_points_are_upstreams_to_the_last_bit(name, golden):
    options = PointOptions(pixel_grid="upstream", as_upstream=True)
    points = PhotoPoints(golden["depth"], golden["image"], PhotoCamera(CAMERAS[name]), options)
    places, colours = gathered(points)
    assert places.dtype == np.float64
    np.testing.assert_array_equal(places, golden[f"{name}__points"])
    np.testing.assert_array_equal(colours, golden[f"{name}__colors"])


def test_upstreams_file_differs_in_its_comments_only(golden):
    found = prediction(golden["depth"])
    camera, options = (
        PhotoCamera(CAMERAS["default"]),
        PointOptions(pixel_grid="upstream", as_upstream=True),
    )
    data = b"".join(points_ply(found, points_of(found, golden["image"], camera, options)))
    upstreams = (GOLDEN / "v2_pointcloud_default.ply").read_bytes()

    def plain(file):
        head, body = file.split(b"end_header\n", 1)
        return [line for line in head.splitlines() if not line.startswith(b"comment")], body

    assert plain(data) == plain(upstreams)


def test_what_has_no_distance_is_no_point_of_ours(golden):
    depth = golden["depth"].copy()
    assert depth[0, 0] == 0
    depth[2, 3], depth[4, 5] = np.nan, np.inf
    camera = PhotoCamera(CAMERAS["default"])
    options = PointOptions(pixel_grid="upstream")
    places, colours = gathered(PhotoPoints(depth, golden["image"], camera, options))
    there = np.isfinite(depth) & (depth > 0)
    assert there.sum() == depth.size - 3
    np.testing.assert_array_equal(places, golden["default__points"][there.ravel()])
    np.testing.assert_array_equal(colours, golden["image"][there])


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_a_stride_takes_every_so_many_rows_and_columns(stride, make_photo):
    rgb = make_photo(150, 61)
    depth = np.random.RandomState(0).rand(150, 61).astype(np.float32) + 1
    camera = PhotoCamera((50.0, 60.0), (20.0, 30.0))
    places, colours = gathered(PhotoPoints(depth, rgb, camera, PointOptions(stride)))
    y, x = np.mgrid[0:150:stride, 0:61:stride]
    z = depth[::stride, ::stride].astype(np.float64)
    expected = np.stack(((x - 20) / 50 * z, (y - 30) / 60 * z, z), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(places, expected, rtol=1e-12)
    np.testing.assert_array_equal(colours, rgb[::stride, ::stride].reshape(-1, 3))


@pytest.mark.parametrize("stride", [1, 3])
def test_edges_are_left_out_and_slopes_are_not(stride):
    depth = np.ones((200, 40), np.float32)
    depth[:, 20:] = 2.0
    depth *= np.linspace(1, 1.5, 200, dtype=np.float32)[:, None]  # a slope: 0.25 % a row
    depth[100:110, 5] = 0  # a hole is no jump
    rgb = np.zeros((200, 40, 3), np.uint8)
    options = PointOptions(stride, max_depth_jump=0.1)
    kept = np.zeros((200, 40), bool)
    for rows, some in PhotoPoints(depth, rgb, PhotoCamera((40.0, 40.0)), options)._kept():
        kept[rows, ::stride] = some
    expected = depth > 0
    expected[:, 19:21] = False
    wanted = np.zeros_like(kept)
    wanted[::stride, ::stride] = expected[::stride, ::stride]
    np.testing.assert_array_equal(kept, wanted)


def test_others_read_the_same_points_and_colours_from_both_files(make_photo):
    rgb = make_photo(70, 33)
    depth = (np.random.RandomState(1).rand(70, 33) * 9 + 0.1).astype(np.float32)
    found = prediction(depth, seeded=True)
    points = points_of(found, rgb, PhotoCamera((50.0, 55.0), how="--focal-length"))
    places, _ = gathered(points)
    ply, glb = b"".join(points_ply(found, points)), b"".join(points_glb(found, points))
    vertices, colours, _ = read_back(ply, "ply")
    np.testing.assert_array_equal(vertices, places.astype(np.float32))
    np.testing.assert_array_equal(colours, rgb.reshape(-1, 3))
    vertices, colours, said = read_back(glb, "glb")
    np.testing.assert_array_equal(vertices, places.astype(np.float32) * [1, -1, -1])
    np.testing.assert_array_equal(colours, rgb.reshape(-1, 3))
    assert (said["unit"], said["axes"], said["model"]) == ("metre", GLB_AXES, "vits-indoor")
    assert (said["licence"], said["warning"]) == ("Apache-2.0", SEEDED)
    head = ply.split(b"end_header")[0].decode("ascii").splitlines()
    for line in (
        "unit: metre",
        f"axes: {AXES}",
        "focal_px: [50.0, 55.0]",
        "focal_from: --focal-length",
        "model: vits-indoor",
        "licence: Apache-2.0",
        f"warning: {SEEDED}",
    ):
        assert f"comment {line}" in head
    weights = next(line for line in head if line.startswith("comment weights: "))
    assert json.loads(weights[len("comment weights: ") :])["sha256"] == "0" * 64
    assert b"".join(points_ply(found, points)) == ply
    assert b"".join(points_glb(found, points)) == glb


def test_the_glb_is_unlit_and_its_limits_are_those_of_its_points():
    places = np.array([[1, 2, 3], [-4, 5, 6], [7, 8, -9]], np.float32)
    data = b"".join(encode_glb([Geometry(POINTS, places, np.zeros((3, 3), np.uint8))], {}))
    length = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + length])
    assert int.from_bytes(data[8:12], "little") == len(data) and len(data) % 4 == 0
    assert "KHR_materials_unlit" in document["extensionsUsed"]
    position = document["accessors"][0]
    assert (position["min"], position["max"]) == ([-4, 2, -9], [7, 8, 6])


def test_a_cloud_without_points_is_a_file_all_the_same():
    found = prediction(np.zeros((4, 5), np.float32))
    points = points_of(found, np.zeros((4, 5, 3), np.uint8), PhotoCamera((5.0, 5.0)))
    assert points.count == 0
    assert b"element vertex 0\n" in b"".join(points_ply(found, points))
    assert b"".join(points_glb(found, points))[:4] == b"glTF"


@pytest.mark.parametrize("kind", ["disparity", "depth"])
def test_relative_depth_is_refused_with_the_reason(kind):
    with pytest.raises(InputError, match=r"points need metres, but this is .*--fit-points"):
        points_of(
            prediction(np.ones((4, 5), np.float32), kind),
            np.zeros((4, 5, 3), np.uint8),
            PhotoCamera((5.0, 5.0)),
        )


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 0},
        {"max_depth_jump": 0.0},
        {"max_depth_jump": float("nan")},
        {"pixel_grid": "corners"},
    ],
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(InputError, match=r"give |use one of"):
        PointOptions(**options)


def test_the_axis_goes_through_the_photos_middle_or_upstreams_place():
    """A flat wall's points lie around the axis, and upstream's half a pixel beside it."""
    wall, rgb = np.full((4, 6), 2, np.float32), np.zeros((4, 6, 3), np.uint8)
    for pixel_grid, beside in (("centres", 0.0), ("upstream", -0.5)):
        options = PointOptions(pixel_grid=pixel_grid)
        places, _ = gathered(PhotoPoints(wall, rgb, PhotoCamera((10.0, 10.0)), options))
        np.testing.assert_allclose(places.mean(0), [beside / 5, beside / 5, 2], atol=1e-12)
    known = PhotoCamera((10.0, 10.0), (2.5, 1.5))  # it is the file that says where the axis is
    points = [
        PhotoPoints(wall, rgb, known, PointOptions(pixel_grid=g)) for g in ("centres", "upstream")
    ]
    np.testing.assert_array_equal(gathered(points[0])[0], gathered(points[1])[0])


def test_upstreams_door_keeps_upstreams_grid():
    required = ["--img-path", "a.png"]
    assert app.build_parser().parse_args(required).pixel_grid == "centres"
    assert app.build_parser(upstream=True).parse_args(required).pixel_grid == "upstream"


def test_a_camera_is_given_then_seen_in_degrees_then_by_exif_then_upstreams():
    given = PhotoCamera((100.0, 110.0))
    assert camera_of((30, 40), lambda: 50.0, given, 60.0) is given
    wide = camera_of((30, 40), lambda: 50.0, None, 90.0)
    assert wide.focal_px == pytest.approx((20, 20))
    assert camera_of((30, 40), lambda: 50.0).focal_px == (50.0, 50.0)
    guessed = camera_of((30, 40), lambda: None)
    assert guessed.focal_px == (470.4, 470.4) and not guessed.known
    assert fov_of(focal_of_fov(72.5, 640), 640) == pytest.approx(72.5)
    for wrong in (0.0, 180.0, -5.0, float("nan")):
        with pytest.raises(InputError, match="degrees"):
            focal_of_fov(wrong, 40)


MATRIX = [[50.0, 0, 20.5], [0, 60.0, 15.5], [0, 0, 1]]


def matrix_files(folder):
    texts = {
        "k.txt": "50 0 20.5\n0 60 15.5\n0 0 1\n",
        "k.csv": "50,0,20.5\n0,60,15.5\n0,0,1\n",
        "k.json": json.dumps(MATRIX),
        "flat.json": json.dumps({"K": np.ravel(MATRIX).tolist()}),
        "ros.json": json.dumps({"camera_matrix": {"rows": 3, "data": np.ravel(MATRIX).tolist()}}),
        "named.json": json.dumps({"intrinsics": MATRIX}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    np.savez(folder / "k.npz", K=np.array(MATRIX))
    np.savez(folder / "one.npz", whatever=np.array([MATRIX]))
    np.save(folder / "k.npy", np.array(MATRIX, np.float32))
    return sorted(folder.iterdir())


def test_intrinsics_come_as_text_json_and_arrays(tmp_path):
    for file in matrix_files(tmp_path):
        camera = read_intrinsics(file, "a.png", (30, 40))
        assert camera.focal_px == (50.0, 60.0), file
        assert camera.principal == (20.5, 15.5) and file.name in camera.how


def test_a_scenes_cameras_count_from_the_corner_and_are_found_by_name(tmp_path):
    photos = [
        {"name": "x/a.png", "size": {"height": 30, "width": 40}, "intrinsics": MATRIX},
        {"name": "b.png", "size": {"height": 31, "width": 40}, "intrinsics": MATRIX},
    ]
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps({"photos": photos}))
    assert read_intrinsics(file, "a.png", (30, 40)).principal == (20.0, 15.0)
    for name, match in (("c.png", "no camera of c.png"), ("b.png", "the camera of b.png is for")):
        with pytest.raises(InputError, match=match):
            read_intrinsics(file, name, (30, 40))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("k.txt", b"1 2 3"),
        ("k.txt", b"\xff\xfe"),
        ("k.json", b"[1"),
        ("k.json", b"[[0, 0, 1], [0, 5, 1], [0, 0, 1]]"),
        ("k.json", b"[[5, 1, 1], [0, 5, 1], [0, 0, 1]]"),
        ("k.json", b"[[5, 0, NaN], [0, 5, 1], [0, 0, 1]]"),
        ("k.json", b"{}"),
        ("k.json", b'{"photos": 5}'),
        ("k.npz", b"PK"),
        ("k.npy", b"\x93NUMPY"),
    ],
)
def test_intrinsics_that_are_none_are_refused_by_the_files_name(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=name):
        read_intrinsics(tmp_path / name, "a.png", (30, 40))
    with pytest.raises(InputError, match="cannot be read"):
        read_intrinsics(tmp_path / "none.txt", "a.png", (30, 40))


@pytest.fixture
def metric(make_artifact):
    return make_artifact(kind="depth_m")


@pytest.fixture
def photo(tmp_path, monkeypatch, save_photo):
    monkeypatch.chdir(tmp_path)
    return save_photo(tmp_path / "in" / "a.png")


def words(artifact, *more):
    return ["--artifact", str(artifact.path), "--img-path", "in", *more]


def test_the_command_writes_a_cloud_of_every_pixel_and_says_what_the_camera_would_see(
    metric, photo, capsys, caplog
):
    caplog.set_level(logging.INFO)
    assert app.main(words(metric, "--format", "ply,glb")) == 0
    assert capsys.readouterr().out.splitlines() == ["vis_pointcloud/a.ply"]
    width = 30
    said = f"taken for 470.4 pixels, so for {fov_of(470.4, width):.0f} degrees from side to side"
    assert said in caplog.text
    found = app.artifact_estimator([metric.path], "cpu")(read_photo(photo))
    vertices, colours, _ = read_back(Path("vis_pointcloud/a.ply").read_bytes(), "ply")
    z = found.depth.astype(np.float64)
    y, x = np.mgrid[0:20, 0:30]
    expected = np.stack(((x + 0.5 - 15) / 470.4 * z, (y + 0.5 - 10) / 470.4 * z, z), axis=-1)
    np.testing.assert_allclose(vertices, expected.reshape(-1, 3), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(colours, read_photo(photo).reshape(-1, 3))
    facts = json.loads(Path("vis_pointcloud/a.json").read_text())
    assert facts["files"] == {"ply": "a.ply", "glb": "a.glb"}
    assert facts["points"]["focal_from"] == "upstream's default"


@pytest.mark.parametrize(
    ("more", "focal", "how"),
    [
        (["--focal-length-x", "50", "--focal-length-y", "60"], [50, 60], "--focal-length"),
        (["--focal-length-x", "50"], [50, 50], "--focal-length"),
        (["--fov", "90"], [15, 15], "field of view of 90 degrees"),
        (["--intrinsics", "k.txt"], [50, 60], "intrinsics of k.txt"),
        ([], "exif", "EXIF"),
    ],
)
def test_a_camera_that_is_known_makes_no_warning(more, focal, how, metric, photo, caplog):
    Path("k.txt").write_text("50 0 15 0 60 10 0 0 1")
    if focal == "exif":
        exif = Image.Exif()
        exif.get_ifd(EXIF_IFD)[FOCAL_35_MM] = 35
        Image.open(photo).save("in/a.jpg", exif=exif)
        photo.unlink()
        focal = [focal_px_of("in/a.jpg")] * 2
    assert app.main(words(metric, *more)) == 0
    assert "not known" not in caplog.text
    facts = json.loads(Path("vis_pointcloud/a.json").read_text())["points"]
    assert facts["focal_px"] == pytest.approx(focal) and facts["focal_from"] == how


def test_known_points_make_a_relative_model_metric(tiny_artifact, photo, capsys):
    assert app.main(words(tiny_artifact)) == 1
    assert "points need metres" in capsys.readouterr().err
    found = app.artifact_estimator([tiny_artifact.path], "cpu")(read_photo(photo))
    rows = [[x, y, 1 / (0.3 * found.depth[y, x] + 0.1)] for x, y in ((2, 3), (25, 12), (9, 18))]
    Path("known.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    assert app.main(words(tiny_artifact, "--fit-points", "known.csv", "--fov", "60")) == 0
    facts = json.loads(Path("vis_pointcloud/a.json").read_text())
    assert facts["kind"] == "depth_m" and facts["metres_by"]["used"] == 3
    vertices, _, _ = read_back(Path("vis_pointcloud/a.ply").read_bytes(), "ply")
    np.testing.assert_allclose(vertices[:, 2], (1 / (0.3 * found.depth + 0.1)).ravel(), rtol=1e-4)


@pytest.mark.parametrize(
    ("more", "status", "match"),
    [
        (["--fov", "60", "--focal-length-x", "5"], 2, "both say what the camera is"),
        (["--fov", "200"], 1, "between 0 and 180"),
        (["--model", "vits-indoor"], 2, "one of them"),
        (["--fit-png-scale", "256"], 1, "give both"),
        (["--fit-points", "none.csv"], 1, "none.csv: no such file or folder"),
        (["--intrinsics", "none.txt"], 1, "none.txt: cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused(more, status, match, metric, photo, capsys):
    assert app.main(words(metric, *more)) == status
    assert match in capsys.readouterr().err


def test_a_bad_photo_costs_only_itself(metric, photo, capsys):
    Path("in/b.png").write_bytes(b"no photo")
    assert app.main(words(metric, "--outdir", "out")) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["out/a.ply"] and "in/b.png" in said.err


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--img-path", "in"], "give --load-from FILE"),
        (["--img-path", "in", "--model", "vits"], "points need metres"),
        (
            ["--img-path", "in", "--load-from", "checkpoints/depth_anything_v2_vits.pth"],
            "relative disparity, not metres",
        ),
        (["--img-path", "in", "--model", "da3-small", "--encoder", "vits"], "does nothing to"),
    ],
)
def test_a_model_that_cannot_be_meant_is_refused_before_it_is_loaded(words, match, photo, capsys):
    Path("checkpoints").mkdir()
    Path("checkpoints/depth_anything_v2_vits.pth").write_bytes(b"not read")
    assert app.main(words, upstream=True) in (1, 2)
    assert match in capsys.readouterr().err


def test_every_photo_of_a_folder_has_points_of_its_own_stem(tmp_path, save_photo):
    files = PointFiles(tmp_path / "known", tmp_path / "in")
    (tmp_path / "known" / "sub").mkdir(parents=True)
    photo = save_photo(tmp_path / "in" / "sub" / "a.png")
    with pytest.raises(InputError, match=r"known/sub/a with .csv, .*found nothing"):
        files.of(photo)
    (tmp_path / "known" / "sub" / "a.csv").write_text("1,2,3\n4,5,6\n")
    assert files.of(photo).metres.tolist() == [3, 6]
    (tmp_path / "known" / "sub" / "a.txt").write_text("1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match=r"found .*a.csv and .*a.txt"):
        files.of(photo)
    beside = PointFiles(tmp_path / "in", tmp_path / "in")  # the photo itself is no map of points
    (tmp_path / "in" / "sub" / "a.csv").write_text("1,2,3\n4,5,7\n")
    assert beside.of(photo).metres.tolist() == [3, 7]
    with pytest.raises(InputError, match="one file, but 2 photos"):
        PointFiles(tmp_path / "known" / "sub" / "a.csv", tmp_path).check([photo, photo])


@pytest.mark.parametrize("folder", [ROOT, ROOT / "metric_depth"])
def test_upstreams_command_starts_from_its_folder_and_from_the_root(folder):
    script = ROOT / "metric_depth" / "depth_to_pointcloud.py"
    command = [sys.executable, str(script.relative_to(folder)), "--help"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for flag in ("encoder", "load-from", "max-depth", "img-path", "outdir"):
        assert f"--{flag}" in done.stdout
    assert "--focal-length-x" in done.stdout and "--focal-length-y" in done.stdout


def test_the_page_about_metres_has_every_model_with_its_kind_and_licence():
    lines = (ROOT / "docs" / "metres.md").read_text().splitlines()
    for name, spec in MODELS.items():
        (line,) = (line for line in lines if line.startswith("| `") and f"`{name}`" in line)
        _, _, alone, focal, _, licence, _ = line.split("|")
        assert alone.split()[0].strip(",;") == {"depth_m": "metres"}.get(spec.kind, spec.kind)
        assert (spec.metric_focal_px is None) == ("refused" in focal)
        assert spec.licence in licence
        if spec.max_depth_m is not None:
            assert f"up to {spec.max_depth_m:g}" in alone
