"""Programs that were made on this machine: kept, and never anybody else's."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from runtime.engines import made_here as module
from runtime.engines.made_here import BESIDE, made_here

FACTS = {"graph": "a" * 64, "torch": "2.13"}


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "artifact"
    folder.mkdir()
    return folder


@pytest.fixture
def make():
    """Makes a program and counts how often."""

    class Make:
        made = 0

        def __call__(self, file: Path) -> None:
            self.made += 1
            file.write_bytes(b"program")

    return Make()


def test_a_program_is_made_once_and_lies_beside_the_artifact(artifact, make):
    first, second = (made_here(artifact, FACTS, ".so", make) for _ in "12")
    assert first == second and first.parent == artifact / BESIDE and make.made == 1
    assert first.read_bytes() == b"program"
    assert first.parent.stat().st_mode & 0o077 == 0 and first.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("other", [{"graph": "b" * 64}, {"torch": "2.14"}, {"arch": "9.0"}])
def test_other_facts_are_another_program(other, artifact, make):
    made_here(artifact, FACTS, ".so", make)
    made_here(artifact, {**FACTS, **other}, ".so", make)
    assert make.made == 2


def test_beside_a_folder_that_cannot_be_written_it_is_kept_with_the_user(
    artifact, make, tmp_path, monkeypatch
):
    real = os.mkdir

    def mkdir(path, *options, **more):
        if Path(path).name == BESIDE:
            raise OSError(30, "Read-only file system", str(path))
        real(path, *options, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(Path, "mkdir", _mkdir_by(mkdir, Path.mkdir))
    first, second = (made_here(artifact, FACTS, ".so", make) for _ in "12")
    assert first == second and make.made == 1
    assert first.parent == tmp_path / "cache" / module.OURS and not any(artifact.iterdir())


def _mkdir_by(mkdir, real):
    def call(self, mode=0o777, parents=False, exist_ok=False):
        if self.name == BESIDE:
            mkdir(self, mode)
        real(self, mode, parents, exist_ok)

    return call


def put(artifact, name, data=b"evil"):
    """A file where programs are kept, as an archive that this user unpacked would have it."""
    folder = artifact / BESIDE
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / name
    file.write_bytes(data)
    file.chmod(0o600)
    return file


def test_what_came_with_an_artifact_is_never_taken_for_ours(artifact, make, caplog):
    key = made_here(artifact, FACTS, ".so", make).name.partition("-")[0]
    shutil.rmtree(artifact / BESIDE)
    for name in (f"{key}-{'0' * 64}.so", f"{key}-.so", f"{key}-" + "é" * 64 + ".so"):
        put(artifact, name)
    with caplog.at_level(logging.WARNING):
        assert made_here(artifact, FACTS, ".so", make).read_bytes() == b"program"
    assert make.made == 2 and "not made here, or changed since" in caplog.text


def test_another_users_secret_makes_no_program_of_ours(artifact, make, tmp_path, monkeypatch):
    theirs = made_here(artifact, FACTS, ".so", make)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert made_here(artifact, FACTS, ".so", make) != theirs and make.made == 2


@pytest.mark.parametrize("fault", ["bytes", "mode", "link", "name"])
def test_a_program_that_was_touched_is_made_again(fault, artifact, make, tmp_path):
    file = made_here(artifact, FACTS, ".so", make)
    if fault == "bytes":
        file.write_bytes(b"evil")
    elif fault == "mode":
        file.chmod(0o666)
    elif fault == "name":
        file.rename(file.with_name(file.name.replace(file.name[:4], "0000", 1)))
    else:
        moved = file.rename(tmp_path / "elsewhere")
        file.symlink_to(moved)
    found = made_here(artifact, FACTS, ".so", make)
    assert found.read_bytes() == b"program" and make.made == 2 and not found.is_symlink()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_folder_that_others_may_enter_is_not_used(mode, artifact, make, tmp_path):
    (artifact / BESIDE).mkdir()
    (artifact / BESIDE).chmod(mode)
    assert made_here(artifact, FACTS, ".so", make).parent == tmp_path / "cache" / module.OURS


def test_a_folder_that_is_a_link_is_not_used(artifact, make, tmp_path):
    (tmp_path / "aim").mkdir(mode=0o700)
    (artifact / BESIDE).symlink_to(tmp_path / "aim")
    made_here(artifact, FACTS, ".so", make)
    assert not any((tmp_path / "aim").iterdir())


def test_without_any_place_for_a_secret_it_is_made_at_each_start(artifact, make, caplog, tmp_path):
    cache = tmp_path / "cache"
    cache.write_text("a file in the way")
    first = made_here(artifact, FACTS, ".so", make)
    second = made_here(artifact, FACTS, ".so", make)
    assert first != second and make.made == 2 and not (artifact / BESIDE).exists()
    assert "made at each start" in caplog.text


def test_what_fails_to_be_made_leaves_nothing(artifact):
    def fail(file):
        file.write_bytes(b"half")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        made_here(artifact, FACTS, ".so", fail)
    assert [one.name for one in (artifact / BESIDE).iterdir() if one.suffix != ".lock"] == []


def test_a_program_that_nobody_loads_for_long_goes_when_another_is_made(artifact, make):
    unused, used = (made_here(artifact, {**FACTS, "torch": v}, ".so", make) for v in ("1", "2"))
    theirs = put(artifact, "notes.txt")
    for file in (unused, used, theirs):
        os.utime(file, (0, 0))
    made_here(artifact, {**FACTS, "torch": "2"}, ".so", make)  # a start: it is in use
    assert unused.exists()
    made_here(artifact, {**FACTS, "torch": "3"}, ".so", make)
    assert not unused.exists() and used.exists() and theirs.exists()
