"""Depth Anything 3's doors: official files, photos of every kind, metres, clear refusals."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from compile.checkpoint import load_model
from compile.registry import MODELS
from compile.seeded import fill_seeded
from depth_anything_3 import config
from depth_anything_3.api import DepthAnything3
from depth_anything_3.config import NAMES, NESTED, NETWORKS, RETRAINED
from runtime.errors import CheckpointError, InputError
from runtime.photo.decode import focal_px_of
from runtime.scene.cameras import inverse
from runtime.scene.sky import SKY
from runtime.scene.views import make_view

ROOT = Path(__file__).parent.parent


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
        (
            "config.json",
            b'{"model_name": "da4"}',
            "model_name is 'da4', and .* is no model's name; ",
        ),
        (
            "config.json",
            b"{}",
            "model_name is None, and .* say which one it is: .* model_name=, o",
        ),
        ("config.json", b"[]", "cannot be read as a model's config"),
        ("config.json", b" " * (1 << 20) + b"{}", "not a model's config"),
        ("model.safetensors", b"not tensors", "a text instead of weights, 'not tensors'"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "pointer of git-lfs"),
    ],
)
def test_damaged_official_files_are_refused(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        DepthAnything3.from_pretrained(folder)


def test_from_pretrained_takes_what_hugging_faces_mixin_takes(folder):
    given = {"local_files_only": True, "revision": "main", "cache_dir": None, "token": None}
    given |= {"force_download": False, "resume_download": None, "proxies": None, "strict": True}
    model = DepthAnything3.from_pretrained(
        pretrained_model_name_or_path=str(folder), map_location="cpu", dtype="bfloat16", **given
    )
    assert (model.model_name, model.dtype) == ("da3-small", "bfloat16")


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "give one folder, file or name"),
        ({"source": "a", "pretrained_model_name_or_path": "b"}, "give one folder, file or name"),
        ({"source": "a", "preset": "vitg"}, "preset: use dtype, max_views_in_memory, cache_dir"),
        ({"source": "a", "proxies": {"http": "b"}}, "set HTTPS_PROXY in the environment"),
    ],
)
def test_options_that_say_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DepthAnything3.from_pretrained(**options)


@pytest.fixture
def fetched(folder, tmp_path, monkeypatch):
    """What ``make checkpoints MODEL=da3-small`` leaves: a folder of the model's name, no config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPTH_CHECKPOINT_DIR", raising=False)
    place = Path("checkpoints/da3-small")
    place.mkdir(parents=True)
    (folder / "model.safetensors").rename(place / "model.safetensors")
    (place / "model.safetensors.json").write_text("{}")
    return place


@pytest.mark.parametrize(
    "place, source",
    [
        ("checkpoints/da3-small", "checkpoints/da3-small"),
        ("checkpoints/da3-small", "checkpoints/da3-small/model.safetensors"),
        ("checkpoints/da3-small", "da3-small"),
        ("models/da3-small", "da3-small"),
        ("models/DA3-SMALL", "models/DA3-SMALL"),
        ("shelf/da3-small", "da3-small"),
        ("da3-small", "."),
    ],
)
def test_fetched_weights_open_by_folder_and_by_name(fetched, small, monkeypatch, place, source):
    monkeypatch.setenv("DEPTH_CHECKPOINT_DIR", "shelf")
    Path(place).parent.mkdir(exist_ok=True)
    fetched.rename(place)
    if source == ".":
        monkeypatch.chdir(place)
    loaded = DepthAnything3.from_pretrained(source)
    assert loaded.model_name == "da3-small"
    assert torch.equal(loaded.model.cam_dec.fc_t.bias, small.model.cam_dec.fc_t.bias)


def test_a_folder_that_does_not_say_its_model_asks_for_it(fetched, small):
    fetched.rename("mine")
    with pytest.raises(CheckpointError, match=r"config.json is not there, and 'mine' is no mo"):
        DepthAnything3.from_pretrained("mine")
    assert DepthAnything3.from_pretrained("mine", model_name="da3-small").model_name == "da3-small"
    with pytest.raises(CheckpointError, match=r"fit da3-base: .*looks like da3-small: use tha"):
        DepthAnything3.from_pretrained("mine", model_name="da3-base")


def test_both_doors_read_the_same_files_and_refuse_the_same(fetched, small):
    row, file = MODELS["da3-small"], fetched / "model.safetensors"
    state = {f"module.{name}": value.half() for name, value in small.state_dict().items()}
    contents = ({"model": state, "epoch": 3, "lr": 0.5}, {"model": {"module.a": state}}, [1])
    said = []
    for content in contents:
        torch.save(content, str(file))
        said.append([])
        for door in (DepthAnything3.from_pretrained, lambda folder: load_model(row, file)[0]):
            try:
                door(fetched)
                said[-1].append("read")
            except CheckpointError as error:
                said[-1].append(str(error))
    assert said[0] == ["read", "read"]
    assert said[1][0] == said[1][1] and "not a state dict" in said[1][0]
    assert said[2][0] == said[2][1] and "not a state dict" in said[2][0]


