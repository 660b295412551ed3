"""The emulation of neuron-cc's casts: each rule of the table, on layers whose answer is known."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compile.__main__ import main
from compile.deploy import deployment_form
from compile.numerics import (
    BF16,
    FP16,
    FP32_CAST,
    MODES,
    CastEmulation,
    ModeError,
    measure,
    recommend,
    rounded,
)
from compile.seeded import fill_seeded
from compile.targets.neuron import REWRITES
from compile.targets.options import DEFAULT_CASTS
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.errors import InputError

FINE = 1 + 2**-9  # between two neighbours in bfloat16, exact in float16
FINER = 1 + 2**-12  # between two in float16


def linear(weight, bias):
    layer = nn.Linear(1, 1)
    layer.weight.data.fill_(weight)
    layer.bias.data.fill_(bias)
    return nn.Sequential(layer).eval()


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("all", 2.0),  # weight, bias, product and sum rounded
        ("matmult", 1 + FINE),  # 1 x 1, the bias as it is
        ("none", 1 + FINE),
        ("all-fp16", rounded(torch.tensor(2 * FINE), FP16).item()),
        ("matmult-fp16", 2 * FINE),  # both fit float16
    ],
)
@torch.no_grad()
def test_products_take_rounded_operands_and_the_rest_only_where_the_mode_says(mode, expected):
    found = CastEmulation(linear(FINE, FINE), MODES[mode]).run(torch.ones(1, 1))
    assert found.item() == expected


@torch.no_grad()
def test_sums_of_products_are_in_float32():
    """256 products of 1 and one of 2^-8 would be lost in bfloat16 sums."""
    layer = nn.Linear(257, 1, bias=False)
    layer.weight.data.fill_(1)
    layer.weight.data[0, -1] = 2**-8
    found = CastEmulation(nn.Sequential(layer), MODES["matmult"]).run(torch.ones(1, 257))
    assert found.item() == 256 + 2**-8


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("all", 1.0),
        ("matmult", rounded(torch.tensor(FINER), FP16).item()),
        ("matmult-exact-transpose", FINER),
        ("none", FINER),
    ],
)
def test_transposes_are_rounded_where_they_go_through_the_matrix_engine(mode, expected):
    class Transposed(nn.Module):
        def forward(self, x):
            return x.transpose(0, 1)

    found = CastEmulation(Transposed(), MODES[mode]).run(torch.full((1, 2), FINER))
    assert found.flatten().tolist() == [expected] * 2


def test_rounding_is_to_the_nearest_even():
    ties = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])  # halfway between neighbours in bfloat16
    assert rounded(ties, BF16).tolist() == [1.0, 1 + 4 * 2**-8]
    assert rounded(ties, None) is ties


@pytest.fixture(scope="module")
def form():
    model = DepthAnythingV2("vitt").eval()
    fill_seeded(model)
    return deployment_form(model, (1, 3, 56, 84), REWRITES)


@pytest.fixture(scope="module")
def errors(form):
    images = [np.random.RandomState(i).randn(1, 3, 56, 84).astype(np.float32) for i in (0, 1)]
    return {error.mode: error for error in measure(form, images, metric=False)}


def test_emulation_without_rounding_is_the_form_itself(form):
    exact = type(MODES["none"])("exact", (), torch.float32, None, None)
    image = torch.randn(1, 3, 56, 84)
    with torch.no_grad():
        torch.testing.assert_close(CastEmulation(form, exact).run(image), form(image))


def test_more_bits_make_smaller_errors(errors):
    assert errors["matmult"].mean < errors["all"].mean
    assert errors["matmult-fp16"].mean < 0.3 * errors["matmult"].mean
    assert errors["all-fp16"].mean < 0.5 * errors["all"].mean
    assert all(0 < error.mean < error.max < 0.1 for error in errors.values())


def test_emulation_leaves_the_form_as_it_was(form):
    before = {name: value.clone() for name, value in form.state_dict().items()}
    measure(form, [np.zeros((1, 3, 56, 84), np.float32)], False, ["all"])
    assert all(torch.equal(before[name], value) for name, value in form.state_dict().items())


def test_overflow_in_float16_is_an_infinite_error_and_never_recommended():
    layer = linear(60000.0, 0.0)
    image = np.full((1, 1), 3.0, np.float32)
    (error,) = measure(layer, [image], False, ["all-fp16"])
    assert error.max == error.mean == float("inf") and recommend([error]) is None


def test_the_fastest_mode_within_the_tolerance_is_recommended():
    def error(mode, mean):
        return ModeError(mode, 10 * mean, mean, 1 - mean / 100, None)

    found = [error("none", 0.001), error("matmult", 0.004), error("all", 0.02)]
    assert recommend(found).mode == "matmult"
    assert recommend(found, mean=0.03).mode == "all"
    assert recommend(found, mean=1e-9) is None


def test_metric_models_report_the_relative_error_too():
    model = DepthAnythingV2("vitt", max_depth=20.0).eval()
    fill_seeded(model)
    form = deployment_form(model, (1, 3, 28, 28), REWRITES)
    (error,) = measure(form, [np.zeros((1, 3, 28, 28), np.float32)], True, ["all"])
    assert error.abs_rel is not None and 0 < error.abs_rel < 0.2


def test_images_are_asked_for_one_at_a_time_and_the_worst_of_each_measure_counts(form):
    alive = [0]

    class Images:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index >= len(self):
                raise IndexError(index)
            image = np.random.RandomState(index).randn(1, 3, 56, 84).astype(np.float32)
            alive.append(alive[-1] + 1)
            weakref.finalize(image, lambda: alive.append(alive[-1] - 1))
            return image

    (all_of_them,) = measure(form, Images(), False, ["matmult"])
    assert max(alive) <= 2
    alone = [measure(form, [image], False, ["matmult"])[0] for image in Images()]
    assert all_of_them.max == max(error.max for error in alone)
    assert all_of_them.mean == max(error.mean for error in alone)
    assert all_of_them.pearson == min(error.pearson for error in alone)


def test_bad_questions_are_refused(form):
    with pytest.raises(InputError, match="no images"):
        measure(form, [], False)
    with pytest.raises(InputError, match="matmult-fp16"):
        measure(form, [np.zeros((1, 3, 56, 84), np.float32)], False, ["fp8"])


def test_the_default_is_what_the_documented_table_recommends():
    page = (Path(__file__).parent.parent / "docs" / "numerics.md").read_text()
    section = page.partition("generated: casts demo")[2].partition("end: casts demo")[0]
    assert f"`--casts {DEFAULT_CASTS}`" in section


def test_every_mode_of_the_older_flag_is_one_of_the_table():
    assert set(FP32_CAST.values()) <= set(MODES) and DEFAULT_CASTS in MODES


def test_command_prints_the_table_and_calls_it_an_emulation(capsys):
    arguments = ["numerics", "--model", "demo", "--seeded-weights", "--size", "28x42"]
    assert main(arguments) in (0, 1)
    printed = capsys.readouterr().out
    assert "EMULATED" in printed and all(f"| {mode} |" in printed for mode in MODES)
    main([*arguments, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["emulation"] is True and len(facts["modes"]) == len(MODES)
