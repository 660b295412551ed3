"""The first minute: setup.sh installs what is asked for, once, and says what it takes.

uv is a stand-in here that writes down how it is called, so nothing is downloaded; what the real one
installs is what the rest of the suite runs on.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compile.fetch import local_checkpoint
from compile.registry import DEMO, MODELS
from runtime import optional
from runtime.command_line import run_command
from runtime.errors import MissingDependency

ROOT = Path(__file__).parent.parent
EXTRAS = re.findall(
    r"^(\w+) = \[",
    (ROOT / "pyproject.toml")
    .read_text()
    .split("[project.optional-dependencies]")[1]
    .split("\n[")[0],
    re.MULTILINE,
)
UV = """#!/bin/sh
echo "backend=${UV_TORCH_BACKEND:-} $*" >> "$CALLS"
case "$*" in
venv*) mkdir -p .venv/bin; cp "$(command -v torch-version)" .venv/bin/python ;;
*dry-run*) [ -z "$REACHED" ] || echo " + torch==1.2.3+cpu"; [ -n "$REACHED" ] ;;
*"$BROKEN"*) echo "no such package"; exit 1 ;;
esac
"""


class Clone:
    """A folder with the project's setup files, and a uv that only notes its calls."""

    def __init__(self, folder):
        self.folder, self.programs, self.log = folder, folder / "programs", folder / "calls"
        for name in ("setup.sh", "Makefile", "pyproject.toml"):
            shutil.copy2(ROOT / name, folder / name)
        shutil.copytree(ROOT / "constraints", folder / "constraints")
        self.programs.mkdir()
        self.program("uv", UV)
        self.program("torch-version", "#!/bin/sh\necho 1.2.3\n")

    def program(self, name, text):
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, *command, reached="", broken="nothing is broken", **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "MAKE", "PINS"))}
        paths = {"PATH": f"{self.programs}{os.pathsep}{kept['PATH']}", "CALLS": str(self.log)}
        wanted = {"REACHED": reached, "BROKEN": broken, "PYTHON": sys.executable, **environment}
        self.log.write_text("")
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, **paths, **wanted},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    @property
    def installs(self):
        return [line for line in self.log.read_text().splitlines() if "--constraint" in line]

    @property
    def stamps(self):
        return sorted(path.name for path in (self.folder / ".venv").glob("has-*"))


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_setup_installs_the_base_and_says_how_large_it_is(clone):
    status, said = clone.run("./setup.sh")
    assert status == 0, said
    assert clone.stamps == ["has-base"]
    assert clone.installs[-1].endswith("--editable .[torch,onnx,openvino,exr,html]")
    assert re.search(r"torch 1\.2\.3, \.venv holds [\d.,]+[KMG]", said)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has two builds under one name")
@pytest.mark.parametrize(
    ("gpu", "reached", "backend", "said"),
    [
        (False, "yes", "cpu", "no NVIDIA GPU: taking torch's build for the CPU"),
        (False, "", "", "builds for the CPU cannot be reached: taking the package index's own"),
        (True, "yes", "", "NVIDIA GPU found: taking the package index's own build"),
    ],
    ids=["cpu", "unreachable", "gpu"],
)
def test_without_a_gpu_torchs_small_build_is_taken_if_it_can_be_reached(
    clone, gpu, reached, backend, said
):
    if Path("/dev/nvidia0").exists() and not gpu:
        pytest.skip("this machine has an NVIDIA GPU")
    clone.program("nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 1}\n")
    status, printed = clone.run("./setup.sh", reached=reached)
    assert status == 0 and said in printed, printed
    assert clone.installs[-1].startswith(f"backend={backend} ")


def test_an_operators_own_build_of_torch_wins(clone):
    status, said = clone.run("./setup.sh", reached="yes", UV_TORCH_BACKEND="cu126")
    assert status == 0 and "UV_TORCH_BACKEND=cu126" in said
    assert [line.split()[0] for line in clone.installs] == ["backend=cu126"]


def test_an_extra_is_added_once_when_a_target_needs_it(clone):
    assert clone.run("make", "setup")[0] == 0
    status, said = clone.run("make", ".venv/has-serve")
    assert status == 0 and "adding serve to .venv, once" in said
    assert clone.installs == [clone.installs[0]] and clone.installs[0].endswith("--extra serve")
    assert clone.stamps == ["has-base", "has-serve"]
    assert clone.run("make", ".venv/has-serve") == (0, "")
    assert clone.installs == []


def test_a_changed_pin_makes_the_environment_again(clone):
    assert clone.run("make", ".venv/has-serve")[0] == 0
    later = (clone.folder / ".venv" / "has-base").stat().st_mtime + 2
    os.utime(clone.folder / "constraints" / "py39.txt", (later, later))
    assert clone.run("make", "setup")[0] == 0
    assert clone.stamps == ["has-base"]


