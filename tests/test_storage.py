"""Folders as storage: what is listed, and what becomes of the system's refusals."""

import os
from pathlib import Path

import botocore.exceptions
import pytest

from runtime import files
from runtime.errors import DepthError, InputError, LimitError, StorageError, StorageGone
from runtime.storage import Folder, S3Prefix, _refusals, open_storage

LONG = "n" * 300


def names(folder: Path, start: str = "") -> "list[str]":
    return [entry.name for entry in Folder(folder).below(start)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Some files, in folders, hidden and not."""
    for name in ("b.png", "a/c.png", ".hidden.png", ".thumbs/d.png", "a/.e.png", "_job/x/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    return tmp_path


def test_what_lies_below_is_listed_by_name_and_hidden_files_are_not(folder):
    assert names(folder) == ["_job/x/1", "a/c.png", "b.png"]
    assert names(folder, "_job/x/") == ["_job/x/1"]
    assert names(folder, "absent/") == names(folder / "absent") == names(folder, "b.png/") == []
    assert {entry.size for entry in Folder(folder).list()} == {5}


def test_links_to_folders_are_followed_and_every_loop_ends(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "f.png").touch()
    (folder / "a" / "up").symlink_to("..")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "self.png").symlink_to("self.png")
    (folder / "nowhere.png").symlink_to("absent")
    assert names(folder) == ["_job/x/1", "a/c.png", "b.png", "linked/f.png"]


def test_a_folder_that_may_not_be_read_is_an_error_and_one_that_is_gone_is_not(folder, monkeypatch):
    scandir = os.scandir

    def refuse(error):
        def scan(path):
            if os.fspath(path).endswith("/a"):
                raise error
            return scandir(path)

        monkeypatch.setattr(files.os, "scandir", scan)

    refuse(PermissionError(13, "Permission denied", str(folder / "a")))
    with pytest.raises(StorageError, match=r"/a: cannot be read \(Permission denied\)"):
        names(folder)
    refuse(FileNotFoundError(2, "No such file or directory", str(folder / "a")))
    assert names(folder) == ["_job/x/1", "b.png"]


@pytest.mark.parametrize("name", [LONG, "self.png", "x\0y", f"a/{LONG}"])
def test_what_the_system_refuses_is_an_error_of_ours(folder, name):
    (folder / "self.png").symlink_to("self.png")
    storage = Folder(folder)
    with pytest.raises(StorageError, match="cannot be read"):
        storage.stat(name)
    with pytest.raises(InputError, match="cannot be read"):
        storage.read(name, 10)
    if name != "self.png":  # a link itself can be removed, and replaced
        for change in (storage.delete, lambda name: storage.write(name, b"")):
            with pytest.raises(InputError, match=r"no disk takes|give plain parts"):
                change(name)


def test_what_is_not_there_is_none_and_removing_it_is_no_error(folder):
    storage = Folder(folder)
    for name in ("absent", "absent/deeper", "b.png/no-folder"):
        assert storage.stat(name) is None
        storage.delete(name)
    storage.delete("b.png")
    assert storage.stat("b.png") is None
    with pytest.raises(StorageError, match="a: cannot be removed"):
        storage.delete("a")
    with pytest.raises(LimitError, match="5 bytes, limit 4"):
        storage.read("a/c.png", 4)


def test_a_file_where_a_folder_should_be_is_said(folder):
    storage = Folder(folder / "b.png")
    storage.sweep()
    assert storage.stat("_job/plan.json") is None and list(storage.list()) == []
    with pytest.raises(StorageError, match=r"cannot be written \(Not a directory\)"):
        storage.write("_job/plan.json", b"")


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("s3://bucket", ""),
        ("s3://bucket/", ""),
        ("s3://bucket//", ""),
        ("s3://bucket/a", "a/"),
        ("s3://bucket/a///", "a/"),
        ("s3://bucket/a//b/", "a//b/"),
    ],
)
def test_a_prefix_is_the_same_with_and_without_slashes_at_its_end(address, prefix):
    storage = open_storage(address)
    assert isinstance(storage, S3Prefix) and storage.prefix == prefix


def client_error(code: str, status: int) -> botocore.exceptions.ClientError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), StorageGone),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), StorageGone),
        (botocore.exceptions.NoCredentialsError(), StorageGone),
        (client_error("ExpiredToken", 400), StorageGone),
        (client_error("AccessDenied", 403), StorageError),
        (client_error("InternalError", 500), StorageError),
        (botocore.exceptions.ParamValidationError(report="bucket"), StorageError),
        (client_error("NoSuchKey", 404), InputError),
    ],
)
def test_a_bucket_that_is_gone_is_told_from_an_object_that_is_refused(error, kind):
    with pytest.raises(DepthError) as caught, _refusals("s3://bucket/a"):
        raise error
    assert type(caught.value) is kind and "s3://bucket/a" in str(caught.value)


def test_a_key_that_s3_does_not_take_is_refused_before_it_is_sent():
    bucket = S3Prefix("bucket", "p" * 900)
    with pytest.raises(InputError, match="over 1,024 bytes with its prefix"):
        bucket.write("n" * 200, b"")
    for change in (lambda name: bucket.write(name, b""), bucket.delete):
        with pytest.raises(InputError, match="give plain parts"):
            change("../up")
