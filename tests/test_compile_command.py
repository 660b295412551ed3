"""``python -m compile`` as a command: its words, what it refuses at once, and how it ends."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compile import commands
from compile.__main__ import COMMANDS, main
from compile.options import build_parser, size, with_command
from compile.registry import MODELS, ROWS, table
from runtime.artifact.folder import find_artifacts
from runtime.files import PARTIAL

ROOT = Path(__file__).parent.parent
SEEDED = ["--model", "demo", "--target", "torchscript", "--seeded-weights", "--device", "cpu"]
SEEDED += ["--sizes", "28x28"]


@pytest.fixture()
def nothing_loads(monkeypatch):
    """Whoever gets as far as the weights fails the test."""
    monkeypatch.setattr("compile.job.load_model", lambda *_: pytest.fail("weights were loaded"))
    monkeypatch.setattr("compile.verify.load_model", lambda *_: pytest.fail("weights were loaded"))


# --- words ---


@pytest.mark.parametrize(
    "given, words",
    [
        ([], ["build"]),
        (["--model", "vits"], ["build", "--model", "vits"]),
        (["--list"], ["build", "--list"]),
        (["--model", "vits", "--help"], ["build", "--model", "vits", "--help"]),
        (["--", "-h"], ["build", "--", "-h"]),
        (["-h"], ["-h"]),
        (["--help"], ["--help"]),
        (["build", "--model", "vits"], ["build", "--model", "vits"]),
        (["fetch"], ["fetch"]),
        (["audti"], ["audti"]),
    ],
)
def test_build_is_meant_if_no_command_is_named(given, words):
    assert with_command(given) == words


def test_build_alone_and_with_its_word_are_the_same():
    parser = build_parser()
    given = ["--model", "vits", "--batch", "2", "--sizes", "usual", "28x42"]
    assert parser.parse_args(with_command(given)) == parser.parse_args(["build", *given])


def test_a_word_that_is_no_command_is_answered_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["audti", "--model", "vits"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "'audti'" in said and all(name in said for name in COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "examples" in printed and f"python -m compile {command}".strip() in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_parsed(command):
    parser = build_parser()
    chosen = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    text = chosen.choices[command].epilog
    lines = [line.split("  ")[1] for line in text.splitlines() if "python -m compile" in line]
    assert lines
    for line in lines:
        words = line.replace("python -m compile", "").split()
        assert parser.parse_args(with_command(words)).command == command


@pytest.mark.parametrize("words", [["--help"], ["build", "--help"], ["audit", "--help"], ["list"]])
def test_help_and_the_list_need_no_torch(words):
    code = (
        "import sys\n"
        "from compile.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--list"], ["list"], ["--model", "vits", "--list"]])
def test_list_prints_every_model_with_its_licence(words, capsys):
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == table()
    assert all(f"`{row.name}`" in printed and row.licence in printed for row in ROWS)


# --- sizes ---


def sizes(*words):
    args = build_parser().parse_args(["build", "--model", "vits", "--sizes", *words])
    return commands.sizes_of(args.sizes, MODELS["vits"])


def test_usual_stands_for_the_models_own_sizes_beside_others():
    usual = MODELS["vits"].usual_sizes
    assert sizes("usual") == usual
    assert sizes("usual", "1036x1036") == (*usual, (1036, 1036))
    assert sizes("1036x1036", "usual") == ((1036, 1036), *usual)


def test_a_size_that_is_named_twice_is_compiled_once(tmp_path, capsys):
    usual = MODELS["vits"].usual_sizes
    assert sizes("518x518", "usual", "usual", "28x28", "28x28") == (*usual, (28, 28))
    twice = [*SEEDED, "28x28", "--output", str(tmp_path)]
    assert main(twice) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "demo-28x28-b1-torchscript")]


@pytest.mark.parametrize("text", ["518", "x518", "518x", "518x518x3", "-14x14", "0x14", "14.0x14"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        size(text)


# --- refused at once ---


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--sizes", "500x518"], "nearest is 504x518"),
        (["--sizes", "518"], "HEIGHTxWIDTH"),
        (["--model", "vitx"], "invalid choice"),
        (["--target", "tpu"], "invalid choice"),
        (["--seeded-weights", "--seeded-fallback"], "not allowed with"),
        (["--batch", "0"], "at least 1"),
        (["--views", "0"], "at least 1"),
        (["--pipeline-cores", "many"], "at least 1"),
        (["plan", "--rate", "0"], "above 0"),
        (["audit", "--batch", "0"], "at least 1"),
        (["numerics", "--mean", "nan"], "above 0"),
        (["fetch", "--target", "onnx"], "unrecognized arguments"),
        (["verify"], "required: artifact"),
    ],
)
def test_wrong_words_exit_2_and_say_what_is_right(arguments, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and text in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--target", "openvino", "--device", "cuda"], "use --target torchscript"),
        (["--target", "onnx", "--precision", "bf16"], "target onnx has f32 only"),
        (["--target", "neuron", "--precision", "bf16"], "target neuron has f32 only; --casts says"),
        (["--target", "openvino", "--casts", "matmult"], "casts: for target openvino"),
        (["--target", "torchscript", "--timeout", "9"], "timeout_s: for target torchscript"),
        (["--target", "neuronx", "--pipeline-cores", "4"], "only casts and retries and optlevel"),
        (["--target", "neuronx", "--casts", "matmult-exact-transpose"], "neuronx-cc knows all"),
        (["--target", "neuron", "--pipeline-cores", "65"], "1 to 64"),
        (["--model", "da3-small", "--batch", "2"], "takes --views of one scene"),
        (["--model", "vits", "--views", "2"], "takes each photo for itself"),
        (["--model", "da3-small", "--pixels", "rgb8"], "take normalised images"),
        (["--model", "da3-small", "--resize", "float32"], "resizes photos on their 8 bits"),
        (["--model", "da3nested-giant-large", "--batch", "2"], "takes --views of one scene"),
        (["--without", "layerscale"], "choose from position-embedding"),
        (["--calibration", "input_images"], "--precision int8 only"),
        (["--seeded-weights", "--checkpoint", "a.pth"], "not together with --checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together_exit_2_before_anything_is_loaded(
    arguments, text, tmp_path, capsys, nothing_loads
):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m compile build") and text in said
    assert not list(tmp_path.iterdir())


def places(root):
    """Outputs that cannot be: a file, below a file, a link to nothing, a name that is too long."""
    (root / "README.md").write_text("words")
    (root / "link").symlink_to(root / "nowhere")
    return ["README.md", "README.md/artifacts", "link", "x" * 300]


@pytest.mark.parametrize("number", range(4))
def test_an_output_that_cannot_be_written_is_one_sentence_before_the_work(
    number, tmp_path, capsys, nothing_loads
):
    output = tmp_path / places(tmp_path)[number]
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main([*SEEDED, "--output", str(output)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {output}: ") and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_output_that_is_refused_by_the_disk_is_one_sentence(capsys, nothing_loads):
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here, where nobody may make a folder")
    assert main([*SEEDED, "--output", "/proc/artifacts"]) == 1
    assert "error: /proc/artifacts: cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, text",
    [
        (["--checkpoint", "folder"], "folder: is a folder; name the file in it"),
        (["--checkpoint", "none.pth"], "none.pth: no such file"),
        (["--checkpoint", "file/none.pth"], "none.pth: no such file"),
        (
            ["--precision", "int8", "--calibration", "none"],
            "none: no such file, folder or pattern; give",
        ),
        (["--precision", "int8", "--calibration", "folder"], "folder: no photo there"),
    ],
)
def test_what_is_not_there_is_said_before_the_work(
    more, text, tmp_path, monkeypatch, capsys, nothing_loads
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    command = ["--model", "demo", "--target", "openvino", "--sizes", "28x28", *more]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and text in said and said.count("\n") == 1
    assert not (tmp_path / "artifacts").exists()


def test_cuda_without_a_gpu_is_refused_before_the_work(
    tmp_path, monkeypatch, capsys, nothing_loads
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*SEEDED, "--device", "cuda", "--output", str(tmp_path)]) == 1
    assert "torch sees no CUDA GPU here; use --device cpu" in capsys.readouterr().err


def test_verify_refuses_a_device_before_anything_is_loaded(
    make_artifact, tmp_path, capsys, monkeypatch, nothing_loads
):
    artifact = make_artifact(root=tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["verify", str(artifact.path), "--device", "cuda"]) == 1
    assert "no CUDA GPU" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none")]) == 1
    assert "so it is no artifact" in capsys.readouterr().err


def test_numerics_looks_for_photos_before_it_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("compile.checkpoint.load_model", lambda *_: pytest.fail("loaded"))
    command = ["numerics", "--model", "demo", "--seeded-weights", "--photos"]
    assert main([*command, str(tmp_path / "none")]) == 1
    assert "no such file, folder or pattern" in capsys.readouterr().err


# --- how it ends ---


def test_ctrl_c_says_that_finished_artifacts_stay(tmp_path, monkeypatch, capsys):
    def interrupted(job):
        yield argparse.Namespace(path=tmp_path / "first")
        raise KeyboardInterrupt

    monkeypatch.setattr("compile.job.compile_model", interrupted)
    assert main([*SEEDED, "--output", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "first")
    assert printed.err == "stopped; the artifacts done so far stay\n"


def test_a_disk_that_fails_in_the_middle_is_one_sentence(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "graph.pt"))

    monkeypatch.setattr("compile.targets.torchscript.build", full)
    assert main([*SEEDED, "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"error: {tmp_path}/graph.pt: No space left on device\n" in said
    assert find_artifacts(tmp_path) == [] and not list(tmp_path.glob(f"{PARTIAL}*"))


@pytest.mark.parametrize(
    "words, precision, pixels",
    [
        ([], "f16", "rgb8"),
        (["--device", "cpu"], "f32", "normalised"),
        (["--target", "openvino"], "f32", "normalised"),
        (["--precision", "f32", "--pixels", "rgb"], "f32", "rgb"),
        (["--model", "da3-small"], "f16", "normalised"),
    ],
)
def test_graphs_for_a_gpu_are_float16_and_take_bytes_unless_told_otherwise(
    monkeypatch, words, precision, pixels
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("compile.deploy.HAS_FUSED_ATTENTION", True)
    given = ["build", "--model", "vits", "--target", "torchscript", *words]
    job = commands.job_of(build_parser().parse_args(given))
    assert (job.precision, job.pixels) == (precision, pixels)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job = commands.job_of(
        build_parser().parse_args(["build", "--model", "vits", "--target", "torchscript"])
    )
    assert (job.precision, job.pixels) == ("f32", "normalised")
