"""The models' doors: official keys, strict loading, upstream's API, clear refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import large

from compile.registry import MODELS, ROWS
from depth_anything_3.config import NAMES, RETRAINED
from depth_anything_v2.dpt import DepthAnythingV2
from layers.vit import VisionTransformer, VitSpec

KEYS = Path(__file__).parent / "golden" / "keys"
ROOT = Path(__file__).parent.parent


def shapes(model):
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def official(encoder):
    text = json.loads((KEYS / f"v2_{encoder}.json").read_text())
    return dict(text.items() if isinstance(text, dict) else text)


@pytest.fixture(scope="module")
def vits():
    return DepthAnythingV2("vits").eval()


@pytest.mark.parametrize("encoder", ["vits", "vitb", "vitl", pytest.param("vitg", marks=large)])
def test_state_dict_has_the_official_keys_and_shapes_in_order(encoder):
    found = shapes(DepthAnythingV2(encoder))
    assert list(found.items()) == list(official(encoder).items())


def test_metric_model_has_the_keys_of_the_relative_one():
    assert shapes(DepthAnythingV2("vits", max_depth=20.0)) == official("vits")


def test_unused_official_weights_are_part_of_the_state_dict(vits):
    keys = vits.state_dict()
    assert "pretrained.mask_token" in keys
    assert "depth_head.scratch.refinenet4.resConfUnit1.conv1.weight" in keys


def test_upstreams_constructor_arguments_build_the_same_model(vits):
    explicit = DepthAnythingV2(
        encoder="vits", features=64, out_channels=[48, 96, 192, 384], use_bn=False,
        use_clstoken=False,
    )  # fmt: skip
    assert shapes(explicit) == shapes(vits)


def test_batch_norm_and_class_token_variants_run():
    model = DepthAnythingV2("vits", use_bn=True, use_clstoken=True).eval()
    keys = shapes(model)
    assert keys["depth_head.readout_projects.3.0.weight"] == [384, 768]
    assert keys["depth_head.scratch.refinenet1.resConfUnit2.bn2.running_mean"] == [64]
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 28, 42)).shape == (1, 28, 42)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_registry_rows_name_an_official_file_or_say_there_is_none(row):
    assert (row.repo is None) == (row.name in ("vitg", "demo"))  # the latter is ours
    assert (row.file is None) == (row.name == "vitg")
    assert (row.kind == "depth_m") == (row.max_depth_m is not None or "nested" in row.name)


@pytest.mark.parametrize("encoder", ["vits", "vitb", "vitl", "vitg"])
def test_registry_states_the_number_of_parameters(encoder):
    count = sum(int(np.prod(shape)) for shape in official(encoder).values()) / 1e6
    assert MODELS[encoder].parameters_m == pytest.approx(count, abs=0.05)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RETRAINED.values()])
def test_registry_states_the_number_of_parameters_of_depth_anything_3(name):
    keys = json.loads((KEYS / f"{name}.json").read_text())
    ties = json.loads((KEYS / "tied_keys.json").read_text()).get(name, [])
    second = {key for group in ties for key in group[1:]}
    count = sum(int(np.prod(shape)) for key, shape in keys.items() if key not in second) / 1e6
    assert MODELS[name].parameters_m == pytest.approx(count, abs=0.05)


def test_output_is_one_map_an_image_and_never_negative(vits):
    with torch.no_grad():
        depth = vits(torch.randn(2, 3, 42, 28))
    assert depth.shape == (2, 42, 28) and depth.min() >= 0


def test_metric_output_lies_between_zero_and_max_depth():
    with torch.no_grad():
        depth = DepthAnythingV2("vits", max_depth=80.0).eval()(torch.randn(1, 3, 28, 28))
    assert depth.min() >= 0 and depth.max() <= 80.0


@pytest.mark.parametrize("shape", [(1, 3, 15, 28), (3, 28, 28), (1, 1, 28, 28)])
def test_wrong_input_shapes_are_refused_with_what_was_expected(vits, shape):
    with pytest.raises(ValueError, match="multiples of 14"):
        vits(torch.zeros(shape))


@pytest.mark.parametrize(
    "arguments, text",
    [({"encoder": "vitx"}, "choose one of vits"), ({"max_depth": 0.0}, "above 0")],
)
def test_wrong_constructor_arguments_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        DepthAnythingV2(**arguments)


@pytest.mark.parametrize("raw", [np.zeros((3, 40, 40), np.uint8), None, "photo.jpg"])
def test_infer_image_refuses_what_is_not_a_photo(vits, raw):
    with pytest.raises(ValueError, match="expected"):
        vits.infer_image(raw)


def test_infer_image_takes_grey_and_bgra_as_opencv_does(vits, make_photo):
    bgr = make_photo()
    grey = np.repeat(bgr[..., :1], 3, axis=2)
    whole, flat = (vits.infer_image(photo, 28) for photo in (bgr, grey))
    for same in (np.dstack([bgr, bgr[..., :1]]), bgr / 255):
        np.testing.assert_array_equal(vits.infer_image(same, 28), whole)
    for same in (bgr[..., 0], bgr[..., :1]):
        np.testing.assert_array_equal(vits.infer_image(same, 28), flat)


def test_intermediate_layers_follow_dinov2s_options():
    encoder = VisionTransformer(VitSpec(dim=32, depth=4, num_heads=2)).eval()
    image = torch.randn(2, 3, 28, 42)
    with torch.no_grad():
        last_two = encoder.get_intermediate_layers(image, 2)
        named = encoder.get_intermediate_layers(image, [3, 2], return_class_token=True)
        (maps,) = encoder.get_intermediate_layers(image, 1, reshape=True)
        (raw,) = encoder.get_intermediate_layers(image, 1, norm=False)
    assert [tuple(t.shape) for t in last_two] == [(2, 6, 32)] * 2
    assert torch.equal(named[0][0], last_two[1]) and torch.equal(named[1][0], last_two[0])
    assert named[0][1].shape == (2, 32) and maps.shape == (2, 32, 2, 3)
    assert torch.equal(maps.flatten(2).transpose(1, 2), last_two[1])
    assert not torch.equal(raw, last_two[1])
    with pytest.raises(ValueError, match="blocks 0 to 3"):
        encoder.get_intermediate_layers(image, [4])


def test_photos_go_to_the_models_dtype():
    model = DepthAnythingV2("vits").double().eval()
    tensor, size_hw = model.image2tensor(np.zeros((20, 30, 3), np.uint8), 28)
    assert tensor.dtype == torch.float64 and size_hw == (20, 30) and tensor.shape == (1, 3, 28, 42)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_photos_go_to_the_models_device_not_the_best_one():
    model = DepthAnythingV2("vits").eval()
    assert model.image2tensor(np.zeros((20, 30, 3), np.uint8), 28)[0].device.type == "cpu"
    assert model.cuda().image2tensor(np.zeros((20, 30, 3), np.uint8), 28)[0].is_cuda


def test_the_network_needs_no_package_but_torch():
    code = (
        "import sys, torch\n"
        "for name in ('cv2', 'PIL', 'torchvision', 'xformers', 'einops', 'timm', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "from depth_anything_v2.dpt import DepthAnythingV2\n"
        "print(DepthAnythingV2('vits').eval()(torch.zeros(1, 3, 28, 28)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[1, 28, 28]" in done.stdout
