"""The images, as far as no Docker engine is needed: lint, what they promise, a run of the service.

For that run a scratch folder stands in for an image's root: the files that COPY names, a Python
that knows the installed packages but not this clone, a model that nobody may write, and the image's
own ENTRYPOINT, ENV and HEALTHCHECK. What no test here can see is whether the images build.
"""

import ast
import contextlib
import functools
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.engines import ENGINES

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.9 and 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "serve").glob("Dockerfile.*"))
ALL = pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix[1:])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
FOUND = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
DATA = {"checkpoints.demo"}  # weights that an install brings along; containers mount theirs
INSTALLED = {pattern.rstrip("*") for pattern in FOUND} - DATA  # the packages of code at the root
SERVING = {"exports", "runtime", "serve"}  # those of them that a container needs to answer
# import name -> the package that brings it, where the two differ
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pythonjsonlogger": "python-json-logger",
    "werkzeug": "flask",  # which is built on it
    "yaml": "pyyaml",
}
TARGETS = {"cpu": ("openvino", "onnx"), "cuda": ("torchscript", "pt2"), "neuron": ("neuron",)}


@dataclass(frozen=True)
class Stage:
    """One FROM: ``base`` and its (instruction, value) pairs, continued lines joined."""

    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]

    def one(self, instruction: str) -> str:
        (value,) = self.all(instruction)
        return value

    def resolved(self, value: str) -> str:
        """With ``${NAME}`` replaced by the default of this stage's ARG."""
        defaults = dict(argument.partition("=")[::2] for argument in self.all("ARG"))
        return re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], value)

    def environment(self) -> dict[str, str]:
        pairs = [pair for value in self.all("ENV") for pair in shlex.split(value)]
        return dict(pair.split("=", 1) for pair in pairs)

    def copies(self) -> list[tuple[list[str], str]]:
        """(sources, destination) of each COPY."""
        return [(words[:-1], words[-1]) for words in map(str.split, self.all("COPY"))]

    def commands(self) -> list[list[str]]:
        """What RUN runs, in words, one list a command."""
        return [
            shlex.split(command) for value in self.all("RUN") for command in value.split(" && ")
        ]

    def installs(self) -> list[tuple[str, set[str]]]:
        """(constraints file, packages by pip's normal name) of each ``pip install``."""
        found = []
        for words in self.commands():
            if "install" not in words or "pip" not in words:
                continue
            words = words[words.index("install") + 1 :]
            at = words.index("--constraint")
            rest = words[:at] + words[at + 2 :]
            found.append(
                (words[at + 1], {normal(word) for word in rest if not word.startswith("-")})
            )
        return found


def normal(requirement):
    """The name alone, as pip compares it: Flask>=3.1 is flask, python_json_logger has hyphens."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


@functools.cache
def stages(file: Path) -> list[Stage]:
    """Read a Dockerfile. hadolint has the real grammar; this needs no more than we write."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    instructions = [
        (name, value.strip())
        for name, _, value in (line.partition(" ") for line in joined.splitlines() if line)
    ]
    starts = [at for at, (name, _) in enumerate(instructions) if name == "FROM"]
    outside = Stage("", "", tuple(instructions[: starts[0]]))
    found = []
    for start, end in zip(starts, [*starts[1:], len(instructions)]):
        base, _, name = instructions[start][1].partition(" AS ")
        found.append(Stage(outside.resolved(base), name, tuple(instructions[start + 1 : end])))
    return found


def serving(file: Path) -> Stage:
    """The last stage, which is what a build without --target makes."""
    stage = stages(file)[-1]
    assert stage.name == "serve"
    return stage


def health_check(stage: Stage) -> list[str]:
    return json.loads(stage.one("HEALTHCHECK").partition(" CMD ")[2])


def pattern(line: str) -> "re.Pattern[str]":
    """A line of .dockerignore: a path from the root; * stays within a folder, ** does not."""
    text = re.escape(line).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.compile(text)


RULES = [
    (pattern(line.lstrip("!")), line.startswith("!"))
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def in_context(name: str) -> bool:
    """True if Docker may copy this file: the last rule counts that fits it or a folder above it."""
    parts = name.split("/")
    paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    found = True
    for rule, back_in in RULES:
        if any(rule.fullmatch(path) for path in paths):
            found = back_in
    return found


@functools.cache
def context() -> list[str]:
    """Every file that a COPY can reach, from the root, as Docker would walk them."""
    tops = [path for path in ROOT.iterdir() if in_context(path.name)]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))]
    names = [file.relative_to(ROOT).as_posix() for file in files if file.is_file()]
    return sorted(name for name in names if in_context(name))


def reached(source: str) -> list[str]:
    """The files that COPY takes for one of its sources."""
    return [name for name in context() if name == source or name.startswith(f"{source}/")]


