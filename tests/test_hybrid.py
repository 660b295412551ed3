"""The last attempt for Inf1, resizes on the CPU; what is tried, and what a cut compile keeps.

Through the stand-in for torch-neuron: nothing here ran on a chip or through neuron-cc.
"""

import json
import logging
import os

import pytest
import stand_in_torch_neuron as stand_in
import torch

import compile.targets.neuron as neuron_target
from compile.__main__ import main
from compile.job import CompileJob, compile_model
from compile.numerics import MODES
from compile.targets.attempts import OFF_CHIP, hybrid_args, word_of
from compile.targets.journal import REPORT, Journal, log_tails
from compile.targets.options import ATTEMPTS, NeuronOptions
from compile.targets.trying import Taken
from compile.targets.watch import Watch, resident_mib
from runtime.artifact.folder import read_artifact
from runtime.errors import CompileError, InputError

SHAPE = ((28, 28),)
NAME = "demo-28x28-b1-neuron"
OPERATORS = 305  # of demo's form with the framework's resizes

pytestmark = pytest.mark.skipif(
    neuron_target.device_present(), reason="a real Inferentia is here; the stand-in is for others"
)


def job(tmp_path, model="demo", **settings):
    options = NeuronOptions(**settings)
    return CompileJob(model, "neuron", SHAPE, 1, tmp_path, seeded="always", neuron=options)


def compiled(tmp_path, **settings):
    (artifact,) = compile_model(job(tmp_path, **settings))
    return artifact


def report(tmp_path, name=NAME):
    return json.loads((tmp_path / "neuron-workdir" / name / REPORT).read_text())


# --- hybrid ---


# What makes each of the six forms fail, in different ways, and what hybrid has on the chip then
ALL_PARTS = {"operators_on_chip": "300", "operators_on_cpu": "5", "subgraphs": "6"}
REFUSED_ALL = {"refused": frozenset({"aten::pixel_shuffle"}), "too_large": 300}
FAILURES = {
    "a layer that some have, and the others too large": (REFUSED_ALL, ALL_PARTS),
    "words after --fast-math": ({"refused_words": frozenset({"--fast-math"})}, ALL_PARTS),
    "too slow as a whole": ({"slow_above": 259}, ALL_PARTS),
    "a layer that all have": (
        {"refused": frozenset({"aten::linear"})},
        {"operators_on_chip": "42", "subgraphs": "5"},
    ),
}


@pytest.mark.parametrize("behaviour, placed", FAILURES.values(), ids=FAILURES)
def test_every_failure_of_the_six_forms_ends_in_hybrid(
    tmp_path, monkeypatch, caplog, behaviour, placed
):
    state = stand_in.install(monkeypatch, **behaviour)
    artifact = compiled(tmp_path)
    facts = artifact.manifest.compiler
    assert facts["attempt"] == "hybrid" and not {"matrix-resize", "shuffle-upsample"} & set(
        artifact.manifest.rewrites
    )
    assert facts.items() >= placed.items()
    assert int(facts["operators_on_chip"]) + int(facts["operators_on_cpu"]) == OPERATORS
    assert "aten::upsample_bilinear2d x5" in facts["on_cpu"]
    assert facts["compiler_args"] == "--neuroncore-pipeline-cores 1 -O 2"
    assert facts["op_whitelist"] == f"all supported but {', '.join(OFF_CHIP)}"
    call = state.calls[-1]
    assert call["fallback"] is True and call["single_fusion_ratio_threshold"] == 1.0
    assert call["op_whitelist"] == set(stand_in.get_supported_operations()) - set(OFF_CHIP)
    (line,) = [r for r in caplog.records if "round trips and" in r.message]
    assert line.levelno == logging.WARNING and "\n" not in line.message
    assert "hybrid: 5 of 305 operators on the CPU (aten::upsample_bilinear2d x5)" in line.message
    assert "6 parts on the chip, 5 round trips and 0.1 MB across the host a call" in line.message


