"""The twelve steps of the first run on an Inf1, through the stand-in for torch-neuron."""

import argparse
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest
import stand_in_torch_neuron as stand_in

import benchmarks.neuron as first_run
from benchmarks.__main__ import build_parser
from benchmarks.neuron import DEFAULTS, FAILED, LEFT_OUT, PASSED, Step, measure, run_step, steps_of
from benchmarks.on_chip import STEPS
from compile.__main__ import COMMANDS, main
from compile.options import build_parser as compile_parser
from compile.options import with_command

PAGE = Path(__file__).parent.parent / "docs" / "first-run.md"


def args_of(*words):
    return build_parser("neuron").parse_args(["neuron", *words])


def steps():
    return steps_of(argparse.Namespace(**DEFAULTS))


def test_there_are_twelve_and_each_is_one_command_that_is_understood():
    assert len(steps()) == 12
    for step in steps():
        module, *words = step.words
        if module == "compile":
            assert compile_parser().parse_args(with_command(words)).command in COMMANDS
        else:
            assert module == "benchmarks.on_chip" and words[0] in STEPS


def test_the_checklist_names_them_in_order_with_their_commands():
    text = PAGE.read_text()
    rows = re.findall(r"^\| (\d+) \| \*(.+?)\*.*?`python -m (.+?)` \|", text, re.MULTILINE)
    expected = [
        (str(number), step.name, " ".join(step.words)) for number, step in enumerate(steps(), 1)
    ]
    assert rows == expected


def fake(ends):
    return lambda step, timeout_s: {"status": ends.get(step.name, PASSED), "seconds": 1.0}


def test_what_needs_a_step_that_failed_is_left_out_and_the_rest_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(first_run, "run_step", fake({"compile": FAILED}))
    monkeypatch.setattr(first_run, "_found", lambda one: str(one.get("why", "")))
    numbers = measure(args_of("--output", str(tmp_path)))
    ended = {one["name"]: one["status"] for one in numbers["steps"]}
    assert ended["compile"] == FAILED and ended["compile-hybrid"] == PASSED
    assert {name for name, status in ended.items() if status == LEFT_OUT} == {
        "verify", "calls", "cores", "serve",
    }  # fmt: skip
    assert ended["verify-hybrid"] == ended["calls-hybrid"] == PASSED
    assert "compile did not pass" in first_run.table(numbers)


def test_steps_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(first_run, "run_step", fake({}))
    numbers = measure(args_of("--output", str(tmp_path), "--steps", "verify", "machine"))
    assert [one["name"] for one in numbers["steps"]] == ["machine", "verify"]
    with pytest.raises(SystemExit):
        args_of("--steps", "everything")


def test_a_command_that_fails_takes_too_long_or_says_nonsense_is_a_result():
    gone = run_step(Step("x", "", ("no_such_module",)), 60)
    assert gone["status"] == FAILED and gone["exit"] == 1 and "no_such_module" in gone["said"][-1]
    slow = run_step(Step("x", "", ("timeit", "-n", "1", "import time; time.sleep(9)")), 0.5)
    assert slow == {"status": FAILED, "seconds": 0.5, "why": "took more than 0 s"}
    prose = run_step(Step("x", "", ("this",), facts=True), 60)
    assert prose["status"] == FAILED and "no JSON" in prose["why"]


def test_without_the_compiler_the_report_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parent.parent))
    words = [
        "--output",
        str(tmp_path),
        "--model",
        "demo",
        "--size",
        "28x28",
        "--steps",
        "operators",
    ]
    numbers = measure(args_of(*words, "--report"))
    if "torch_neuron" in sys.modules:
        pytest.skip("torch-neuron is installed here")
    (one,) = numbers["steps"]
    assert one["status"] == FAILED and "torch_neuron is not installed" in first_run.table(numbers)
    with tarfile.open(numbers["report"]) as archive:
        assert archive.getnames() == ["neuron-report/neuron-report.json"]


def test_the_whole_first_run_through_the_stand_in(tmp_path, monkeypatch):
    for name, value in stand_in.machine(tmp_path / "machine").items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    words = ["--model", "demo", "--size", "28x28", "--seeded-weights", "--output", str(out)]
    numbers = measure(args_of(*words, "--calls", "5", "--seconds", "2", "--report"))
    bad = [one for one in numbers["steps"] if one["status"] != PASSED]
    assert not bad, json.dumps(bad, indent=2)[-3000:]
    found = {one["name"]: one.get("facts") for one in numbers["steps"]}
    assert found["operators"]["lacking"] == [] and found["machine"]["device"] is True
    assert (
        found["calls"]["calls"] == 5 and found["calls"]["ms"]["p99"] >= found["calls"]["ms"]["p50"]
    )
    assert set(found["cores"]["processes"]) == {"1", "2", "4"} and found["serve"]["other"] == 0
    with tarfile.open(numbers["report"]) as archive:
        held = archive.getnames()
        assert not [name for name in held if name.endswith((".pt", ".npy", ".png"))]
        manifest = json.load(
            archive.extractfile("neuron-report/demo-28x28-b1-neuron/manifest.json")
        )
        hybrid = json.load(
            archive.extractfile("neuron-report/hybrid/demo-28x28-b1-neuron/manifest.json")
        )
    assert (
        manifest["parity"]["status"] == "passed" and manifest["compiler"]["attempt"] == "as asked"
    )
    assert hybrid["parity"]["status"] == "passed" and hybrid["compiler"]["attempt"] == "hybrid"
    assert len([name for name in held if name.endswith("compile-report.json")]) == 2
    text = first_run.table(numbers)
    assert "| 12. serve |" in text and "images/s" in text and "neuron-report.tar.gz" in text


def test_the_report_of_a_step_can_be_asked_alone(capsys, tmp_path):
    """As the checklist says: every step is a command."""
    assert main(["audit", "--model", "demo", "--size", "28x28", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["passes"] is True
