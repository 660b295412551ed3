"""The benchmarks walked through on tiny shapes: every step but the speed."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import (
    compiling,
    da3,
    forms,
    growth,
    latency,
    latency_sides,
    limit,
    precisions,
    rounds,
    spent,
    summary,
    throughput,
)
from benchmarks import load as load_bench
from benchmarks.__main__ import build_parser, main
from benchmarks.artifacts import made_or_left_out
from benchmarks.commands import GROUPS, NAMES, about, load, page_of, section_of
from benchmarks.document import DOCS
from benchmarks.latency import LatencyJob
from benchmarks.peers import ggml
from benchmarks.peers.process import SCRIPTS, Peer
from compile.checkpoint import load_model
from compile.job import CompileJob, compile_model
from compile.registry import find_model
from runtime.engines import available, load_engine
from runtime.errors import DepthError, InputError, MissingDependency
from runtime.processor import BF16, low_precision_products, plain_name

TARGET = "openvino" if available("openvino") else "torchscript"
SIZE_HW = (28, 28)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    job = CompileJob(
        "demo", TARGET, (SIZE_HW,), output=tmp_path_factory.mktemp("graphs"), seeded="always"
    )
    (made,) = compile_model(job)
    return made


def parsed(name: str, *words: str) -> argparse.Namespace:
    """What a benchmark measures by, as its command line gives it."""
    return build_parser(name).parse_args([name, *words])


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_module_and_a_page(name):
    module = load(name)
    assert about(name) == module.ABOUT, "the menu reads it without importing the module"
    assert callable(module.measure) and callable(module.table)
    section = re.escape(section_of(module, parsed(name), "torch 1.13"))
    place = rf"<!-- generated: {section}( on [^<>]+)? -->"  # one processor or another
    pages = (DOCS / page_of(module)).read_text()
    assert re.search(place, pages) or name == "da3"  # torch 2 only


@pytest.mark.parametrize("name", NAMES)
def test_each_commands_help_shows_its_example_which_it_understands(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    example = load(name).EXAMPLE
    assert ended.value.code == 0 and f"python -m benchmarks {name} {example}" in shown
    assert " ".join(load(name).DESCRIPTION.split()[:4]) in shown
    parsed(name, *shlex.split(example))


def test_the_menu_lists_all_and_imports_none():
    code = "import sys; sys.modules['torch'] = None; from benchmarks.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert all(f"{name} {about(name)}" in lines for name in NAMES)


def test_every_command_line_in_the_documents_is_understood():
    found = [
        line
        for page in sorted(DOCS.glob("*.md"))
        for line in re.findall(r"python -m benchmarks ([^`#\n]+)", page.read_text())
    ]
    named = set()
    for line in found:
        name, *words = shlex.split(line)
        if name in NAMES:
            parsed(name, *words)
            named.add(name)
        else:
            assert name == "--help", line
    assert len(found) > 40 and named >= {"latency", "end2end", "batch", "kills", "buckets"}


@pytest.mark.parametrize(
    "words, says",
    [
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "the following arguments are required: COMMAND"),
        (["latency", "--rounds", "0"], "give a whole number of at least 1"),
        (["load", "--seconds", "nan"], "give a number above 0"),
        (["precisions", "--precisions", "f64"], "invalid choice: 'f64'"),
    ],
)
def test_bad_usage_exits_with_2(words, says, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_numbers_and_table_are_kept_whole(tmp_path, monkeypatch, capsys):
    """A command from its words to its files, its measuring left out."""
    page = tmp_path / forms.PAGE
    page.write_text(
        "before\n<!-- generated: forms here -->\nold\n<!-- end: forms here -->\nafter\n"
    )
    monkeypatch.setattr("benchmarks.__main__.DOCS", tmp_path)
    monkeypatch.setattr("benchmarks.__main__.slug", lambda machine: "here")
    monkeypatch.setattr(forms, "measure", lambda args: {"rounds": args.rounds})
    monkeypatch.setattr(forms, "table", lambda found: f"| {found['rounds']} rounds |")
    file = tmp_path / "kept" / "numbers.json"
    assert main(["forms", "--rounds", "7", "--json", str(file), "--doc"]) == 0
    facts = json.loads(file.read_text())
    assert facts["rounds"] == 7 and facts["machine"]["cores"] > 0
    assert facts["command"] == "python -m benchmarks forms --rounds 7 --doc"
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert "| 7 rounds |" in lines and (lines[0], lines[-1]) == (str(file), str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| 7 rounds |" in text
    assert {one.name for one in tmp_path.iterdir()} == {forms.PAGE, "kept"}


def test_a_table_is_made_again_from_numbers_that_were_kept(tmp_path, monkeypatch, capsys):
    """Under the section of that run, machine and options, whatever this one's are."""
    page = tmp_path / "docs" / latency.PAGE
    page.parent.mkdir()
    page.write_text("<!-- generated: latency demo 28x42 torch 2.13 on Z80 -->\n<!-- end: ")
    page.write_text(page.read_text() + "latency demo 28x42 torch 2.13 on Z80 -->\n")
    monkeypatch.setattr("benchmarks.__main__.DOCS", page.parent)
    monkeypatch.setattr(latency, "measure", lambda args: pytest.fail("measured"))
    monkeypatch.setattr(latency, "table", lambda found: f"| {found['sides']} |")
    command = "latency --model demo --size 28x42 --rounds 3"
    file = tmp_path / "numbers.json"
    file.write_text(json.dumps(run_of(command, "3.11.7", sides="none")))
    assert main(["latency", "--numbers", str(file), "--doc"]) == 0
    text = page.read_text()
    assert "| none |" in text and f"benchmarks {command}`" in text and "Z80, 2 cores" in text
    assert {one.name for one in tmp_path.iterdir()} == {"docs", "numbers.json"}, "nothing is kept"
    assert main(["forms", "--numbers", str(file)]) == 1
    assert "numbers of 'latency', expected those of 'forms'" in capsys.readouterr().err
    file.write_text("[1]")
    assert main(["latency", "--numbers", str(file)]) == 1
    assert "holds no numbers of a benchmark" in capsys.readouterr().err


