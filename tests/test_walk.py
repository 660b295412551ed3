"""Files below a folder: each once, whatever the links; what is not taken is counted."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.photo.find import find_photos, iter_photos
from runtime.photo.pattern import Pattern, split
from runtime.walk import LeftOut, told, walk


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def walked(root: Path, **more) -> "tuple[list[str], dict[str, int]]":
    left_out = LeftOut()
    found = walk(root, refused=left_out.refuse, skipped=left_out.add, **more)
    return [file.relative_to(root).as_posix() for file in found], left_out.facts()


def test_files_come_by_name_and_hidden_ones_are_counted(tmp_path):
    made(tmp_path, "b.png", "a/c.png", "a.png", ".x.png", ".h/d.png", "a/.DS_Store")
    assert walked(tmp_path) == (["a/c.png", "a.png", "b.png"], {"hidden": 3})
    assert walked(tmp_path, enters=lambda parts: False)[1] == {"hidden": 2, "in folders": 1}


def test_a_link_to_a_folder_outside_is_followed_once(tmp_path):
    made(tmp_path, "elsewhere/deep/c.png", "in/a.png")
    for name in ("one", "two", "inner"):
        (tmp_path / "in" / name).symlink_to("../elsewhere" + "/deep" * (name == "inner"))
    found = (["a.png", "inner/c.png"], {"links to the same": 1})
    (tmp_path / "in" / "two").unlink()
    (tmp_path / "in" / "one").unlink()
    assert walked(tmp_path / "in") == (found[0], {})
    (tmp_path / "in" / "one").symlink_to("../elsewhere")  # above what was followed
    (tmp_path / "in" / "two").symlink_to("../elsewhere/deep")
    assert walked(tmp_path / "in") == found


def test_a_link_into_what_is_walked_anyway_is_counted(tmp_path):
    root = made(tmp_path / "in", "sub/a.png", "z/b.png")
    made(tmp_path, "beside/c.png")
    for place, target in (("again", "sub"), ("sub/up", ".."), ("sub/out", "../.."), ("z/z", ".")):
        (root / place).symlink_to(target)
    assert walked(root) == (
        ["sub/a.png", "sub/out/beside/c.png", "z/b.png"],
        {"links to the same": 3},
    )


def test_a_link_to_a_hidden_folder_is_followed(tmp_path):
    made(tmp_path, ".store/a.png")
    (tmp_path / "data").symlink_to(".store")
    assert walked(tmp_path) == (["data/a.png"], {"hidden": 1})


def test_folders_linked_to_each_other_cost_no_more_than_there_are(tmp_path):
    names = [f"f{number:02}" for number in range(12)]
    for name in names:  # 12! ways through them
        made(tmp_path, f"all/{name}/a.png")
        for other in names:
            (tmp_path / "all" / name / f"to-{other}").symlink_to(f"../{other}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/first").symlink_to("../all/f00")
    assert len(walked(tmp_path / "in")[0]) == len(walked(tmp_path / "all")[0]) == 12


def test_folders_deeper_than_pythons_calls_go_are_walked(tmp_path):
    inner = "/".join("d" * 1020)
    try:
        subprocess.run(["mkdir", "-p", inner], cwd=tmp_path, check=True)
        (tmp_path / inner / "a.png").touch()
        assert walked(tmp_path)[0] == [f"{inner}/a.png"]
    finally:
        subprocess.run(["rm", "-r", "d"], cwd=tmp_path, check=True)


def test_a_folder_that_cannot_be_read_is_counted_and_named(tmp_path, monkeypatch, caplog):
    made(tmp_path, "a.png", "lost+found/b.png", "z/c.png")
    scandir = os.scandir

    def scan(path):
        if "lost" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert walked(tmp_path) == (["a.png", "z/c.png"], {"unreadable": 1})
    assert f"{tmp_path}/lost+found: cannot be read (Permission denied); left out" in caplog.text
    with pytest.raises(PermissionError):
        list(walk(tmp_path))


def test_pipes_and_sockets_are_no_files_and_broken_links_are_photos_that_are_gone(tmp_path):
    made(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "to-pipe.png").symlink_to("pipe.png")
    (tmp_path / "nowhere.png").symlink_to("absent")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "notes.txt").symlink_to("absent")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.fspath(tmp_path / "s.png"))
        left_out = LeftOut()
        found = [photo.name for photo in iter_photos(tmp_path, left_out=left_out)]
    assert found == ["a.png", "nowhere.png", "self.png"]
    assert left_out.facts() == {"no files": 3, ".txt": 1}
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_photos(tmp_path / "pipe.png")


def test_what_is_left_out_is_a_sentence():
    left_out = LeftOut()
    for name in [f"{n}.txt" for n in range(9)] + ["a.MOV", "b.mov", "c.psd", ".x", "Makefile"]:
        left_out.add_file(name)
    sentence = "left out 14 files: 9 .txt, 2 .mov, 1 .psd, 1 hidden, 1 without suffix"
    assert str(left_out) == told(left_out.facts()) == sentence
    left_out.add_file("x.<script>alert(1)")
    left_out.add_file("x.two\nlines")
    assert left_out.kinds["without suffix"] == 3
    for number in range(500):
        left_out.add_file(f"a.s{number}")
    assert len(left_out.kinds) <= 101 and str(left_out).endswith("others")
    assert str(LeftOut()) == told({}) == ""
    assert told({"unreadable": 2}) == "left out 2 folders unread"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("d/*.png", ["d/b.png"]),
        ("*/*.png", ["d/b.png"]),
        ("**/*.png", ["a.png", "d/b.png", "d/e/c.png"]),
        ("**/e/*", ["d/e/c.png"]),
        ("**", ["a.png", "d/b.png", "d/e/c.png"]),
        ("d/**/[bc].p?g", ["d/b.png", "d/e/c.png"]),
        ("**/**/c.png", ["d/e/c.png"]),
        ("A*.png", []),
    ],
)
def test_patterns_mean_what_they_mean_to_a_shell(pattern, expected, tmp_path):
    made(tmp_path, "a.png", "d/b.png", "d/e/c.png", "d/notes.txt", ".h/x.png")
    (tmp_path / "d" / "loop").symlink_to("..")
    found = [photo.relative_to(tmp_path).as_posix() for photo in iter_photos(tmp_path / pattern)]
    assert found == expected


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "?", "[ab]"]), min_size=1, max_size=5)


@pytest.mark.fuzz
def test_a_pattern_matches_only_what_it_entered(fuzz):
    def check(pattern: "list[str]", path: "list[str]") -> None:
        one = Pattern(tuple(pattern))
        if one.matches(tuple(path)):
            assert all(one.enters(tuple(path[:count])) for count in range(len(path)))
        if pattern == path:
            assert one.matches(tuple(path)) or "[ab]" in path

    fuzz(check, PARTS, PARTS)


def test_a_pattern_begins_at_the_last_folder_without_wildcards():
    assert split(Path("in/day 1/*.png")) == (Path("in/day 1"), Pattern(("*.png",)))
    assert split(Path("*.png"))[0] == Path()
