"""The formats of a scene together: one description, one frame, the same bytes each time."""

import copy
import hashlib
import itertools
import json
import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from scene_recipe import features, gaussians, scene

from depth_anything_3.specs import Prediction
from depth_anything_3.utils.export import export
from exports.cloud import make_cloud
from exports.quantiles import percentiles
from exports.scene import scene_of
from exports.scene_files import SCENE_FORMATS
from exports.scene_ply import PlyOptions
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction

HAS_AV = True
try:
    import av
except ImportError:
    HAS_AV = False


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for at, size in enumerate(((100, 60), (63, 42))):
        Image.new("RGB", size).save(folder / f"view {at}.png")
    return [str(path) for path in sorted(folder.iterdir())]


def full(**more) -> Prediction:
    """A prediction that every format takes."""
    aux = {"feat_layer_5": features(2, 3, 4, 24, 3000)}
    fields = {"gaussians": gaussians(4704, 2000), "aux": aux, "sky": True, **more}
    return scene(2, 42, 56, **fields)


FORMATS = [name for name in SCENE_FORMATS if HAS_AV or name != "gs_video"]


def options(paths: list[str]) -> dict:
    return {
        "colmap": {"image_paths": paths},
        "feat_vis": {"video": HAS_AV},
        "gs_video": {"trj_mode": "original"},
    }


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def arrays_of(found) -> str:
    digest = hashlib.sha256()
    for name, value in vars(found).items():
        if name == "gaussians":
            value = [getattr(value, part) for part in ("means", "scales", "rotations")]
        if name == "aux":
            value = list(value.values())
        if value is not None:
            for one in value if isinstance(value, list) else [value]:
                digest.update(f"{name}{np.asarray(one).tobytes()!r}".encode())
    return digest.hexdigest()


@pytest.mark.parametrize("pair", list(itertools.combinations(FORMATS, 2)), ids="-".join)
def test_two_formats_give_the_same_bytes_in_both_orders(pair, paths, tmp_path):
    found = full()
    before = arrays_of(found)
    given = {name: own for name, own in options(paths).items() if name in pair}
    for order in (pair, pair[::-1]):
        export(found, "-".join(order), tmp_path / order[0], **given)
    assert digests(tmp_path / pair[0]) == digests(tmp_path / pair[1])
    assert arrays_of(found) == before


def test_all_formats_twice_give_the_same_bytes_and_change_nothing(paths, tmp_path):
    found, given = full(), options(paths)
    before, asked = arrays_of(found), copy.deepcopy(given)
    whole = "-".join(FORMATS)
    written = export(found, whole, tmp_path / "a", **given)
    export(full(), f"{whole}-{whole}", tmp_path / "b b", **given)
    assert digests(tmp_path / "a") == digests(tmp_path / "b b")
    assert sorted(written) == sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert arrays_of(found) == before
    assert given == asked


def read_ply(path: Path) -> np.ndarray:
    kinds = {"float": "<f4", "uchar": "u1"}
    header, _, body = path.read_bytes().partition(b"end_header\n")
    fields = [
        (line.split()[2], kinds[line.split()[1]])
        for line in header.decode().splitlines()
        if line.startswith("property")
    ]
    return np.frombuffer(body, fields)


def test_all_files_are_in_one_frame_through_the_description(paths, tmp_path):
    from test_scene_colmap import read_model
    from test_scene_exports import read_glb

    splats = gaussians(4704, 2000)
    everything = {"conf_thresh": -1, "conf_thresh_percentile": 0, "keep_sky": True}
    cloud = make_cloud(scene_of(scene(2, 42, 56)), PlyOptions(**everything))
    splats.means[0] = cloud.positions  # each splat in the middle of its pixel's point
    export(
        scene(2, 42, 56, gaussians=splats),
        "glb-ply-colmap-gs_ply",
        tmp_path,
        glb=everything,
        colmap={"image_paths": paths, "conf_thresh_percentile": 0},
        gs_ply={"prune_border_gs": False, "prune_by_depth_percent": 1},
    )
    said = json.loads((tmp_path / "scene.json").read_text())["formats"]
    _, shapes = read_glb(tmp_path / "scene.glb")
    points = read_ply(tmp_path / "scene.ply")
    places = {
        "glb": shapes[0][1],
        "ply": np.stack([points[axis] for axis in "xyz"], axis=1),
        "colmap": np.array([p[0] for p in read_model(tmp_path)[2].values()]),
        "gs_ply": np.stack([read_ply(tmp_path / "gs_ply/0000.ply")[a] for a in "xyz"], axis=1),
    }
    for name, found in places.items():
        sim = said[name]["from_world"]
        turn = np.array(sim["rotation"])
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(turn) > 0
        world = (found - sim["translation"]) @ turn / sim["scale"]
        np.testing.assert_allclose(world, cloud.positions, atol=1e-5)
        assert ("first camera" in said[name]["frame"]) == (name == "glb")
    np.testing.assert_array_equal(points["red"], shapes[0][2][:, 0])
    np.testing.assert_array_equal(points["confidence"], cloud.confidence)


