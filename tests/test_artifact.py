"""Artifacts on disk: written whole or not at all, and believed only after verification."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.artifact.folder import (
    MANIFEST,
    MANIFEST_BYTES,
    describe_files,
    find_artifacts,
    read_artifact,
)
from runtime.errors import ArtifactError
from runtime.files import PARTIAL, partial_folder, sha256_of


@pytest.fixture
def artifact(tiny_artifact, tmp_path):
    """A copy that a test may damage."""
    path = tmp_path / tiny_artifact.path.name
    shutil.copytree(tiny_artifact.path, path)
    return read_artifact(path)


def test_what_was_committed_reads_back(make_artifact, tmp_path):
    written = make_artifact(size_hw=(28, 42), batch=2, kind="depth", root=tmp_path)
    read = read_artifact(tmp_path / "vits-28x42-b2-torchscript")
    assert read == written
    read.verify()


def test_the_digest_is_the_sha256_of_the_manifest_on_disk(tiny_artifact):
    text = (tiny_artifact.path / MANIFEST).read_bytes()
    assert tiny_artifact.digest == hashlib.sha256(text).hexdigest()


def test_a_commit_leaves_the_artifact_and_nothing_else(make_artifact, tmp_path):
    artifact = make_artifact(root=tmp_path)
    assert list(tmp_path.iterdir()) == [artifact.path]
    assert sorted(file.name for file in artifact.path.iterdir()) == ["graph.pt", MANIFEST]


def test_a_commit_replaces_an_older_artifact_of_that_name(make_artifact, tmp_path):
    old = make_artifact(factor=1.0, root=tmp_path)
    (old.path / "leftover").touch()
    new = make_artifact(factor=3.0, weights_sha256="1" * 64, root=tmp_path)
    assert new.path == old.path
    assert read_artifact(old.path).digest == new.digest != old.digest
    assert not (new.path / "leftover").exists()
    assert list(tmp_path.iterdir()) == [new.path]


def test_files_are_described_by_name_with_hash_and_size(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"bb")
    (tmp_path / "a.bin").write_bytes(b"")
    (tmp_path / MANIFEST).write_text("not part of itself")
    first, second = describe_files(tmp_path)
    assert (first.name, first.bytes) == ("a.bin", 0)
    assert (second.name, second.bytes) == ("b.bin", 2)
    assert second.sha256 == hashlib.sha256(b"bb").hexdigest()


def test_a_hash_of_many_blocks_is_the_hash_of_the_whole(tmp_path):
    data = bytes(range(256)) * 10_000  # over two blocks
    (tmp_path / "large").write_bytes(data)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def test_a_changed_byte_is_noticed(artifact):
    graph = artifact.path / "graph.pt"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"graph\.pt: its bytes are not those the manifest nam"):
        artifact.verify()


def test_a_byte_too_many_is_noticed(artifact):
    with (artifact.path / "graph.pt").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match="damaged, or edited after the compile"):
        artifact.verify()


def test_a_missing_file_is_noticed(artifact):
    (artifact.path / "graph.pt").unlink()
    with pytest.raises(ArtifactError, match=r"graph\.pt: missing; rebuild the artifact with `make"):
        artifact.verify()


def test_a_link_in_place_of_a_file_is_refused_even_to_the_same_bytes(artifact, tmp_path):
    graph = artifact.path / "graph.pt"
    graph.rename(tmp_path / "elsewhere.pt")
    graph.symlink_to(tmp_path / "elsewhere.pt")
    with pytest.raises(ArtifactError, match=r"graph\.pt: missing"):
        artifact.verify()


def test_a_folder_in_place_of_a_file_is_refused(artifact):
    (artifact.path / "graph.pt").unlink()
    (artifact.path / "graph.pt").mkdir()
    with pytest.raises(ArtifactError, match=r"graph\.pt: missing"):
        artifact.verify()


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"no manifest\.json there, so it is no artifact; make"):
        read_artifact(tmp_path)
    with pytest.raises(ArtifactError, match=r"no manifest\.json there"):
        read_artifact(tmp_path / "absent")


def test_a_manifest_that_cannot_be_used_names_the_artifact(artifact):
    facts = json.loads((artifact.path / MANIFEST).read_text())
    facts["schema_version"] = 99
    (artifact.path / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match=f"{artifact.path}: manifest has schema version 99"):
        read_artifact(artifact.path)


def test_a_manifest_of_bytes_that_are_not_text_is_refused(artifact):
    (artifact.path / MANIFEST).write_bytes(b"\xff\xfe{}")
    with pytest.raises(ArtifactError, match=f"{artifact.path}: .*utf-8.* can't decode"):
        read_artifact(artifact.path)


def test_a_huge_manifest_is_refused_unread(artifact, monkeypatch):
    with (artifact.path / MANIFEST).open("ab") as file:
        file.truncate(MANIFEST_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(ArtifactError, match=f"over {MANIFEST_BYTES} bytes, not a manifest of ours"):
        read_artifact(artifact.path)


def test_an_exception_in_a_compile_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), partial_folder(tmp_path) as folder:
        (folder / "graph.pt").write_bytes(b"half a graph")
        assert find_artifacts(tmp_path) == []
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_a_compile_leaves_the_older_artifact(make_artifact, tmp_path):
    old = make_artifact(root=tmp_path)
    with pytest.raises(RuntimeError, match="boom"), partial_folder(tmp_path) as folder:
        (folder / "graph.pt").write_bytes(b"half a graph")
        raise RuntimeError("boom")
    read_artifact(old.path).verify()


def test_the_scratch_folder_makes_the_folders_above_it(tmp_path):
    with partial_folder(tmp_path / "new" / "artifacts") as folder:
        assert folder.parent == tmp_path / "new" / "artifacts"


KILLED = """
import sys
from pathlib import Path
from runtime.artifact.folder import MANIFEST
from runtime.files import partial_folder

with partial_folder(Path(sys.argv[1])) as folder:
    (folder / "graph.pt").write_bytes(b"half a graph")
    (folder / MANIFEST).write_text("{}")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_killed_compile_leaves_no_artifact_and_the_next_one_sweeps_its_rest(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        rest = Path(process.stdout.readline().strip())
        with partial_folder(tmp_path):
            assert rest.is_dir(), "the scratch folder of a living process was swept"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert (rest / "graph.pt").is_file()
    assert find_artifacts(tmp_path) == []
    with partial_folder(tmp_path):
        assert not rest.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_leaves_what_it_did_not_make(tmp_path):
    mine = tmp_path / f"{PARTIAL}of-my-own"
    mine.mkdir()
    with partial_folder(tmp_path):
        pass
    assert mine.is_dir()


def test_artifacts_are_found_by_name_in_the_folder_given(make_artifact, tmp_path):
    wide = make_artifact(size_hw=(28, 42), root=tmp_path)
    square = make_artifact(size_hw=(28, 28), root=tmp_path)
    (tmp_path / "empty").mkdir()
    hidden = tmp_path / f"{PARTIAL}1-abc"
    hidden.mkdir()
    (hidden / MANIFEST).write_text("{}")
    assert find_artifacts(tmp_path) == [square.path, wide.path]


def test_an_artifact_given_itself_is_found(tiny_artifact):
    assert find_artifacts(tiny_artifact.path) == [tiny_artifact.path]


def test_no_artifact_is_found_where_there_is_no_folder(tmp_path):
    assert find_artifacts(tmp_path / "absent") == []