def test_round_trips_are_counted_in_what_came_back(tmp_path, monkeypatch, caplog):
    stand_in.install(monkeypatch)
    facts = compiled(tmp_path, attempts=("hybrid",), cpu_operators=True).manifest.compiler
    assert (facts["subgraphs"], facts["round_trips"]) == ("6", "5")
    assert not [r for r in caplog.records if "predicted" in r.message and r.levelname == "WARNING"]


def test_parts_below_the_least_size_stay_on_the_cpu_and_are_counted(tmp_path, monkeypatch):
    stand_in.install(monkeypatch)
    facts = compiled(tmp_path, attempts=("hybrid",), minimum_segment_size=6).manifest.compiler
    assert (facts["subgraphs"], facts["operators_on_cpu"]) == ("4", "11")
    assert "aten::relu x2" in facts["on_cpu"] and facts["round_trips"] == "4"


def test_hybrid_on_the_chip_is_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(neuron_target, "device_present", lambda: True)
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "1")
    stand_in.install(monkeypatch, has_chip=True, **REFUSED_ALL)
    manifest = compiled(tmp_path).manifest
    assert manifest.compiler["attempt"] == "hybrid" and manifest.parity.status == "passed"


def test_no_retries_and_other_attempts_do_without_it(tmp_path, monkeypatch):
    stand_in.install(monkeypatch, **REFUSED_ALL)
    with pytest.raises(CompileError, match="took none of 1 forms"):
        compiled(tmp_path, retries=False)
    with pytest.raises(CompileError, match="took none of 2 forms"):
        compiled(tmp_path, attempts=("as asked", "native resize"))


def test_a_stage_without_resizes_ends_in_hybrid_too(tmp_path, monkeypatch):
    stand_in.install(monkeypatch, refused_words=frozenset({"--fast-math"}))
    facts = compiled(tmp_path, model="da3-small").manifest.compiler
    assert {v for k, v in facts.items() if k.endswith(": attempt")} == {"hybrid"}
    assert facts["encoder_local: operators_on_cpu"] == "0"
    assert facts["depth_head: operators_on_cpu"] == "5"
    assert facts["encoder_local: subgraphs"] == "1" and facts["encoder_local: round_trips"] == "0"


@pytest.mark.parametrize("casts", MODES)
def test_hybrid_says_what_the_public_run_said_and_the_casts_that_were_asked(casts):
    words = hybrid_args(NeuronOptions(casts=casts, pipeline_cores=4))
    assert words[:4] == ("--neuroncore-pipeline-cores", "1", "-O", "2")
    assert words[4:] == (() if casts == "all" else ("--fast-math", *MODES[casts].words))
    assert hybrid_args(NeuronOptions(optlevel=3))[3] == "3"


