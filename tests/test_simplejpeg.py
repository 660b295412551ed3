"""JPEG by simplejpeg, where it is installed: the pixels that Pillow reads, or Pillow's answer."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from odd_jpeg import jpeg as jpeg_of
from odd_jpeg import kinds
from odd_photos import scene

from runtime.errors import InputError
from runtime.photo import jpeg
from runtime.photo.decode import read_at_least, read_photo

installed = pytest.mark.skipif(
    importlib.util.find_spec("simplejpeg") is None,
    reason="simplejpeg is not installed; pip install '.[jpeg]'",
)


@pytest.fixture
def asked(monkeypatch):
    """Put a stand-in in simplejpeg's place; returns what it was asked."""
    calls = []

    def install(answer):
        def decode_jpeg(data, colorspace, **sizes):
            calls.append((data, colorspace, sizes))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(jpeg, "_simplejpeg", lambda: SimpleNamespace(decode_jpeg=decode_jpeg))
        return calls

    return install


@pytest.fixture
def by_pillow(monkeypatch):
    """Reads a photo as if simplejpeg were not installed."""

    def read(data, size_for=None):
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "_simplejpeg", lambda: None)
            return read_at_least(data, size_for)[0]

    return read


@installed
@pytest.mark.parametrize("share", [1, 2, 3, 5, 9])
def test_both_read_the_same_pixels_at_every_size(by_pillow, share):
    def size_for(size_hw):
        return max(1, size_hw[0] // share), max(1, size_hw[1] // share)

    for photo in kinds():
        found = read_at_least(photo.data, size_for)[0]
        np.testing.assert_array_equal(found, by_pillow(photo.data, size_for), photo.name)


@installed
def test_both_say_the_same_of_damaged_photos(by_pillow):
    draw, sound, refused = np.random.RandomState(0), jpeg_of(scene(40, 60)), 0
    for _ in range(60):
        data = bytearray(sound[: draw.randint(len(sound) // 2, len(sound) + 1)])
        for place in draw.randint(len(data) // 3, len(data), draw.randint(0, 4)):
            data[place] = draw.randint(256)
        try:
            expected = by_pillow(bytes(data))
        except InputError as error:
            refused += 1
            with pytest.raises(InputError) as found:
                read_photo(bytes(data))
            assert str(found.value) == str(error)
        else:
            np.testing.assert_array_equal(read_photo(bytes(data)), expected)
    assert 0 < refused < 60


def test_it_is_given_colour_photos_without_what_pixels_do_not_need(asked):
    answer = np.full((30, 40, 3), 7, np.uint8)
    calls = asked(answer)
    data = jpeg_of(scene(60, 80), comment=b"said beside", exif=b"Exif\0\0")
    size_for = {(60, 80): (25, 40)}.__getitem__
    assert read_at_least(data, size_for)[0] is answer
    given, colours, sizes = calls.pop()
    assert b"said beside" in data and b"said beside" not in given and b"Exif" not in given
    assert (colours, sizes) == ("RGB", {"min_height": 30, "min_width": 40})


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_pillows(asked, mode):
    calls = asked(AssertionError("asked"))
    assert read_photo(jpeg_of(scene(6, 8), mode)).shape == (6, 8, 3) and not calls


@pytest.mark.parametrize(
    "answer",
    [ValueError("Corrupt JPEG data"), np.zeros((3, 4, 3), np.uint8)],
    ids=["error", "size"],
)
def test_what_it_complains_of_is_pillows(asked, by_pillow, answer):
    data = jpeg_of(scene(6, 8))
    calls = asked(answer)
    np.testing.assert_array_equal(read_photo(data), by_pillow(data))
    assert len(calls) == 1


def test_a_photo_that_lies_is_shrunk_by_its_upright_size(asked):
    answer = np.zeros((15, 20, 3), np.uint8)
    calls = asked(answer)
    lying = scene(60, 80)
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    found, whole_hw = read_at_least(jpeg_of(lying, exif=exif.tobytes()), lambda _: (20, 15))
    assert whole_hw == (80, 60) and found.shape == (20, 15, 3)
    assert calls[0][2] == {"min_height": 15, "min_width": 20}
