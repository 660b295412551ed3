"""The folder of an export: the old one or the new one, whole, and nobody's own files are lost."""

import datetime
import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from apps import export_folder
from apps.export_folder import MARKER, check_export_folder, made_in, writing_export
from runtime import files
from runtime.errors import InputError

NOW = datetime.datetime(2026, 1, 31, 23, 59, 58)


def export(folder, *names, text="new"):
    """Write an export of such files; where it is."""
    with writing_export(folder, NOW) as made:
        for name in names:
            file = made.scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text} {name}")
    return made.folder


def held(folder):
    """Names and contents of what is there; scratch of ours would be among it."""
    return {
        file.relative_to(folder).as_posix(): file.read_text()
        for file in folder.rglob("*")
        if file.is_file() and file.name != MARKER
    }


def test_an_export_appears_whole_with_a_marker_that_lists_it(tmp_path):
    folder = export(tmp_path / "a" / "out", "scene.glb", "exports/npz/results.npz")
    assert folder == tmp_path / "a" / "out"
    assert held(folder) == {
        "scene.glb": "new scene.glb",
        "exports/npz/results.npz": "new exports/npz/results.npz",
    }
    assert made_in(folder) == {"scene.glb", "exports/npz/results.npz", MARKER}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_an_error_leaves_nothing_and_the_old_export(tmp_path):
    export(tmp_path / "out", "scene.glb", text="old")
    for folder in (tmp_path / "out", tmp_path / "fresh"):
        with pytest.raises(ZeroDivisionError), writing_export(folder, NOW) as made:
            (made.scratch / "scene.glb").write_text("half")
            raise ZeroDivisionError
    assert held(tmp_path) == {"out/scene.glb": "old scene.glb"}


