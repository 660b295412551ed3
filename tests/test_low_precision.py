"""Graphs of 16 bits: float32 at their doors, and as near to the model as 16 bits allow."""

import dataclasses

import numpy as np
import pytest
import torch

from compile.deploy import HAS_FUSED_ATTENTION, deployment_form
from compile.fixed import FixedAttention, FixedFusion
from compile.job import CompileJob, compile_model
from compile.low_precision import Lowered, Rounded, Widened, WideSum, lower
from compile.seeded import fill_seeded
from compile.targets.torchscript import DTYPES, REWRITES
from depth_anything_v2.dpt import DepthAnythingV2
from layers.attention import Attention
from runtime.engines import load_engine
from runtime.engines.where import check_bfloat16
from runtime.errors import InputError
from runtime.predict.predictor import Predictor

SHAPE = (1, 3, 28, 42)
current_torch = pytest.mark.skipif(
    not HAS_FUSED_ATTENTION, reason=f"torch {torch.__version__} computes no float16 on the CPU"
)


def _coarse() -> str:
    """Why this torch computes no bfloat16 here; empty if it does."""
    try:
        check_bfloat16(torch, "bf16")
    except InputError as error:
        return str(error)
    return ""


COARSE = _coarse()
fine_bfloat16 = pytest.mark.skipif(bool(COARSE), reason=COARSE)
PRECISIONS = [pytest.param("bf16", marks=fine_bfloat16), pytest.param("f16", marks=current_torch)]
CORRELATION = {"bf16": 0.999, "f16": 0.9999}


def compiled(folder, model="demo", precision="bf16", **options):
    job = CompileJob(
        model, "torchscript", (SHAPE[2:],), 1, folder, seeded="always", precision=precision,
        device="cpu", **options,
    )  # fmt: skip
    (artifact,) = compile_model(job)
    return artifact


