"""The deployment form: every rewrite leaves the answer as it was, alone and together."""

import pytest
import torch

from compile.deploy import COMMON, REWRITES, DeploymentFormV2, deployment_form
from compile.fixed import MatrixResize, NativeResize, interpolation_matrix
from compile.seeded import fill_seeded
from depth_anything_v2.dpt import DepthAnythingV2
from layers.dpt import resize
from runtime.errors import InputError
from runtime.photo.preprocess import MEAN, STD

SHAPE = (2, 3, 56, 84)


@pytest.fixture(scope="module", params=[None, 20.0], ids=["relative", "metric"])
def model(request):
    model = DepthAnythingV2("vitt", max_depth=request.param).eval()
    fill_seeded(model)
    return model.double()


def rgb(shape=SHAPE):
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def normalised(image):
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD))
    return (image / 255 - mean) / std


def assert_same(found, expected):
    """Within 1e-9 of the answer's range."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-9 * (expected.max() - expected.min())


@pytest.mark.parametrize(
    "rewrites",
    [(), *((name,) for name in REWRITES), COMMON, tuple(REWRITES)],
    ids=lambda names: "all" if names == tuple(REWRITES) else "+".join(names) or "none",
)
@torch.no_grad()
def test_rewrites_leave_the_answer_unchanged(model, rewrites):
    image = rgb()
    form = deployment_form(model, SHAPE, rewrites)
    found = form(image if "rgb-input" in rewrites else normalised(image))
    assert_same(found, model(normalised(image)))


@pytest.mark.parametrize("size_hw", [(518, 518), (98, 70)])
@torch.no_grad()
def test_rewrites_hold_at_odd_grids_and_at_the_size_that_is_shipped(size_hw):
    model = DepthAnythingV2("vitt").eval()
    fill_seeded(model)
    model.double()
    image = rgb((1, 3, *size_hw))
    found = deployment_form(model, (1, 3, *size_hw), tuple(REWRITES))(image)
    assert_same(found, model(normalised(image)))


@torch.no_grad()
def test_rewrites_hold_for_the_gated_feed_forward(monkeypatch):
    from layers import vit

    monkeypatch.setitem(vit.VITS, "vitt", vit.VitSpec(48, 12, 3, swiglu=True))
    model = DepthAnythingV2("vitt").eval()
    fill_seeded(model)
    model.double()
    found = deployment_form(model, (1, 3, 28, 42), tuple(REWRITES))(rgb((1, 3, 28, 42)))
    assert_same(found, model(normalised(rgb((1, 3, 28, 42)))))


def test_rewriting_leaves_the_model_itself_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deployment_form(model, SHAPE, tuple(REWRITES))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_that_no_rewrite_touches_are_shared_not_copied(model):
    form = deployment_form(model, SHAPE)
    mine, theirs = form.blocks[0].mlp.fc1.weight, model.pretrained.blocks[0].mlp.fc1.weight
    assert mine.data_ptr() == theirs.data_ptr()


def test_a_rewrite_that_does_not_exist_is_refused(model):
    with pytest.raises(InputError, match="choose from position-embedding"):
        deployment_form(model, SHAPE, ["layerscale"])


def test_a_head_with_a_readout_is_refused():
    model = DepthAnythingV2("vitt", use_clstoken=True).eval()
    with pytest.raises(InputError, match="use_clstoken"):
        DeploymentFormV2(model, SHAPE)


@pytest.mark.parametrize("size, wanted", [(19, 37), (37, 74), (296, 518), (5, 1), (1, 4), (7, 7)])
def test_interpolation_matrix_is_the_framework_s_own_resize(size, wanted):
    x = torch.randn(1, 2, size, size, dtype=torch.float64)
    native = NativeResize((size, size), (wanted, wanted))
    found = MatrixResize(native, torch.float64)(x)
    torch.testing.assert_close(found, resize(x, (wanted, wanted)), rtol=0, atol=1e-12)
    matrix = interpolation_matrix(size, wanted)
    torch.testing.assert_close(matrix.sum(1), torch.ones(wanted, dtype=torch.float64))
    assert (matrix > 0).sum(1).max() <= 2