def test_runs_that_name_no_folder_overwrite_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [export(None, "scene.glb", text=str(number)) for number in range(3)]
    first = "outputs/outputs_20260131235958"
    assert list(map(str, folders)) == [first, f"{first}_2", f"{first}_3"]
    assert [held(folder) for folder in folders] == [
        {"scene.glb": f"{number} scene.glb"} for number in range(3)
    ]
    with writing_export(None, NOW) as made:  # another run takes the name meanwhile
        (made.scratch / "x").write_text("mine")
        export(None, "x", text="its")
    assert str(made.folder) == f"{first}_5" and held(made.folder) == {"x": "mine"}
    assert not [path for path in Path("outputs").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("stays", [False, True], ids=["swapped", "stays"])
def test_only_what_an_earlier_run_made_goes(stays, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export(folder, "scene.glb", "depth_vis/0000.jpg", "depth_vis/0001.jpg", text="old")
    (folder / "notes.txt").write_text("mine")
    (folder / "depth_vis" / "mine.jpg").write_text("mine")
    (folder / "exports").mkdir()
    (folder / "link").symlink_to("notes.txt")
    (folder / "scene.json").write_text("mine, too")  # where the next export has one
    before = folder.stat().st_ino
    if stays:
        monkeypatch.chdir(folder)
    export(folder, "scene.json", "depth_vis/0000.jpg")
    assert held(folder) == {
        "scene.json": "new scene.json",
        "depth_vis/0000.jpg": "new depth_vis/0000.jpg",
        "notes.txt": "mine",
        "link": "mine",
        "depth_vis/mine.jpg": "mine",
        "scene.json.kept": "mine, too",
    }
    assert (folder / "link").is_symlink() and (folder / "exports").is_dir()
    assert (folder.stat().st_ino == before) == stays
    assert made_in(folder) == {"scene.json", "depth_vis/0000.jpg", MARKER}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_moved_is_filled_file_by_file(tmp_path, monkeypatch):
    """As one that is mounted from the same disk: only the attempt shows it."""

    def busy(fresh, target):
        raise OSError(errno.EBUSY, "Device or resource busy", str(target))

    export(tmp_path / "out", "scene.glb", "old.npz", text="old")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    monkeypatch.setattr(export_folder, "replace_folder", busy)
    export(tmp_path / "out", "scene.glb", "depth_vis/0000.jpg")
    assert held(tmp_path) == {
        "out/scene.glb": "new scene.glb",
        "out/depth_vis/0000.jpg": "new depth_vis/0000.jpg",
        "out/notes.txt": "mine",
    }


def test_an_empty_folder_is_used_and_a_link_to_one_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    check_export_folder(tmp_path / "out", [], cleanup=False)
    export(tmp_path / "out", "scene.glb")
    assert (tmp_path / "out").is_symlink() and held(tmp_path / "real")


def test_what_must_not_be_cleaned_is_refused_before_any_work(tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("photo")
    for folder, inputs in ((photos, [photos]), (tmp_path, [photos]), (photos, [photos / "a.png"])):
        with pytest.raises(InputError, match="which is read, lies in it"):
            check_export_folder(folder, inputs, cleanup=True)
    with pytest.raises(InputError, match="no run of da3 made"):
        check_export_folder(photos, [], cleanup=True)
    with pytest.raises(InputError, match="not a folder"):
        check_export_folder(photos / "a.png", [], cleanup=True)
    export(tmp_path / "out", "scene.glb", text="old")
    with pytest.raises(InputError, match="--auto-cleanup replaces it"):
        check_export_folder(tmp_path / "out", [], cleanup=False)
    check_export_folder(tmp_path / "out", [photos], cleanup=True)
    (tmp_path / "out" / MARKER).write_text('{"files": 3}')
    with pytest.raises(InputError, match="damaged"):
        check_export_folder(tmp_path / "out", [], cleanup=True)
    assert held(tmp_path)["out/scene.glb"] == "old scene.glb"


@pytest.mark.parametrize("answer, agreed", [("y\n", True), ("Yes\n", True), ("\n", False)])
def test_on_a_terminal_a_person_is_asked(answer, agreed, tmp_path, monkeypatch):
    export(tmp_path / "out", "scene.glb")

    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            return answer

        def write(self, text):
            pass

        def flush(self):
            pass

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    if agreed:
        check_export_folder(tmp_path / "out", [], cleanup=False)
    else:
        with pytest.raises(InputError):
            check_export_folder(tmp_path / "out", [], cleanup=False)


def test_a_marker_that_leads_elsewhere_removes_nothing(tmp_path, monkeypatch):
    (tmp_path / "precious.txt").write_text("mine")
    folder = export(tmp_path / "out", "scene.glb", text="old")
    listed = ["../precious.txt", str(tmp_path / "precious.txt"), "scene.glb", MARKER]
    (folder / MARKER).write_text(json.dumps({"files": listed}))
    export(folder, "scene.json")
    assert (tmp_path / "precious.txt").read_text() == "mine"
    (folder / MARKER).write_text(json.dumps({"files": listed}))
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="leads elsewhere"):
        export(folder, "scene.json")
    assert (tmp_path / "precious.txt").read_text() == "mine"


def _die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def _killed_export(folder, at):
    """What a process does that is killed at one place of its way."""
    if at == "while it writes":
        with writing_export(folder, NOW) as made:
            (made.scratch / "scene.glb").write_text("half")
            _die()
    module, name = at
    setattr(module, name, _die)
    export(folder, "scene.glb", "more.npz")


@pytest.mark.parametrize(
    "at, is_new",
    [
        ("while it writes", False),
        ((export_folder, "_mark"), False),
        ((export_folder, "_carry"), False),
        ((export_folder, "replace_folder"), False),
        ((files, "_exchanged"), False),
        ((files.shutil, "rmtree"), True),  # first called when the old export has been put aside
    ],
    ids=["writing", "marker", "carrying", "replacing", "exchanging", "removing"],
)
def test_a_kill_leaves_the_old_export_or_the_new_one(at, is_new, tmp_path):
    folder = tmp_path / "out"
    export(folder, "scene.glb", "old.npz", text="old")
    (folder / "notes.txt").write_text("mine")
    process = multiprocessing.get_context("fork").Process(target=_killed_export, args=(folder, at))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    old = {"scene.glb": "old scene.glb", "old.npz": "old old.npz", "notes.txt": "mine"}
    new = {"scene.glb": "new scene.glb", "more.npz": "new more.npz", "notes.txt": "mine"}
    assert held(folder) == (new if is_new else old)
    export(folder, "scene.glb", "more.npz")  # the next run removes what the dead one left
    assert held(folder) == new
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
