"""The GPU benchmark, walked through on a processor: every step but the speed."""

import dataclasses
import json
import time

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.cuda import DRY_RUN, PLAN, CudaJob, table, time_models
from benchmarks.cuda_sides import PhotoCase, Sides
from benchmarks.cuda_table import EXPECTED
from benchmarks.limit import traced
from compile.checkpoint import load_model
from compile.deploy import HAS_FUSED_ATTENTION
from compile.registry import find_model
from runtime.artifact.manifest import InputSpec
from runtime.engines import available

# the eager network is not run in 16 bits by torch 1.13's CPU, which has no float16 either
PRECISIONS = ("f32", "bf16") if HAS_FUSED_ATTENTION else ("f32",)
TINY = CudaJob((("demo", 2),), PRECISIONS, (28, 28), 1, device="cpu", mode=None, wait_s=0)


def sides_of(job):
    (case,) = json.loads(json.dumps(time_models(job)))["cases"]
    return case, {side for side in case["seconds_an_image"] if "transformers" not in side}


def test_it_runs_every_side_and_finds_the_same_depth():
    case, found = sides_of(TINY)
    last = PRECISIONS[-1]
    wanted = {f"ours, torchscript {precision}" for precision in PRECISIONS}
    wanted |= {f"ours, torchscript {last}, host to host{more}" for more in ("", ", two engines")}
    if available("pt2"):
        wanted |= {f"ours, pt2 {last}, as it is"}
    if HAS_FUSED_ATTENTION:
        wanted |= {f"eager network, as it is, {last}"}
    if f"ONNX Runtime, our graph, {last}" in found:  # which has no bfloat16 on processors
        wanted |= {f"ONNX Runtime, our graph, {last}"}
    assert found == wanted, case["left_out"]
    assert all(len(seconds) == 1 for seconds in case["seconds_an_image"].values())
    assert all(correlation > 0.999 for correlation in case["pearson"].values())
    assert case["left_out"][f"ours, tensorrt {last}"]


def test_a_side_that_cannot_be_had_or_not_in_time_is_left_out_and_named(tmp_path):
    image = torch.zeros(1, 3, 28, 28)
    case = PhotoCase(
        name="demo",
        model=torch.nn.Identity(),
        spec=InputSpec((28, 28)),
        image=image,
        device="cpu",
        sides=Sides(1, 2),
        scratch=tmp_path,
        until=time.monotonic() + 60,
    )

    def fail(side):
        raise ImportError(f"{side} is not installed\nmore")

    case.attempt("a", fail)
    case.until = 0.0
    case.attempt("b", fail)
    assert case.sides.left_out == {"a": "a is not installed", "b": "no time left to prepare it"}
    assert case.sides.runs == {}


def test_operations_are_those_of_the_layers():
    model, _ = load_model(find_model("demo"), None)
    sizes = [traced(model, size_hw).flops for size_hw in ((28, 28), (56, 56))]
    weights = sum(p.numel() for p in model.pretrained.blocks.parameters() if p.ndim == 2)
    assert sizes[0] > 2 * 5 * weights  # five tokens through each matrix, and attention, and a head
    assert 3 < sizes[1] / sizes[0] < 5


def numbers_of(model, batch, milliseconds, **sides):
    """Numbers as they are measured, of one of ours in float16 and the sides given, in ms a call."""
    sides = {"ours, pt2 f16": milliseconds, "ours, torchscript f32": 99.0, **sides}
    return {
        "device": "a device", "cuda": "13", "product_rate": 100e12, "size_hw": [518, 518],
        "rounds": 1,
        "cases": [
            {
                "model": model, "batch": batch, "gflop_an_image": 100.0,
                "seconds_an_image": {s: [ms / 1000 / batch] for s, ms in sides.items()},
                "pearson": {"ours, pt2 f16": 0.99995}, "left_out": {"ours, tensorrt f16": "no"},
            }
        ],
    }  # fmt: skip


PEER = "eager network, torch.compile max-autotune, f16"


def test_the_table_compares_16_bits_with_16_bits_and_names_the_share_of_the_limit():
    host = {"ours, torchscript f16, host to host": 24.0}
    text = table(numbers_of("vits", 8, 16.0, **{PEER: 24.0}, **host))
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert "| 16.00 | 500 | **1.50** | 50% | 5e-05 |" in rows["`vits` x 8, ours, pt2 f16"]
    assert "| 99.00 | 81 |  | 8% |  |" in rows["`vits` x 8, ours, torchscript f32"]
    assert "| 24.00 | 333 |  | 33% |  |" in rows[f"`vits` x 8, {next(iter(host))}"]
    assert "- `vits` x 8, ours, tensorrt f16: no" in text and "Dry run" not in text


@pytest.mark.parametrize(
    ("model", "batch", "milliseconds", "peer", "verdicts"),
    [
        ("vits", 1, 1.99, 2.6, ("yes", "yes")),
        ("vits", 1, 2.01, 2.6, ("**no**", "**no**")),
        ("vits", 32, 10.6, 10.7, ("yes", "**no**")),  # 3,019 images a second
        ("vits", 32, 10.7, 99.0, ("**no**", "yes")),  # 2,991
        ("vitl", 16, 35.5, 47.0, ("yes", "yes")),  # 45.07 % of the limit
        ("vitl", 16, 35.7, 47.0, ("**no**", "yes")),  # 44.8 %
    ],
)
def test_what_is_expected_is_held_against_what_was_measured(
    model, batch, milliseconds, peer, verdicts
):
    text = table(numbers_of(model, batch, milliseconds, **{PEER: peer}))
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{model}` x {batch} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == EXPECTED[model, batch].words and "pt2 f16" in cells[2]
    assert (cells[3], cells[5]) == verdicts


def test_the_plan_holds_a_case_for_each_expectation():
    assert set(EXPECTED) <= set(PLAN) and DRY_RUN.device == "cpu"


def test_a_dry_run_runs_the_plan_and_says_that_it_measured_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.cuda.DRY_RUN", dataclasses.replace(TINY, precisions=("f32",)))
    file = tmp_path / "numbers.json"
    assert main(["cuda", "--dry-run", "--json", str(file)]) == 0
    assert "Dry run on the processor: the steps, and no speed" in capsys.readouterr().out
    numbers = json.loads(file.read_text())
    (case,) = numbers["cases"]
    found = set(case["seconds_an_image"])
    assert numbers["device"] == "the processor" and numbers["product_rate"] > 0
    assert found >= {f"ours, torchscript f32{more}" for more in ("", ", host to host")}
    assert ("ours, pt2 f32, as it is" in found) == available("pt2")
    assert ("ONNX Runtime, our graph, f32" in found) == available("onnx"), case["left_out"]
    assert all(correlation > 1 - 1e-9 for correlation in case["pearson"].values())
    assert main(["cuda", "--dry-run", "--doc", "--json", str(file)]) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, capsys):
    assert main(["cuda", "--json", str(tmp_path / "numbers.json")]) == 1
    assert "no CUDA device here: this measures GPUs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
