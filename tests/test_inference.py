"""The main job's command line: what it prints, what it returns, what it asks."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from apps import compiled, inference
from exports.colour import COLORMAPS
from exports.files import FORMATS

ROOT = Path(__file__).parent.parent
SUMMARY = re.compile(r"(\d+) done, (\d+) failed, \d+\.\d\d images/s -> (.+)/")


@pytest.fixture
def workplace(tmp_path, monkeypatch, save_photo) -> Path:
    """A folder to work in, with two photos in ``input_images`` and no checkpoint anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPTH_CHECKPOINT_DIR", raising=False)
    monkeypatch.setattr("runtime.shipped.CHECKPOINTS", tmp_path / "none")
    save_photo(tmp_path / "input_images" / "a.png", seed=1)
    save_photo(tmp_path / "input_images" / "b.jpg", seed=2)
    return tmp_path


@pytest.fixture
def no_compile(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "compile_sizes", lambda *_: pytest.fail("it compiled"))


def counts(stdout: str) -> tuple[str, ...]:
    """(done, failed, output) of the last line on stdout."""
    match = SUMMARY.fullmatch(stdout.splitlines()[-1])
    assert match, stdout
    return match.groups()


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The real command, in the current folder."""
    command = [sys.executable, str(ROOT / "inference.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_turns_a_folder_of_photos_into_depth_files(workplace, tiny_artifact):
    done = run("--artifact", tiny_artifact.path, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert counts(done.stdout) == ("2", "0", "output_depth")
    assert len(done.stdout.splitlines()) == 1
    assert sorted(file.name for file in (workplace / "output_depth").iterdir()) == [
        f"{photo}.{suffix}"
        for photo in ("a.png", "b.jpg")
        for suffix in ("color.png", "depth16.png", "json", "npz")
    ]


def test_the_command_returns_1_and_names_the_photo_that_failed(workplace, tiny_artifact):
    (workplace / "input_images" / "bad.png").write_bytes(b"not a photo")
    done = run("--artifact", tiny_artifact.path)
    assert done.returncode == 1
    assert counts(done.stdout) == ("2", "1", "output_depth")
    assert "failed: input_images/bad.png: not an image in a known format" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_refuses_bad_usage_with_2():
    done = run("--formats", "gif")
    assert done.returncode == 2 and done.stdout == ""
    assert "'gif': give some of png,png16,npz,exr,pfm,tiff,ply,glb,colmap" in done.stderr


def test_main_does_the_same_in_this_process(workplace, tiny_artifact, capsys):
    assert inference.main(["--artifact", str(tiny_artifact.path)]) == 0
    assert counts(capsys.readouterr().out) == ("2", "0", "output_depth")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "png,gif"], "'png,gif': give some of png,png16,npz,exr,pfm,tiff"),
        (["--formats", ","], "','?: give some of|',': give some of"),
        (["--model", "vitz"], "invalid choice: 'vitz' .*vits"),
        (["--colormap", "jet"], "invalid choice: 'jet' .*Spectral_r"),
        (["--device", "tpu"], "invalid choice: 'tpu' .*cuda"),
        (["--max-pixels", "many"], "argument --max-pixels: .*'many'"),
        (["--artifact"], "argument --artifact: expected at least one argument"),
        (["photo.jpg"], "unrecognized arguments: photo.jpg"),
    ],
)
def test_bad_flags_return_2_and_say_what_is_allowed(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        inference.main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "-1"]])
def test_a_number_of_threads_that_is_not_positive_is_bad_usage(arguments, workplace, tiny_artifact):
    with pytest.raises(SystemExit) as stopped:
        inference.main(["--artifact", str(tiny_artifact.path), *arguments])
    assert stopped.value.code == 2


def test_a_pixel_limit_that_is_not_positive_is_bad_usage(workplace, tiny_artifact):
    with pytest.raises(SystemExit) as stopped:
        inference.main(["--artifact", str(tiny_artifact.path), "--max-pixels", "0"])
    assert stopped.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="here cuda is a fine choice")
def test_cuda_where_there_is_none_is_one_sentence(workplace, tiny_artifact, capsys):
    assert inference.main(["--artifact", str(tiny_artifact.path), "--device", "cuda"]) == 1
    assert "error: " in capsys.readouterr().err


def test_help_shows_examples_and_every_choice(capsys):
    with pytest.raises(SystemExit) as stopped:
        inference.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.count("  python inference.py") == 8
    for word in (*FORMATS, *COLORMAPS, "--artifact", "vits-indoor"):
        assert word in text


def test_the_examples_in_help_are_accepted_by_the_parser():
    lines = [line for line in inference.EXAMPLES.splitlines() if "python inference.py" in line]
    for line in lines:
        command = line.split("    ")[0].split()[2:]
        inference.build_parser().parse_args(command)
    assert len(lines) == 8


def test_every_option_reaches_the_files(workplace, tiny_artifact, save_photo, capsys):
    save_photo(workplace / "photos" / "deep" / "c.png", 12, 15)
    arguments = ["--artifact", str(tiny_artifact.path), "--input", "photos", "--recursive"]
    arguments += ["--output", "maps", "--formats", "pfm,tiff", "--side-by-side"]
    arguments += ["--colormap", "gray"]
    assert inference.main(arguments) == 0
    assert counts(capsys.readouterr().out) == ("1", "0", "maps")
    assert sorted(file.name for file in (workplace / "maps" / "deep").iterdir()) == [
        "c.png.json",
        "c.png.pfm",
        "c.png.side_by_side.png",
        "c.png.tiff",
    ]


def test_a_single_file_can_be_the_input(workplace, tiny_artifact, capsys):
    assert inference.main(["--artifact", str(tiny_artifact.path), "--input", "b.jpg"]) == 1
    assert "error: b.jpg: no such file, folder or pattern" in capsys.readouterr().err
    arguments = ["--artifact", str(tiny_artifact.path), "--input", "input_images/b.jpg"]
    assert inference.main(arguments) == 0
    assert counts(capsys.readouterr().out) == ("1", "0", "output_depth")


def test_a_photo_over_the_limit_fails_alone(workplace, tiny_artifact, save_photo, capsys):
    save_photo(workplace / "input_images" / "large.png", 60, 60)
    assert inference.main(["--artifact", str(tiny_artifact.path), "--max-pixels", "3599"]) == 1
    printed = capsys.readouterr()
    assert counts(printed.out) == ("2", "1", "output_depth")
    assert "large.png: 60 x 60 = 3,600 pixels, limit 3,599" in printed.err


def test_nothing_to_do_is_said_before_anything_is_compiled(workplace, no_compile, capsys):
    (workplace / "empty").mkdir()
    assert inference.main(["--input", "empty"]) == 1
    assert "error: empty: no photo there" in capsys.readouterr().err


def test_an_artifact_of_another_model_than_asked_for_is_refused(workplace, tiny_artifact, capsys):
    assert inference.main(["--artifact", str(tiny_artifact.path), "--model", "vitb"]) == 1
    assert "is of vits, not of vitb" in capsys.readouterr().err


def test_a_folder_that_is_no_artifact_is_refused(workplace, capsys):
    assert inference.main(["--artifact", "input_images"]) == 1
    assert "error: no artifact can be used" in capsys.readouterr().err


def test_a_folder_of_artifacts_is_used_whole(workplace, make_artifact, save_photo, caplog):
    caplog.set_level(logging.INFO)
    for size_hw in [(28, 28), (28, 42)]:
        make_artifact(size_hw=size_hw, root=workplace / "mine")
    assert inference.main(["--artifact", "mine", "--formats", "npz"]) == 0
    assert "vits on torchscript f32 (28x28, 28x42), licence Apache-2.0" in caplog.text


def test_random_weights_are_announced_loudly(workplace, make_artifact, caplog):
    assert inference.main(["--artifact", str(make_artifact(seeded=True).path)]) == 0
    assert "RANDOM WEIGHTS" in caplog.text and "make checkpoints MODEL=vits" in caplog.text


def test_the_models_artifacts_are_found_in_the_artifacts_folder(
    workplace, make_artifact, no_compile, caplog
):
    caplog.set_level(logging.INFO)
    make_artifact(root=workplace / "artifacts")
    make_artifact(root=workplace / "artifacts", model="vitb")
    assert inference.main(["--model", "vitb"]) == 0
    assert "vitb on torchscript" in caplog.text


def test_a_model_without_an_artifact_is_compiled_once(workplace, make_artifact, monkeypatch):
    made = []

    def compile_sizes(model, sizes_hw, views, device):
        made.append(model)
        make_artifact(root=workplace / "artifacts", model=model, seeded=True)

    monkeypatch.setattr(compiled, "compile_sizes", compile_sizes)
    for _ in range(2):
        assert inference.main(["--model", "vits-indoor"]) == 0
    assert made == ["vits-indoor"]


def test_a_compile_that_leaves_nothing_usable_is_one_sentence(workplace, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "compile_sizes", lambda *_: None)
    assert inference.main(["--model", "vits"]) == 1
    assert "error: no artifact of vits can run here; see `python -m" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A person at a keyboard who has already typed, or a screen."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def choose(workplace, make_artifact, monkeypatch):
    """Choose between two compiled models; returns the choice and what the screen showed."""
    make_artifact(root=workplace / "artifacts")
    make_artifact(root=workplace / "artifacts", model="vits-indoor", kind="depth_m")

    def choose(keyboard: io.StringIO) -> tuple[str, str]:
        screen = Terminal()
        monkeypatch.setattr(sys, "stdin", keyboard)
        monkeypatch.setattr(sys, "stderr", screen)
        return inference.choose_model(ask=True), screen.getvalue()

    return choose


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        ("2\n", "vits-indoor"),
        ("1\n", "vits"),
        ("\n", "vits"),
        ("", "vits"),
        (" vits-indoor \n", "vits-indoor"),
        ("3\n0\nvitb\n2\n", "vits-indoor"),
    ],
    ids=["number", "first", "enter", "end of input", "name", "wrong, then right"],
)
def test_on_a_terminal_with_several_models_one_is_asked_for(typed, model, choose):
    chosen, shown = choose(Terminal(typed))
    assert chosen == model
    assert "  1  vits " in shown and "  2  vits-indoor " in shown
    assert "model [1-2, Enter for vits]: " in shown


def test_a_wrong_answer_is_named_before_asking_again(choose):
    _, shown = choose(Terminal("7\n2\n"))
    assert "'7': give a number or a name from the list" in shown


def test_a_digit_that_is_no_number_is_a_wrong_answer(choose):
    chosen, shown = choose(Terminal("²\n2\n"))
    assert chosen == "vits-indoor" and "'²': give a number" in shown


def test_an_unreadable_artifact_does_not_keep_one_from_choosing(choose, workplace):
    (workplace / "artifacts" / "old").mkdir()
    (workplace / "artifacts" / "old" / "manifest.json").write_text("{}")
    assert choose(Terminal("2\n"))[0] == "vits-indoor"


def test_without_a_terminal_nothing_is_asked(choose):
    assert choose(io.StringIO("2\n")) == ("vits", "")


def test_flags_alone_ask_nothing_either(workplace, make_artifact, monkeypatch):
    make_artifact(root=workplace / "artifacts", model="vits-indoor", kind="depth_m")
    monkeypatch.setattr(sys, "stdin", Terminal("2\n"))
    assert inference.choose_model(ask=False) == "vits-indoor"


def test_real_weights_come_before_random_ones_and_official_before_demo(
    workplace, make_artifact, monkeypatch
):
    monkeypatch.setattr(inference, "local_checkpoint", lambda row: None)
    assert inference.choose_model(ask=False) == inference.WITHOUT_WEIGHTS
    make_artifact(root=workplace / "artifacts", seeded=True)
    make_artifact(root=workplace / "artifacts", model="demo")
    assert inference.choose_model(ask=False) == "demo"
    make_artifact(root=workplace / "artifacts", size_hw=(28, 42), model="demo", seeded=True)
    assert inference.choose_model(ask=False) == "demo"  # random ones beside real ones
    make_artifact(root=workplace / "artifacts", model="vits-indoor", kind="depth_m")
    assert inference.choose_model(ask=False) == "vits-indoor"


def test_the_only_model_there_is_is_not_asked_for(workplace, make_artifact, monkeypatch):
    make_artifact(root=workplace / "artifacts", model="vitl")
    monkeypatch.setattr(sys, "stdin", Terminal("1\n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert inference.choose_model(ask=True) == "vitl"


def test_the_depth_on_disk_is_that_of_the_graph(workplace, make_artifact, capsys):
    artifact = make_artifact(factor=0.0, shift=3.0, kind="depth_m", model="vits-indoor")
    arguments = ["--artifact", str(artifact.path), "--formats", "npz,png16"]
    assert inference.main(arguments) == 0
    with np.load(workplace / "output_depth" / "a.png.npz") as arrays:
        np.testing.assert_allclose(arrays["depth_m"], np.full((20, 30), 3.0), rtol=1e-6)


def test_an_interrupted_job_keeps_what_is_done_and_returns_130(
    workplace, tiny_artifact, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(inference, "run_folder", interrupted)
    assert inference.main(["--artifact", str(tiny_artifact.path)]) == 130
    assert "stopped; the photos done so far stay" in capsys.readouterr().err


@pytest.mark.parametrize("views", ["one", "all"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "taken"], "error: taken: is not a folder; name one to write to"),
        (["--focal-px", "500"], "error: --focal-px: the depth of da3-small does not depend on it"),
    ],
)
def test_what_cannot_end_well_is_said_before_anything_is_compiled(
    arguments, message, views, workplace, no_compile, capsys
):
    (workplace / "taken").write_text("mine")
    assert inference.main(["--model", "da3-small", "--views", views, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert (workplace / "taken").read_text() == "mine"
