"""Which photos a place holds: real paths, loops end, results are no photos."""

import errno
import os

import pytest

from runtime.errors import InputError
from runtime.photo.find import find_photos


@pytest.fixture
def photos(tmp_path, save_photo):
    for name in ("a.png", "deep/b.JPG", "deep/.hidden.png", ".git/c.png"):
        save_photo(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    return tmp_path / "in"


def below(photos, found):
    return [str(one.relative_to(photos)) for one in found]


def test_sub_folders_are_searched_if_asked(photos):
    assert below(photos, find_photos(photos)) == ["a.png"]
    assert below(photos, find_photos(photos, recursive=True)) == ["a.png", "deep/b.JPG"]


def test_links_to_folders_are_followed_and_loops_end(photos, tmp_path, save_photo):
    save_photo(tmp_path / "elsewhere" / "c.png")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "deep" / "up").symlink_to("..")
    (photos / "itself.png").symlink_to("itself.png")
    found = below(photos, find_photos(photos, recursive=True))
    # a link to nothing was meant to be a photo: what is wrong with it is said when it is read
    assert found == ["a.png", "deep/b.JPG", "itself.png", "linked/c.png"]


@pytest.mark.parametrize("spelt", ["{}/out", "{}/./deep/../out", "{}/../in/out", "link"])
def test_results_inside_the_photos_are_no_photos(spelt, photos, tmp_path, save_photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_photo(photos / "out" / "a.png.color.png")
    (tmp_path / "link").symlink_to(photos / "out")
    for source in (photos, photos.relative_to(tmp_path)):
        output = tmp_path.joinpath(spelt.format(source))
        found = find_photos(source, recursive=True, leave_out=[output])
        assert below(source, found) == ["a.png", "deep/b.JPG"]


def test_a_pattern_is_a_place(photos):
    assert below(photos, find_photos(photos / "*.png")) == ["a.png"]
    assert below(photos, find_photos(photos / "**" / "*.JPG")) == ["deep/b.JPG"]


def test_a_file_is_taken_whatever_it_is_called(photos):
    assert find_photos(photos / "notes.txt") == [photos / "notes.txt"]


def test_nothing_there_is_said(photos, tmp_path):
    with pytest.raises(InputError, match="absent: no such file, folder or pattern"):
        find_photos(tmp_path / "absent")
    with pytest.raises(InputError, match=r"\.git: no photo there|in/x\*: no photo there"):
        find_photos(photos / "x*")


def test_a_folder_that_may_not_be_read_is_named_and_the_rest_is_found(photos, caplog, monkeypatch):
    scandir = os.scandir

    def guarded(folder):
        if folder == photos / "deep":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)  # chmod would not stop root
    assert below(photos, find_photos(photos, recursive=True)) == ["a.png"]
    assert "deep: cannot be read (Permission denied); left out" in caplog.text
