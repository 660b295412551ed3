"""The road to Inferentia, driven through a stand-in for torch-neuron (``stand_in_torch_neuron``).

Nothing here ran on a chip or through neuron-cc. It holds us to the documented interface: what is
asked for, in which order, what is refused, and what is said when it fails.
"""

import dataclasses
import json
import os
import shutil
import sys
import types

import numpy as np
import pytest
import stand_in_torch_neuron as stand_in
import torch

import compile.targets.neuron as neuron_target
import runtime.engines.neuron as neuron_engine
from compile.__main__ import main
from compile.job import CompileJob, compile_model
from compile.numerics import MODES
from compile.stages import Stage
from compile.targets import pick_target
from compile.targets.attempts import attempts, compiler_args, older_spelling, replace_relayout
from compile.targets.journal import REPORT
from compile.targets.options import CASTS, NeuronOptions
from compile.targets.source import GraphSource
from runtime.artifact.folder import read_artifact
from runtime.artifact.manifest import InputSpec
from runtime.engines import load_engine
from runtime.engines.inferentia import cores_of
from runtime.errors import CompileError, DeviceError, InputError

SHAPE = ((56, 84),)
NAME = "demo-56x84-b1-neuron"

pytestmark = pytest.mark.skipif(
    neuron_target.device_present(), reason="a real Inferentia is here; the stand-in is for others"
)


def job(tmp_path, **settings):
    options = NeuronOptions(**settings)
    return CompileJob("demo", "neuron", SHAPE, 1, tmp_path, seeded="always", neuron=options)


def compiled(tmp_path, **settings):
    (artifact,) = compile_model(job(tmp_path, **settings))
    return artifact


@pytest.fixture
def with_chip(monkeypatch):
    """The stand-in on a machine that has a chip, with a clean environment."""
    for name in (neuron_engine.CORE_COUNT, neuron_engine.CORES_CHOSEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(neuron_engine.CORE_COUNT, "1")
    monkeypatch.setattr(neuron_target, "device_present", lambda: True)
    return stand_in.install(monkeypatch, has_chip=True)


# What is asked of the compiler


def test_every_option_that_matters_is_passed_and_recorded(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch)
    artifact = compiled(
        tmp_path,
        casts="matmult",
        pipeline_cores=4,
        saturate_infinity=True,
        fast_loading=True,
        float16_io=True,
        timeout_s=900,
        minimum_segment_size=5,
        separate_weights=True,
    )
    (call,) = state.calls
    assert call.pop("compiler_workdir").startswith(str(tmp_path))
    assert call == {
        "compiler_args": [
            "--fast-math",
            "fp32-cast-matmult",
            "--neuroncore-pipeline-cores",
            "4",
            "--enable-saturate-infinity",
            "--enable-fast-loading-neuron-binaries",
        ],
        "compiler_timeout": 900,
        "fallback": False,
        "minimum_segment_size": 5,
        "dynamic_batch_size": False,
        "separate_weights": True,
        "optimizations": [stand_in.Optimization.FLOAT32_TO_FLOAT16],
    }
    facts = artifact.manifest.compiler
    assert facts["casts"] == "matmult" and facts["compiler_timeout"] == "900"
    assert facts["attempt"] == "as asked" and facts["subgraphs"] == "1"
    assert str(tmp_path) not in str(facts)
    assert artifact.manifest.precision == "bf16"
    assert artifact.manifest.versions["torch_neuron"] == stand_in.VERSION


def test_parity_is_pending_where_there_is_no_chip_and_no_value_is_looked_at(tmp_path, monkeypatch):
    stand_in.install(monkeypatch)
    artifact = compiled(tmp_path)
    assert artifact.path.name == NAME
    assert artifact.manifest.parity.status == "pending device"
    assert artifact.manifest.parity.cases == ()
    (left,) = (tmp_path / "neuron-workdir" / NAME).iterdir()
    assert left.name == REPORT


def test_graphs_above_one_protobuf_keep_their_weights_apart(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch)
    monkeypatch.setattr(neuron_target, "CONSTANTS_LIMIT", 1000)
    compiled(tmp_path)
    assert state.calls[0]["separate_weights"] is True


def test_the_names_that_can_be_given_are_those_that_are_emulated():
    assert tuple(MODES) == CASTS


@pytest.mark.parametrize("casts, words", [(m.name, m.words) for m in MODES.values()])
def test_cast_modes_are_words_that_neuron_cc_documents(casts, words):
    assert set(words) <= stand_in.CAST_WORDS
    assert compiler_args(NeuronOptions(casts=casts)) == ("--fast-math", *words)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"casts": "fp8"}, "matmult-fp16"),
        ({"pipeline_cores": 65}, "1 to 64"),
        ({"timeout_s": 0}, "seconds above 0"),
        ({"subgraphs": 0}, "1 or more"),
        ({"minimum_segment_size": 0}, "1 or more"),
    ],
)
def test_options_that_cannot_work_are_refused_where_they_are_written(settings, text):
    with pytest.raises(InputError, match=text):
        NeuronOptions(**settings)


