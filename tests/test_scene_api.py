"""``DepthAnything3.inference`` writes what upstream's arguments ask for, or says why not."""

import hashlib
import inspect
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scene_recipe import gaussians, scene
from test_scene_colmap import read_model

from depth_anything_3.api import DepthAnything3
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.predict.given_cameras import align_to_given
from runtime.scene.cameras import homogeneous
from runtime.scene.gaussians import Gaussians, harmonic_basis, pose_scale
from runtime.scene.query import SceneQuery


class Stub(DepthAnything3):
    """A model that answers with a synthetic scene of the views' size, and counts."""

    def __init__(self, model_name: str, **parts: bool) -> None:
        torch.nn.Module.__init__(self)
        self.model_name, self.dtype, self.runs = model_name, "float32", 0
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def _run(self, image, query):
        self.runs += 1
        _, n, _, h, w = image.shape
        found = scene(n, h, w)
        output = {"depth": torch.from_numpy(found.depth[None]), "aux": {}}
        if self.finds_cameras:
            output["depth_conf"] = torch.from_numpy(found.conf[None])
            output["extrinsics"] = torch.from_numpy(found.extrinsics[None])
            output["intrinsics"] = torch.from_numpy(found.intrinsics[None])
        if query.infer_gs:
            output["gaussians"] = gaussians(n * h * w, 5)
        return output


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "in").mkdir()
    for at, size in enumerate(((112, 84), (84, 84))):
        Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "in" / f"{at}.png")
    return [str(path) for path in sorted((tmp_path / "in").iterdir())]


def test_arguments_are_upstreams_in_upstreams_order():
    names = list(inspect.signature(DepthAnything3.inference).parameters)[1:]
    assert names == [
        "image",
        "extrinsics",
        "intrinsics",
        "align_to_input_ext_scale",
        "infer_gs",
        "use_ray_pose",
        "ref_view_strategy",
        "render_exts",
        "render_ixts",
        "render_hw",
        "process_res",
        "process_res_method",
        "export_dir",
        "export_format",
        "export_feat_layers",
        "conf_thresh_percentile",
        "num_max_points",
        "show_cameras",
        "feat_vis_fps",
        "export_kwargs",
        "focal_px",
    ]