def test_points_are_the_middles_of_pixels_unless_upstreams_grid_is_asked_for():
    found = scene(1, 28, 56, depth=np.full((1, 28, 56), 2, np.float32), extrinsics=np.eye(4)[None])
    k = found.intrinsics[0].astype(float)
    everything = {"conf_thresh": -1, "conf_thresh_percentile": 0}
    for grid, half in (("centres", 0.5), ("upstream", 0.0)):
        cloud = make_cloud(scene_of(found), PlyOptions(pixel_grid=grid, **everything))
        x = 2 * (3 + half - k[0, 2]) / k[0, 0]
        y = 2 * (1 + half - k[1, 2]) / k[1, 1]
        np.testing.assert_allclose(cloud.positions[56 + 3], (x, y, 2), atol=1e-6)


def test_sky_is_left_out_of_clouds_unless_asked_for(paths, tmp_path):
    found = scene(2, 42, 56, sky=True)
    everything = {"conf_thresh": -1, "conf_thresh_percentile": 0}
    cloud = make_cloud(scene_of(found), PlyOptions(**everything))
    assert len(cloud.positions) == np.count_nonzero(~found.sky)
    kept = make_cloud(scene_of(found), PlyOptions(keep_sky=True, **everything))
    assert len(kept.positions) == found.sky.size
    far = np.percentile(found.depth[~found.sky], 98)
    pose = np.vstack((found.extrinsics[0], [0, 0, 0, 1]))
    z = (kept.positions[: 42 * 56] @ pose[:3, :3].T + pose[:3, 3])[:, 2]
    np.testing.assert_allclose(z[found.sky[0].ravel()], far, atol=1e-5)
    model = {"image_paths": paths, "conf_thresh_percentile": 0}
    export(found, "colmap", tmp_path, colmap=model)
    from test_scene_colmap import read_model

    assert len(read_model(tmp_path)[2]) == np.count_nonzero(~found.sky)


def test_thinned_clouds_have_an_even_density_and_their_number():
    found = scene(1, 70, 140, depth=np.full((1, 70, 140), 8, np.float32))
    found.depth[:, :, :70] = 1  # 64 times as many pixels to the square metre
    everything = {"conf_thresh": -1, "conf_thresh_percentile": 0}
    whole = make_cloud(scene_of(found), PlyOptions(**everything))
    thin = make_cloud(scene_of(found), PlyOptions(num_max_points=1000, **everything))
    assert len(thin.positions) == 1000
    there = {tuple(point) for point in whole.positions}
    assert all(tuple(point) in there for point in thin.positions)
    near = np.count_nonzero(_depth_of(found, thin) < 4)
    assert near < 60  # a 65th of the surface; at random it were half of the points
    again = make_cloud(scene_of(found), PlyOptions(num_max_points=1000, **everything))
    np.testing.assert_array_equal(thin.positions, again.positions)


def _depth_of(found, cloud) -> np.ndarray:
    pose = found.extrinsics[0]
    return (cloud.positions @ pose[:, :3].T + pose[:, 3])[:, 2]


def test_points_that_coincide_are_thinned_too():
    found = scene(1, 14, 14, depth=np.full((1, 14, 14), 1e-30, np.float32))
    options = PlyOptions(num_max_points=50, conf_thresh=-1, conf_thresh_percentile=0)
    assert len(make_cloud(scene_of(found), options).positions) == 50