@pytest.fixture(scope="module")
def model():
    model = DepthAnythingV2("vitt").eval()
    fill_seeded(model)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The float32 artifact that the others are compared with."""
    return compiled(tmp_path_factory.mktemp("f32"), precision="f32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_artifact_has_half_the_bytes_and_takes_and_returns_float32(tmp_path, whole, precision):
    artifact = compiled(tmp_path, precision=precision)
    m = artifact.manifest
    assert (m.precision, m.parity.status) == (precision, "passed")
    assert artifact.path.name == f"demo-28x42-b1-torchscript-{precision}"
    assert m.files[0].bytes < 0.55 * whole.manifest.files[0].bytes
    assert all(case.pearson > CORRELATION[precision] for case in m.parity.cases)
    assert any(case.max_rel_range > 1e-4 for case in m.parity.cases)  # it is not float32 after all
    engine = load_engine(artifact.path, m, "cpu")
    found = engine({"image": np.zeros(SHAPE, np.float32)})["disparity"]
    assert found.dtype == np.float32 and found.shape == (1, 28, 42)


@fine_bfloat16
def test_bytes_go_into_a_graph_of_16_bits(tmp_path, whole):
    artifact = compiled(tmp_path, pixels="rgb8")
    assert artifact.manifest.input.dtype == "uint8"
    rgb = np.random.RandomState(1).randint(0, 256, (28, 42, 3), dtype=np.uint8)
    found, expected = (Predictor([one], "cpu")(rgb).depth for one in (artifact, whole))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > CORRELATION["bf16"]


@fine_bfloat16
def test_every_stage_of_depth_anything_3_keeps_to_its_tolerance(tmp_path):
    m = compiled(tmp_path, "da3-small").manifest
    assert m.precision == "bf16" and m.parity.status == "passed"
    cameras = [case for case in m.parity.cases if "camera_decoder" in case.input]
    assert cameras and all(case.max_rel_range < 1e-5 for case in cameras)  # float32
    heads = [case for case in m.parity.cases if "depth_head" in case.input]
    assert heads and any(case.max_rel_range > 1e-4 for case in heads)


@pytest.mark.parametrize("name", DTYPES)
def test_lowering_leaves_the_model_itself_alone(model, name):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lower(deployment_form(model, SHAPE, REWRITES), DTYPES[name])
    after = model.state_dict()
    assert all(value.dtype == torch.float32 for value in after.values())
    assert all(torch.equal(before[key], value) for key, value in after.items())


@pytest.mark.parametrize("name", DTYPES)
def test_weights_are_of_16_bits_except_where_rounding_would_show(model, name):
    lowered = lower(deployment_form(model, SHAPE, REWRITES), DTYPES[name])
    exact = {key for key, p in lowered.named_parameters() if p.dtype == torch.float32}
    exact |= {key for key, b in lowered.named_buffers() if b.dtype == torch.float32}
    last = {"form.output_conv2.2.bias"}  # its weights multiply maps of 16 bits
    assert last <= exact
    if name == "f16":
        assert exact == last
    else:  # what the sums through the blocks pass
        assert all("norm" in key or "tokens" in key for key in exact - last)
        assert "form.blocks.0.norm1.layer.weight" in exact and "form.tokens.patch_pos" in exact


@pytest.mark.parametrize("name, dtype", [("bf16", torch.float32), ("f16", torch.float16)])
def test_sums_through_the_blocks_are_float32_in_bfloat16_graphs_only(model, name, dtype):
    if name == "f16" and not HAS_FUSED_ATTENTION:
        pytest.skip("torch 1.13 computes no float16 on the CPU")
    # torch 1.13's CPU needs the upsampling rewritten, see compile.targets.torchscript
    rewrites = REWRITES if HAS_FUSED_ATTENTION else (*REWRITES, "shuffle-upsample")
    lowered = lower(deployment_form(model, SHAPE, rewrites), DTYPES[name])
    sums, products, maps = [], [], []
    for part in lowered.modules():
        if isinstance(part, FixedAttention):
            part.register_forward_hook(lambda _, __, found: products.append(found.dtype))
        if isinstance(part, FixedFusion):
            part.register_forward_hook(lambda _, __, found: maps.append(found))
    for block in lowered.form.blocks:
        block.register_forward_hook(lambda _, __, found: sums.append(found.dtype))
    with torch.no_grad():
        found = lowered(torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)))
    assert found.dtype == torch.float32
    assert set(sums) == {dtype} and set(products) == {DTYPES[name]}
    assert len(maps) == 4
    for map_ in maps:  # the head's convolutions run on channels-last maps throughout
        assert map_.dtype == DTYPES[name]
        assert map_.is_contiguous(memory_format=torch.channels_last)


def test_wrappers_do_what_their_names_say():
    x = torch.tensor([1 + 2**-10])
    assert Rounded(torch.nn.Identity(), torch.bfloat16)(x).item() == 1
    widened = Widened(torch.nn.Identity())(x.to(torch.bfloat16))
    assert widened.dtype == torch.float32
    one, two = Lowered(lambda_of(lambda y: (y, y + 1)), torch.bfloat16)(x)
    assert (one.dtype, one.item(), two.item()) == (torch.float32, 1, 2)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_the_last_convolution_reads_16_bits_and_adds_up_in_float32(dtype, outputs):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(32, outputs, 1)
    x = torch.randn(2, 32, 5, 7).to(dtype)
    with torch.no_grad():
        found, expected = WideSum(conv, dtype)(x), conv(x.float())
    assert found.dtype == torch.float32 and found.shape == expected.shape
    # weights and products are rounded, the sums are not: they are of more values than 16 bits have
    size = (x.float().unsqueeze(1).abs() * conv.weight.abs()).sum(2).max().item()
    assert (found - expected).abs().max() < torch.finfo(dtype).eps * size
    assert (found.to(dtype).float() != found).float().mean() > 0.5
    assert WideSum.takes(conv) and not WideSum.takes(torch.nn.Conv2d(32, 1, 3))
    assert not WideSum.takes(torch.nn.Conv2d(32, 7, 1))


def lambda_of(function):
    module = torch.nn.Module()
    module.forward = function
    return module


@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=current_torch)])
def test_attention_is_the_layers_own_in_every_form(low, fused):
    torch.manual_seed(0)
    attention = Attention(48, 3).eval()
    fixed = FixedAttention(attention, 2, 10)
    fixed.fused = fused
    x = torch.randn(2, 10, 48)
    with torch.no_grad():
        expected = attention(x)
        if low is not None:
            fixed.to(low)
            x = x.to(low)
        found = fixed(x)
    assert found.dtype == (low or torch.float32)
    # fused or not; the scale is not folded here
    tolerance = 1e-6 if low is None else 2e-2
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.skipif(HAS_FUSED_ATTENTION, reason="this torch computes float16 on the CPU")
def test_float16_is_refused_where_torch_cannot_trace_it(tmp_path):
    with pytest.raises(InputError, match=r"use bf16, or compile with torch 2\.1"):
        compiled(tmp_path, precision="f16")
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_is_refused_where_torch_adds_it_up_in_bfloat16():
    """Held against random products: the error of a sum is that of its terms, or ten times that."""
    torch.manual_seed(0)
    a, b = torch.randn(64, 384).bfloat16(), torch.randn(384, 64).bfloat16()
    exact = a.float() @ b.float()
    off = float(((a @ b).float() - exact).abs().mean() / exact.abs().mean())
    assert (off > 0.005) == bool(COARSE), off


class CoarseTorch:
    """Adds up as torch 1.13 does on processors without AVX-512."""

    __version__, bfloat16, float32 = "1.13.1", torch.bfloat16, torch.float32

    class ones:
        def __init__(self, *shape, dtype):
            self.shape = shape

        def __matmul__(self, other):
            return np.full((self.shape[0], other.shape[1]), 256.0)


def test_a_graph_of_bfloat16_is_refused_where_it_would_be_far_off(tmp_path, monkeypatch, whole):
    with pytest.raises(
        InputError, match=r"1\.13\.1 adds up.* use f32, openvino's bf16, or a newer"
    ):
        check_bfloat16(CoarseTorch, "demo")
    manifest = dataclasses.replace(whole.manifest, precision="bf16")
    monkeypatch.setattr("compile.targets.torchscript.check_bfloat16", refuse)
    monkeypatch.setattr("runtime.engines.torchscript.check_bfloat16", refuse)
    load_engine(whole.path, whole.manifest, "cpu")
    with pytest.raises(InputError, match=f"^{manifest.name}: too coarse"):
        load_engine(whole.path, manifest, "cpu")
    with pytest.raises(InputError, match=r"^precision='bf16': too coarse"):
        compiled(tmp_path)
    assert list(tmp_path.iterdir()) == []


def refuse(_torch, what):
    raise InputError(f"{what}: too coarse")