@pytest.mark.parametrize("name", ["nobody/NOTHING", "da3-small", "checkpoints/da3-smal"])
def test_what_cannot_be_found_or_fetched_says_what_is_needed(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"no such folder, .*model.safetensors and config.js"):
        DepthAnything3.from_pretrained(name)


class Hub:
    """What ``huggingface_hub`` is asked for, answered from a folder."""

    def __init__(self, folder, cache, etag=""):
        self.folder, self.cache, self.etag, self.asked = folder, cache, etag, []

    def try_to_load_from_cache(self, repo, remote, **_):
        place = self.cache / "snapshot" / remote
        return str(place) if place.exists() else None

    def hf_hub_download(self, repo, remote, **options):
        self.asked.append((repo, remote, options))
        place, content = self.cache / "snapshot" / remote, (self.folder / remote).read_bytes()
        if not place.exists():
            blob = self.cache / "blobs" / (self.etag or hashlib.sha256(content).hexdigest())
            for folder in (blob.parent, place.parent):
                folder.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            place.symlink_to(blob)
        return str(place)


def test_a_name_on_the_hub_is_fetched_with_the_hubs_options(folder, tmp_path, monkeypatch):
    hub = Hub(folder, tmp_path / "cache")
    monkeypatch.setattr("runtime.hub.require", lambda *_: hub)
    options = {"revision": "main", "local_files_only": True}
    model = DepthAnything3.from_pretrained("depth-anything/DA3-SMALL", dtype="bfloat16", **options)
    assert (model.model_name, model.dtype) == ("da3-small", "bfloat16")
    files = ("config.json", "model.safetensors")
    assert hub.asked == [("depth-anything/DA3-SMALL", name, options) for name in files]
    monkeypatch.chdir(tmp_path)  # a name of ours, with nothing here: the same on the Hub
    assert DepthAnything3.from_pretrained("da3-small").model_name == "da3-small"
    assert hub.asked[2][:2] == ("depth-anything/DA3-SMALL", "config.json")


