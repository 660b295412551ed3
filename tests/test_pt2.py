"""``.pt2`` graphs: as exact as TorchScript's, the same bytes twice, and nothing in one is run."""

import contextlib
import dataclasses
import json
import pickle
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compile.job import CompileJob, compile_model
from compile.stages import Stage
from compile.targets.source import GraphSource
from runtime.artifact.manifest import InputSpec, StageSpec, TensorSpec
from runtime.engines import available, load_engine, pt2_file, too_old
from runtime.engines.inductor import _linking_as_we_do, _why, is_wanted
from runtime.engines.pt2 import read_module
from runtime.errors import ArtifactError, CompileError, InputError

HAS_EXPORT = available("pt2")
exports = pytest.mark.skipif(not HAS_EXPORT, reason=too_old("pt2"))
SHAPE = (1, 3, 4, 6)


class Tiny(nn.Module):
    """Several operators, a weight in another order of memory, one shared and one computed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 1)
        self.conv.weight = nn.Parameter(torch.randn(1, 1, 4, 3).permute(2, 3, 0, 1))
        self.first = self.second = nn.Linear(6, 6)
        self.unused = nn.Linear(6, 6)
        self.register_buffer("shift", torch.full((4, 1, 1), 0.5), persistent=False)

    def forward(self, x):
        a, b = (self.conv(x) + self.shift).chunk(2, 1)
        return self.second(self.first(a).relu()).sum(1), b.float()


IMAGE = TensorSpec("image", SHAPE)
OUTPUTS = (TensorSpec("depth", (1, 4, 6)), TensorSpec("sky", (1, 2, 4, 6)))
SPEC = StageSpec("depth", "graph.pt2", (IMAGE,), OUTPUTS)


def tiny_source():
    stage = Stage("depth", (IMAGE,), OUTPUTS, lambda rewrites: Tiny().eval())
    return GraphSource(name="tiny", stage=stage, input=InputSpec((14, 14)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A sound file."""
    from compile.targets import pt2

    folder = tmp_path_factory.mktemp("tiny")
    return folder / pt2.build(tiny_source(), folder).graph


def rewritten(source, target, changes=None, more=(), **options):
    """A copy of an archive with other bytes for some entries; None leaves one out."""
    changes = changes or {}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for one in old.infolist():
            name = one.filename[len(pt2_file.ROOT) :]
            data = changes.get(name, old.read(one))
            if data is not None:
                new.writestr(one.filename, data, **options)
        for name, data in more:
            new.writestr(name, data)
    return target


def program_of(file):
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read(pt2_file.ROOT + pt2_file.MODEL))


@exports
def test_a_graph_gives_what_its_module_gives_whatever_the_order_of_its_weights(tiny):
    given = torch.randn(SHAPE)
    with torch.no_grad():
        expected, found = Tiny()(given), read_module(torch, tiny, SPEC)(given)
    assert isinstance(found, tuple) and len(found) == 2
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


@exports
def test_the_same_form_makes_the_same_bytes_which_name_no_place_of_this_machine(tiny, tmp_path):
    from compile.targets import pt2

    again = tmp_path / pt2.build(tiny_source(), tmp_path).graph
    data = tiny.read_bytes()
    assert again.read_bytes() == data
    assert str(Path(__file__).parent.parent).encode() not in data and b"stack_trace" not in data
    assert b".py" not in data and b"unused" not in data


@exports
def test_torch_itself_reads_the_file(tiny):
    given = torch.randn(SHAPE)
    with torch.no_grad():
        found = torch.export.load(str(tiny)).module()(given)
        expected = Tiny()(given)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


@exports
def test_an_operator_that_the_reader_does_not_know_is_refused_by_the_compile():
    from compile.targets import pt2

    class Odd(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x).real

    exported = torch.export.export(Odd(), (torch.zeros(4),), strict=False)
    with pytest.raises(CompileError, match=r"aten.fft_fft.default.* not in OPERATORS"):
        pt2.plain_program(exported)


