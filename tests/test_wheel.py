"""The wheel: built from the tracked files, installed elsewhere, and used from a folder of no clone.

Nothing is downloaded. The fresh environments borrow other people's packages from this one; the
project itself they have only from the wheel.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SITE = Path(pytest.__file__).parents[1]  # where this environment's packages are
CORE = ("numpy", "cv2", "PIL", "isal", "tqdm")  # what the project needs without any extra
# What it may put into site-packages: no tests, no documents
FOLDERS = {
    *("apps", "benchmarks", "checkpoints", "compile", "depth_anything_3", "depth_anything_v2"),
    *("exports", "layers", "metric_depth", "runtime", "serve"),
}

COMPILES = """
import json, sys
import numpy as np
from compile.job import CompileJob, compile_model
from runtime.predict.predictor import Predictor

job = CompileJob(model="demo", target="torchscript", sizes_hw=((28, 42),))
artifacts = list(compile_model(job))
found = Predictor(artifacts)(np.full((40, 60, 3), 127, np.uint8))
rooms = ("compile", "runtime", "layers", "depth_anything_v2")
ours = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] in rooms]
manifest = artifacts[0].manifest
print(json.dumps({
    "artifact": str(artifacts[0].path),
    "depth": found.depth.shape,
    "source": manifest.weights.source,
    "parity": manifest.parity.status,
    "files": [file for file in ours if file],
}))
"""


def tracked(under=()):
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *under],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to the project is not known")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the project, since building leaves folders behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copy / "dist" / done.stdout.splitlines()[-1]


def environment(folder, wheel, borrowed):
    """A fresh environment with the wheel, and other people's packages from ``borrowed``."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """The programs of an environment with the project's own requirements only."""
    packages = tmp_path_factory.mktemp("core")
    for entry in SITE.iterdir():
        name = entry.name.partition(".")[0].replace("opencv_python_headless", "cv2").lower()
        if name in {one.lower() for one in CORE} | {"pillow"}:
            (packages / entry.name).symlink_to(entry)
    return environment(tmp_path_factory.mktemp("env-core"), wheel, packages)


@pytest.fixture(scope="module")
def full(wheel, tmp_path_factory):
    """The programs of an environment with all that this one has."""
    return environment(tmp_path_factory.mktemp("env-full"), wheel, SITE)


def run(folder, *command):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DEPTH_"))}
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=kept, capture_output=True, text=True
    )


def test_the_wheel_has_every_file_of_its_packages_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in held} == FOLDERS | {"inference.py"}
    folders = sorted(FOLDERS - {"checkpoints"}) + ["checkpoints/demo"]
    wanted = {
        name
        for name in tracked(folders)
        if not Path(name).name.startswith("Dockerfile") and name != "metric_depth/README.md"
    }
    assert held - {"inference.py"} == wanted


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("depth-compile --list", "| `demo` | 6.4 M |"),
        ("depth-compile build --help", "--precision"),
        ("depth-inference --help", "--side-by-side"),
        ("depth-video --help", "--video-path"),
        ("serve --print-settings", "DEPTH_WORKERS="),
        ("serve --help", "MODEL_DIR"),
    ],
)
def test_commands_start_with_the_projects_own_requirements_only(core, tmp_path, command, said):
    program, *words = command.split()
    done = run(tmp_path, core / program, *words)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve", "serve"),
        ("depth-compile --model demo --sizes 28x28", "torch"),
        ("depth-video --video-path a.mp4", "video"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(core, tmp_path, command, extra):
    program, *words = command.split()
    done = run(tmp_path, core / program, *words)
    assert done.returncode == 1
    assert f"run: pip install 'depth-anything-inferentia[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_is_found_and_compiled_from_python_in_any_folder(full, tmp_path):
    done = run(tmp_path, full / "python", "-c", COMPILES)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["source"] == "checkpoint" and facts["parity"] == "passed"
    assert facts["depth"] == [40, 60]
    assert facts["artifact"] == "artifacts/demo-28x42-b1-torchscript"
    assert (tmp_path / facts["artifact"] / "manifest.json").is_file()
    assert all(Path(file).is_relative_to(full.parent) for file in facts["files"]), facts["files"]


def test_photos_become_depth_in_any_folder_without_naming_a_model(full, tmp_path, save_photo):
    save_photo(tmp_path / "photo.png", 40, 60)
    compiled = run(
        tmp_path,
        full / "depth-compile",
        "--model",
        "demo",
        "--target",
        "torchscript",
        "--sizes",
        "28x42",
    )
    assert compiled.returncode == 0, compiled.stderr
    done = run(tmp_path, full / "depth-inference", "--input", "photo.png", "--formats", "npz")
    assert done.returncode == 0, done.stderr
    assert "RANDOM WEIGHTS" not in done.stderr and "demo on torchscript" in done.stderr
    assert (tmp_path / "output_depth" / "photo.png.npz").is_file()


def test_the_page_and_the_description_of_the_service_are_in_the_wheel(full, tmp_path):
    code = (
        "from importlib import resources as r; p = r.files('serve.http'); print(p);"
        "print(*(len(p.joinpath(n).read_text()) for n in ('page.html', 'openapi.yaml')))"
    )
    done = run(tmp_path, full / "python", "-c", code)
    assert done.returncode == 0, done.stderr
    place, *sizes = done.stdout.split()
    assert Path(place).is_relative_to(full.parent) and all(int(size) > 1000 for size in sizes)