def test_the_audit_predicts_what_hybrid_leaves_to_the_cpu(capsys):
    assert main(["audit", "--model", "demo", "--size", "28x28", "--form", "hybrid", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["on_cpu"] == {"aten::upsample_bilinear2d": 5}
    assert len(found["device_parts"]) == 6 and found["cpu_parts"] == [1] * 5
    assert sum(found["device_parts"]) == OPERATORS - 5
    assert sum(found["device_gflop"]) == pytest.approx(found["gflop"])
    # photo in, map out; what each resize reads and gives; three maps that wait for the finer ones
    assert found["crossing_bytes"] > 2 * found["largest_crossing_bytes"] > 0


def test_the_audit_of_the_eager_model_puts_the_first_resize_where_the_public_run_had_it(capsys):
    """Of the eager model 364 of 412 are before it, 88.3 %; there, 525 of 603 were on the chip."""
    assert main(["audit", "--model", "demo", "--size", "518x518", "--form", "eager", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    operators = sum(row["count"] for row in found["rows"])
    assert (found["before_resize"], operators) == (364, 412)
    assert abs(found["before_resize"] / operators - 525 / 603) < 0.02


# --- what is asked ---


def test_the_level_of_optimisation_is_passed_and_recorded(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch)
    facts = compiled(tmp_path, optlevel=3).manifest.compiler
    assert state.calls[0]["compiler_args"] == ["--fast-math", "all", "-O", "3"]
    assert facts["optlevel"] == "3"
    assert compiled(tmp_path).manifest.compiler["optlevel"] == "default"


def test_the_stand_in_knows_what_neuron_cc_does_not(monkeypatch):
    stand_in.install(monkeypatch)
    for words, fine in ((["-O", "2"], 1), (["--optlevel", "1"], 1), (["--opt-level", "1"], 0)):
        layer, x = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()), torch.randn(2, 3)
        try:
            torch.neuron.trace(layer, x, compiler_args=words, fallback=False)
            assert fine
        except Exception as error:
            assert not fine and "neuron-cc failed" in str(error)


@pytest.mark.parametrize(
    "settings, text", [({"attempts": ("hybird",)}, "hybrid"), ({"optlevel": 4}, "1, 2, 3")]
)
def test_attempts_and_levels_that_are_none_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        NeuronOptions(**settings)


def test_attempts_are_chosen_by_name_on_the_command_line(tmp_path, monkeypatch, capsys):
    state = stand_in.install(monkeypatch)
    words = ["--model", "demo", "--target", "neuron", "--seeded-weights", "--sizes", "28x28"]
    chosen = ["--attempts", "native-resize", "hybrid", "-O", "1", "--output", str(tmp_path)]
    assert main([*words, *chosen]) == 0
    artifact = read_artifact(tmp_path / NAME)
    assert artifact.manifest.compiler["attempt"] == "hybrid" and len(state.calls) == 2
    assert artifact.manifest.compiler["optlevel"] == "1"
    assert main([*words, "--attempts", "fp32-cast", "--output", str(tmp_path)]) == 1
    assert "none of them is one for demo; it has as-asked, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--attempts", "hybird"])


def test_every_attempt_has_a_word():
    assert [word_of(name) for name in ATTEMPTS.values()] == list(ATTEMPTS)


def test_the_compilers_list_is_held_against_ours_before_anything_is_traced(
    tmp_path, monkeypatch, caplog
):
    stand_in.install(monkeypatch, unlisted=frozenset({"aten::gelu"}))
    monkeypatch.setattr(torch.neuron, "trace", lambda *_, **__: pytest.fail("traced"))
    with caplog.at_level("INFO"), pytest.raises(pytest.fail.Exception):
        compiled(tmp_path)
    assert "of our list it lacks aten::gelu (" in caplog.text
    assert report(tmp_path)["operators"]["lacking"] == ["aten::gelu"]


def test_versions_of_the_compiler_and_its_companions_are_in_the_manifest(tmp_path, monkeypatch):
    stand_in.install(monkeypatch)
    versions = compiled(tmp_path).manifest.versions
    assert {
        "torch_neuron",
        "neuron-cc",
        "tensorflow",
        "numpy",
        "protobuf",
        "inferentia-hwm",
    } <= set(versions)


# --- a compile that was cut ---


class Cut(BaseException):
    """As a kill or Ctrl-C: no error that anyone handles."""


def cut_at(monkeypatch, number):
    """Cut the compile in its nth call of the compiler."""
    real, calls = stand_in.trace, []

    def trace(*args, **options):
        calls.append(options)
        if len(calls) == number:
            raise Cut
        return real(*args, **options)

    monkeypatch.setattr(torch.neuron, "trace", trace)
    return calls


def test_attempts_that_failed_are_not_made_again_after_a_cut(tmp_path, monkeypatch, caplog):
    state = stand_in.install(monkeypatch, **REFUSED_ALL)
    cut_at(monkeypatch, 3)
    with pytest.raises(Cut):
        compiled(tmp_path)
    found = report(tmp_path)
    assert found["status"] == "running"
    assert [e["status"] for e in found["attempts"]] == ["failed", "failed", "running"]
    monkeypatch.setattr(torch.neuron, "trace", stand_in.trace)
    state.calls.clear()
    with caplog.at_level("INFO"):
        artifact = compiled(tmp_path)
    assert artifact.manifest.compiler["attempt"] == "hybrid"
    # no-fast-relayout, an encoder and a head that fails, native resize, hybrid
    assert len(state.calls) == 5 and "as asked: failed before the cut" in caplog.text
    assert "cut in 'no-fast-relayout'; trying that again" in caplog.text
    assert report(tmp_path)["status"] == "done"


def test_stages_that_were_made_are_taken_after_a_cut(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch)
    cut_at(monkeypatch, 3)
    with pytest.raises(Cut):
        compiled(tmp_path, model="da3-small")
    folder = tmp_path / "neuron-workdir" / "da3-small-28x28-b1-neuron"
    assert {file.name for file in folder.glob("*.pt")} == {"encoder_local.pt", "encoder_global.pt"}
    monkeypatch.setattr(torch.neuron, "trace", stand_in.trace)
    state.calls.clear()
    artifact = compiled(tmp_path, model="da3-small", timeout_s=None)
    assert len(state.calls) == 4 and not list(folder.glob("*.pt"))
    artifact.verify()
    assert artifact.manifest.compiler["encoder_local: attempt"] == "as asked"


@pytest.mark.parametrize("change", [{"fresh": True}, {"casts": "none"}, {"damaged": True}])
def test_what_was_made_otherwise_or_is_damaged_is_made_again(tmp_path, monkeypatch, change):
    state = stand_in.install(monkeypatch)
    cut_at(monkeypatch, 2)
    with pytest.raises(Cut):
        compiled(tmp_path, model="da3-small")
    monkeypatch.setattr(torch.neuron, "trace", stand_in.trace)
    if change.pop("damaged", False):
        next((tmp_path / "neuron-workdir").glob("*/encoder_local.pt")).write_bytes(b"damaged")
    state.calls.clear()
    compiled(tmp_path, model="da3-small", **change)
    assert len(state.calls) == 6


def test_a_compile_that_failed_to_its_end_is_tried_anew(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch, too_large=10)
    with pytest.raises(CompileError):
        compiled(tmp_path, attempts=("as asked",))
    assert (
        report(tmp_path)["status"] == "failed" and "neuron-cc failed" in report(tmp_path)["ended"]
    )
    state.too_large = None
    assert compiled(tmp_path, attempts=("as asked",)).manifest.compiler["attempt"] == "as asked"


def test_a_report_that_is_damaged_is_begun_anew(tmp_path, caplog):
    for text in ("", "[]", '{"attempts": [{}], "status": "running"}', '{"attempts": 3}'):
        (tmp_path / REPORT).write_text(text)
        assert Journal(tmp_path).entries == []
    assert "beginning anew" in caplog.text


# --- the report ---


def test_the_report_has_what_an_issue_needs(tmp_path, monkeypatch):
    stand_in.install(monkeypatch, too_large=310)
    compiled(tmp_path, attempts=("as asked", "native resize", "encoder and head apart"))
    found = report(tmp_path)
    assert found["status"] == "done" and found["model"] == "demo" and found["versions"]["torch"]
    failed, _, made = found["attempts"]
    assert failed["attempt"] == "as asked" and "neuron-cc failed" in failed["reason"]
    assert failed["logs"] == {
        "log-neuron-cc.txt": ["neuron-cc compile --fast-math all", "last line"]
    }
    assert made["status"] == "done" and made["seconds"] > 0 and made["graph_bytes"] > 1000
    assert made["compiler_args"] == ["--fast-math", "all"] and made["graph_sha256"]
    assert str(tmp_path) not in json.dumps(made["facts"])


def test_only_the_end_of_a_log_is_kept(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "log-neuron-cc.txt").write_text("\n".join(map(str, range(50_000))))
    (tails,) = log_tails(tmp_path).values()
    assert tails[-1] == "49999" and len(tails) == 30


def test_memory_of_the_compilers_processes_is_seen():
    import subprocess
    import sys

    others = resident_mib(os.getpid())  # servers of other tests
    with Watch() as watch:
        code = "x = bytearray(64 << 20); import time; time.sleep(0.7)"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert watch.peak_mib is not None and watch.seconds > 0.7
    assert 64 < watch.peak_mib - others < 500


def test_targets_without_such_a_compiler_leave_no_report(tmp_path):
    list(compile_model(CompileJob("demo", "torchscript", SHAPE, 1, tmp_path, seeded="always")))
    assert not (tmp_path / "neuron-workdir").exists()


def test_a_graph_and_its_facts_are_what_an_attempt_makes():
    assert set(Taken.__dataclass_fields__) == {"graph", "facts"}