def test_what_arrives_damaged_from_the_hub_does_not_stay_in_its_cache(
    folder, tmp_path, monkeypatch
):
    hub = Hub(folder, tmp_path / "cache", etag="a" * 64)
    monkeypatch.setattr("runtime.hub.require", lambda *_: hub)
    with pytest.raises(CheckpointError, match=r"config.json arrived damaged; removed, fetch it ag"):
        DepthAnything3.from_pretrained("depth-anything/DA3-SMALL")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_package_gives_the_class_and_imports_torch_only_for_it():
    code = (
        "import sys, depth_anything_3, depth_anything_3.config\n"
        "assert 'DepthAnything3' in dir(depth_anything_3)\n"
        "assert not hasattr(depth_anything_3, 'Depth')\n"
        "assert 'torch' not in sys.modules\n"
        "from depth_anything_3 import DepthAnything3\n"
        "from depth_anything_3.api import DepthAnything3 as same\n"
        "assert DepthAnything3 is same and 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_registry_and_the_package_know_the_same_models():
    assert {name for name, row in MODELS.items() if row.family == "v3"} == set(NAMES)
    assert not MODELS["da3mono-large"].any_view and MODELS["da3-base"].any_view


@pytest.mark.parametrize("old, new", RETRAINED.items())
def test_weights_trained_again_are_of_the_same_network(old, new):
    first, again = MODELS[old], MODELS[new]
    assert (first.successor, again.successor) == (new, None)
    assert (again.repo, again.file) == (f"{first.repo}-1.1", f"{new}/model.safetensors")
    for fact in ("encoder", "kind", "licence", "parameters_m", "any_view", "usual_sizes", "output"):
        assert getattr(first, fact) == getattr(again, fact)
    assert NETWORKS.get(old) is NETWORKS.get(new) and NESTED.get(old) is NESTED.get(new)
    assert list(MODELS).index(new) < list(MODELS).index(old)  # preferred if both are here


def test_usual_sizes_are_what_the_eager_model_makes_of_usual_photos():
    sizes = MODELS["da3-small"].usual_sizes
    expected = set()
    for width, height in ((1, 1), (4, 3), (3, 2), (16, 9)):
        photo = np.zeros((30 * height, 30 * width, 3), np.uint8)
        expected |= {make_view(p, 504).size_hw for p in (photo, photo.transpose(1, 0, 2))}
    assert len(sizes) == len(expected) == 7 and set(sizes) == expected
    assert all(MODELS[name].usual_sizes == sizes for name in NAMES)
    assert MODELS["vits"].usual_sizes == ((518, 518), (518, 686), (686, 518))


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


def test_grey_transparent_and_float_arrays_are_the_photos_that_they_show(small, photos):
    rgb = photos[0]
    given = [rgb, np.dstack([rgb, rgb[..., 0]]), rgb / 255, rgb.astype(np.int64), rgb[..., 0]]
    given += [Image.fromarray(array) for array in (given[1], rgb[..., 0])]
    seen = small.inference(given, process_res=70).processed_images
    assert all(np.array_equal(view, seen[0]) for view in (*seen[1:4], seen[5]))
    assert np.array_equal(seen[4], seen[6]) and not np.ptp(seen[4], axis=2).any()
    stack = small.inference(np.stack([rgb, rgb]), process_res=70)
    assert stack.depth.shape == (2, 56, 70)


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


@pytest.fixture(scope="module")
def sky_model() -> Iterator[DepthAnything3]:
    """The network that finds sky, small."""
    with pytest.MonkeyPatch.context() as patch:
        small = config.DA3Spec("vits", (2, 5, 8, 11), 64, config.SMALL)
        patch.setitem(config.NETWORKS, "da3mono-large", small)
        model = DepthAnything3("da3mono-large")
        fill_seeded(model)
        yield model


def test_sky_of_one_scene_does_not_depend_on_the_others_of_the_batch(sky_model):
    image = torch.randn(2, 2, 3, 70, 84, generator=torch.Generator().manual_seed(0))
    image[1] *= 3  # so that what is far is not the same in both
    both = sky_model(image)
    fills = []
    for scene in range(2):
        alone = sky_model(image[scene : scene + 1])
        assert torch.allclose(both["depth"][scene], alone["depth"][0], rtol=1e-5, atol=1e-5)
        sky = both["sky"][scene] >= SKY
        assert all(10 < found.sum() < found.numel() - 10 for found in sky)  # both views have both
        fills.append(both["depth"][scene][sky].unique())
        assert len(fills[-1]) == 1  # the views of a scene share it
    assert abs(fills[0] - fills[1]) > 0.01  # shared by both scenes, it would have shown above


def test_the_encoder_runs_in_bfloat16_when_asked(small):
    lower = DepthAnything3("da3-small", dtype="bfloat16")
    fill_seeded(lower)
    image = torch.randn(1, 2, 3, 56, 70, generator=torch.Generator().manual_seed(0))
    exact, found = small(image)["depth"], lower(image)["depth"]
    assert found.dtype == torch.float32 and not torch.equal(exact, found)
    off = (exact - found).abs().mean() / exact.abs().mean()
    assert 1e-5 < off < 0.05


def test_metric_depth_is_metres_where_the_focal_length_is_known(photos, monkeypatch, tmp_path):
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
        ({"image": "missing.jpg"}, "missing.jpg: cannot be read"),
        ({"image": b"bytes of a file"}, "image is bytes: give paths"),
        ({"image": ["missing.jpg"]}, "cannot be read"),
        ({"image": None}, "image is NoneType: give paths"),
        ({"image": np.zeros(4, np.uint8)}, r"image\[0\] is uint8 \(4,\), expected grey"),
        ({"image": np.zeros((3, 40, 40))}, "channels come first: give image"),
        ({"image": torch.zeros(1, 40, 40, 3)}, "image is Tensor: give paths"),
        ({"image": [torch.zeros(3, 40, 40)]}, r"image\[0\] is Tensor.*image\[0\].permute"),
        ({"process_res": 7}, "use 14 pixels or more"),
        ({"process_res_method": "squash"}, "use one of upper_bound_resize"),
        ({"ref_view_strategy": "last"}, "use one of saddle_balanced"),
        ({"export_feat_layers": [12]}, "blocks are 0 to 11"),
        ({"infer_gs": True}, "only da3-giant"),
        ({"focal_px": 500.0}, "depth of da3-small does not depend on it"),
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
    if not torch.__version__.startswith("1."):
        pytest.skip("this torch has float16 on CPUs")
    model = DepthAnything3("da3-small", dtype="float16")
    with pytest.raises(InputError, match="use bfloat16 or float32 on a CPU"):
        model(torch.zeros(1, 1, 3, 28, 28))


def test_a_photo_smaller_than_a_patch_cannot_be_cropped_to_one():
    photo = np.zeros((200, 10, 3), np.uint8)
    with pytest.raises(InputError, match="less than one patch of 14"):
        make_view(photo, 200, "upper_bound_crop")
    assert make_view(photo, 200).size_hw == (196, 14)


def test_upstreams_options_of_files_do_nothing_until_files_are_asked_for(small, photos):
    asked = {"process_res": 98, "export_format": "glb", "conf_thresh_percentile": 40.0}
    asked |= {"num_max_points": 1_000_000, "show_cameras": False, "feat_vis_fps": 5}
    plain = small.inference(photos[:1], process_res=98)
    found = small.inference(photos[:1], export_dir=None, export_kwargs={}, **asked)
    np.testing.assert_array_equal(found.depth, plain.depth)
