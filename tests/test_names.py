"""Names of others become places below a root, or are refused; different keys never meet."""

import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.files import write_whole
from runtime.names import below, check_plain, folded, name_of_key, name_of_path

OWN = ("_job",)
# Pieces that lead elsewhere, mean something to some system, or look like our escapes
PIECES = ["/", ".", "..", "\\", ":", "C:", "%", "%2E", "%2F", "%25", "%5F", "%0A", "%C3", "_job"]
PIECES += [
    ".partial-",
    "é",
    "e\u0301",
    "\x00",
    "\n",
    "\x7f",
    "\x85",
    "\udcc3",
    "\udca9",
    " ",
    "~",
    "$HOME",
]
PIECES += ["CON", "n" * 250, "a", "A", ".png", "*", "\u202e", "\ud800"]
NAMES = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a/b c.png", "a/b c.png"),
        ("été/山.png", "été/山.png"),
        ("../up.png", "%2E%2E/up.png"),
        ("a/../../top.png", "a/%2E%2E/%2E%2E/top.png"),
        ("/etc/cron.d/x.png", "%2F/etc/cron.d/x.png"),
        ("a//b.png", "a/%2F/b.png"),
        ("./b.png", "%2E/b.png"),
        ("...png", "...png"),
        ("C:/x.png", "C%3A/x.png"),
        ("C:\\x.png", "C%3A%5Cx.png"),
        ("..\\up.png", "..%5Cup.png"),
        ("2024-01-01T10:00:00.png", "2024-01-01T10:00:00.png"),
        ("two\nlines\x00.png", "two%0Alines%00.png"),
        (os.fsdecode(b"gr\xfcn.png"), "gr%FCn.png"),
        ("_job/plan.png", "%5Fjob/plan.png"),
        ("a/_job/plan.png", "a/_job/plan.png"),
        (".partial/.partial-h@1@x.png", "%2Epartial/%2Epartial-h@1@x.png"),
        # what only looks like one of these stays as it is
        ("images%2Fa.png", "images%2Fa.png"),
        ("100%.png", "100%.png"),
        ("caf%C3%A9%20au%20lait.png", "caf%C3%A9%20au%20lait.png"),
        # and what is just like one does not
        ("%2E%2E/up.png", "%252E%252E/up.png"),
        ("two%0Alines.png", "two%250Alines.png"),
    ],
)
def test_a_key_has_a_name_that_stays_where_it_is_put(key, name):
    assert name_of_key(key, OWN) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos/a.png", "photos/a.png"),
        ("/data//photos/./a.png", "data/photos/a.png"),
        ("../../a.png", "a.png"),
        ("a/..", "a"),
        ("_job/plan", "%5Fjob/plan"),
    ],
)
def test_a_path_loses_what_leads_elsewhere(path, name):
    assert name_of_path(path, OWN) == name


@pytest.mark.parametrize("name", ["", "/", "..", "../..", "./."])
def test_a_path_of_steps_alone_names_nothing(name):
    with pytest.raises(InputError, match="names no photo"):
        name_of_path(name)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a\\b", "C:x", "a\nb"]
)
def test_only_plain_names_have_a_place(name, tmp_path):
    with pytest.raises(InputError, match="give plain parts"):
        below(tmp_path, name)


def test_names_that_no_disk_takes_are_refused(tmp_path):
    assert below(tmp_path, "n" * 255).name == "n" * 255
    with pytest.raises(InputError, match="over 255 bytes"):
        below(tmp_path, "é" * 128)
    with pytest.raises(InputError, match="over 4095 bytes with its folder"):
        below(tmp_path, "/".join(["n" * 200] * 21))


def test_names_that_differ_by_case_or_by_accents_are_one_on_some_disks():
    assert folded("A/É.png") == folded("a/e\u0301.PNG") != folded("a/e.png")


@pytest.mark.fuzz
def test_whatever_the_key_its_place_is_below_the_root_and_can_be_written(fuzz, tmp_path):
    root = tmp_path / "root"

    def check(key: str) -> None:
        for named in (name_of_key, name_of_path):
            try:
                place = below(root, named(key, OWN))
            except InputError:
                continue
            assert root in place.parents and ".." not in place.parts
            assert os.path.normpath(place) == str(place)
            assert place.relative_to(root).parts[0] != "_job"
            if not place.is_dir() and not any(one.is_file() for one in place.parents):
                write_whole(place, b"1")
                assert place.resolve().is_relative_to(root.resolve())

    fuzz(check, NAMES)
    assert [one.name for one in tmp_path.iterdir()] == ["root"]


@pytest.mark.fuzz
def test_different_keys_never_have_one_name(fuzz):
    known: dict[str, str] = {}

    def check(key: str) -> None:
        key = os.fsdecode(key.encode("utf-8", "replace" if "\ud800" in key else "surrogateescape"))
        for one in (key, key.replace("%", "%25"), key.replace("%2E", "."), f"{key}/"):
            try:
                name = name_of_key(one, OWN)
                check_plain(name)  # no longer than a disk takes
            except InputError:
                continue
            assert known.setdefault(name, one) == one
            if name != one:  # not even the one that is spelt as the other's name
                assert known.setdefault(name_of_key(name, OWN), name) == name

    fuzz(check, NAMES)


@pytest.mark.fuzz
def test_a_plain_name_is_its_own_unless_it_reads_as_anothers(fuzz):
    def check(key: str) -> None:
        try:
            check_plain(key)
        except InputError:
            return
        if "%" not in key and "_job" not in key and ".partial" not in key:
            assert name_of_key(key, OWN) == key or not key.isprintable()

    fuzz(check, NAMES)


def test_a_storage_writes_nowhere_else(tmp_path):
    from runtime.storage import open_storage

    storage = open_storage(str(tmp_path / "out"))
    for name in ("../up", "/etc/up", str(tmp_path / "up"), "a/../../up", "a//b", ""):
        for change in (lambda name: storage.write(name, b""), storage.delete):
            with pytest.raises(InputError, match="give plain parts"):
                change(name)
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/up").exists() is False