def test_nothing_is_written_unless_a_folder_is_named(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Stub("da3-small").inference(paths, process_res=84)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_call_of_upstreams_readme_writes_its_files(paths, tmp_path):
    kwargs = {"glb": {"num_max_points": 50}}
    found = Stub("da3-small").inference(
        paths,
        process_res=84,
        export_dir=tmp_path / "out",
        export_format="mini_npz-glb-ply-colmap",
        num_max_points=100,
        show_cameras=False,
        conf_thresh_percentile=10,
        export_kwargs=kwargs,
    )
    assert isinstance(found, ScenePrediction) and kwargs == {"glb": {"num_max_points": 50}}
    said = json.loads((tmp_path / "out" / "scene.json").read_text())["formats"]
    assert said["glb"]["options"]["num_max_points"] == 50  # the explicit one wins
    assert said["ply"]["options"]["num_max_points"] == 50
    assert said["glb"]["options"]["show_cameras"] is False
    assert said["colmap"]["options"]["conf_thresh_percentile"] == 10
    with np.load(tmp_path / "out/exports/mini_npz/results.npz") as written:
        np.testing.assert_array_equal(written["depth"], found.depth.round(8))
    cameras, images, _ = read_model(tmp_path / "out")
    assert [image[0] for image in images.values()] == ["0.png", "1.png"]
    assert [cameras[at][1:3] for at in (1, 2)] == [(112, 84), (84, 84)]


def test_files_say_which_weights_they_are_of_if_anybody_knows(paths, tmp_path):
    stub = Stub("da3-small")
    stub.inference(paths, process_res=84, export_dir=tmp_path / "a", export_format="ply")
    assert "model" not in json.loads((tmp_path / "a" / "scene.json").read_text())
    stub = Stub("da3-small")
    stub.weights_file = tmp_path / "model.safetensors"
    stub.weights_file.write_bytes(b"weights")
    found = stub.inference(paths, process_res=84, export_dir=tmp_path / "b", export_format="ply")
    said = json.loads((tmp_path / "b" / "scene.json").read_text())
    assert (said["model"], said["licence"]) == ("da3-small", "Apache-2.0")
    assert said["weights"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert found.provenance is None  # exporting changes no prediction
    assert b"comment model: da3-small" in (tmp_path / "b" / "scene.ply").read_bytes()[:2000]


@pytest.mark.parametrize("method", ["upper_bound_resize", "lower_bound_crop"])
def test_colmap_is_in_pixels_of_photos_that_were_cropped(method, paths, tmp_path):
    found = Stub("da3-small").inference(
        paths,
        process_res=84,
        process_res_method=method,
        export_dir=tmp_path / "out",
        export_format="colmap",
        export_kwargs={"colmap": {"tracks": False}},
    )
    cameras, images, points = read_model(tmp_path / "out")
    for at in (1, 2):
        _, width, height, (fx, fy, cx, cy) = cameras[at]
        assert (width, height) == Image.open(paths[at - 1]).size
        k, seen = found.intrinsics[at - 1], images[at][3]
        pose = found.extrinsics[at - 1].astype(float)
        world = np.array([points[int(one)][0] for one in seen["id"]])
        local = world @ pose[:, :3].T + pose[:, 3]
        place = local[:, :2] / local[:, 2:] * (fx, fy) + (cx, cy)
        np.testing.assert_allclose(place, seen["xy"], atol=1e-3)
        assert abs(cx / fx - k[0, 2] / k[0, 0]) < 1 or method.endswith("crop")


@pytest.mark.parametrize(
    ("model", "count", "arguments", "match"),
    [
        ("da3-small", 2, {"export_format": "glb-x"}, "Unsupported export format: 'x'"),
        ("da3-small", 2, {"export_format": "gs_ply"}, "infer_gs=True with da3-giant"),
        ("da3-small", 2, {"export_format": "feat_vis"}, "export_feat_layers"),
        ("da3mono-large", 2, {"export_format": "glb"}, "one photo at a time"),
        ("da3-small", 2, {"export_kwargs": {"glb": {"x": 1}}}, "no option x"),
        ("da3-small", 2, {"export_format": "gs_vide"}, "Unsupported export format: 'gs_vide'"),
        ("da3-small", 2, {"focal_px": 100}, "does not depend on it"),
        ("da3mono-large", 1, {"focal_px": 100, "export_format": "npz"}, "does not depend on it"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_network_runs(
    model, count, arguments, match, paths, tmp_path
):
    stub = Stub(model)
    with pytest.raises(InputError, match=match):
        stub.inference(paths[:count], export_dir=tmp_path / "out", **arguments)
    assert not stub.runs and not (tmp_path / "out").exists()


def test_colmap_wants_paths_and_says_so_before_the_network_runs(tmp_path):
    stub, photo = Stub("da3-small"), np.zeros((84, 112, 3), np.uint8)
    with pytest.raises(InputError, match="give photos as paths"):
        stub.inference([photo], export_dir=tmp_path / "out", export_format="colmap")
    assert not stub.runs
    names = {"colmap": {"image_paths": ["a/1.png"]}}
    stub.inference(
        [photo], export_dir=tmp_path, export_format="colmap", export_kwargs=names, process_res=84
    )
    assert read_model(tmp_path)[1][1][0] == "1.png"


@pytest.mark.parametrize("model", ["da3mono-large", "da3metric-large"])
def test_models_without_cameras_give_clouds_of_one_photo(model, paths, tmp_path):
    for focal_px, said in ((100, "the caller"), (None, "assumed: 60 degrees")):
        Stub(model).inference(
            paths[0],
            process_res=84,
            export_dir=tmp_path / "out",
            export_format="glb-ply",
            focal_px=focal_px,
        )
        facts = json.loads((tmp_path / "out" / "scene.json").read_text())
        assert facts["focal_length_from"].startswith(said)
        metric = model == "da3metric-large" and focal_px is not None
        assert facts["unit"] == ("metre" if metric else "relative")


# --- splats and given cameras


@pytest.mark.parametrize("factor", [None, 2.5])
@pytest.mark.parametrize("align", [True, False])
def test_splats_are_where_the_given_cameras_are(factor, align, monkeypatch):
    """A splat in the middle of each view's pixel stays on that pixel's ray, and looks the same."""
    monkeypatch.setattr("runtime.scene.gaussians.BLOCK", 1000)
    found = scene(3, 28, 42)
    given = homogeneous(found.extrinsics).copy()  # the same path, elsewhere and 7 times as long
    turn = np.linalg.qr(np.random.RandomState(0).standard_normal((3, 3)))[0]
    elsewhere = np.eye(4)
    elsewhere[:3, :3], elsewhere[:3, 3] = turn * np.sign(np.linalg.det(turn)), (4, -5, 6)
    given[:, :3, 3] *= 7
    given = given @ elsewhere
    query = SceneQuery(given, found.intrinsics, align_to_input_ext_scale=align)
    scale = pose_scale(query.normalised().extrinsics, found.extrinsics)
    splats = gaussians(3 * 28 * 42, 5)
    local = np.array([0.2, -0.1, 2.0])  # in front of each camera, in the network's unit
    for at, pose in enumerate(homogeneous(found.extrinsics)):
        splats.means[0, at] = scale * (np.linalg.inv(pose)[:3] @ [*local, 1])
    network = found.extrinsics.copy()
    if factor:
        found.extrinsics[:, :, 3] *= factor
        found.depth, found.kind, found.scale_factor = found.depth * factor, "depth_m", factor
    found.gaussians = splats
    moved = align_to_given(found, query)
    shown = moved.scale_factor if moved.is_metric and moved.scale_factor else 1.0
    unit = np.linalg.norm(moved.extrinsics[1, :, 3] - moved.extrinsics[0, :, 3])
    assert unit > 0
    for at, pose in enumerate(homogeneous(moved.extrinsics)):
        place = pose[:3] @ [*(shown * moved.gaussians.means[0, at]), 1]
        length = 7.0 if align else (factor or 1.0)
        np.testing.assert_allclose(place, local * length, rtol=1e-4, atol=1e-4)
    # sizes go along, and a colour seen from a camera is what it was
    ratio = moved.gaussians.scales * shown / (splats.scales / scale)
    np.testing.assert_allclose(ratio, 7.0 if align else (factor or 1.0), rtol=1e-4)
    before, after = (
        homogeneous(cameras)[1, :3, :3].T @ [0, 0, 1] for cameras in (network, moved.extrinsics)
    )
    np.testing.assert_allclose(
        moved.gaussians.harmonics[0] @ harmonic_basis(after[None])[0],
        splats.harmonics[0] @ harmonic_basis(before[None])[0],
        atol=1e-4,
    )
    assert isinstance(moved.gaussians, Gaussians)
