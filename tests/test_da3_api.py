"""Depth Anything 3's doors: official files, photos of every kind, metres, clear refusals."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from compile.registry import MODELS
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_3.config import NAMES
from runtime.errors import CheckpointError, InputError
from runtime.photo.decode import focal_px_of
from runtime.scene.cameras import inverse
from runtime.scene.views import make_view


@pytest.fixture(scope="module")
def small() -> DepthAnything3:
    model = DepthAnything3("da3-small")
    fill_seeded(model)
    return model


@pytest.fixture(scope="module")
def photos():
    rng = np.random.RandomState(0)
    return [rng.randint(0, 255, (48, 64, 3), np.uint8) for _ in range(3)]


@pytest.fixture
def folder(small, tmp_path):
    """An official download: one tensor of each tied group, and a config."""
    state = small.state_dict()
    last = "model.head.scratch.output_conv2_aux.{}.2.{}"
    for level in (1, 2, 3):
        for part in ("weight", "bias"):
            del state[last.format(level, part)]
    save_file({k: v.clone() for k, v in state.items()}, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    return tmp_path


def test_official_files_load_with_one_tensor_of_each_tied_group(small, folder):
    loaded = DepthAnything3.from_pretrained(folder)
    expected = small.state_dict()
    assert loaded.model_name == "da3-small" and not loaded.training
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


def test_nothing_but_ties_may_be_missing(small, folder):
    state = {k: v.clone() for k, v in small.state_dict().items()}
    del state["model.head.scratch.output_conv2_aux.1.2.weight"]  # three of four: neither nor
    del state["model.cam_dec.fc_t.bias"]
    state["model.extra"] = torch.zeros(1)
    save_file(state, str(folder / "model.safetensors"))
    with pytest.raises(CheckpointError) as raised:
        DepthAnything3.from_pretrained(folder)
    text = str(raised.value)
    assert "2 missing" in text and "aux.1.2.weight" in text and "fc_t.bias" in text
    assert "1 not expected: model.extra" in text


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("config.json", b"{", "cannot be read as a model's config"),
        ("config.json", b'{"model_name": "da4"}', "model_name is 'da4', expected one of da3-small"),
        ("config.json", b"[]", "cannot be read as a model's config"),
        ("config.json", b" " * (1 << 20) + b"{}", "not a model's config"),
        ("model.safetensors", b"not tensors", "cannot be read as safetensors"),
    ],
)
def test_damaged_official_files_are_refused(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        DepthAnything3.from_pretrained(folder)


def test_a_name_that_cannot_be_fetched_says_what_is_needed(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"no such folder, .*model.safetensors and config.js"):
        DepthAnything3.from_pretrained("nobody/NOTHING")


def test_the_registry_and_the_package_know_the_same_models():
    assert {name for name, row in MODELS.items() if row.family == "v3"} == set(NAMES)
    assert not MODELS["da3mono-large"].any_view and MODELS["da3-base"].any_view


def test_photos_may_be_paths_arrays_or_pictures(small, photos, tmp_path):
    Image.fromarray(photos[0]).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", photos[0], Image.fromarray(photos[0])]
    prediction = small.inference(given, process_res=70)
    assert prediction.depth.shape == (3, 56, 70) and prediction.depth.dtype == np.float32
    assert prediction.processed_images.dtype == np.uint8
    assert np.array_equal(prediction.processed_images[0], prediction.processed_images[2])
    assert prediction.kind == "depth" and prediction.is_metric == 0
    assert prediction.unit == "relative" and prediction.sky is None


def test_a_photo_on_its_own_is_a_scene_of_one(small, photos, tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(photos[0]).save(file)
    expected = small.inference([file], process_res=70).depth
    for one in (file, str(file), photos[0], Image.fromarray(photos[0])):
        assert np.array_equal(small.inference(one, process_res=70).depth, expected)


def test_files_are_turned_upright(small, photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photos[0]).save(tmp_path / "a.jpg", exif=exif)
    assert small.inference([str(tmp_path / "a.jpg")], process_res=70).depth.shape == (1, 70, 56)


def test_one_and_two_known_cameras_work(small, photos, caplog):
    poses = np.stack([np.eye(4)] * 2)
    poses[1, 0, 3] = 3.0
    intrinsics = np.stack([np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])] * 2)
    extrinsics = inverse(poses)
    two = small.inference(photos[:2], extrinsics, intrinsics, process_res=70)
    assert np.allclose(two.extrinsics, extrinsics[:, :3])
    assert np.allclose(two.intrinsics[:, 0, 0], 60 * 70 / 64) and "scale" not in caplog.text
    one = small.inference(photos[:1], extrinsics[:1], intrinsics[:1], process_res=70)
    assert "tell no scale" in caplog.text and np.isfinite(one.depth).all()


def test_what_is_given_is_never_changed(small, photos):
    image = torch.randn(1, 3, 3, 28, 42)
    extrinsics = torch.eye(4).repeat(1, 3, 1, 1)
    extrinsics[0, :, 0, 3] = torch.arange(3.0)
    intrinsics = torch.eye(3).repeat(1, 3, 1, 1) * 40
    before = [t.clone() for t in (image, extrinsics, intrinsics)]
    small(image, extrinsics, intrinsics, use_ray_pose=True)
    assert all(torch.equal(a, b) for a, b in zip(before, (image, extrinsics, intrinsics)))


def test_a_batch_is_decoded_as_each_scene_would_be_alone(small):
    image = torch.randn(2, 3, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    both = small(image)
    small.model.max_views_in_memory = 2  # cuts across the scenes
    try:
        for scene in range(2):
            alone = small(image[scene : scene + 1])
            for name in ("depth", "depth_conf", "extrinsics", "ray"):
                assert torch.allclose(both[name][scene], alone[name][0], rtol=1e-4, atol=1e-5)
    finally:
        small.model.max_views_in_memory = 8


def test_the_encoder_runs_in_bfloat16_when_asked(small):
    lower = DepthAnything3("da3-small", dtype="bfloat16")
    fill_seeded(lower)
    image = torch.randn(1, 2, 3, 56, 70, generator=torch.Generator().manual_seed(0))
    exact, found = small(image)["depth"], lower(image)["depth"]
    assert found.dtype == torch.float32 and not torch.equal(exact, found)
    off = (exact - found).abs().mean() / exact.abs().mean()
    assert 1e-5 < off < 0.05


def test_metric_depth_is_metres_where_the_focal_length_is_known(photos, monkeypatch, tmp_path):
    from depth_anything_3 import config
    from layers.vit import VITS

    monkeypatch.setitem(VITS, "vitl", VITS["vits"])  # the same network, small
    monkeypatch.setitem(
        config.NETWORKS,
        "da3metric-large",
        config.DA3Spec("vitl", (2, 5, 8, 11), 64, config.SMALL),
    )
    model = DepthAnything3("da3metric-large")
    fill_seeded(model)
    relative = model.inference(photos[:1], process_res=70)
    assert relative.kind == "depth" and relative.sky.dtype == bool
    metres = model.inference(photos[:1], process_res=70, focal_px=600.0)
    assert metres.kind == "depth_m" and metres.is_metric == 1 and metres.unit == "metre"
    focal = 600 * (70 / 64 + 56 / 48) / 2  # the view is not scaled evenly
    assert np.allclose(metres.depth, relative.depth * focal / 300, rtol=1e-5)
    intrinsics = np.array([[[600.0, 0, 32], [0, 600, 24], [0, 0, 1]]])
    given = model.inference(photos[:1], intrinsics=intrinsics, process_res=70)
    assert np.allclose(given.depth, metres.depth, rtol=1e-5)
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 28}
    Image.fromarray(photos[0]).save(tmp_path / "a.png", exif=exif)
    assert focal_px_of(tmp_path / "a.png") == pytest.approx(28 / 43.267 * 80, rel=1e-3)
    by_file = model.inference([tmp_path / "a.png"], process_res=70)
    assert by_file.kind == "depth_m"
    with pytest.raises(InputError, match="takes each view for itself"):
        model.inference(photos[:1], process_res=70, use_ray_pose=True)


def test_a_photo_without_a_focal_length_tells_none(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert focal_px_of(tmp_path / "a.jpg") is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model_name": "da4"}, "model_name='da4': use one of da3-small"),
        ({"model_name": "da3-small", "dtype": "int8"}, "use one of float32, bfloat16, float16"),
        ({"model_name": "da3-small", "max_views_in_memory": 0}, "use 1 or more"),
    ],
)
def test_wrong_settings_say_what_is_right(arguments, message):
    with pytest.raises(InputError, match=message):
        DepthAnything3(**arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": []}, "give one photo or more"),
        ({"image": ["missing.jpg"]}, "cannot be read"),
        ({"image": [np.zeros((4, 4), np.uint8)]}, r"expected uint8 \(H, W, 3\)"),
        ({"process_res": 7}, "use 14 pixels or more"),
        ({"process_res_method": "squash"}, "use one of upper_bound_resize"),
        ({"ref_view_strategy": "last"}, "use one of saddle_balanced"),
        ({"export_feat_layers": [12]}, "blocks are 0 to 11"),
        ({"infer_gs": True}, "only da3-giant"),
        ({"extrinsics": np.zeros((1, 4, 4))}, "1 extrinsics for 3 photos"),
        ({"extrinsics": np.stack([np.eye(4)] * 3)}, "extrinsics and intrinsics together"),
        ({"extrinsics": np.zeros((3, 2, 4)), "intrinsics": np.zeros((3, 3, 3))}, "pose is"),
    ],
)
def test_wrong_arguments_say_what_is_right(small, photos, change, message):
    arguments = {"image": photos, "process_res": 70, **change}
    with pytest.raises(InputError, match=message):
        small.inference(**arguments)


@pytest.mark.parametrize(
    "shape, message",
    [((1, 3, 28, 28), "B, N, 3, H, W"), ((1, 1, 3, 30, 28), "multiples of 14")],
)
def test_wrong_images_are_refused(small, shape, message):
    with pytest.raises(InputError, match=message):
        small(torch.zeros(shape))


def test_float16_on_a_cpu_is_refused_with_what_to_use():
    model = DepthAnything3("da3-small", dtype="float16")
    with pytest.raises(InputError, match="use bfloat16 or float32 on a CPU"):
        model(torch.zeros(1, 1, 3, 28, 28))


def test_a_photo_smaller_than_a_patch_cannot_be_cropped_to_one():
    photo = np.zeros((200, 10, 3), np.uint8)
    with pytest.raises(InputError, match="less than one patch of 14"):
        make_view(photo, 200, "upper_bound_crop")
    assert make_view(photo, 200).size_hw == (196, 14)