def test_a_page_without_the_section_fails_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("benchmarks.__main__.DOCS", tmp_path)
    monkeypatch.setattr(forms, "measure", lambda args: pytest.fail("measured"))
    assert main(["forms", "--doc"]) == 1
    assert "run this from the repository's root" in capsys.readouterr().err


@pytest.mark.parametrize(
    "model, name",
    [
        ("AMD EPYC", "AMD EPYC"),
        ("AMD EPYC 7R13 48-Core Processor", "AMD EPYC 7R13"),
        ("Intel(R) Xeon(R) Processor", "Intel Xeon"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "Intel Xeon Platinum 8375C"),
    ],
)
def test_a_processor_is_named_without_marks_and_clock(model, name):
    assert plain_name(model) == name


def test_the_first_group_is_what_a_reader_looks_for():
    first = next(iter(GROUPS.values()))
    assert {"latency", "end2end", "load", "compile"} <= set(first)


def test_a_peer_answers_in_a_process_of_its_own(artifact, tmp_path):
    image = np.random.RandomState(0).randn(1, 3, *SIZE_HW).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    words = [str(artifact.path), str(tmp_path / "image.npy"), "1"]
    depth = tmp_path / "depth.npy"
    with Peer(Path(sys.executable), "artifact.py", words, depth, SCRIPTS.parents[1]) as peer:
        said = peer.run(2)
        assert said["seconds"] > 0 and said["peak_mib"] > 10
        assert peer.facts["threads"] == 1
    assert peer.process.returncode == 0
    engine = load_engine(artifact.path, artifact.manifest, "cpu", 1)
    (expected,) = engine({"image": image}).values()
    np.testing.assert_allclose(peer.depth(), expected, rtol=1e-5)


def test_a_peer_that_cannot_start_is_an_error(tmp_path):
    words = [str(tmp_path / "nothing"), str(tmp_path / "image.npy"), "1"]
    with pytest.raises(DepthError, match=r"artifact\.py ended early"):
        Peer(Path(sys.executable), "artifact.py", words, tmp_path / "d.npy", SCRIPTS.parents[1])


COUNTS = """
import subprocess, sys
from benchmarks.machine import seconds_of_children
burn = '''import sys, time
while time.process_time() < 0.4: pass
print(flush=True)
sys.stdin.read()'''
before = seconds_of_children()
with subprocess.Popen(
    [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
) as child:
    child.stdout.readline()
    running = seconds_of_children()
    child.stdin.close()
print(before, running, seconds_of_children())
"""