@pytest.mark.parametrize(("broken", "left"), [("--editable", []), ("--extra", ["has-base"])])
def test_an_install_that_fails_leaves_no_stamp(clone, broken, left):
    status, said = clone.run("make", ".venv/has-serve", broken=broken)
    assert status == 2 and "done: .venv" not in said
    assert clone.stamps == left


def test_pins_that_are_unknown_leave_the_environment_alone(clone):
    assert clone.run("./setup.sh")[0] == 0
    status, said = clone.run("./setup.sh", PINS="inf9")
    assert status == 1 and "PINS=inf9 is unknown" in said
    assert clone.stamps == ["has-base"]


@pytest.mark.skipif(sys.version_info[:2] != (3, 9), reason="AWS's compiler needs Python 3.9")
def test_an_environment_for_neuron_keeps_its_pins_and_takes_only_what_lives_with_them(clone):
    assert clone.run("./setup.sh", PINS="neuron")[0] == 0
    assert all("constraints/neuron.txt" in line for line in clone.installs)
    status, said = clone.run("./setup.sh", "dev", "int8", "serve")
    assert status == 0 and "int8 is left out" in said
    assert [line.split("constraints/neuron.txt ")[1] for line in clone.installs] == [
        "pytest pytest-xdist hypothesis",
        "--requirement pyproject.toml --extra serve",
    ]
    status, said = clone.run("./setup.sh")
    assert status == 0 and "as before with PINS=neuron" in said
    assert all("constraints/neuron.txt" in line for line in clone.installs)


@pytest.mark.parametrize(
    ("words", "extras"),
    [
        ("inference", set()),
        ("evaluate", set()),
        ("evaluate ARGS='--dataset generated views'", {"evaluate"}),
        ("evaluate ARGS='--dataset colmap:room'", {"evaluate"}),
        ("compile", set()),
        ("compile ARGS=--precision=int8", {"int8"}),
        ("serve", {"serve"}),
        ("batch", {"batch"}),
        ("batch ARGS='--engine ray'", {"batch", "ray"}),
        ("deploy", {"aws"}),
        ("bench", {"bench"}),
        ("bench ARGS='load --rounds 1'", {"bench", "serve"}),
        ("check", {"serve", "lint"}),
        ("video", {"video"}),
        ("bench ARGS=video", {"bench", "video"}),
        ("test", {"serve", "batch", "int8", "ray", "video", "dev"}),
        ("test-all", {"serve", "batch", "int8", "ray", "video", "dev"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_target_asks_for_the_extras_it_needs_and_no_others(clone, words, extras):
    status, _ = clone.run("make", "setup")
    assert status == 0
    named = subprocess.run(
        ["make", "-n", *shlex.split(words)],
        cwd=clone.folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
        capture_output=True,
        text=True,
    ).stdout
    assert set(re.findall(r"^\./setup\.sh (\w+)$", named, re.MULTILINE)) == extras
    assert extras <= set(EXTRAS)


def test_a_missing_extra_is_named_with_the_command_that_adds_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(MissingDependency, match=r"pip install 'depth-anything-inferentia\[ray\]'"):
        optional.require("nothing_of_this_name", "ray")
    (tmp_path / "has-base").touch()
    with pytest.raises(MissingDependency, match=r"run: \./setup\.sh ray"):
        optional.require("nothing_of_this_name", "ray")


@pytest.mark.parametrize(("package", "told"), [("flask", True), ("nothing_of_this_name", False)])
def test_a_command_says_which_extra_it_lacks_and_hides_no_other_error(package, told, capsys):
    def work(args):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    parser = argparse.ArgumentParser()
    if not told:
        with pytest.raises(ModuleNotFoundError):
            run_command(parser, work, [])
        return
    assert run_command(parser, work, []) == 1
    assert "error: flask is not installed; run: " in capsys.readouterr().err


def test_every_extra_that_a_message_names_exists():
    named = set(optional.EXTRAS.values())
    for room in [init.parent for init in ROOT.glob("*/__init__.py") if init.parent.name != "tests"]:
        for file in room.rglob("*.py"):
            if not any(part.startswith(".") for part in file.relative_to(ROOT).parts):
                text = file.read_text(encoding="utf-8")
                named |= set(re.findall(r'require\("[\w.]+", "(\w+)"', text))
    assert {"serve", "batch", "int8", "torch"} <= named <= set(EXTRAS)


def test_demo_is_found_from_any_folder_after_what_the_folder_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPTH_CHECKPOINT_DIR", raising=False)
    demo = MODELS[DEMO]
    assert local_checkpoint(demo) == ROOT / "checkpoints" / demo.file
    (tmp_path / "checkpoints" / demo.file).parent.mkdir(parents=True)
    (tmp_path / "checkpoints" / demo.file).touch()
    assert local_checkpoint(demo) == Path("checkpoints") / demo.file
