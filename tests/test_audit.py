"""What the audit says of a graph: the forms that are shipped pass, what the chip lacks is named."""

import json

import pytest
import torch
from torch import nn

from compile.__main__ import main
from compile.audit import (
    CONDITION_MET,
    OUTSIDE,
    SCORES_REFUSED,
    UNCONFIRMED,
    audit_graph,
    operator_list,
    smaller_size,
)
from compile.checkpoint import build_model
from compile.deploy import COMMON, deployment_form
from compile.registry import ROWS
from compile.targets.neuron import REWRITES as FOR_NEURON
from compile.trace import trace
from depth_anything_3.config import NESTED
from depth_anything_v2.dpt import DepthAnythingV2
from layers.vit import VITS, VitSpec

SMALL = ["--size", "56x84"]
SMALL_ENCODERS = ("vits", "vitt")


def audited(layer, *shape):
    return audit_graph(trace(layer.eval(), torch.zeros(shape)), "test", torch.__version__)


def states(report):
    return {row.kind: row.state for row in report.rows}


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.family == "v2" and row.encoder in SMALL_ENCODERS],
    ids=lambda r: r.name,
)
@pytest.mark.parametrize("size_hw", [(56, 84), (84, 56)])
def test_every_small_model_runs_whole_on_the_chip(row, size_hw):
    shape = (1, 3, *size_hw)
    form = deployment_form(build_model(row), shape, FOR_NEURON)
    report = audit_graph(trace(form, torch.zeros(shape)), row.name, "")
    assert report.placed == 1 and report.cpu_parts == () and report.passes
    assert report.device_parts == (report.operators,)
    assert report.warnings() == []
    crossing = 4 * size_hw[0] * size_hw[1]
    assert report.largest_crossing_bytes == 3 * crossing  # the photo in; the map out is smaller


def test_the_gated_feed_forward_of_vitg_runs_there_too(monkeypatch):
    monkeypatch.setitem(VITS, "vitt", VitSpec(48, 12, 3, swiglu=True))
    model = DepthAnythingV2("vitt").eval()
    form = deployment_form(model, (1, 3, 28, 28), FOR_NEURON)
    report = audit_graph(trace(form, torch.zeros(1, 3, 28, 28)), "vitg", "")
    assert "aten::silu" in states(report) and report.passes


def test_no_shape_arithmetic_is_left_in_the_form():
    shape = (1, 3, 56, 84)
    form = deployment_form(build_model(ROWS[0]), shape, FOR_NEURON)
    kinds = {operator.kind for operator in trace(form, torch.zeros(shape)).operators}
    assert not kinds & {"aten::size", "aten::Int", "aten::mul", "aten::div", "aten::floor_divide"}
    assert not [kind for kind in kinds if kind.endswith("_") and not kind.endswith("__")]


def test_rgb_and_bytes_pass_too():
    shape = (1, 3, 56, 84)
    form = deployment_form(build_model(ROWS[0]), shape, (*FOR_NEURON, "rgb-input"), "uint8")
    report = audit_graph(trace(form, torch.zeros(shape, dtype=torch.uint8)), "vits", "")
    assert report.passes


def test_the_frameworks_own_resize_does_not_pass():
    shape = (1, 3, 56, 84)
    form = deployment_form(build_model(ROWS[0]), shape, COMMON)
    report = audit_graph(trace(form, torch.zeros(shape)), "vits", "")
    assert states(report)["aten::upsample_bilinear2d"] == OUTSIDE
    assert states(report)["aten::_convolution"] == CONDITION_MET
    assert not report.passes and len(report.cpu_parts) == 5


def test_a_transposed_convolution_of_another_stride_is_called_unconfirmed():
    report = audited(nn.ConvTranspose2d(3, 4, 3, stride=2), 1, 3, 8, 6)
    assert states(report) == {"aten::_convolution": UNCONFIRMED} and report.passes
    assert any("no report of success" in text for text in report.warnings())