def test_processor_time_of_processes_started_here_is_counted_while_they_run():
    """In a process of its own: this one may have started servers, which go on working."""
    words = [sys.executable, "-c", COUNTS]
    said = subprocess.run(
        words, cwd=SCRIPTS.parents[1], check=True, capture_output=True, text=True
    ).stdout
    before, running, ended = map(float, said.split())
    assert before == 0 and running >= 0.3
    assert ended >= running  # counted on when it has ended


def test_a_side_that_this_processor_does_not_compute_is_left_out_with_the_reason(
    tmp_path, monkeypatch
):
    def refuse(_torch, what):
        raise InputError(f"{what}: too coarse")

    monkeypatch.setattr("compile.targets.torchscript.check_bfloat16", refuse)
    job = CompileJob(
        "demo", "torchscript", ((28, 28),), 1, tmp_path, precision="bf16", device="cpu"
    )
    left_out: dict[str, str] = {}
    assert made_or_left_out(job, "torchscript, bf16", left_out) is None
    assert left_out == {"torchscript, bf16": "precision='bf16': too coarse"}


def test_a_commands_peak_is_its_own_and_not_that_of_what_started_it():
    held = np.ones(300 * 2**20, np.uint8)  # 300 MiB here
    small = spent.run([sys.executable, "-S", "-c", "print('said')"])
    assert small.stdout == "said" and small.seconds > 0
    assert small.peak_mib < 100 < held.nbytes / 2**20
    large = spent.run([sys.executable, "-S", "-c", "held = bytearray(b'1') * (200 * 2**20)"])
    assert large.peak_mib > 200
    with pytest.raises(DepthError, match="ended with 3"):
        spent.run([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def test_latency_compares_depth_before_it_times():
    job = LatencyJob("demo", SIZE_HW, 1, 1, wait_s=0, peers=False, precisions=("f32",), launches=2)
    numbers = json.loads(json.dumps(latency.time_sides(job)))
    sides = {side["side"]: side for side in numbers["sides"]}
    assert f"ours, {TARGET}" in sides
    assert all(side["off"] < 1e-4 and side["pearson"] > 0.999999 for side in sides.values())
    assert all(len(side["seconds_an_image"]) == 2 for side in sides.values())
    text = latency.table(numbers)
    assert "ours, torchscript" in text and "in each of 2 launches of every side" in text


def test_a_side_with_another_networks_depth_is_refused():
    class Wrong:
        def depth(self):
            return np.zeros((2, 2))

    side = latency.Side("a peer", latency.Way("a peer", "f32", Wrong), Wrong())
    with pytest.raises(DepthError, match="does not run the same network"):
        latency._agreement(side, np.arange(4.0).reshape(2, 2))


def test_each_number_of_clients_is_compared_with_this_service():
    def loads(rate):
        return [{"rate": rate, "p50_s": 1 / rate, "p99_s": 2 / rate, "other": 0}] * 3

    sides = {load_bench.OURS: loads(4.0), load_bench.FLASK: loads(2.0)}
    numbers = {
        "artifact": "x", "photo": "a.jpg", "seconds": 1, "rounds": 3, "capacity": 4.0,
        "bare_rate": [5.0], "closed": {1: sides, 64: sides}, "offered": {},
        "streams": {"at_once": 2, "why": "9 a second on 2"},
    }  # fmt: skip
    text = load_bench.table(numbers)
    assert "| 64 | Flask, gunicorn | 2.00 | 0.40 | **2.00** | 500 | 1,000 | 0 |" in text
    assert "| 1 | this service | 4.00 | 0.80 |  | 250 | 500 | 0 |" in text
    assert "Offered" not in text and "ran 2 calls at once (9 a second on 2)" in text
    fates = {"good_rate": 1.0, "p50_s": 0.1, "p99_s": 0.2, "refused_p99_s": 0.0, "next_s": 0.1}
    counts = {"sent": 3, "refused": 0, "lost": 0, "failed": 0}
    offered = [{"times": times, **fates, **counts} for times in (0.5, 4)]
    text = load_bench.table({**numbers, "offered": dict.fromkeys(sides, offered)})
    rows = [line.split(" | ")[:2] for line in text.splitlines() if "x | " in line]
    assert [row[0] for row in rows] == ["| 0.5x", "| 0.5x", "| 4x", "| 4x"] and "Offered" in text


GGML_STAND_IN = """
#include <stdlib.h>
int da_capi_abi_version(void) { return 10; }
void *da_capi_load(const char *weights, int threads) { return threads == 1 ? malloc(1) : 0; }
const char *da_capi_last_error(void *model) { return ""; }
void da_capi_free_floats(float *map) { free(map); }
float *da_capi_depth_path(void *model, const char *image, int *height, int *width) {
    float *map = malloc(6 * sizeof(float));
    for (int at = 0; at < 6; at++) map[at] = at;
    *height = 2; *width = 3;
    return map;
}
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
def test_depth_anything_cpp_is_built_from_sources_that_are_named(tmp_path, monkeypatch):
    sources, scratch = tmp_path / "sources", tmp_path / "scratch"
    (sources / "scripts").mkdir(parents=True)
    scratch.mkdir()
    (sources / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(stand_in C)\n"
        "add_library(depthanything SHARED stand_in.c)\n"
    )
    (sources / "stand_in.c").write_text(GGML_STAND_IN)
    (sources / ggml.CONVERTER).write_text(
        "import sys; open(sys.argv[sys.argv.index('--output') + 1], 'w').write('weights')"
    )
    monkeypatch.setattr(ggml, "FOLDER", tmp_path / "built")
    monkeypatch.setattr(latency_sides, "environment", lambda *steps: Path(sys.executable))
    way = latency_sides.cpp(scratch, 1, sources, "vits")
    assert (way.name, way.precision, way.ours) == ("depth-anything.cpp", "f32", False)
    assert (scratch / "weights.gguf").read_text() == "weights"
    with way.start() as peer:
        assert peer.facts["threads"] == 1 and peer.run(2)["seconds"] >= 0
        np.testing.assert_array_equal(peer.depth(), np.arange(6.0).reshape(2, 3))
    with pytest.raises(MissingDependency, match=r"not the sources of depth-anything\.cpp"):
        latency_sides.cpp(scratch, 1, tmp_path, "vits")


def test_latency_refuses_a_model_that_the_peers_do_not_have():
    with pytest.raises(InputError, match="use one of vits"):
        LatencyJob("da3-small")


def test_the_table_divides_by_the_first_peer_and_by_the_limit():
    def side(name, precision, seconds, ours):
        return {
            "side": name, "precision": precision, "ours": ours, "seconds_an_image": seconds,
            "peak_mib": 300, "off": 1e-6, "pearson": 1.0, "versions": {"engine": "1"},
        }  # fmt: skip

    numbers = {
        "model": "vits", "size_hw": [518, 518], "rounds": 2, "rounds_run": 2, "threads": 2,
        "others_share": [0.01, 0.02], "gflop": 100.0, "left_out": {},
        "rates": {"1x2x3": {"f32": 200e9, "bf16": 400e9}}, "least_s": {"f32": 0.5, "bf16": 0.25},
        "sides": [
            side(latency_sides.EAGER, "f32", [2.0, 2.0], False),
            side("fast", "f32", [1.5, 1.5], False),
            side("ours, x", "f32", [1.0, 1.0], True), side("ours, x", "bf16", [0.5, 0.5], True),
        ],
    }  # fmt: skip
    text = latency.table({**numbers, "launches": 2, "rounds": 1})
    assert "single rounds 1.50 to 1.50; launches 1.50, 1.50." in text
    text = latency.table(numbers)
    assert "| ours, x (engine 1) | f32 | 1,000 | **2.00** | 2.00 to 2.00 | 50% |" in text
    assert "| ours, x (engine 1) | bf16 | 500 | **4.00** | 4.00 to 4.00 | 50% |" in text
    assert "In f32, ours, x is **1.50** times as fast as the best peer (fast, f32)" in text
    assert "In bf16, ours, x is **3.00** times as fast as the best peer (fast, f32)" in text
    assert "f32 200 GFLOP/s" in text and "hence 250 ms" in text


def test_the_limit_takes_the_best_rate_and_the_networks_own_shapes():
    said = [
        {"rates": {"a": {"f32": 1.0}, "b": {"f32": 5.0}}},
        {"rates": {"a": {"f32": 2.0}, "b": {"f32": 4.0}}},
    ]
    assert limit.best_rates(said) == {"a": {"f32": 2.0}, "b": {"f32": 5.0}}
    assert limit.least_seconds(10, limit.best_rates(said)) == {"f32": 2.0}
    model, _ = load_model(find_model("demo"), None)
    shapes = limit.largest_products(limit.traced(model, SIZE_HW))
    assert set(shapes[:2]) == {(5, 192, 768), (5, 768, 192)}  # the MLP, over 4 patches and a token


def run_of(command: str, python: str, **found) -> dict:
    """What a run keeps."""
    machine = {
        "cpu": "Z80", "cores": 2, "torch_threads": 2, "load_1min": 0.0, "python": python,
        "versions": {"torch": "2.13.0"}, "settings": {}, "instructions": [], "date": "1976-07-01",
    }  # fmt: skip
    return {"command": f"python -m benchmarks {command}", "machine": machine, **found}


def test_the_summary_has_a_row_for_what_pythons_share_and_the_readme_the_newest(tmp_path, capsys):
    def sides(**seconds):
        rows = []
        for name, took in seconds.items():
            name, precision = name.rsplit("_", 1)
            row = {"side": name, "precision": precision, "ours": name == "ours"}
            rows.append({**row, "seconds_an_image": [took] * 3})
        return {"model": "vits", "size_hw": [518, 518], "sides": rows}

    (tmp_path / "newer").write_text(json.dumps(run_of(
        "latency --model vits", "3.11.7", **sides(fast_f32=0.5, fast_bf16=0.25, ours_f32=0.4,
                                                  ours_bf16=0.2, ours_int8=0.1, slow_int8=0.9)
    )))  # fmt: skip
    (tmp_path / "older").write_text(json.dumps(run_of(
        "latency --model vits", "3.9.18", **sides(fast_f32=0.6, ours_f32=0.6)
    )))  # fmt: skip
    launches = {"vits 518x518 f32": [{"first_s": 1.0, "peak_mib": 335.4}] * 3}
    (tmp_path / "start").write_text(json.dumps(run_of("start", "3.9.18", launches=launches)))
    assert summary.main([str(tmp_path / name) for name in ("older", "newer", "start")]) == 0
    shown = capsys.readouterr().out
    row = "| `vits`, 518x518, f32 | fast, f32 | 400 ms, **1.25x** | 600 ms, **1.00x** |"
    assert "| beside | Python 3.11 | Python 3.9 |" in shown and row in shown
    assert "| `vits`, 518x518, int8 | fast, bf16 | 100 ms, **2.50x** |  |" in shown
    assert "| vits 518x518 f32 | 1.00 s, 335 MiB |" in shown
    assert "| ours | **400** | **200** | **100** |" in shown, "the README's, of Python 3.11"
    assert "| slow |  |  | 900 |" in shown and "600" not in shown.split("ms an image")[1]
    assert summary.main([str(tmp_path / "start")]) == 1
    assert "python -m benchmarks latency --model vits" in capsys.readouterr().err


@pytest.mark.parametrize("compiles", [False, True], ids=["start", "compile"])
def test_a_compile_and_a_start_are_measured(monkeypatch, artifact, compiles):
    def run(words):
        if "compile" in words:
            return spent.Spent(1.0, 1.0, 200.0, f"said\n{artifact.path}")
        return spent.run(words)

    if not compiles:
        monkeypatch.setattr(compiling, "run", run)
    monkeypatch.setattr(compiling, "STARTS", 1)
    args = parsed("compile", "--models", "demo", "--targets", TARGET)
    numbers = json.loads(json.dumps(compiling.measure(args, SIZE_HW)))
    (case,) = numbers["cases"]
    assert case["artifact"] == f"demo-28x28-b1-{TARGET}" and case["size_mib"] > 20
    assert case["start_s"] > case["load_s"] + case["call_s"] > 0
    assert case["peak_mib"] > case["load_mib"] > 0 and case["compile_peak_mib"] > 100
    assert case["artifact"] in compiling.table(numbers)


def test_growth_is_drawn_from_its_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    points = [
        {"place": place, "name": str(place), "seconds": place / 10, "peak_mib": 100 + place}
        for place in (1, 4, 16)
    ]
    numbers = {"target": TARGET, **dict.fromkeys(("images", "batch", "views", "size"), points)}
    growth.draw(numbers, tmp_path)
    text = growth.table(numbers)
    for file in tmp_path.iterdir():
        assert file.read_bytes().startswith(b"\x89PNG") and f"(pictures/{file.name})" in text
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_throughput_arranges_engines_batches_and_streams(monkeypatch):
    monkeypatch.setattr(rounds, "wait_until_quiet", lambda *_: None)
    args = parsed("throughput", "--models", "demo", "--precisions", "f32", "--rounds", "1")
    numbers = throughput.measure(args, SIZE_HW)
    (case,) = numbers["cases"]
    assert list(case["seconds_an_image"]) == [
        "1 engine of 2 threads, batch 1",
        "2 engines of 1 thread, batch 1",
        "1 engine of 2 threads, batch 4",
        "OpenVINO's streams",
    ]
    assert all(took[0] > 0 for took in case["seconds_an_image"].values())
    assert "| `demo` f32, 2 engines of 1 thread, batch 1 |" in throughput.table(numbers)


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
def test_precisions_are_compared_with_the_eager_network():
    words = ("--models", "demo", "--size", "28x28", "--precisions", "f32", "bf16")
    numbers = precisions.measure(parsed("precisions", *words))
    exact, plain, marked = numbers["cases"]
    worst = [max(one["max_share"] for one in case["each"]) for case in (exact, plain, marked)]
    assert worst[0] < 1e-4 < worst[2]
    multiplies = any(name in BF16 for name in low_precision_products())
    assert worst[0] < worst[1] if multiplies else worst[0] == worst[1]
    sizes = {one["megabytes"] / exact["megabytes"] for one in (plain, marked)}
    assert max(sizes) < 1.1 and min(sizes) > 0.9, "rounded, and kept as float32: held once"
    assert "| `demo`, bf16 |" in precisions.table(numbers)


def test_the_lower_precisions_of_scenes_tell_stages_and_cameras():
    seconds = {da3.UPSTREAM: [4.0, 4.0], "ours, openvino, int8": [1.0, 2.0], da3.EAGER: [2.0, 2.0]}
    depth = {"mean": 1e-3, "largest": 0.02, "pearson": 0.9999}
    stages = {"encoder_global": 0.01, "whole": 0.5, "ray_head": 0.5}
    graph = {**depth, "turn_deg": 0.25, "focal": 1e-3, "stages": stages}
    case = {
        "views": 4, "rounds_run": 2, "others_share": [0.0, 0.01], "seconds_a_scene": seconds,
        "peer": {"torch": "2.13.0"}, "peak_mib": {"ours, openvino, int8": 512.4},
        "off": {da3.EAGER: depth, "ours, openvino, int8": graph}, "left_out": {"bf16": "it failed"},
    }  # fmt: skip
    numbers = {
        "model": "da3-small",
        "size_hw": [28, 42],
        "rounds": 2,
        "threads": 1,
        "cases": [case],
    }
    text = da3.table(numbers)
    ours = "| ours, openvino, int8 | 1,500 | **3.00** | 2.00 to 4.00 | 512 | 1.0e-03 | 2e-02 | "
    assert ours + "0.999900 | 0.2° | 1.0e-03 |" in text
    assert "ours, openvino, int8, views: 4: encoder_global 1.0e-02." in text
    assert "Left out: bf16, since it failed." in text
    (headline,) = da3.headlines(numbers)
    assert headline.cell == "1,500 ms, **3.00x**" and headline.beside == da3.UPSTREAM


def test_stages_are_judged_by_the_manifest():
    cases = [
        ("photo: depth_head depth", 0.02), ("noise: depth_head depth_conf", 0.03),
        ("noise: whole depth", 0.01),
    ]  # fmt: skip
    report = SimpleNamespace(
        cases=[SimpleNamespace(input=one, max_rel_range=off) for one, off in cases]
    )
    artifact = SimpleNamespace(manifest=SimpleNamespace(parity=report))
    assert da3._stages_off(artifact) == {"depth_head": 0.03, "whole": 0.01}
