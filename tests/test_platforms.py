"""Where to run: the arithmetic of rates, hosts and prices, and that each figure says what it is."""

import json
import math
import re

import pytest
import torch
from torch import nn

from compile import platforms
from compile.__main__ import main
from compile.platforms import OTHERS, PRICES, compare, read_prices
from compile.resources import CORE_FLOPS, needs_of, needs_of_scene
from compile.trace import trace
from runtime.errors import InputError


@pytest.fixture(scope="module")
def needs():
    """A layer of exactly 16 GFLOP whose input is the image of a batch of one."""
    layer = nn.Linear(1000, 1000, bias=False).eval()
    return needs_of(trace(layer, torch.zeros(1, 1, 8000, 1000)), "layer")


def rows_of(needs, **settings):
    given = {"images_s": 100.0, "prices": read_prices(), "host_ms": 1.0, **settings}
    return {row.platform.name: row for row in compare(needs, **given)}


def test_a_device_does_a_share_of_its_peak_and_no_more_than_its_host_feeds(needs):
    row = rows_of(needs, host_ms=1.0)["g6.xlarge"]
    assert row.chip_rate == pytest.approx((125e3 * 0.15 / 16, 125e3 * 0.40 / 16))
    assert row.rate == row.chip_rate
    held_back = rows_of(needs, host_ms=20.0)["g6.xlarge"]
    assert held_back.rate == pytest.approx((200.0, 200.0))  # 4 vCPUs of 50 images/s


def test_a_cpu_does_the_photos_and_the_network(needs):
    row = rows_of(needs, host_ms=80.0)["c7a.2xlarge"]
    chip = platforms.VITS_GFLOP / platforms.AMD_MS * 1e3 / 2 * 8 / 16
    assert row.chip_rate == pytest.approx((chip / 2, chip))
    assert row.rate[1] == pytest.approx(1 / (1 / chip + 1 / 100))


def test_inf1_is_what_plan_says_of_it(needs):
    row = rows_of(needs)["inf1.xlarge"]
    assert row.chip_rate == pytest.approx(tuple(4 * rate for rate in needs.core_rate))


def test_instances_and_dollars_follow_from_the_rate(needs):
    for row in rows_of(needs, images_s=5000.0).values():
        assert row.count == tuple(math.ceil(5000 / rate) for rate in row.rate)
        if row.price is not None:
            per = [1e6 / rate / 3600 * row.price.dollars_h for rate in row.rate]
            assert row.dollars_per_million == pytest.approx(per)


def test_every_figure_says_where_it_is_from():
    for platform in OTHERS:
        assert platform.source.startswith("estimated: ")
        assert 0 < platform.gflop_s[0] < platform.gflop_s[1]
    for price in read_prices().values():
        assert re.match(r"(published: \S|estimated: )", price.source)
        assert price.kind in ("on-demand", "reserved")


def test_nothing_is_called_measured_but_what_a_command_here_measured():
    for platform in OTHERS:
        for said in re.findall(r"measured[^;]*", platform.source):
            assert "here by `python -m benchmarks" in said


def test_prices_can_be_replaced(tmp_path, capsys):
    mine = tmp_path / "prices.json"
    mine.write_text('{"inf1.xlarge": {"dollars_h": 3600, "kind": "spot", "source": "mine"}}')
    words = ["plan", "--model", "demo", "--size", "28x28", "--platforms", "--prices", str(mine)]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["estimate"] is True
    priced = {row["platform"]["name"]: row for row in facts["platforms"] if row["price"]}
    assert set(priced) == {"inf1.xlarge"} and priced["inf1.xlarge"]["price"]["source"] == "mine"
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "ESTIMATES" in printed and "3600.000 spot" in printed and "price mine" in printed
    assert (
        "| g5.xlarge | 1 A10G |" in printed and "no figure was measured on the instance" in printed
    )


@pytest.mark.parametrize(
    "text, says",
    [
        ("[]", "give {"),
        ("{", "no JSON"),
        ('{"a": 3}', "needs the fields dollars_h, kind, source"),
        ('{"a": {"dollars_h": -1, "kind": "", "source": ""}}', "above 0"),
        ('{"a": {"dollars_h": true, "kind": "", "source": ""}}', "above 0"),
        ('{"a": {"dollars_h": NaN, "kind": "", "source": ""}}', "above 0"),
        (None, "cannot be read"),
    ],
)
def test_prices_that_are_none_are_refused(text, says, tmp_path):
    file = tmp_path / "prices.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        read_prices(file)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(needs, rate):
    with pytest.raises(InputError, match="images a second"):
        compare(needs, rate, {}, 1.0)


def test_prices_are_in_the_package():
    assert PRICES.is_file()


# --- several graphs ---


def test_stages_of_a_scene_are_added_up_and_those_for_some_scenes_are_only_held():
    def layer(inputs, name):
        graph = trace(nn.Linear(inputs, 10, bias=False).eval(), torch.zeros(2, 3, 28, inputs))
        return name, graph

    graphs = [layer(28, "m encoder_local"), layer(56, "m depth_head"), layer(84, "m ray_head")]
    scene = needs_of_scene(graphs, "m", 2)
    parts = scene.stages
    assert [one.model for one in parts] == [name for name, _ in graphs]
    assert scene.gflop == pytest.approx(parts[0].gflop + parts[1].gflop)
    assert scene.weight_mb == pytest.approx(sum(one.weight_mb for one in parts))
    assert scene.activation_mb == max(one.activation_mb for one in parts)
    assert scene.transfer_ms == pytest.approx(parts[0].transfer_ms + parts[1].transfer_ms)
    slow = scene.compute_ms[0] + scene.transfer_ms
    assert scene.core_rate[0] == pytest.approx(2e3 / slow) and scene.cores == 1


def test_what_does_not_fit_a_core_says_how_many_it_needs(monkeypatch, needs):
    monkeypatch.setattr("compile.resources.CORE_BYTES", 20_000_000)
    layer = nn.Linear(1000, 1000, bias=False).eval()
    large = needs_of(trace(layer, torch.zeros(1, 1, 8000, 1000)), "layer")
    assert large.cores == math.ceil((large.weight_mb + large.activation_mb) / 2 / 20)
    assert large.core_rate[0] == pytest.approx(needs.core_rate[0] / large.cores)
    assert large.least_ms == pytest.approx(16e9 / CORE_FLOPS * 1e3)


def test_plan_takes_any_view_models_and_says_what_each_stage_needs(capsys):
    assert main(["plan", "--model", "da3-small", "--size", "28x28", "--views", "2"]) == 0
    printed = capsys.readouterr().out
    assert "da3-small at 28x28, views 2: ESTIMATES" in printed
    for stage in ("encoder_local", "encoder_global", "depth_head", "camera_decoder"):
        assert re.search(rf"da3-small {stage} +[\d.]+ ", printed)
    assert len(re.findall("if asked for", printed)) == 2


def test_plan_of_a_nested_model_goes_through_both_networks(monkeypatch, capsys):
    from depth_anything_3.config import NESTED

    monkeypatch.setitem(NESTED, "da3nested-giant-large", ("da3-small", "vits"))
    monkeypatch.setattr("compile.resources.CORE_BYTES", 50_000_000)
    assert main(["plan", "--model", "da3nested-giant-large", "--size", "28x28"]) == 0
    printed = capsys.readouterr().out
    assert "da3nested-giant-large: vits" in printed and "--pipeline-cores " in printed
