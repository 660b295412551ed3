"""Lower precisions, as people ask for them: close to float32, or refused in a sentence."""

import contextlib
import copy

import numpy as np
import pytest
import torch

from compile.seeded import fill_seeded
from depth_anything_3 import config
from depth_anything_3.api import DepthAnything3
from depth_anything_v2.dpt import DepthAnythingV2
from layers.dpt import Enlarge, resize
from layers.precision import TORCH_1, cast, in_type_of
from runtime.errors import InputError

TAPS = (5, 7, 9, 11)
TINY = config.DA3Spec("vitt", TAPS, 32, (24, 48, 96, 192), alternate_from=4, gaussians=True)
MONO = config.DA3Spec("vitt", (2, 5, 8, 11), 32, (24, 48, 96, 192))
KINDS = ("da3-giant", "da3metric-large", "da3nested-giant-large")

autocast = torch.autocast


@pytest.fixture(scope="module")
def models():
    """One of each kind, small, by the name of the model that it stands for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(config.NETWORKS, "da3-giant", TINY)
        patch.setitem(config.NETWORKS, "da3metric-large", MONO)
        made = {name: DepthAnything3(name) for name in KINDS}
    made["vitt"] = DepthAnythingV2("vitt").eval()
    for model in made.values():
        fill_seeded(model)
    return made


def found(model, photos, **options):
    """What a model says of photos: arrays by name."""
    if isinstance(model, DepthAnythingV2):
        return {"depth": model.infer_image(photos[0], 56)}
    prediction = model.inference(photos, process_res=70, **options)
    arrays = {name: getattr(prediction, name) for name in ("depth", "conf", "extrinsics")}
    return {name: array for name, array in arrays.items() if array is not None}


def close(some, exact, share):
    """Whether arrays are float32 and on average within a share of what the right ones span."""
    assert some.keys() == exact.keys()
    for name, right in exact.items():
        assert some[name].dtype == right.dtype and np.isfinite(some[name]).all()
        off = np.abs(some[name] - right).mean() / np.ptp(right)
        assert off < share, (name, off)


PRECISIONS = {
    "autocast": (lambda model: model, lambda: autocast("cpu", dtype=torch.bfloat16), 0.05),
    "bfloat16": (lambda model: model.bfloat16(), contextlib.nullcontext, 0.05),
    "double": (lambda model: model.double(), contextlib.nullcontext, 1e-4),
    "encoder": (  # a part alone, as people save memory
        lambda model: (
            [part.bfloat16() for part in model.modules() if hasattr(part, "cls_token")] and model
        ),
        contextlib.nullcontext,
        0.05,
    ),
}


@pytest.mark.parametrize(
    "name, how",
    [
        (name, how)
        for name in ("vitt", "da3-giant", "da3metric-large")
        for how in PRECISIONS
        if (name, how) != ("vitt", "encoder")  # one tensor goes through it and the head
    ],
)
def test_lower_precisions_are_close_to_float32(models, name, how, make_photo):
    change, context, share = PRECISIONS[how]
    photos = [make_photo(48, 60, seed) for seed in range(2)]
    exact = found(models[name], photos)
    model = change(copy.deepcopy(models[name]))
    with context():
        close(found(model, photos), exact, share)


def test_scenes_with_cameras_splats_and_layers_in_bfloat16(models, make_photo):
    photos = [make_photo(48, 60, seed) for seed in range(3)]
    extrinsics = np.stack([np.eye(4)] * 3)
    extrinsics[:, 0, 3] = [0, -1, -2]
    intrinsics = np.stack([np.array([[60.0, 0, 30], [0, 60, 24], [0, 0, 1]])] * 3)
    options = {"extrinsics": extrinsics, "intrinsics": intrinsics, "infer_gs": True}
    model = models["da3-giant"]
    exact = model.inference(photos, process_res=70, export_feat_layers=[3, 9], **options)
    with autocast("cpu", dtype=torch.bfloat16):
        under = model.inference(photos, process_res=70, export_feat_layers=[3, 9], **options)
    lower = copy.deepcopy(model).bfloat16()
    after = lower.inference(photos, process_res=70, export_feat_layers=[3, 9], **options)
    for some in (under, after):
        assert np.isfinite(some.depth).all() and some.depth.dtype == np.float32
        assert some.gaussians.means.shape == exact.gaussians.means.shape
        assert {n: a.dtype for n, a in some.aux.items()} == dict.fromkeys(exact.aux, np.float32)
        np.testing.assert_allclose(some.extrinsics, exact.extrinsics, atol=1e-6)


def test_a_nested_model_in_bfloat16(models, make_photo):
    photos = [make_photo(48, 60, seed) for seed in range(2)]
    model = models["da3nested-giant-large"]
    with autocast("cpu", dtype=torch.bfloat16):
        found = model.inference(photos, process_res=70)
    assert found.depth.dtype == np.float32 and found.is_metric and np.isfinite(found.depth).all()


def test_forward_takes_any_float_and_gives_float32(models):
    image = torch.randn(1, 2, 3, 28, 42)
    exact = models["da3-giant"](image)["depth"]
    for model, given in (
        (models["da3-giant"], image.double()),
        (copy.deepcopy(models["da3-giant"]).double(), image),
    ):
        some = model(given)["depth"]
        assert some.dtype == torch.float32
        assert torch.allclose(some, exact, rtol=1e-3, atol=1e-3)
    assert copy.deepcopy(models["vitt"]).double()(image[0]).dtype == torch.float64


@pytest.mark.parametrize("name", ["vitt", "da3-giant", "da3metric-large"])
def test_float16_on_a_cpu_is_refused_or_close(models, name, make_photo):
    photos = [make_photo(48, 60, seed) for seed in range(2)]
    model = copy.deepcopy(models[name]).half()
    if not TORCH_1:
        return close(found(model, photos), found(models[name], photos), 0.05)
    with pytest.raises(InputError, match=r"float16 needs CUDA .* use bfloat16 or float32"):
        found(model, photos)


@pytest.mark.parametrize("name", ["vitt", "da3-giant", "da3metric-large"])
def test_pixels_that_are_no_floats_are_refused(models, name):
    image = torch.zeros((1, 1, 3, 28, 28) if "da3" in name else (1, 3, 28, 28), dtype=torch.uint8)
    with pytest.raises(InputError, match=r"input is torch.uint8, expected floats"):
        models[name](image)


@pytest.mark.parametrize("times", [2, 4])
def test_enlarging_and_resizing_in_bfloat16_are_exact_up_to_rounding(times):
    layer, maps = Enlarge(8, times), torch.randn(1, 8, 5, 7)
    low = maps.bfloat16()
    exact = [layer(low.float()), resize(low.float(), (40, 56))]
    rounded = copy.deepcopy(layer).bfloat16()
    for some, right in zip((rounded(low), resize(low, (40, 56))), exact):
        assert some.dtype == torch.bfloat16 and some.shape == right.shape
        assert (some.float() - right).abs().mean() < 0.01 * right.abs().mean()


def test_a_cast_that_changes_nothing_is_no_operation():
    x = torch.zeros(2)
    assert cast(x, torch.float32) is x and in_type_of(x, x) is x
    graph = torch.jit.trace(lambda y: cast(y, torch.float32) + 1, x)
    assert "aten::to" not in str(graph.inlined_graph)