def tracked() -> list[str]:
    """What git has or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def pins(file: str) -> set[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {normal(line) for line in lines if "==" in line and not line.startswith("#")}


# -- the files ------------------------------------------------------------------------------------


def test_there_is_an_image_for_each_kind_of_machine():
    assert [file.suffix[1:] for file in FILES] == sorted(TARGETS)


@ALL
def test_hadolint_has_nothing_to_say(file):
    beside = Path(sys.executable).parent
    hadolint = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "hadolint is not installed; run `make setup`"
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@ALL
def test_every_stage_starts_from_a_slim_python_of_a_stated_version(file):
    for stage in stages(file):
        assert re.fullmatch(r"python:3\.\d+-slim-bookworm", stage.base)


def test_images_speak_alike():
    """What the outside sees of an image does not depend on the machine it is for."""
    same = ("WORKDIR", "USER", "LABEL", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL")
    first, *others = [
        {name: value for name, value in serving(file).instructions if name in same}
        for file in FILES
    ]
    assert all(other == first for other in others)
    assert first["EXPOSE"] == "8080"
    assert first["STOPSIGNAL"] == "SIGTERM"
    assert first["LABEL"] == "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true"


@ALL
def test_entry_point_is_python_itself_so_that_signals_reach_it(file):
    assert json.loads(serving(file).one("ENTRYPOINT")) == ["python", "-m", "serve"]
    assert not serving(file).all("CMD")  # SageMaker's word `serve` would replace it


@ALL
def test_user_is_a_number_other_than_roots(file):
    stage = serving(file)
    assert int(stage.resolved(stage.one("USER"))) > 0
    last = [name for name, _ in stage.instructions if name in ("RUN", "COPY", "USER")][-1]
    assert last == "USER"  # what was copied and installed is root's


@ALL
def test_nothing_is_written_outside_tmp(file):
    found = serving(file).environment()
    assert found["HOME"] == "/tmp"
    assert found["PYTHONDONTWRITEBYTECODE"] == found["PYTHONUNBUFFERED"] == "1"


@ALL
def test_nothing_comes_from_an_address(file):
    for stage in stages(file):
        assert not stage.all("ADD")
        assert "://" not in "".join(value for _, value in stage.instructions if "127." not in value)


@ALL
def test_no_compiler_in_what_serves(file):
    installed = [words for words in serving(file).commands() if words[:2] == ["apt-get", "install"]]
    assert [words[2:] for words in installed] == [["--yes", "--no-install-recommends", "nginx"]]


# -- what is installed ----------------------------------------------------------------------------


@ALL
def test_every_package_is_pinned(file):
    for stage in stages(file):
        copied = {source for sources, _ in stage.copies() for source in sources}
        for constraints, packages in stage.installs():
            assert constraints in copied
            # AWS's own are not in the list of any public registry; their number stands in the line
            written = {
                normal(word)
                for words in stage.commands()
                for word in words
                if re.fullmatch(r"[\w\[\]-]+==[\d.]+", word)
            }
            packages = {name for name in packages if name not in ("", normal(".[torch,neuron]"))}
            assert packages <= pins(constraints) | written


@ALL
def test_image_installs_what_serving_imports(file):
    installed = set().union(*(packages for _, packages in serving(file).installs()))
    needed = {normal(ENGINES[target].package) for target in TARGETS[file.suffix[1:]]}
    for extra in ("serve", "aws"):
        needed |= {normal(one) for one in EXTRAS[extra]}
    for source in [file for room in SERVING for file in (ROOT / room).rglob("*.py")]:
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names}
            tops = set(filter(installed_here, tops))
            needed |= {normal(DISTRIBUTIONS.get(top, top)) for top in tops}
    assert needed <= installed


def installed_here(module: str) -> bool:
    """False for Python's own modules and for ours."""
    spec = importlib.util.find_spec(module)
    return bool(spec and spec.origin and "site-packages" in spec.origin)


def test_cpu_image_has_no_torch():
    (install,) = serving(ROOT / "serve" / "Dockerfile.cpu").installs()
    assert not any("torch" in name for name in install[1])


# -- what is copied -------------------------------------------------------------------------------


@ALL
def test_every_source_of_a_copy_exists_and_is_not_ignored(file):
    kept = tracked()
    for stage in stages(file):
        for sources, _ in stage.copies():
            for source in sources:
                wanted = [
                    name
                    for name in kept
                    if (name == source or name.startswith(f"{source}/"))
                    and (ROOT / name).is_file()
                    and "Dockerfile." not in name
                ]
                assert wanted, f"COPY {source}: not in the repository"
                assert set(wanted) <= set(reached(source))


@ALL
def test_serving_gets_no_model_code(file):
    tops = {source.partition("/")[0] for sources, _ in serving(file).copies() for source in sources}
    assert tops == {"constraints", *SERVING}


def test_compile_stage_gets_every_package_that_its_install_names():
    compiling = stages(ROOT / "serve" / "Dockerfile.neuron")[0]
    assert compiling.name == "compile"
    copied = {source for sources, _ in compiling.copies() for source in sources}
    assert copied >= INSTALLED


def test_an_install_brings_every_package_at_the_root():
    packages = {
        file.parts[-2] for file in ROOT.glob("*/__init__.py") if file.parent.name != "tests"
    }
    assert packages == INSTALLED


def test_context_holds_nothing_that_git_does_not():
    assert set(context()) <= set(tracked())