# When the compiler refuses


def order_of(splits=True, **settings):
    stage = Stage("disparity", (), (), lambda rewrites: None, splits=splits)
    source = GraphSource("demo", stage, InputSpec((56, 84)), neuron=NeuronOptions(**settings))
    return [attempt.name for attempt in attempts(source)]


def test_a_stage_of_several_is_never_split_further():
    assert "encoder and head apart" not in order_of(splits=False)


def test_forms_are_tried_in_the_documented_order():
    assert order_of() == [
        "as asked",
        "native transposed convolution",
        "no-fast-relayout",
        "encoder and head apart",
        "native resize",
        "hybrid",
    ]
    assert order_of(casts="matmult-exact-transpose") == [
        "as asked",
        "--fp32-cast",
        "native transposed convolution",
        "encoder and head apart",
        "native resize",
        "hybrid",
    ]
    assert order_of(retries=False) == ["as asked"]


def test_the_other_spellings_say_the_same():
    two_words = NeuronOptions(casts="matmult-exact-transpose")
    assert older_spelling(two_words) == (
        "--fp32-cast",
        "matmult",
        "--fast-math",
        "no-fast-relayout",
    )
    assert older_spelling(NeuronOptions(casts="matmult")) is None
    assert replace_relayout(("--fast-math", "all")) == ("--fast-math", "all", "no-fast-relayout")
    assert replace_relayout(("--fast-math", "none")) == ("--fast-math", "none")


@pytest.mark.parametrize(
    "behaviour, attempt, calls",
    [
        ({"refused": frozenset({"aten::pixel_shuffle"})}, "native transposed convolution", 2),
        ({"too_large": 280}, "encoder and head apart", 5),  # its two stages are two calls
    ],
)
def test_a_form_that_neuron_cc_refuses_is_followed_by_the_next(
    tmp_path, monkeypatch, caplog, behaviour, attempt, calls
):
    state = stand_in.install(monkeypatch, **behaviour)
    with caplog.at_level("INFO"):
        artifact = compiled(tmp_path)
    assert artifact.manifest.compiler["attempt"] == attempt
    assert len(state.calls) == calls
    assert "attempt 1, as asked" in caplog.text and "neuron-cc failed" in caplog.text
    assert ("shuffle-upsample" in artifact.manifest.rewrites) == ("apart" in attempt)
    assert artifact.manifest.compiler["subgraphs"] == ("2" if "apart" in attempt else "1")


def test_words_that_neuron_cc_does_not_take_from_a_list_are_spelt_the_older_way(
    tmp_path, monkeypatch
):
    stand_in.install(monkeypatch, refused_words=frozenset({"fp32-cast-matmult"}))
    artifact = compiled(tmp_path, casts="matmult-exact-transpose")
    assert artifact.manifest.compiler["attempt"] == "--fp32-cast"
    assert "--fp32-cast matmult" in artifact.manifest.compiler["compiler_args"]


def test_when_no_form_is_taken_each_reason_and_log_is_named_and_kept(tmp_path, monkeypatch):
    everything = frozenset(stand_in.operator_list()["supported"])
    stand_in.install(monkeypatch, refused=everything)
    with pytest.raises(CompileError, match="took none of 6 forms") as caught:
        compiled(tmp_path)
    assert str(caught.value).count("neuron-cc failed") == 5
    assert "No operations were successfully partitioned" in str(caught.value)
    folders = [path for path in (tmp_path / "neuron-workdir" / NAME).iterdir() if path.is_dir()]
    assert len(folders) == 6 and all(str(folder) in str(caught.value) for folder in folders)
    assert not (tmp_path / NAME).exists()


