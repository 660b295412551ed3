"""model.tar.gz: the same bytes each time, and nothing but artifacts out of it."""

import contextlib
import gzip
import io
import shutil
import subprocess
import tarfile

import pytest
from fuzzing import mutations
from hypothesis import strategies as st

from runtime.artifact.archive import inspect, pack, unpack
from runtime.artifact.folder import MANIFEST, Artifact, find_artifacts, read_artifact
from runtime.errors import ArtifactError, InputError

GOOD = "demo-28x28-b1-torchscript"


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture()
def entries(tiny_artifact):
    """Name and bytes of each entry of a good archive."""
    name = tiny_artifact.manifest.name
    return [(f"{name}/{p.name}", p.read_bytes()) for p in sorted(tiny_artifact.path.iterdir())]


def write(path, entries, finish=True):
    """A tar.gz of (TarInfo or name, bytes), made by the standard library, hostile or not."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry, content in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(raw.getvalue()))
    return path


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def refused(path, folder, match, **limits):
    """Both doors refuse it, and nothing of it stays."""
    with pytest.raises(ArtifactError, match=match):
        inspect(path, **limits)
    with pytest.raises(ArtifactError, match=match):
        unpack(path, folder, **limits)
    assert not folder.exists()


def test_what_was_packed_comes_out_the_same(make_artifact, tmp_path):
    artifacts = [make_artifact((28, 28)), make_artifact((28, 42))]
    file = pack(artifacts, tmp_path / "new" / "model.tar.gz")
    back = unpack(file, tmp_path / "out")
    assert [one.manifest for one in back] == [one.manifest for one in artifacts]
    assert [one.digest for one in back] == [one.digest for one in artifacts]
    for one in back:
        one.verify()
    assert [m.name for m in inspect(file)] == [one.manifest.name for one in artifacts]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [m.name for m in inspect(file)]


def test_the_same_artifacts_make_the_same_bytes_whatever_their_order_and_age(
    make_artifact, tmp_path
):
    one, other = make_artifact((28, 28)), make_artifact((28, 42))
    first = pack([one, other], tmp_path / "a.tar.gz").read_bytes()
    for file in one.path.iterdir():
        file.touch()
        file.chmod(0o600)
    assert pack([other, one], tmp_path / "b.tar.gz").read_bytes() == first


def test_any_tar_reads_it_and_finds_no_owner_and_no_time(tiny_artifact, tmp_path):
    file = pack([tiny_artifact], tmp_path / "model.tar.gz")
    assert file.read_bytes()[4:8] == b"\0\0\0\0"  # gzip's time
    with tarfile.open(file) as tar:
        members = tar.getmembers()
    name = tiny_artifact.manifest.name
    assert [m.name for m in members] == [f"{name}/graph.pt", f"{name}/{MANIFEST}"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_only_files_that_the_manifest_names_go_in(make_artifact, tmp_path):
    artifact = make_artifact()
    (artifact.path / "notes.txt").write_text("not for the container")
    with tarfile.open(pack([artifact], tmp_path / "m.tar.gz")) as tar:
        assert [m.name.split("/")[1] for m in tar.getmembers()] == ["graph.pt", MANIFEST]


def test_a_damaged_artifact_is_not_packed_and_an_older_archive_stays(make_artifact, tmp_path):
    artifact = make_artifact()
    file = pack([artifact], tmp_path / "model.tar.gz")
    before = file.read_bytes()
    (artifact.path / "graph.pt").write_bytes(b"edited")
    with pytest.raises(ArtifactError, match="not those the manifest names"):
        pack([artifact], file)
    assert file.read_bytes() == before
    assert files_below(tmp_path) == ["model.tar.gz"]


def test_a_failure_while_writing_leaves_nothing(tiny_artifact, tmp_path, monkeypatch):
    def fail(*args, **more):
        raise OSError("no space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", fail)
    with pytest.raises(OSError, match="no space"):
        pack([tiny_artifact], tmp_path / "model.tar.gz")
    assert files_below(tmp_path) == []


def test_nothing_to_pack_and_one_name_twice_are_refused(make_artifact, tmp_path):
    with pytest.raises(InputError, match="no artifact"):
        pack([], tmp_path / "model.tar.gz")
    with pytest.raises(InputError, match="one name twice"):
        pack([make_artifact(), make_artifact()], tmp_path / "model.tar.gz")


def test_an_archive_made_by_hand_is_read_too(entries, tmp_path):
    file = write(tmp_path / "model.tar.gz", entries)
    assert [one.path.name for one in unpack(file, tmp_path / "out")] == [
        entries[0][0].split("/")[0]
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "../escaped.txt",
        f"{GOOD}/../../escaped.txt",
        "/escaped.txt",
        f"/{GOOD}/graph.pt",
        "graph.pt",
        f"{GOOD}/deeper/graph.pt",
        f"{GOOD}/.hidden",
        ".hidden/graph.pt",
        f"{GOOD}//graph.pt",
        f"{GOOD}/gr\\aph.pt",
        f"{GOOD}/gr\naph.pt",
    ],
)
def test_names_that_are_not_artifact_slash_file_are_refused(entry, entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", [*entries, (entry, b"x")])
    refused(file, tmp_path / "in" / "out", "does not belong in it")
    assert files_below(tmp_path) == ["bad.tar.gz"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a link, pack with -h"),
        (tarfile.LNKTYPE, "a hard link, pack with --hard-dereference"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"V", "type b'V'"),
    ],
)
def test_only_plain_files_are_taken(kind, told, entries, tmp_path):
    inner = entries[0][0].rsplit("/", 1)[0] + "/extra"
    file = write(tmp_path / "bad.tar.gz", [*entries, (special(inner, kind, "/etc/passwd"), b"")])
    refused(file, tmp_path / "out", f"{told}.*does not belong in it")


MAC = b"\0\5\x16\7\0\2\0\0Mac OS X        "


def by_tar(file, folder, *words):
    subprocess.run(["tar", "czf", str(file), *words], cwd=folder, check=True)
    return file


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (".", ["-C", "m", "."]),  # as AWS's own documents say
        (".", ["m"]),  # with its folder
        (GOOD, ["-C", f"m/{GOOD}", "."]),  # an artifact's files alone
        (GOOD, ["-C", "m", GOOD]),
    ],
)
def test_an_archive_packed_by_hand_is_taken(inside, words, form, tiny_artifact, tmp_path):
    name = tiny_artifact.manifest.name
    shutil.copytree(tiny_artifact.path, tmp_path / "m" / name)
    for place in (tmp_path / "m", tmp_path / "m" / name):
        (place / ".DS_Store").write_bytes(MAC)
        (place / "._manifest.json").write_bytes(MAC)
    words = [word.replace(GOOD, name) for word in words]
    file = by_tar(tmp_path / "model.tar.gz", tmp_path, f"--format={form}", *words)
    assert [one.name for one in inspect(file)] == [name]
    (one,) = unpack(file, tmp_path / "out")
    one.verify()
    assert one.digest == tiny_artifact.digest
    assert files_below(tmp_path / "out") == [f"{name}/graph.pt", f"{name}/{MANIFEST}"]
    # unpacked by SageMaker, the same files are found
    (tmp_path / "model").mkdir()
    subprocess.run(["tar", "xzf", str(file), "-C", str(tmp_path / "model")], check=True)
    (found,) = find_artifacts(tmp_path / "model")
    assert read_artifact(found).digest == tiny_artifact.digest


def test_long_names_and_attributes_come_in_headers_of_their_own(entries, tmp_path):
    name, inner = entries[0][0].split("/")
    file = tmp_path / "pax.tar.gz"
    for path, taken in ((f"./{entries[0][0]}", True), (f"{name}/../../{inner}", False)):
        with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("short")
            info.pax_headers = {"path": path, "LIBARCHIVE.xattr.com.apple.x": "y" * 3000}
            info.size = len(entries[0][1])
            tar.addfile(info, io.BytesIO(entries[0][1]))
            for entry, content in entries[1:]:
                info = tarfile.TarInfo(entry)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        if taken:
            assert [one.name for one in inspect(file)] == [name]
        else:
            refused(file, tmp_path / "out", "does not belong in it")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"99 path=a\n", "damaged"),
        (b"path=a\n", "damaged"),
        (b"0 \n", "damaged"),
        (b"22 GNU.sparse.major=1\n", "a sparse file"),
        (b"12 size=-12\n", "of '-12' bytes"),
        (b"28 size=9999999999999999999\n", "uncompressed"),
    ],
)
def test_an_extended_header_is_held_to_its_form(data, match, entries, tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        extra = special("x", tarfile.XHDTYPE)
        extra.size = len(data)
        raw.write(extra.tobuf() + data + bytes(-len(data) % 512))
        for entry, content in entries:
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "bad.tar.gz").write_bytes(gzip.compress(raw.getvalue()))
    refused(tmp_path / "bad.tar.gz", tmp_path / "out", match)


def test_headers_without_files_end(entries, tmp_path):
    folders = [(special(f"d{number}", tarfile.DIRTYPE), b"") for number in range(40)]
    file = write(tmp_path / "bad.tar.gz", [*folders, *entries])
    assert inspect(file)
    refused(file, tmp_path / "out", "more than 2 files", limit_files=2)


def test_artifacts_at_several_depths_are_refused(make_artifact, tmp_path):
    one, other = make_artifact((28, 28)), make_artifact((28, 42))
    shutil.copytree(one.path, tmp_path / "m", dirs_exist_ok=True)
    shutil.copytree(other.path, tmp_path / "m" / other.manifest.name)
    file = by_tar(tmp_path / "model.tar.gz", tmp_path, "-C", "m", ".")
    refused(file, tmp_path / "out", "put them side by side")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\3\4 a zip", "it is a zip"),
        (b"\xfd7zXZ\0", "it is a tar.xz"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
        (b"\n<!DOCTYPE html>", "a page of HTML"),
        (bytes(257) + b"ustar" + bytes(300), "a tar without gzip"),
    ],
)
def test_other_kinds_are_called_what_they_are(content, kind, tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(content)
    refused(tmp_path / "model.tar.gz", tmp_path / "out", f"cannot be read.*{kind}")


def test_one_name_twice_in_an_archive_is_refused(entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", [*entries, (entries[0][0], b"other bytes")])
    refused(file, tmp_path / "out", "in it twice")


def test_too_many_bytes_are_refused_before_they_are_written(entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", entries)
    total = sum(len(content) for _, content in entries)
    assert inspect(file, limit_bytes=total)
    refused(file, tmp_path / "out", "uncompressed", limit_bytes=total - 1)


def test_a_gzip_bomb_is_refused_by_what_its_header_claims(entries, tmp_path):
    bomb = write(tmp_path / "bomb.tar.gz", [(f"{GOOD}/zeros", bytes(50 << 20)), *entries])
    assert bomb.stat().st_size < 1 << 20
    refused(bomb, tmp_path / "out", "uncompressed", limit_bytes=1 << 20)


def test_a_bomb_behind_the_end_is_refused_too(entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", entries)
    tail = gzip.compress(bytes(30 << 20))
    file.write_bytes(file.read_bytes() + tail)
    refused(file, tmp_path / "out", "bytes after its end")


def test_a_manifest_of_any_size_is_not_held_in_memory(tmp_path):
    file = write(tmp_path / "bad.tar.gz", [(f"{GOOD}/{MANIFEST}", b" " * ((1 << 20) + 1))])
    refused(file, tmp_path / "out", "over 1048576 bytes")


def test_too_many_files_are_refused(entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", entries)
    assert inspect(file, limit_files=len(entries))
    refused(file, tmp_path / "out", "more than 1 files", limit_files=1)


def test_a_claimed_size_below_zero_is_refused(entries, tmp_path):
    header = bytearray(tarfile.TarInfo(f"{GOOD}/graph.pt").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" * 12  # base-256, minus one
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    refused(file, tmp_path / "out", "does not belong in it")


@pytest.mark.parametrize("keep", [0, 1, 9, 30, 0.5, -1])
def test_an_archive_cut_anywhere_is_refused(keep, entries, tmp_path):
    file = write(tmp_path / "cut.tar.gz", entries)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    refused(file, tmp_path / "out", "cannot be read as model.tar.gz")


def test_a_tar_that_ends_without_its_end_is_refused(entries, tmp_path):
    file = write(tmp_path / "cut.tar.gz", entries)
    tar = gzip.decompress(file.read_bytes()).rstrip(b"\0")
    file.write_bytes(gzip.compress(tar + bytes(-len(tar) % 512)))
    refused(file, tmp_path / "out", "ends too early")


def test_one_flipped_byte_is_noticed(entries, tmp_path):
    raw = bytearray(gzip.decompress(write(tmp_path / "a.tar.gz", entries).read_bytes()))
    raw[600] ^= 1  # in the first file, and gzip's checksum made anew
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(gzip.compress(bytes(raw)))
    refused(file, tmp_path / "out", "byte for byte")


@pytest.mark.parametrize("content", [b"PK\3\4 a zip", b"plain text", b"\x1f\x8b"])
def test_what_is_no_gzip_is_refused(content, tmp_path):
    file = tmp_path / "model.tar.gz"
    file.write_bytes(content)
    refused(file, tmp_path / "out", "cannot be read as model.tar.gz")


def test_a_gzip_of_something_else_is_refused(tmp_path):
    file = tmp_path / "model.tar.gz"
    file.write_bytes(gzip.compress(b"no tar" * 1000))
    refused(file, tmp_path / "out", "cannot be read as model.tar.gz")


def test_an_empty_archive_and_a_missing_one_are_refused(tmp_path):
    refused(write(tmp_path / "empty.tar.gz", []), tmp_path / "out", "empty")
    refused(tmp_path / "none.tar.gz", tmp_path / "out", "no such archive")


def test_a_folder_that_is_no_artifact_or_not_its_own_is_refused(entries, tmp_path):
    no_manifest = [(name, content) for name, content in entries if MANIFEST not in name]
    refused(write(tmp_path / "a.tar.gz", no_manifest), tmp_path / "out", "has no manifest.json")
    renamed = [("other/" + name.split("/")[1], content) for name, content in entries]
    refused(write(tmp_path / "b.tar.gz", renamed), tmp_path / "out", "its manifest says")
    more = [*entries, (entries[0][0].split("/")[0] + "/extra", b"x")]
    refused(write(tmp_path / "c.tar.gz", more), tmp_path / "out", "not those the manifest names")
    nonsense = [(f"{GOOD}/{MANIFEST}", b"\xff{}")]
    refused(write(tmp_path / "d.tar.gz", nonsense), tmp_path / "out", GOOD)


def test_what_is_in_the_folder_already_stays_as_it_was(tiny_artifact, tmp_path):
    file = pack([tiny_artifact], tmp_path / "model.tar.gz")
    there = tmp_path / "out" / tiny_artifact.manifest.name
    there.mkdir(parents=True)
    (there / "mine").write_text("kept")
    with pytest.raises(ArtifactError, match="exists already"):
        unpack(file, tmp_path / "out")
    assert files_below(tmp_path / "out") == [f"{tiny_artifact.manifest.name}/mine"]


def test_a_folder_that_was_empty_before_a_failure_is_empty_after_it(entries, tmp_path):
    file = write(tmp_path / "bad.tar.gz", [*entries, ("../x", b"")])
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError):
        unpack(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_archive_holds_what_read_artifact_reads(tiny_artifact, tmp_path):
    (one,) = unpack(pack([tiny_artifact], tmp_path / "m.tar.gz"), tmp_path / "out")
    assert isinstance(one, Artifact)
    assert read_artifact(one.path).digest == tiny_artifact.digest


ODD_NAMES = st.sampled_from(
    [
        "",
        ".",
        "./",
        "..",
        "a/../b",
        "/x",
        "._x",
        ".DS_Store",
        "x" * 90,
        "top/a/b/c",
        "A",
        "\n",
        "é",
    ]
)
ODD_KINDS = st.sampled_from([bytes([kind]) for kind in range(128)])


@pytest.mark.fuzz
def test_whatever_an_archive_holds_only_artifacts_come_out_of_it(fuzz, entries, tmp_path):
    name = entries[0][0].split("/")[0]
    out, file = tmp_path / "out", tmp_path / "a.tar.gz"

    def check(odd, kind, prefix, at, tail, form):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=form) as tar:
            for number, (entry, content) in enumerate([*entries, (odd, tail)]):
                info = tarfile.TarInfo(prefix + entry)
                info.size = len(content)
                if number == at:
                    info.type = kind
                tar.addfile(info, io.BytesIO(content))
        file.write_bytes(gzip.compress(raw.getvalue() + tail, 1))
        try:
            assert [one.path.name for one in unpack(file, out, 1 << 20)] == [name]
        except ArtifactError as error:
            assert str(file) in str(error) and not out.exists()
        else:
            assert files_below(out) == [f"{name}/graph.pt", f"{name}/{MANIFEST}"]
            shutil.rmtree(out)

    prefixes = st.sampled_from(["", "./", "top/", "./top/", "../", "/", ".hidden/"])
    forms = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    fuzz(check, ODD_NAMES, ODD_KINDS, prefixes, st.integers(0, 5), st.binary(max_size=9), forms)
    assert files_below(tmp_path) == ["a.tar.gz"]


@pytest.mark.fuzz
def test_a_damaged_archive_is_one_sentence(fuzz, entries, tmp_path):
    file = tmp_path / "a.tar.gz"
    whole = write(file, entries).read_bytes()
    tar = gzip.decompress(whole)

    def check(data, packed):
        file.write_bytes(data if packed else gzip.compress(data, 1))
        with contextlib.suppress(ArtifactError):
            inspect(file, 1 << 20)

    fuzz(lambda data: check(data, True), mutations([whole]))
    fuzz(lambda data: check(data, False), mutations([tar]))