class Payload:
    """What writes a file when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return (Path.touch, (self.sentinel,))


def changed(file, change):
    """The program of a file after a change, as bytes."""
    program = program_of(file)
    change(program)
    return {pt2_file.MODEL: json.dumps(program).encode()}


def nodes_of(program):
    return program["graph_module"]["graph"]["nodes"]


def with_node(index, **fields):
    return lambda program: nodes_of(program)[index].update(fields)


def with_argument(value):
    def change(program):
        nodes_of(program)[-1]["inputs"][-1]["arg"] = value

    return change


def with_sizes(value):
    def change(program):
        values = program["graph_module"]["graph"]["tensor_values"]
        values[sorted(values)[0]]["sizes"] = value

    return change


def with_field(place, value):
    def change(program):
        *parents, last = place.split(".")
        for name in parents:
            program = program[int(name) if name.isdigit() else name]
        program[last] = value

    return change


def code(sentinel):
    return f"__import__('pathlib').Path({str(sentinel)!r}).touch()"


CALLS = "graph_module.module_call_graph.0.signature"
EXPRESSION = {"as_expr": {"expr_str": "CODE", "hint": {"as_int": 4}}}
PROGRAMS = {  # what is changed in the program; CODE becomes what would write the sentinel
    "size that is an expression": with_sizes([EXPRESSION]),
    "argument that is a symbol": with_argument({"as_sym_int": {"as_name": "s0"}}),
    "argument that is an expression": with_argument({"as_sym_int": EXPRESSION}),
    "text as an argument": with_argument({"as_string": "CODE"}),
    "operator of python": with_node(0, target="os.system"),
    "operator that reads files": with_node(0, target="torch.ops.aten.from_file.default"),
    "operator of higher order": with_node(0, target="torch.ops.higher_order.cond"),
    "operator that is an attribute": with_node(0, target="torch.ops.aten.__class__.default"),
    "operator that is no text": with_node(0, target=["CODE"]),
    "code as a guard": with_field("guards_code", ["CODE"]),
    "range of a symbol": with_field("range_constraints", {"CODE": {"min_val": 0}}),
    "an object": with_field("graph_module.graph.custom_obj_values", {"a": {"class_fqn": "CODE"}}),
    "a symbol's value": with_field("graph_module.graph.sym_int_values", {"s0": EXPRESSION}),
    "a tree of other things": with_field(
        f"{CALLS}.in_spec",
        '[1, {"type": "CODE", "context": "null", "children_spec": []}]',
    ),
    "metadata": with_node(0, metadata={"stack_trace": "CODE"}),
    "a field more": with_field("more", "CODE"),
    "no program": with_field("graph_module", None),
    "no nodes": with_field("graph_module.graph.nodes", []),
    "nodes that are none": with_field("graph_module.graph.nodes", ["CODE", 3, None]),
    "a tensor that is not made": with_argument({"as_tensor": {"name": "CODE"}}),
    "other inputs": with_field("graph_module.graph.inputs", []),
    "other outputs": with_field("graph_module.graph.outputs", []),
}


@exports
@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_with_anything_else_in_it_is_refused_and_not_run(case, tiny, tmp_path):
    sentinel, file = tmp_path / "executed", tmp_path / "graph.pt2"
    changes = changed(tiny, PROGRAMS[case])
    data = changes[pt2_file.MODEL].replace(b"CODE", json.dumps(code(sentinel))[1:-1].encode())
    refuse(rewritten(tiny, file, {pt2_file.MODEL: data}), sentinel)


def refuse(file, sentinel):
    with pytest.raises(ArtifactError) as caught:
        read_module(torch, file, SPEC)
    said = str(caught.value)
    assert "nothing in it was run" in said and "\n" not in said and len(said) < 400 + len(str(file))
    assert not sentinel.exists()


CONFIG, SAMPLES = pt2_file.CONFIG, "data/sample_inputs/model.pt"
WEIGHT = f"{pt2_file.WEIGHTS}weight_0"


def config_with(tiny, **fields):
    with zipfile.ZipFile(tiny) as archive:
        config = json.loads(archive.read(pt2_file.ROOT + CONFIG))
    next(iter(config["config"].values())).update(fields)
    return json.dumps(config).encode()


@exports
@pytest.mark.parametrize("place", ["samples", "weight", "weight that says so", "constant"])
def test_pickles_are_refused_wherever_they_lie(place, tiny, tmp_path):
    sentinel, file = tmp_path / "executed", tmp_path / "graph.pt2"
    payload = pickle.dumps(Payload(sentinel))
    if place == "samples":
        rewritten(tiny, file, {SAMPLES: payload})
    elif place == "constant":
        rewritten(tiny, file, more=[("pt2/data/constants/custom_obj_0", payload)])
    else:
        says = {CONFIG: config_with(tiny, use_pickle=True)} if place[6:] else {}
        rewritten(tiny, file, {WEIGHT: payload, **says})
    refuse(file, sentinel)


@exports
@pytest.mark.parametrize(
    "name",
    [
        "pt2/data/aotinductor/model/program.so",
        "pt2/models/other.json",
        "pt2/extra/notes.txt",
        "pt2/../../executed",
        "/executed",
        "executed",
        "pt2/data/weights/weight_9",
        "pt2/models/model.json",  # a second one
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_that_ours_have_not_are_refused_and_nothing_is_unpacked(name, tiny, tmp_path):
    file = rewritten(tiny, tmp_path / "graph.pt2", more=[(name, b"x")])
    before = sorted(tmp_path.rglob("*"))
    refuse(file, tmp_path / "executed")
    assert sorted(tmp_path.rglob("*")) == before


@exports
@pytest.mark.parametrize("missing", [*pt2_file.FIXED, pt2_file.MODEL, CONFIG, WEIGHT])
def test_files_that_ours_have_are_not_missed_in_silence(missing, tiny, tmp_path):
    refuse(rewritten(tiny, tmp_path / "graph.pt2", {missing: None}), tmp_path / "executed")


@exports
def test_what_is_packed_is_refused_before_it_is_unpacked(tiny, tmp_path):
    bomb = {WEIGHT: bytes(50 << 20)}
    options = {"compress_type": zipfile.ZIP_DEFLATED}
    file = rewritten(tiny, tmp_path / "graph.pt2", bomb, **options)
    assert file.stat().st_size < 1 << 20
    refuse(file, tmp_path / "executed")


@exports
def test_a_graph_whose_tensors_grow_out_of_proportion_is_refused(tmp_path):
    from compile.targets import pt2

    class Bomb(nn.Module):
        def forward(self, x):
            large = nn.functional.interpolate(x, (40_000, 60_000), mode="bilinear")
            return large[:, 0, :4, :6], x[:, :2]

    with torch.device("meta"):
        exported = torch.export.export(Bomb(), (torch.zeros(SHAPE),), strict=False)
    program, weights = pt2.plain_program(exported)
    text = json.dumps(program).replace('"meta"', '"cpu"')
    file = tmp_path / "graph.pt2"
    pt2.write_archive(file, json.loads(text), weights)
    with pytest.raises(ArtifactError, match="out of all proportion"):
        read_module(torch, file, SPEC)


@exports
@pytest.mark.parametrize("many", [lambda x: x.unbind(1), lambda x: x.chunk(500, 1)])
def test_an_operator_that_makes_more_tensors_than_it_names_is_not_run(many, tmp_path, monkeypatch):
    from compile.targets import pt2

    class Bomb(nn.Module):
        def forward(self, x):
            first = many(x.reshape(1, 72))[0].reshape(-1)[0]
            return x[:, 0] * first, x[:, :2]

    exported = torch.export.export(Bomb(), (torch.zeros(SHAPE),), strict=False)
    program, weights = pt2.plain_program(exported)
    for node in program["graph_module"]["graph"]["nodes"]:
        if "as_tensors" in node["outputs"][0]:
            del node["outputs"][0]["as_tensors"][1:]
    pt2.write_archive(tmp_path / "graph.pt2", program, weights)
    with pytest.raises(ArtifactError, match="returns more than it says"):
        read_module(torch, tmp_path / "graph.pt2", SPEC)


@exports
def test_engines_of_one_program_share_its_weights(tiny, monkeypatch):
    from types import SimpleNamespace

    from runtime.engines import pt2

    read = []
    monkeypatch.setattr(pt2, "program_of", lambda *_: tiny)
    monkeypatch.setattr(
        pt2, "Program", lambda torch, file, weights, device: SimpleNamespace(weights=weights)
    )
    real = pt2.read_archive
    monkeypatch.setattr(pt2, "read_archive", lambda *given: read.append(1) or real(*given))
    first, second = (pt2.graph_on(torch, tiny.parent, None, SPEC, "cpu")[0] for _ in "12")
    assert first.weights is second.weights and len(read) == 1
    assert set(first.weights) == set(dict(read_module(torch, tiny, SPEC).named_buffers()))


@exports
def test_other_tensors_than_the_manifest_says_are_refused(tiny):
    for wrong in (
        StageSpec("depth", "graph.pt2", (TensorSpec("image", (2, 3, 4, 6)),), OUTPUTS),
        StageSpec("depth", "graph.pt2", (IMAGE,), OUTPUTS[:1]),
        StageSpec("depth", "graph.pt2", (IMAGE,), OUTPUTS[::-1]),
        StageSpec("depth", "graph.pt2", (IMAGE, IMAGE), OUTPUTS),
    ):
        with pytest.raises(ArtifactError):
            read_module(torch, tiny, wrong)


@exports
def test_damage_anywhere_is_an_error_of_ours_or_none(tiny, tmp_path):
    data, file = tiny.read_bytes(), tmp_path / "graph.pt2"
    luck = random.Random(0)
    for part in (0, 1, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:part])
        refuse(file, tmp_path / "executed")
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(luck.randint(1, 4)):
            damaged[luck.randrange(len(data))] = luck.randrange(256)
        file.write_bytes(damaged)
        with contextlib.suppress(ArtifactError):
            read_module(torch, file, SPEC)


@exports
@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"", b"NaN"])
def test_json_that_is_none_is_refused(deep, tiny, tmp_path):
    refuse(rewritten(tiny, tmp_path / "graph.pt2", {pt2_file.MODEL: deep}), tmp_path / "executed")


def test_a_torch_without_export_says_so_in_a_sentence(tmp_path, monkeypatch, tiny_artifact):
    monkeypatch.setattr("runtime.engines.version_of", lambda package: "1.13.1+cu117")
    assert not available("pt2")
    wanted = CompileJob("demo", "pt2", ((28, 28),), output=tmp_path, seeded="always")
    with pytest.raises(InputError, match=r"pt2 needs torch 2.6 .*this is 1.13.1.*torchscript"):
        next(compile_model(wanted))


@exports
@pytest.mark.parametrize("fault", ["no compiler", "compiled badly", "cannot be loaded"])
def test_what_inductor_cannot_do_is_said_and_the_graph_is_run_as_it_is(
    fault, tiny, tmp_path, monkeypatch, caplog, tiny_artifact
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEPTH_INDUCTOR", "1")
    shutil.copy(tiny, tmp_path)
    manifest = dataclasses.replace(tiny_artifact.manifest, target="pt2")

    def compile_badly(file, manifest, stage, device, program):
        if fault == "compiled badly":
            raise CompileError("it is off by 3.0e-01 of the range, tolerance 1e-04")
        program.write_bytes(b"no program")

    if fault == "no compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr("runtime.engines.inductor._compile", compile_badly)
    engine = load_engine(tmp_path, manifest, "cpu", stage=SPEC)
    image = torch.randn(SHAPE)
    with torch.no_grad():
        expected = Tiny()(image)[0]
    found = engine({"image": image.numpy()})["depth"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    said = {
        "no compiler": "no C++ compiler, neither CXX nor g++",
        "compiled badly": "off by 3.0e-01",
        "cannot be loaded": "its program cannot be loaded",
    }
    assert caplog.text.count("is run as it is, since") == 1 and said[fault] in caplog.text


def test_the_switch_of_inductor_is_0_or_1(monkeypatch):
    found = {}
    for value in ("", "0", "1", "max-autotune"):
        monkeypatch.setenv("DEPTH_INDUCTOR", value)
        found[value] = [is_wanted(device) for device in ("cpu", "cuda")]
    assert found.pop("max-autotune") == [False, True]
    assert found == {"": [False, True], "0": [False, False], "1": [True, True]}
    monkeypatch.setenv("DEPTH_INDUCTOR", "yes")
    with pytest.raises(InputError, match="DEPTH_INDUCTOR='yes': use 0, 1 or max-autotune"):
        is_wanted("cuda")


@exports
@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_a_network_is_as_exact_as_by_torchscript(precision, tmp_path):
    made = {}
    for target in ("torchscript", "pt2"):
        job = CompileJob(
            "demo", target, ((28, 42),), 1, tmp_path, seeded="always", precision=precision
        )
        (made[target],) = compile_model(job)
    name = "" if precision == "f32" else f"-{precision}"
    assert made["pt2"].path.name == f"demo-28x42-b1-pt2{name}"
    found = {}
    image = np.random.RandomState(0).randn(1, 3, 28, 42).astype(np.float32)
    for target, artifact in made.items():
        assert artifact.manifest.parity.status == "passed"
        engine = load_engine(artifact.path, artifact.manifest, "cpu")
        found[target] = engine({"image": image})[artifact.manifest.output.kind]
    np.testing.assert_allclose(
        found["pt2"], found["torchscript"], atol=1e-5 * np.ptp(found["pt2"]), rtol=0
    )


@exports
def test_a_staged_model_is_as_exact_as_by_torchscript(tmp_path):
    job = CompileJob("da3-small", "pt2", ((28, 28),), output=tmp_path, seeded="always", views=(2,))
    (artifact,) = compile_model(job)
    assert artifact.manifest.parity.status == "passed"
    assert {stage.graph for stage in artifact.manifest.stages} > {"encoder_global.pt2"}


@exports
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_inductor_compiles_a_graph_once_and_is_held_to_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEPTH_INDUCTOR", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = CompileJob("demo", "pt2", ((28, 28),), output=tmp_path, seeded="always")
    (artifact,) = compile_model(job)
    image = np.random.RandomState(0).randn(1, 3, 28, 28).astype(np.float32)
    with caplog.at_level("INFO", "runtime.engines.inductor"):
        first, second = (load_engine(artifact.path, artifact.manifest, "cpu") for _ in "12")
    assert caplog.text.count("inductor compiles disparity for this machine, once") == 1
    monkeypatch.setenv("DEPTH_INDUCTOR", "0")
    plain = load_engine(artifact.path, artifact.manifest, "cpu")
    expected = plain({"image": image})["disparity"]
    for engine in (first, second):
        found = engine({"image": image})["disparity"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected), rtol=0)
    assert artifact.verify() is None  # what was made lies beside, and is none of the artifact


def test_a_program_is_linked_to_the_libstdcxx_that_is_here(tmp_path):
    compiler = tmp_path / "bin/g++"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    compiler.chmod(0o700)
    folder = tmp_path / "a folder"
    folder.mkdir()
    wrapped = _linking_as_we_do(folder, str(compiler))
    assert Path(wrapped).name == "g++", "inductor tells compilers by their names"
    said = subprocess.run([wrapped, "-shared", "x y.cpp"], capture_output=True, text=True).stdout
    assert said.splitlines() == [f"-L{folder}", "-shared", "x y.cpp"]
    linked = (folder / "libstdc++.so").resolve()
    assert str(linked) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (-11, "a.py:9: FutureWarning: old\n  return it", "its process was ended by signal 11"),
        (1, "ValueError: bad\na.py:9: FutureWarning: old\n  return it", "ValueError: bad"),
        (
            1,
            "it is off by 1e-1 of the range, tolerance 1e-2\nmore",
            "it is off by 1e-1 of the range",
        ),
        (1, "killed", "killed"),
        (3, "", "it ended with 3"),
    ],
)
def test_why_inductor_could_not_is_its_error(code, said, why):
    assert _why(code, said.splitlines()).startswith(why)