def test_a_compiler_that_takes_too_long_is_an_error_with_the_way_out(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch, times_out=True)
    with pytest.raises(CompileError, match=r"more than 7 s.*--timeout"):
        compiled(tmp_path, timeout_s=7)
    assert len(state.calls) == 2  # the next form would take as long, hybrid's parts are smaller


def test_operators_left_on_the_cpu_are_refused_and_named(tmp_path, monkeypatch):
    stand_in.install(monkeypatch, leftover=True)
    with pytest.raises(CompileError, match=r"left on the CPU: aten::relu x1; .*--cpu-operators"):
        compiled(tmp_path, retries=False)
    artifact = compiled(tmp_path, cpu_operators=True)
    assert artifact.manifest.compiler["on_cpu"] == "aten::relu x1"


def test_more_than_one_part_is_refused_unless_told(tmp_path, monkeypatch):
    state = stand_in.install(monkeypatch, parts=3)
    with pytest.raises(CompileError, match=r"3 subgraphs, 1 allowed: .*--subgraphs"):
        compiled(tmp_path, retries=False)
    artifact = compiled(tmp_path, subgraphs=3)
    assert artifact.manifest.compiler["subgraphs"] == "3"
    assert state.calls[-1]["single_fusion_ratio_threshold"] == 1.0


def test_an_operator_off_the_list_is_an_error_not_a_fallback(tmp_path, monkeypatch):
    """Without the first rewrite the position embedding is resized in the graph, by bicubic."""
    stand_in.install(monkeypatch)
    bad = CompileJob(
        "demo", "neuron", SHAPE, 1, tmp_path, seeded="always", without=("position-embedding",)
    )
    with pytest.raises(CompileError, match="aten::upsample_bicubic2d"):
        list(compile_model(bad))


# The stand-in itself is as strict as the real one is documented to be


def test_stand_in_rejects_options_that_torch_neuron_does_not_have(monkeypatch):
    stand_in.install(monkeypatch)
    with pytest.raises(TypeError, match="opt_level"):
        torch.neuron.trace(torch.nn.ReLU(), torch.zeros(1), opt_level=3)


def test_stand_in_without_a_chip_answers_with_the_right_shape_and_nonsense(monkeypatch):
    stand_in.install(monkeypatch)
    layer, x = torch.nn.Linear(3, 4), torch.randn(2, 3)
    graph = torch.neuron.trace(layer, x)
    assert graph(x).shape == (2, 4) and not torch.allclose(graph(x), layer(x))


# On the instance


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An artifact from a machine without a chip, for all tests here: they work on copies."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_in.install(monkeypatch)
        return compiled(tmp_path_factory.mktemp("made"))


@pytest.fixture
def pending(made, tmp_path):
    return read_artifact(shutil.copytree(made.path, tmp_path / made.path.name))


def test_verify_runs_the_report_on_the_device_and_writes_it_in(pending, with_chip, capsys):
    artifact = pending
    assert artifact.manifest.parity.status == "pending device"
    assert main(["verify", str(artifact.path)]) == 0
    assert capsys.readouterr().out.strip() == str(artifact.path)
    checked = read_artifact(artifact.path)
    checked.verify()
    assert checked.manifest.parity.status == "passed" and len(checked.manifest.parity.cases) == 3


def test_verify_refuses_a_graph_that_answers_nonsense_and_leaves_it_pending(
    pending, with_chip, capsys
):
    with_chip.has_chip = False  # the stand-in answers nonsense, and verify believes there is a chip
    before = (pending.path / "manifest.json").read_bytes()
    assert main(["verify", str(pending.path)]) == 1
    assert "does not equal the model" in capsys.readouterr().err
    assert (pending.path / "manifest.json").read_bytes() == before


def test_verify_without_a_chip_says_where_to_run_it(pending, capsys):
    assert main(["verify", str(pending.path)]) == 1
    assert "no such chip here" in capsys.readouterr().err