@pytest.mark.parametrize(
    "name",
    (
        ".git/config",
        ".venv/bin/python",
        ".cache/uv/wheel",
        "artifacts/vits-518x518-b1-onnx/graph.onnx",
        "benchmarks/.peers/da3/setup.py",
        "benchmarks/results/here.json",
        "checkpoints/depth_anything_v2_vits.pth",
        "checkpoints/demo/model.safetensors",
        "depth_anything_inferentia.egg-info/PKG-INFO",
        "input_images/me.jpg",
        "output_depth/me.jpg.npz",
        "runtime/__pycache__/artifact.cpython-39.pyc",
        "runtime/engines/__pycache__/onnx.cpython-39.pyc",
        "serve/Dockerfile.cpu",
        "tests/conftest.py",
        "training/latest.pt",
    ),
)
def test_context_leaves_out(name):
    assert not in_context(name)


# -- a folder in place of the image's root --------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory, make_artifact):
    """A folder laid out as Dockerfile.cpu lays out its root, with a model mounted read-only.

    The model is a torchscript one, which the real image has no engine for: the smallest there is.
    """
    root = tmp_path_factory.mktemp("image")
    stage = serving(ROOT / "serve" / "Dockerfile.cpu")
    workdir = root / stage.one("WORKDIR").lstrip("/")
    for sources, destination in stage.copies():
        (source,) = sources
        for name in reached(source):
            target = workdir / (destination + name[len(source) :])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    (root / "tmp").mkdir()

    # The image's Python knows the packages and nothing of this clone. Ours knows both: the project
    # is installed as editable, by a .pth file in site-packages that is run when Python starts. So
    # here is a venv of its own, with one .pth that names our site-packages: a folder that comes in
    # by a .pth is put on the path as it is, and the .pth files in it are not run.
    venv.EnvBuilder(symlinks=True, with_pip=False).create(root / "usr" / "local")
    (packages,) = (root / "usr" / "local").glob("lib/python*/site-packages")
    ours = dict.fromkeys(sysconfig.get_path(which) for which in ("purelib", "platlib"))
    (packages / "packages.pth").write_text("\n".join(ours))

    model = root / "opt" / "ml" / "model"
    make_artifact(root=model)
    writable = list((root / "opt").rglob("*"))
    for path in writable:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root, workdir, stage
    for path in writable:  # so that pytest can remove them
        path.chmod(0o755)


def environment(root, stage, **more):
    """The image's ENV, its paths below the stand-in's root, and what a container has besides."""
    env = {
        name: str(root / value.lstrip("/")) if value.startswith("/") else value
        for name, value in stage.environment().items()
    }
    return {
        **env,
        "PATH": f"{root}/usr/local/bin{os.pathsep}{os.defpath}",
        "TMPDIR": str(root / "tmp"),
        **more,
    }


def outside_tmp(root):
    """Every file but those below /tmp, with size and time."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and root / "tmp" not in path.parents
    }


def test_image_can_import_the_service_and_no_model(image):
    root, workdir, stage = image
    find = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    done = subprocess.run(
        ["python", "-c", find, "flask", "inference", *sorted(INSTALLED)],
        cwd=workdir,
        env=environment(root, stage),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["flask", *sorted(SERVING)], done.stderr


def test_health_check_fails_where_nothing_answers(image):
    root, workdir, stage = image
    env = environment(root, stage, SAGEMAKER_BIND_TO_PORT=str(free_port()))
    done = subprocess.run(health_check(stage), cwd=workdir, env=env, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"Connection refused" in done.stderr


def test_service_starts_answers_and_ends_where_only_tmp_is_writable(image, make_photo):
    root, workdir, stage = image
    before = outside_tmp(root)
    port = free_port()
    env = environment(
        root,
        stage,
        MODEL_DIR=str(root / "opt" / "ml" / "model"),
        SAGEMAKER_BIND_TO_PORT=str(port),
        DEPTH_HOST="127.0.0.1",
    )
    log = root / "tmp" / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*json.loads(stage.one("ENTRYPOINT")), "serve"],  # the word that SageMaker appends
            cwd=workdir,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address, process, log)

        photo = make_photo(20, 30)
        body = io.BytesIO()
        Image.fromarray(photo).save(body, "PNG")
        headers = {"Content-Type": "image/png", "Accept": "application/x-npy"}
        status, answer = ask(f"{address}/invocations", body.getvalue(), headers)
        assert status == 200, answer[:500]
        assert np.load(io.BytesIO(answer), allow_pickle=False).shape == photo.shape[:2]

        subprocess.run(health_check(stage), cwd=workdir, env=env, check=True, timeout=5)

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=25) == 0, log.read_text()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # nobody is left of the session that it led
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert outside_tmp(root) == before


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None, headers=None):
    """(status, body), past any proxy that the environment names."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers or {}), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_until_ready(address, process, log):
    end = time.monotonic() + 60
    status = None
    while status != 200:
        assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < end, f"not ready after 60 s, last {status}:\n{log.read_text()}"
        time.sleep(0.2)
        try:
            status, _ = ask(f"{address}/ping")
        except OSError as error:  # nobody listens yet
            status = error
