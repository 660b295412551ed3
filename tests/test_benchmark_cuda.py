"""The GPU benchmark, walked through on a processor: every step but the speed."""

import json

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.cuda import CudaJob, table, time_models
from benchmarks.limit import traced
from compile.checkpoint import load_model
from compile.deploy import HAS_FUSED_ATTENTION
from compile.registry import find_model

# the eager network is not run in 16 bits by torch 1.13's CPU
PRECISIONS = ("f32", "bf16") if HAS_FUSED_ATTENTION else ("f32",)


def test_it_runs_every_side_and_finds_the_same_depth():
    job = CudaJob(
        ("demo",), (2,), PRECISIONS, (28, 28), 1, device="cpu", torch_compile=False, wait_s=0
    )
    numbers = json.loads(json.dumps(time_models(job)))
    (case,) = numbers["cases"]
    last = PRECISIONS[-1]
    wanted = {f"ours, {precision}" for precision in PRECISIONS}
    wanted |= {f"ours, {last}, host to host", f"ours, {last}, host to host, two engines"}
    wanted |= {f"our eager network, as it is, {precision}" for precision in PRECISIONS[1:]}
    found = {side for side in case["seconds_an_image"] if "transformers" not in side}
    assert found == wanted
    assert all(len(seconds) == 1 for seconds in case["seconds_an_image"].values())
    assert case["pearson"]["ours, f32"] > 1 - 1e-9
    assert all(correlation > 0.999 for correlation in case["pearson"].values())
    assert numbers["product_rate"] > 0 and "the processor" in table(numbers)


def test_operations_are_those_of_the_layers():
    model, _ = load_model(find_model("demo"), None)
    sizes = [traced(model, size_hw).flops for size_hw in ((28, 28), (56, 56))]
    weights = sum(p.numel() for p in model.pretrained.blocks.parameters() if p.ndim == 2)
    assert sizes[0] > 2 * 5 * weights  # five tokens through each matrix, and attention, and a head
    assert 3 < sizes[1] / sizes[0] < 5


def test_the_table_compares_16_bits_with_16_bits_and_names_the_share_of_the_limit():
    seconds = {"ours, f32": [0.004], "ours, bf16": [0.002], "ours, bf16, host to host": [0.003]}
    seconds["our eager network, torch.compile, bf16"] = [0.003]
    numbers = {
        "device": "a device", "cuda": "13", "product_rate": 100e12, "size_hw": [518, 518],
        "rounds": 1,
        "cases": [
            {
                "model": "vits", "batch": 8, "gflop_an_image": 100.0,
                "seconds_an_image": seconds, "pearson": {"ours, bf16": 0.99995},
            }
        ],
    }  # fmt: skip
    rows = {line.split("|")[1].strip(): line for line in table(numbers).splitlines()[2:6]}
    assert "| 16.00 | 500 | **1.50** | 50% | 5e-05 |" in rows["`vits` x 8, ours, bf16"]
    assert "| 32.00 | 250 |  | 25% |  |" in rows["`vits` x 8, ours, f32"]
    assert "| 24.00 | 333 |  | 33% |  |" in rows["`vits` x 8, ours, bf16, host to host"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, capsys):
    assert main(["cuda", "--json", str(tmp_path / "numbers.json")]) == 1
    assert "no CUDA device here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