def test_verify_works_for_every_target_and_wants_the_same_weights(tmp_path, capsys, monkeypatch):
    settings = {"seeded": "always"}
    (artifact,) = compile_model(CompileJob("demo", "torchscript", SHAPE, 1, tmp_path, **settings))
    assert main(["verify", str(artifact.path)]) == 0
    manifest = artifact.path / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["weights"].update(source="checkpoint", sha256="0" * 64, file="demo.safetensors")
    manifest.write_text(json.dumps(facts))
    from safetensors.torch import save_file

    from compile.checkpoint import build_model
    from compile.registry import find_model

    other = tmp_path / "other.safetensors"
    save_file(build_model(find_model("demo")).state_dict(), str(other))
    assert main(["verify", str(artifact.path), "--checkpoint", str(other)]) == 1
    assert "give the same file with --checkpoint" in capsys.readouterr().err


# The engine


def engine_of(artifact):
    return load_engine(artifact.path, artifact.manifest)


def image():
    return {"image": np.zeros((1, 3, 56, 84), np.float32)}


def test_engine_takes_one_core_unless_told_and_says_which(pending, with_chip, monkeypatch, caplog):
    artifact = pending
    monkeypatch.delenv(neuron_engine.CORE_COUNT)
    with caplog.at_level("INFO"):
        engine_of(artifact)
    assert os.environ[neuron_engine.CORE_COUNT] == "1"
    assert "any 1 free" in caplog.text and stand_in.VERSION in caplog.text
    monkeypatch.delenv(neuron_engine.CORE_COUNT)
    monkeypatch.setenv(neuron_engine.CORES_CHOSEN, "3")
    with caplog.at_level("INFO"):
        engine_of(artifact)
    assert "NeuronCore 3" in caplog.text and neuron_engine.CORE_COUNT not in os.environ


def test_engine_takes_as_many_cores_as_its_graph_is_spread_over(tmp_path, with_chip, monkeypatch):
    artifact = compiled(tmp_path, pipeline_cores=4)
    monkeypatch.delenv(neuron_engine.CORE_COUNT)
    engine_of(artifact)
    assert os.environ[neuron_engine.CORE_COUNT] == "4"


def test_engine_of_several_stages_takes_the_cores_of_the_largest(tmp_path, with_chip, monkeypatch):
    stages = CompileJob(
        model="da3-small",
        target="neuron",
        sizes_hw=((28, 28),),
        output=tmp_path,
        seeded="always",
        neuron=NeuronOptions(pipeline_cores=4),
    )
    (artifact,) = compile_model(stages)
    assert artifact.manifest.compiler["encoder_global: pipeline_cores"] == "4"
    assert cores_of(artifact.manifest) == 4
    monkeypatch.delenv(neuron_engine.CORE_COUNT)
    load_engine(artifact.path, artifact.manifest, stage=artifact.manifest.stages[-1])
    assert os.environ[neuron_engine.CORE_COUNT] == "4"


def test_engine_says_that_it_was_given_too_few_cores(tmp_path, with_chip, monkeypatch, caplog):
    artifact = compiled(tmp_path, pipeline_cores=4)
    caplog.clear()
    engine_of(artifact)
    assert "NEURON_RT_NUM_CORES is 1, but demo-56x84-b1-neuron needs 4 cores" in caplog.text
    caplog.clear()
    monkeypatch.setenv(neuron_engine.CORE_COUNT, "8")
    engine_of(artifact)
    assert "needs" not in caplog.text


def test_engine_is_refused_in_a_forked_process(pending, with_chip, monkeypatch):
    engine = engine_of(pending)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(DeviceError, match="does not survive a fork"):
        engine(image())


@pytest.mark.parametrize(
    "message, told",
    [
        ("nrt_execute status=1003", "NaN.*--saturate-infinity"),
        ("NeuronCore(s) not available, Requested:4 Available:0", "NEURON_RT_NUM_CORES"),
        ("cannot determine driver version", "--device=/dev/neuron0"),
        ("status: 5 timed out", "NEURON_RT_EXEC_TIMEOUT"),
        ("something new", "something new"),
    ],
)
def test_device_errors_say_what_they_mean(pending, with_chip, monkeypatch, message, told):
    def broken(image):  # in the words of the TorchScript interpreter, the cause last
        raise RuntimeError(
            f"The following operation failed.\n  graph...\nRuntimeError: {message}\n"
        )

    artifact = pending
    monkeypatch.setattr(torch.jit, "load", lambda file: broken)
    with pytest.raises(DeviceError, match=told):
        engine_of(artifact)


