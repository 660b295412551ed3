"""Depth Anything 3 gives upstream's numbers: every golden, with upstream's code never run here.

The reduced files in tests/golden/ are the default; DEPTH_GOLDEN_DIR names a folder of full ones.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_files import assert_close, golden, thin
from marks import large
from recipe import batch

from compile.seeded import fill_seeded, seeded_tensor
from depth_anything_3.api import DepthAnything3
from depth_anything_3.config import NAMES, RETRAINED
from layers.checkpoint import tied_groups
from layers.rope import apply_rope, patch_positions, rope_table
from layers.uv_embed import SHARE, uv_embedding
from runtime.predict.scenes import encode_scenes
from runtime.scene.cameras import (
    decode_pose,
    encode_pose,
    homogeneous,
    inverse,
    normalise_extrinsics,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from runtime.scene.gaussians import gaussians_of_scene, pose_scale, rotate_harmonics
from runtime.scene.query import SceneQuery
from runtime.scene.ray_pose import cameras_from_rays, draw_groups, split_rotation
from runtime.scene.reference_view import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    choose_reference,
    reference_first,
)
from runtime.scene.similarity import align_cameras
from runtime.scene.sky import fill_sky, metric_depth, to_metres
from runtime.scene.views import METHODS, make_view, same_size, view_intrinsics

KEYS = Path(__file__).parent / "golden" / "keys"
# what the full files keep of arrays whose name ends in __sub
SUBSETS = {
    "feat_v1": np.s_[:, :, ::23, ::4],
    "feat_v4": np.s_[:, :, ::7, ::4],
    "aux": np.s_[:, :, ::2, ::2, ::4],
    "raw_gs": np.s_[:, :, ::4, ::4],
    "gs": np.s_[:, ::4],
    "gs_harmonics": np.s_[:, ::16],
}
# file, model, case, seed, shape (B, N, H, W)
CASES = [
    ("mini_da3_small", "da3-small", "v3", 9140, (1, 3, 56, 70)),
    ("da3_small", "da3-small", "v1", 101, (1, 1, 280, 504)),
    ("da3_small", "da3-small", "v2", 111, (1, 2, 168, 224)),
    ("da3_small", "da3-small", "b2v3", 1050, (2, 3, 112, 126)),
    ("da3_small", "da3-small", "v10", 2000, (1, 10, 70, 98)),
    ("da3_base", "da3-base", "v2", 401, (1, 2, 168, 224)),
    ("da3_large", "da3-large", "v1", 501, (1, 1, 252, 336)),
    ("mini_da3mono_large", "da3mono-large", "v1", 9201, (1, 1, 70, 98)),
    ("da3mono_large", "da3mono-large", "v1", 601, (1, 1, 252, 336)),
    ("da3metric_large", "da3metric-large", "v2", 701, (1, 2, 168, 224)),
]


@lru_cache(maxsize=1)
def seeded_model(name: str) -> DepthAnything3:
    model = DepthAnything3(name)
    fill_seeded(model)
    return model


def views(seed: int, shape: "tuple[int, int, int, int]") -> torch.Tensor:
    count, each, height, width = shape
    flat = torch.from_numpy(batch(seed, count * each, height, width))
    return flat.unflatten(0, (count, each))


def check(data, what: str, case: str, found, subset=None, tolerance: float = 1e-4) -> None:
    """Compare with whatever part of an array the file keeps."""
    values = np.asarray(found)
    name = next(n for n in data.files if n.split("__")[0] == f"{what}_{case}" and "stats" not in n)
    kept = name.partition("__")[2]
    if kept == "sub":
        values = values[subset]
    elif kept:
        step = int(kept[1:])
        axes = np.s_[:, :, ::step, ::step] if what == "ray" else np.s_[..., ::step, ::step]
        values = values[axes]
    assert_close(thin(data, name, values), data[name], tolerance)


def official_keys(name: str) -> "dict[str, tuple[int, ...]]":
    return {k: tuple(s) for k, s in json.loads((KEYS / f"{name}.json").read_text()).items()}


def keys_of(model: DepthAnything3) -> "dict[str, tuple[int, ...]]":
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def encoded(model: DepthAnything3, images: torch.Tensor, strategy: str = DEFAULT_STRATEGY):
    """What the encoder tells the heads about one scene."""
    stages = model.model.stages(1, images.shape[1], tuple(images.shape[3:]))
    with torch.no_grad():
        return encode_scenes(stages, images[0], SceneQuery(ref_view_strategy=strategy))


# the giant models' keys are checked where they are built anyway; -1.1 are the same networks
SMALLER = [n for n in NAMES if "giant" not in n and n not in RETRAINED.values()]


@pytest.mark.parametrize("name", SMALLER)
def test_models_have_the_official_keys_shapes_and_ties(name):
    model = DepthAnything3(name)
    assert keys_of(model) == official_keys(name)
    ties = json.loads((KEYS / "tied_keys.json").read_text()).get(name, [])
    assert sorted(map(sorted, tied_groups(model))) == sorted(map(sorted, ties))


@pytest.mark.parametrize("file, model, case, seed, shape", CASES)
def test_network_output_is_upstreams(file, model, case, seed, shape):
    data, images = golden(file), views(seed, shape)
    output = seeded_model(model)(images)
    for name in ("depth", "depth_conf", "sky", "extrinsics", "intrinsics"):
        if name in output:
            check(data, name, case, output[name])
    for name in ("ray", "ray_conf"):
        if any(n.startswith(f"{name}_{case}") for n in data.files):
            check(data, name, case, output[name])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_reference_view_strategy_is_upstreams(strategy):
    data, model = golden("da3_small"), seeded_model("da3-small")
    images, case = views(200, (1, 4, 168, 224)), f"v4_{strategy}"
    features = encoded(model, images, strategy)
    if strategy == "saddle_sim_range":  # two views score alike but for rounding: either is right
        assert features.references[0] in data["ref_tied_v4_saddle_sim_range"]
        if features.references != list(data[f"ref_index_{case}"]):
            case = "v4_first" if features.references == [0] else "none"
    else:
        assert features.references == list(data[f"ref_index_{case}"])
    output = model(images, ref_view_strategy=strategy)
    for name in ("depth", "depth_conf", "extrinsics", "intrinsics"):
        check(data, name, case, output[name])


@pytest.mark.parametrize(
    "case, seed, shape",
    [("v1", 101, (1, 1, 280, 504)), ("v4_saddle_balanced", 200, (1, 4, 168, 224))],
)
def test_what_the_encoder_tells_the_heads_is_upstreams(case, seed, shape):
    data, model = golden("da3_small"), seeded_model("da3-small")
    features = encoded(model, views(seed, shape))
    for index, tap in enumerate(features.taps.values()):
        check(data, f"feat{index}", case, tap[None], SUBSETS[f"feat_{case[:2]}"])
    check(data, "cam_feat", case, features.camera[None])
    check(data, "pose_enc", case, model.model.cam_dec(features.camera[None]).detach())


def test_exported_layers_are_upstreams():
    data, model = golden("da3_small"), seeded_model("da3-small")
    output = model(views(200, (1, 4, 168, 224)), export_feat_layers=[1, 3, 9])
    assert set(output["aux"]) == {"feat_layer_1", "feat_layer_3", "feat_layer_9"}
    for name, tokens in output["aux"].items():
        check(data, f"aux_{name}", "v4", tokens, SUBSETS["aux"])


def test_known_cameras_give_upstreams_depth():
    data, model = golden("da3_small"), seeded_model("da3-small")
    cameras = [
        torch.from_numpy(data[f"in_{name}_v4_posed"]) for name in ("extrinsics", "intrinsics")
    ]
    encoding = encode_pose(*(camera.numpy() for camera in cameras), (168, 224))
    with torch.no_grad():
        token = model.model.cam_enc(torch.from_numpy(encoding).float())
    check(data, "cam_token", "v4_posed", token)
    output = model(views(200, (1, 4, 168, 224)), *cameras)
    for name in ("depth", "depth_conf", "extrinsics", "intrinsics"):
        check(data, name, "v4_posed", output[name])


def test_cameras_from_ray_maps_are_upstreams_in_the_network_too():
    data = golden("da3_small")
    output = seeded_model("da3-small")(views(326, (1, 2, 112, 140)), use_ray_pose=True)
    for name in ("depth", "ray", "ray_conf"):
        check(data, name, "raypose", output[name])
    assert np.abs(output["extrinsics"].numpy() - data["extrinsics_raypose"]).max() < 1e-3
    relative = output["intrinsics"].numpy() / np.where(
        data["intrinsics_raypose"], data["intrinsics_raypose"], 1
    )
    assert np.abs(relative - (data["intrinsics_raypose"] != 0)).max() < 5e-3


@large
def test_giant_with_gaussians_is_upstreams():
    data, model = golden("da3_giant"), seeded_model("da3-giant")
    assert keys_of(model) == official_keys("da3-giant")
    output = model(views(801, (1, 2, 98, 126)), infer_gs=True)
    for name in ("depth", "depth_conf", "extrinsics", "intrinsics", "ray", "ray_conf"):
        check(data, name, "v2", output[name])
    check_gaussians(data, output["gaussians"], "v2")


@large
def test_nested_model_is_upstreams():
    seeded_model.cache_clear()
    data, model = golden("da3nested_giant_large"), DepthAnything3("da3nested-giant-large")
    fill_seeded(model)
    assert keys_of(model) == official_keys("da3nested-giant-large")
    output = model(views(955, (1, 2, 98, 126)), infer_gs=True)
    for name in ("depth", "depth_conf", "extrinsics", "intrinsics"):
        check(data, name, "v2", output[name])
    assert output["is_metric"] == 1
    assert output["scale_factor"] == pytest.approx(float(data["scale_factor_v2"]), rel=1e-4)
    check_gaussians(data, output["gaussians"], "v2")


def check_gaussians(data, found, case: str) -> None:
    for part in ("means", "scales", "rotations", "harmonics", "opacities"):
        name = f"gs_{part}_{case}__sub"
        values = getattr(found, part)[SUBSETS.get(f"gs_{part}", SUBSETS["gs"])]
        assert_close(thin(data, name, values), data[name])


def test_inference_on_photos_is_upstreams():
    data, model = golden("da3_small_inference"), seeded_model("da3-small")
    ours, theirs = golden("v2_vits"), golden("input_processor")
    photos = [
        ours["photo_astronaut"][..., ::-1],
        theirs["photo_chelsea"],
        ours["photo_coffee"][..., ::-1],
    ]
    photos = [np.ascontiguousarray(photo) for photo in photos]
    cameras = (data["in_extrinsics"], data["in_intrinsics"])
    predictions = {
        "free": model.inference(photos, process_res=224),
        "free1": model.inference(photos[:1], process_res=224),
        "posed": model.inference(photos, *cameras, process_res=224),
        "posed_unscaled": model.inference(photos, *cameras, False, process_res=224),
    }
    for case, prediction in predictions.items():
        assert prediction.kind == "depth" and prediction.unit == "relative"
        for what in ("depth", "conf", "extrinsics", "intrinsics"):
            name = (
                "extrinsics_posed_unscaled"
                if f"{what}_{case}" == "extrinsics_posed_unscaled"
                else None
            )
            values = getattr(prediction, what)
            if name:
                values = homogeneous(values)
            check(data, what, case, values)
    shown = thin(data, "processed_images", predictions["free"].processed_images)
    difference = shown.astype(int) - data["processed_images"].astype(int)
    assert np.abs(difference).max() <= 1  # upstream normalises and back, and cuts off


def test_rotary_embedding_is_upstreams():
    data = golden("units")
    for tokens, positions, expected in zip(data["rope_in"], data["rope_pos"], data["rope_out"]):
        assert np.array_equal(patch_positions((4, 5)), positions)
        table = rope_table(torch.from_numpy(positions), 64)
        found = apply_rope(torch.from_numpy(tokens)[None], table)[0]
        assert_close(found.numpy(), expected, 1e-6)


def test_uv_embedding_is_upstreams():
    found = uv_embedding(32, (5, 7), 1.5).permute(1, 2, 0).numpy() / SHARE
    assert_close(found, golden("units")["uv_embed_7x5_32"], 1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reference_views_are_upstreams(strategy):
    data = golden("units")
    tokens = data["ref_in"]
    found = [choose_reference(scene[:, 0], strategy) for scene in tokens]
    assert found == list(data[f"ref_{strategy}"])
    orders = [reference_first(5, reference) for reference in (3, 0, 4)]
    reordered = np.stack([scene[order] for scene, order in zip(tokens, orders)])
    assert np.array_equal(reordered, data["ref_reordered"])


def test_every_norm_has_upstreams_epsilon():
    data, model = golden("eps_probe"), DepthAnything3("da3-small")
    fill_seeded(model)
    tiny = (
        ".gamma", ".qkv.weight", ".qkv.bias", ".patch_embed.proj.weight", ".patch_embed.proj.bias",
        ".pos_embed", ".cls_token", ".camera_token",
    )  # fmt: skip
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith(tiny):
                value.mul_(np.float32(0.003))
    features = encoded(model, views(61, (1, 2, 70, 98)))
    for index, tap in enumerate(features.taps.values()):
        name = f"da3_feat{index}__sub"
        assert_close(thin(data, name, tap.numpy()[None, :, :, ::4]), data[name])
    assert_close(features.camera.numpy()[None], data["da3_cam3"])


def test_pose_encodings_are_upstreams():
    data = golden("geom_pose")
    world_to_camera = inverse(data["c2w"])
    assert_close(
        encode_pose(world_to_camera, data["intrinsics"], (112, 140)), data["pose_enc"], 1e-6
    )
    for given, expected, size_hw in (
        ("pose_enc", "pose_enc_to", (112, 140)),
        ("raw_enc", "raw_enc_to", (98, 126)),
    ):
        extrinsics, intrinsics = decode_pose(data[given], size_hw)
        camera = inverse(homogeneous(extrinsics))[..., :3, :]
        assert_close(camera, data[f"{expected}_c2w"], 1e-6)
        np.testing.assert_allclose(intrinsics, data[f"{expected}_intrinsics"], rtol=1e-5)


def test_rotations_and_inverses_are_upstreams():
    data = golden("geom_pose")
    assert_close(quaternion_from_rotation(data["rot"]), data["rot_to_quat"], 1e-6)
    assert_close(rotation_from_quaternion(data["quat"]), data["quat_to_rot"], 1e-6)
    assert_close(inverse(data["c2w"]), data["inv_4x4_out"], 1e-6)
    assert_close(inverse(data["c2w"][:, :, :3]), data["inv_3x4_out"], 1e-6)
    assert_close(homogeneous(data["c2w"][:, :, :3]), data["homogeneous_out"], 1e-6)
    for count in (1, 2, 5, 6):
        found = normalise_extrinsics(data[f"norm_in_{count}"][0])
        assert np.abs(found - data[f"norm_out_{count}"][0]).max() < 1e-5


@pytest.mark.parametrize("robust", [False, True], ids=["all", "ransac"])
@pytest.mark.parametrize("path", ["a", "b", "c", "flip"])
def test_camera_paths_are_aligned_as_upstream_does(path, robust):
    data, suffix = golden("geom_umeyama"), "_ransac" if robust else ""
    fit = align_cameras(data[f"ref_{path}"], data[f"est_{path}"], robust)
    assert_close(fit.rotation, data[f"r_{path}{suffix}"], 1e-9)
    assert_close(fit.translation, data[f"t_{path}{suffix}"], 1e-9)
    assert fit.scale == pytest.approx(float(data[f"s_{path}{suffix}"]), rel=1e-9)
    moved = fit.move_cameras(data[f"est_{path}"])
    assert_close(moved, data[f"aligned_{path}{suffix}"], 1e-9)
    if path == "flip" and not robust:
        assert_close(fit.move_points(data["points"]), data["points_fwd"], 1e-6)
        assert_close(fit.move_points_back(data["points"]), data["points_inv"], 1e-6)


def test_cameras_from_rays_are_upstreams():
    data = golden("geom_camray")
    for scene in range(2):
        cameras = cameras_from_rays(data["ray_b"][scene], data["conf_b"][scene])
        assert_close(cameras.extrinsics(), data["extrinsics_b"][scene], 1e-5)
        assert_close(cameras.intrinsics((70, 52)), data["intrinsics_b"][scene], 1e-5)
        assert_close(cameras.focal, data["focal_b"][scene], 1e-5)
        assert_close(cameras.principal, data["pp_b"][scene], 1e-5)
    rotation, lower = split_rotation(data["ql_in"])
    assert_close(rotation, data["ql_q"], 1e-6)
    assert_close(lower, data["ql_l"], 1e-6)


def test_rays_are_drawn_as_upstream_draws_them_after_seed_0():
    data = golden("geom_camray")
    assert np.array_equal(draw_groups(360), data["sample_idx_b"])
    assert np.array_equal(draw_groups(921), data["sample_idx_a"])
    torch.manual_seed(0)
    expected = torch.stack([torch.randperm(57)[:8] for _ in range(100)])
    assert np.array_equal(draw_groups(57), expected)


def test_sky_and_metres_are_upstreams():
    data = golden("geom_align")
    depth, conf, sky, metric = (
        data[f"in_{name}"] for name in ("depth", "conf", "sky", "metric_depth")
    )
    found = fill_sky(depth, sky)
    assert_close(thin(data, "mono_sky_depth", found), data["mono_sky_depth"], 1e-6)
    metres = metric_depth(metric[0], data["in_intrinsics"][0])
    assert_close(thin(data, "metric_scaled", metres[None]), data["metric_scaled"], 1e-6)
    scene = to_metres(depth[0], conf[0], data["in_extrinsics"][0], metres, sky[0])
    assert scene.scale == pytest.approx(float(data["nested_scale"]), rel=1e-6)
    assert_close(thin(data, "nested_depth", scene.depth[None]), data["nested_depth"], 1e-6)
    assert_close(thin(data, "nested_conf", scene.confidence[None]), data["nested_conf"], 1e-6)
    assert_close(scene.extrinsics[None], data["nested_extrinsics"], 1e-6)
    far = to_metres(depth[0] * 100, conf[0], data["in_extrinsics"][0], metres * 100, sky[0])
    assert far.depth.max() <= max(200, float((depth[0] * 100 * far.scale)[sky[0] < 0.3].max()))


def test_gaussians_are_upstreams():
    data = golden("geom_gs")
    count = data["in_raw"].shape[1]  # reduced files keep the first view
    arrays = [data[f"in_{name}"][0] for name in ("raw", "opacity", "depth")]
    cameras = [data[f"in_{name}"][0, :count] for name in ("extrinsics", "intrinsics")]
    scale = pose_scale(data["in_gt_extrinsics"][0], data["in_extrinsics"][0])
    for suffix, by in (("", 1.0), ("_gt", scale)):
        found = gaussians_of_scene(*arrays, *cameras, by)
        for part, step in (("means", 6), ("scales", 6), ("rotations", 6), ("harmonics", 24)):
            name = f"{part}{suffix}__sub"
            if name not in data.files:
                continue
            values = getattr(found, part)[:, ::step]
            steps = data[f"thin__{name}"] if f"thin__{name}" in data.files else [1] * values.ndim
            expected = data[name][:, : -(-values.shape[1] // int(steps[1]))]
            values = values[tuple(slice(None, None, int(s)) for s in steps)]
            assert_close(values[:, : expected.shape[1]], expected[:, : values.shape[1]], 1e-5)
    for coefficients, rotation, expected in zip(data["sh_in"], data["sh_rot"], data["sh_out"]):
        assert_close(rotate_harmonics(coefficients, rotation), expected, 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_photos_become_upstreams_views(method):
    data = golden("input_processor")
    view = make_view(data["photo_chelsea"], 252, method)
    name = f"out_chelsea_{method}_252"
    difference = thin(data, name, view.rgb).astype(int) - data[name].astype(int)
    assert np.abs(difference).max() <= 1
    intrinsics = view.intrinsics_of_view(data["k_chelsea"])
    np.testing.assert_allclose(intrinsics, data[f"kout_chelsea_{method}_252"], rtol=1e-6)
    np.testing.assert_allclose(view.intrinsics_of_photo(intrinsics), data["k_chelsea"], rtol=1e-9)


def test_views_are_normalised_as_upstream_does():
    data = golden("input_processor")
    name = "norm_chelsea_upper_bound_resize_252__sub"
    tensor = make_view(data["photo_chelsea"], 252).tensor()[:, ::4, ::4]
    assert np.abs(thin(data, name, tensor) - data[name]).max() <= 1 / 255 / 0.224 + 1e-6


@pytest.mark.parametrize(
    "size_hw",
    [(333, 500), (500, 333), (480, 640), (378, 504), (511, 511), (600, 30), (1080, 1920), (91, 77)],
)
def test_views_have_upstreams_sizes(size_hw):
    data = golden("input_processor")
    expected = data[f"sizes_{size_hw[1]}x{size_hw[0]}"]
    photo = np.zeros((*size_hw, 3), np.uint8)
    found = [make_view(photo, 504, method).size_hw for method in METHODS]
    assert found == [tuple(size) for size in expected]


def test_seeded_weights_decide_ties_by_the_last_key():
    model = DepthAnything3("da3-small")
    fill_seeded(model)
    key = "model.head.scratch.output_conv2_aux.{}.2.weight"
    state = model.state_dict()
    expected = seeded_tensor(key.format(3), (32,))
    assert all(np.array_equal(state[key.format(level)], expected) for level in range(4))


def test_photos_of_different_sizes_are_cropped_to_one():
    photos = [np.zeros(size, np.uint8) for size in ((240, 320, 3), (400, 250, 3))]
    views = same_size([make_view(photo, 112) for photo in photos])
    assert {view.size_hw for view in views} == {(84, 70)}
    cameras = view_intrinsics(views, np.stack([np.eye(3)] * 2))
    assert cameras[0, 0, 2] == -(112 - 70) // 2