@pytest.mark.parametrize("seed", range(4))
def test_percentiles_of_blocks_are_numpys(seed):
    random = np.random.RandomState(seed)
    values = (random.standard_normal((997, 3)) * 10 ** random.randint(-6, 6)).astype(np.float32)
    values[random.randint(0, 997, 40)] = values[0]
    wanted = [0, 2, 33.3, 50, 90, 100]
    found = percentiles(lambda: np.array_split(values, 7), wanted)
    np.testing.assert_allclose(found, np.percentile(values, wanted, axis=0), rtol=1e-6, atol=1e-12)
    column = percentiles(lambda: np.array_split(values[:, 1], 3), wanted)
    np.testing.assert_array_equal(column, found[:, 1])
    assert percentiles(lambda: [np.full(3, np.nan, np.float32)], [50]) is None


def peak_of(views: int, folder: Path) -> int:
    """Bytes at the peak of writing a scene, beyond the prediction."""
    found = scene(views, 56, 84)
    few = {"num_max_points": 1000, "export_depth_vis": False}
    model = {"num_max_points": 1000, "image_paths": [f"{at}.png" for at in range(views)]}
    with mock.patch("depth_anything_3.utils.export.photo_size", return_value=(56, 84)):
        tracemalloc.start()
        export(found, "glb-ply-npz-colmap-depth_vis", folder, glb=few, colmap=model)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_views(tmp_path):
    peak_of(1, tmp_path)  # imports and caches
    assert peak_of(15, tmp_path) < 1.25 * peak_of(5, tmp_path)


# --- refused, and before anything is written


@pytest.mark.parametrize("text", ["glb-x", "x", "glb-", "GLB", "glb,ply", "", "gs", "gs_vide"])
def test_an_unknown_format_is_refused_before_anything_is_written(text, tmp_path):
    with pytest.raises(InputError, match="Unsupported export format"):
        export(scene(1, 28, 42), text, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("formats", "missing", "match"),
    [
        ("mini_npz-npz", {"processed_images": None}, "npz needs images"),
        ("mini_npz-glb", {"extrinsics": None}, "an any-view model"),
        ("ply", {"intrinsics": None}, "mini_npz, npz, depth_vis would work"),
        ("depth_vis-gs_ply", {}, "infer_gs=True"),
        ("feat_vis", {}, "export_feat_layers"),
        ("colmap", {}, "give photos as paths"),
    ],
)
def test_what_a_format_needs_is_said_before_anything_is_written(formats, missing, match, tmp_path):
    with pytest.raises(InputError, match=match):
        export(scene(2, 28, 42, **missing), formats, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("glb", {"num_max_points": 0}, "use 1 or more"),
        ("glb", {"conf_thresh_percentile": 101}, "use 0 to 100"),
        ("ply", {"pixel_grid": "half"}, "use one of centres, upstream"),
        ("glb", {"camera_size": 0}, "more than 0"),
        ("glb", {"nonsense": 1}, "no option nonsense; it has num_max_points"),
        ("npz", {"fps": 1}, "it has none"),
        ("feat_vis", {"fps": 0}, "more than 0"),
        ("gs_ply", {"gs_views_interval": 0}, "1 or more"),
        ("colmap", {"process_res_method": "x"}, "process_res_method"),
        ("colmap", {"depth_tolerance": 0}, "depth_tolerance"),
        ("zip", {}, "options for zip"),
    ],
)
def test_options_check_themselves(name, given, match, tmp_path):
    with pytest.raises(InputError, match=match):
        export(full(), "mini_npz", tmp_path / "out", **{name: given}) if name == "zip" else export(
            full(), name, tmp_path / "out", **{name: given}
        )
    assert not (tmp_path / "out").exists()


def test_one_view_without_cameras_is_a_cloud_at_an_assumed_focal_length(tmp_path):
    found = scene(1, 28, 42, conf=None, extrinsics=None, intrinsics=None)
    export(found, "glb-ply", tmp_path)
    said = json.loads((tmp_path / "scene.json").read_text())
    assert said["focal_length_from"] == "assumed: 60 degrees across the longer side"
    points = read_ply(tmp_path / "scene.ply")
    assert points.dtype.names == ("x", "y", "z", "red", "green", "blue")
    assert len(points) == 28 * 42
    outermost = points["x"] / points["z"]
    np.testing.assert_allclose(outermost.max(), np.tan(np.pi / 6) * 41 / 42, rtol=1e-5)
    assert b"focal_length_from: assumed" in (tmp_path / "scene.ply").read_bytes()[:2000]