def test_nan_from_the_device_is_an_error_not_a_map(tmp_path, with_chip, monkeypatch):
    engine = engine_of(compiled(tmp_path))
    key = max(stand_in.COMPILED)
    graph, count = stand_in.COMPILED[key]
    broken = (lambda x: graph(x) * float("nan"), count)
    monkeypatch.setitem(stand_in.COMPILED, key, broken)
    with pytest.raises(DeviceError, match="NaN"):
        engine(image())


# Where there is no compiler


def test_without_the_compiler_the_audit_is_printed_and_the_way_shown(tmp_path, capsys):
    if pick_target() == "neuron":
        pytest.skip("torch-neuron is installed here")
    sizes = ["--sizes", "56x84", "--output", str(tmp_path)]
    arguments = ["--model", "demo", "--target", "neuron", "--seeded-weights", *sizes]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "torch_neuron is not installed" in printed.err and "neuron-cc" in printed.err
    assert "docs/inferentia.md" in printed.err and "--target openvino" in printed.err
    assert "100.0% of" in printed.out and "one subgraph" in printed.out
    assert not list(tmp_path.iterdir())


def test_auto_means_neuron_where_torch_neuron_is(monkeypatch):
    stand_in.install(monkeypatch)
    assert pick_target() == "neuron"


# Inferentia 2 and Trainium


class NeuronxStandIn(types.ModuleType):
    """The documented call of torch-neuronx; traces for the CPU, refuses what it is told to."""

    __version__ = "0 (stand-in)"

    def __init__(self, refused=()):
        super().__init__("torch_neuronx")
        self.__spec__ = types.SimpleNamespace(name="torch_neuronx")
        self.refused, self.calls = set(refused), []

    def trace(
        self,
        func,
        example_inputs,
        *,
        input_output_aliases=None,
        compiler_workdir=None,
        compiler_args=None,
        partitioner_config=None,
        inline_weights_to_neff=True,
        cpu_backend=False,
    ):
        self.calls.append((compiler_args, compiler_workdir))
        graph = torch.jit.trace(func, example_inputs, check_trace=False)
        if self.refused & {node.kind() for node in graph.inlined_graph.nodes()}:
            raise RuntimeError("neuronx-cc failed")
        return graph


@pytest.mark.parametrize(
    "casts, words, precision",
    [
        ("all", "--auto-cast all --auto-cast-type bf16", "bf16"),
        ("matmult-fp16", "--auto-cast matmult --auto-cast-type fp16", "f16"),
        ("none", "--auto-cast none --auto-cast-type bf16", "f32"),
    ],
)
def test_neuronx_gets_the_same_form_and_its_own_words(
    tmp_path, monkeypatch, casts, words, precision
):
    state = NeuronxStandIn()
    monkeypatch.setitem(sys.modules, "torch_neuronx", state)
    (artifact,) = compile_model(dataclasses.replace(job(tmp_path, casts=casts), target="neuronx"))
    m = artifact.manifest
    assert (m.target, m.precision, m.parity.status) == ("neuronx", precision, "pending device")
    assert " ".join(state.calls[0][0]) == m.compiler["compiler_args"] == words
    assert "matrix-resize" in m.rewrites


def test_neuronx_tries_the_native_form_and_then_says_why_not(tmp_path, monkeypatch):
    state = NeuronxStandIn(refused={"aten::pixel_shuffle"})
    monkeypatch.setitem(sys.modules, "torch_neuronx", state)
    wanted = dataclasses.replace(job(tmp_path), target="neuronx")
    (artifact,) = compile_model(wanted)
    assert artifact.manifest.compiler["attempt"] == "native resize" and len(state.calls) == 2
    state.refused.add("aten::linear")
    with pytest.raises(CompileError, match=r"as asked: neuronx-cc failed.*native resize"):
        list(compile_model(wanted))


def test_neuronx_has_no_word_for_exact_transposes(tmp_path):
    wanted = job(tmp_path, casts="matmult-exact-transpose")
    with pytest.raises(InputError, match="neuronx-cc knows all, matmult"):
        dataclasses.replace(wanted, target="neuronx")


def test_neuronx_without_its_compiler_says_so(tmp_path, capsys):
    arguments = ["--model", "demo", "--target", "neuronx", "--seeded-weights", "--output"]
    assert main([*arguments, str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "torch_neuronx is not installed" in printed.err and printed.out == ""
