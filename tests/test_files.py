"""A file is there whole or not at all; what was half written goes away."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.errors import InputError, LimitError
from runtime.files import (
    PARTIAL,
    check_output_file,
    check_output_folder,
    ignores_case,
    is_running,
    partial_folder,
    partial_name,
    read_whole,
    replace_folder,
    sweep,
    write_whole,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folder(tmp_path):
    write_whole(tmp_path / "a" / "b.bin", b"12")
    write_whole(tmp_path / "a" / "b.bin", iter([b"3", b"45"]))
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"345"
    assert names_in(tmp_path / "a") == ["b.bin"]


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_scrap(tmp_path):
    write_whole(tmp_path / "f", b"old")

    def blocks():
        yield b"new"
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        write_whole(tmp_path / "f", blocks())
    assert names_in(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_the_longest_name_that_a_disk_takes_can_be_written(tmp_path):
    name = "n" * 255
    write_whole(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_half_written_files_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import runtime.files as f; print(f.partial_name())"],
        capture_output=True,
        text=True,
        check=True,
    )
    dead, mine = tmp_path / ended.stdout.strip(), tmp_path / partial_name()
    elsewhere = tmp_path / f"{PARTIAL}another-host@1@abc"
    old = tmp_path / f"{PARTIAL}another-host@2@abc"
    for file in (dead, mine, elsewhere, old):
        file.write_bytes(b"")
    day_ago = time.time() - 90_000
    os.utime(old, (day_ago, day_ago))
    sweep(tmp_path)
    assert names_in(tmp_path) == sorted([mine.name, elsewhere.name])


def test_a_folder_takes_the_place_of_another_at_once(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    with partial_folder(tmp_path) as fresh:
        (fresh / "new").touch()
        replace_folder(fresh, tmp_path / "target")
    assert names_in(tmp_path) == ["target"]
    assert names_in(tmp_path / "target") == ["new"]


def test_processes_are_told_apart():
    assert is_running(os.getpid())
    assert not is_running(2**22 + 12345)


@pytest.mark.parametrize("name", ["", "new", "new/deep/er"])
def test_a_folder_that_can_be_made_passes_and_nothing_is_left(tmp_path, name):
    check_output_folder(tmp_path / name)
    check_output_file(tmp_path / name / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_whose_place_something_else_is_does_not_pass(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/below", "link", "link/below"):
        with pytest.raises(InputError, match="is not a folder; name one"):
            check_output_folder(tmp_path / name)
        with pytest.raises(InputError, match="is not a folder; name one"):
            check_output_file(tmp_path / name / "file.bin")
    with pytest.raises(InputError, match="File name too long"):
        check_output_folder(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="File name too long"):
        check_output_file(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="is a folder; name a file"):
        check_output_file(tmp_path)
    check_output_file(tmp_path / "file")  # which would be replaced
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_that_the_disk_refuses_does_not_pass(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(InputError, match=r"cannot be written to \(Permission denied\)"):
        check_output_folder(tmp_path / "new")


def test_only_files_within_the_limit_are_read(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    assert read_whole(tmp_path / "f", 5) == b"12345"
    with pytest.raises(LimitError, match="5 bytes, limit 4"):
        read_whole(tmp_path / "f", 4)
    os.mkfifo(tmp_path / "pipe")
    for place, what in ((tmp_path, "a folder"), (tmp_path / "pipe", "a device or a pipe")):
        with pytest.raises(InputError, match=f"{place}: {what}, expected a file"):
            read_whole(place, 5)
    for name in ("absent", "n" * 300, "x\0y"):
        with pytest.raises(InputError, match="cannot be read"):
            read_whole(tmp_path / name, 5)


def test_a_disk_that_ignores_case_is_asked_and_nothing_is_left(tmp_path, monkeypatch):
    assert ignores_case(tmp_path / "not there" / "yet") is False
    assert ignores_case(tmp_path / ("n" * 300)) is False
    monkeypatch.setattr(Path, "with_name", lambda path, name: path)  # as if both were one
    assert ignores_case(tmp_path) is True
    assert names_in(tmp_path) == []