def test_a_description_says_what_lies_beside_it(paths, tmp_path):
    export(full(is_metric=1), "-".join(FORMATS), tmp_path, **options(paths))
    said = json.loads((tmp_path / "scene.json").read_text())
    assert (said["kind"], said["unit"], said["views"]) == ("depth_m", "metre", 2)
    assert said["photos"] == ["view 0.png", "view 1.png"]
    listed = {file for one in said["formats"].values() for file in one["files"]}
    assert listed | {"scene.json"} == set(digests(tmp_path))
    assert said["formats"]["glb"]["options"]["conf_thresh_percentile"] == 40
    assert said["formats"]["colmap"]["grid"] == "photo"


def test_splats_of_a_metric_model_are_written_in_metres(tmp_path):
    from test_scene_exports import read_splats

    found = scene(1, 32, 40, gaussians=gaussians(1280, 2005))
    export(found, "gs_ply", tmp_path / "a")
    metric = scene(1, 32, 40, gaussians=gaussians(1280, 2005), is_metric=1, scale_factor=2.5)
    export(metric, "gs_ply", tmp_path / "b")
    _, small = read_splats(tmp_path / "a/gs_ply/0000.ply")
    _, large = read_splats(tmp_path / "b/gs_ply/0000.ply")
    np.testing.assert_allclose(large[:, :3], 2.5 * small[:, :3], rtol=1e-6)
    np.testing.assert_allclose(large[:, 10:13], small[:, 10:13] + np.log(2.5), atol=1e-6)
    np.testing.assert_array_equal(large[:, 13:], small[:, 13:])


def test_opacities_and_sizes_at_their_ends_stay_numbers_and_nan_depth_drops_alone(tmp_path):
    from test_scene_exports import read_splats

    splats = gaussians(1280, 2005)
    splats.opacities[0, :2] = 0, 1
    splats.scales[0, :2, 0] = 0, -0.5
    found = scene(1, 32, 40, gaussians=splats)
    found.depth[0, 5, 7] = np.nan
    everything = {"prune_border_gs": False, "prune_by_depth_percent": 1}
    export(found, "gs_ply", tmp_path, gs_ply=everything)
    _, rows = read_splats(tmp_path / "gs_ply/0000.ply")
    assert len(rows) == 1279
    np.testing.assert_allclose(rows[:2, 9], (-13.8155, 13.8155), atol=1e-3)
    np.testing.assert_allclose(rows[:2, 10], np.log((1e-12, 0.5)), atol=1e-4)
    assert np.isfinite(rows).all()


@pytest.mark.skipif(not HAS_AV, reason="PyAV is not installed: extra video")
def test_features_become_a_video_of_as_many_pages_even_with_odd_sides(tmp_path):
    found = scene(3, 35, 49, aux={"feat_layer_5": features(3, 3, 4, 24, 3000)})
    export(found, "feat_vis", tmp_path / "a b", feat_vis={"fps": 5})
    with av.open(str(tmp_path / "a b/feat_vis/feat_layer_5.mp4")) as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].average_rate == 5
    assert [(len(frames), frames[0].height, frames[0].width)] == [(3, 36, 98)]
    assert len(list((tmp_path / "a b/feat_vis/feat_layer_5").iterdir())) == 3


# --- upstream's names


def test_upstreams_constructor_and_class_are_ours():
    found = scene(1, 14, 14)
    assert (found.is_metric, Prediction(found.depth, 1).is_metric) == (0, 1)
    assert isinstance(ScenePrediction(found.depth), Prediction)
    assert Prediction(found.depth).aux == {}


def test_upstreams_own_prediction_is_taken_with_its_sky_mask(tmp_path):
    class Theirs:
        pass

    ours, theirs = scene(2, 42, 56, sky=True), Theirs()
    for name, value in vars(ours).items():
        if name != "sky":
            setattr(theirs, name, value)
    theirs.sky_mask, theirs.is_metric = ours.sky, 0
    theirs.gaussians = theirs.aux = None
    export(ours, "glb", tmp_path / "a")
    export(theirs, "glb", tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