def test_an_operator_off_the_list_splits_the_graph_and_is_named(capsys):
    assert main(["audit", "--model", "demo", *SMALL, "--without", "position-embedding"]) == 1
    printed = capsys.readouterr().out
    assert "aten::upsample_bicubic2d" in printed and "outside" in printed
    assert "would NOT run whole" in printed and "100.0%" not in printed


def test_parts_and_round_trips_are_counted():
    class Gap(nn.Module):
        def forward(self, x):
            x = torch.relu(x) + 1
            return torch.relu(torch.cumprod(x, 1))

    report = audited(Gap(), 4, 25)
    assert (report.device_parts, report.cpu_parts) == ((2, 1), (1,))
    assert states(report)["aten::cumprod"] == OUTSIDE and not report.passes
    assert report.placed == pytest.approx(3 / 4)
    assert report.largest_crossing_bytes == 400


def test_limits_are_said_before_they_are_met():
    class Scores(nn.Module):
        def __init__(self, side):
            super().__init__()
            self.side = side

        def forward(self, x):
            return x.expand(self.side, self.side).softmax(-1)

    side = int(SCORES_REFUSED**0.5)
    texts = [
        " ".join(audited(Scores(s), 1, 1).warnings()) for s in (side + 2, side - 200, side // 2)
    ]
    assert "refused" in texts[0] and "may fail" in texts[1] and texts[2] == ""


def test_a_size_that_does_not_pass_is_followed_by_the_next_smaller_that_does(monkeypatch, capsys):
    report = audited(nn.Softmax(-1), 6, 1370, 1370)  # the scores of vits at 518x518
    assert smaller_size([report], (518, 518)) == ""
    large = audited(nn.Softmax(-1), 1, 50, 50)
    monkeypatch.setattr("compile.audit.SCORES_REFUSED", 2500)
    # scores grow with the square of the pixels: 0.75 ** 0.25 of each side, 482, hence 476
    assert smaller_size([large], (518, 518)).endswith("--size 476x476")
    monkeypatch.setattr("compile.audit.CORE_BYTES", 0)
    assert "weights alone" in smaller_size([large], (518, 518))
    assert main(["audit", "--model", "demo", *SMALL]) == 0
    assert "weights alone" in capsys.readouterr().out


def test_json_holds_the_same(capsys):
    assert main(["audit", "--model", "demo", *SMALL, "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["passes"] is True and report["placed"] == 1 and report["warnings"] == []
    assert sum(row["count"] for row in report["rows"]) == report["device_parts"][0]


def test_operator_list_says_where_it_is_from():
    known = operator_list()
    assert "aws-neuron-sdk" in known["source"] and known["torch_neuron_version"].startswith(
        "1.13.1"
    )
    assert "aten::linear" in known["supported"] and "aten::copy_" in known["unsupported_seen"]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--without", "layerscale"], "choose from position-embedding"),
        (["--views", "2"], "demo takes each photo for itself"),
        (["--model", "da3-small", "--batch", "2"], "takes --views of one scene"),
    ],
)
def test_wrong_settings_say_what_is_right(arguments, text, capsys):
    assert main(["audit", "--model", "demo", *SMALL, *arguments]) == 1
    assert text in capsys.readouterr().err


def test_the_audit_of_a_nested_model_goes_through_both_networks(monkeypatch, capsys):
    monkeypatch.setitem(NESTED, "da3nested-giant-large", ("da3-small", "vits"))
    command = ["audit", "--model", "da3nested-giant-large", "--size", "28x28", "--views", "2"]
    assert main([*command, "--json"]) == 0
    names = [report["model"] for report in json.loads(capsys.readouterr().out)]
    assert len(names) == 7 and all(name.startswith("da3nested-giant-large: ") for name in names)
    assert names[0].endswith("da3-small encoder_local") and names[-1].endswith("vits")
