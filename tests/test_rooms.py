"""Where code lives: rooms are read from the tree, and imports follow the arrows between them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND = (
    "runtime.errors",
    "runtime.optional",
    "runtime.files",
    "runtime.names",
    "runtime.walk",
    "runtime.processor",
)

# A room: all that its files may import of this project, beside itself. A name stands for everything
# below it. A file belongs to the deepest room that holds it.
ARROWS = {
    "layers": GROUND,
    "runtime": (),  # the files of the ground floor, which import each other only
    "runtime.photo": GROUND,
    "runtime.scene": (*GROUND, "runtime.photo"),
    "runtime.artifact": (*GROUND, "runtime.photo"),
    "runtime.engines": (*GROUND, "runtime.artifact"),
    "runtime.predict": (
        *GROUND,
        "runtime.engines",
        "runtime.artifact",
        "runtime.scene",
        "runtime.photo",
    ),
    "exports": ("runtime",),
    "depth_anything_v2": ("layers", *GROUND, "runtime.photo", "runtime.scene", "runtime.hub"),
    "depth_anything_3": (
        "layers",
        *GROUND,
        "runtime.photo",
        "runtime.scene",
        "runtime.hub",
        "runtime.artifact.manifest",
        "runtime.predict.found",
        "runtime.predict.scenes",
        "runtime.predict.given_cameras",
        "exports",
    ),
    "compile": ("depth_anything_v2", "depth_anything_3", "layers", "runtime"),
    "serve": ("runtime", "exports", "serve.http"),  # python -m serve
    "serve.http": ("runtime", "exports"),
    "serve.batch": ("runtime", "exports"),
    "serve.sagemaker": ("runtime", "exports", "serve.http.settings"),
    "apps": (
        "compile",
        "depth_anything_v2",
        "depth_anything_3",
        "layers",
        "runtime",
        "exports",
        "serve",
    ),
    "metric_depth": (
        "apps.estimators",
        "compile",
        "depth_anything_v2",
        "depth_anything_3",
        "layers",
        "runtime",
        "exports",
    ),
    "benchmarks": (
        "apps",
        "compile",
        "depth_anything_v2",
        "depth_anything_3",
        "exports",
        "layers",
        "metric_depth",
        "runtime",
        "serve",
    ),
    # the doors: files at the root, and those that upstream has elsewhere
    "": ("apps", "metric_depth", "runtime", "exports"),
}
DOORS_ELSEWHERE = {"metric_depth.run", "metric_depth.depth_to_pointcloud"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines
PARSERS = ("build_parser", "_add_")  # of command lines: lists of options
PARTS_OF_A_ROOM = {
    "depth_anything_3.utils",
    "depth_anything_3.utils.export",
    "compile.targets",
    "benchmarks.peers",
    "exports.pages",
    "apps.web",
}


def modules():
    """Every module of the project by its dotted name; tests are not looked at."""
    found = {}
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*/__init__.py")]:
        if file.parent == ROOT:
            found[file.stem] = file
        elif file.parent.name != "tests":
            for inner in file.parent.rglob("*.py"):
                parts = inner.relative_to(ROOT).with_suffix("").parts
                if any(part.startswith(".") for part in parts):
                    continue  # benchmarks/.peers holds what is not ours
                found[".".join(part for part in parts if part != "__init__")] = inner
    return found


MODULES = modules()


def room_of(module):
    """The deepest room that holds a module."""
    parts = module.split(".")
    if MODULES[module].parent == ROOT or module in DOORS_ELSEWHERE:
        return ""
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((name for name in names if name in ARROWS), None)


def imports_of(file):
    """Modules of this project that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def allowed(target, room):
    """Whether a room may import a module."""
    if room_of(target) == room:
        return True
    return any(target == name or target.startswith(f"{name}.") for name in ARROWS[room])


def wrong_arrows(module, file):
    room = room_of(module)
    return [
        f"{module} -> {target}"
        for target in imports_of(file)
        if target.partition(".")[0] in {name.partition(".")[0] for name in MODULES}
        and not allowed(target if target in MODULES else target.partition(".")[0], room)
    ]


def test_every_module_is_in_a_room_and_every_room_has_modules():
    assert len(MODULES) > 150
    rooms = {name: room_of(name) for name in MODULES}
    assert not [name for name, room in rooms.items() if room is None]
    assert set(rooms.values()) == set(ARROWS)


def test_a_new_folder_is_a_room_or_said_to_be_a_part_of_one():
    folders = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    assert folders == {name for name in ARROWS if name} | PARTS_OF_A_ROOM


@pytest.mark.parametrize("room", [room or "doors" for room in ARROWS])
def test_rooms_import_only_along_the_arrows(room):
    room = "" if room == "doors" else room
    wrong = []
    for module, file in MODULES.items():
        if room_of(module) == room:
            wrong += wrong_arrows(module, file)
    assert not wrong


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("serve.http.routes", "import benchmarks.machine"),
        ("serve.http.service", "from inference import main"),
        ("runtime.photo.decode", "from runtime.predict import choose"),
        ("exports.npz", "import compile.registry"),
        ("layers.vit", "from runtime.photo.decode import read_photo"),
        ("metric_depth.judge", "import apps.folder"),
        ("inference", "from serve.http.routes import create_app"),
    ],
)
def test_an_arrow_that_must_not_be_is_seen(module, line, tmp_path):
    file = tmp_path / "module.py"
    file.write_text(line)
    assert wrong_arrows(module, file)


@pytest.mark.parametrize("room", ["runtime", "exports", "serve"])
def test_a_container_that_answers_requests_ships_no_model(room):
    models = {"layers", "depth_anything_v2", "depth_anything_3", "compile"}
    for name, targets in ARROWS.items():
        if name.partition(".")[0] == room:
            assert not models & {target.partition(".")[0] for target in targets}


def test_files_and_functions_are_short():
    long = []
    for module, file in MODULES.items():
        text = file.read_text(encoding="utf-8")
        if len(text.splitlines()) > LONGEST_FILE:
            long.append(module)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                parser = node.name.startswith(PARSERS)
                if node.end_lineno - node.lineno >= LONGEST_FUNCTION and not parser:
                    long.append(f"{module}.{node.name}")
    assert not long


def rooms_in(page):
    """Folder -> names of its files, as the list in docs/architecture.md has them."""
    found, room = {}, None
    block = page.split("## Rooms", 1)[1].split("\n## ", 1)[0]
    for line in block.splitlines():
        heading = re.match(r" {4}(\S+)/(?= |$)", line)
        if heading:
            room = heading[1]
            found[room] = set()
        if room and line.startswith("    "):
            found[room].update(re.findall(r"(?<![\w/])(\w+\.py)\b", line))
    return found


def test_the_architecture_page_lists_every_file():
    written = rooms_in((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    there = {}
    for file in MODULES.values():
        if file.name not in ("__init__.py", "__main__.py") and file.parent != ROOT:
            there.setdefault(str(file.parent.relative_to(ROOT)), set()).add(file.name)
    assert set(written) == set(there)
    for room, files in there.items():
        assert written[room] == files, f"{room}: {sorted(files ^ written[room])}"
