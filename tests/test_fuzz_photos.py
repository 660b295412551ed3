"""Odd photos with bytes changed: pixels or one sentence, soon, and within memory."""

import time

import numpy as np
import pytest
from fuzzing import mutations
from hypothesis import strategies as st
from odd_photos import odd_photos

from runtime.errors import InputError
from runtime.photo.decode import focal_px_of, photo_size, read_at_least
from runtime.photo.exif import read_exif

KINDS = ("png", "jpeg", "tiff", "bmp", "webp")
MAX_PIXELS = 300_000
SECONDS = 2.0  # of CPU; most take a millisecond
LARGE = 50_000  # bytes: floods have tests of their own


def originals(kind: str) -> list[bytes]:
    return [one.data for one in odd_photos() if one.name.startswith(kind) and len(one.data) < LARGE]


def check(data: bytes) -> None:
    """A header and the pixels agree, or one of them is refused."""
    begun = time.process_time()
    try:
        size = photo_size(data)
        rgb, whole_hw = read_at_least(data, None, MAX_PIXELS)
        assert rgb.shape == (*size, 3) and rgb.dtype == np.uint8 and whole_hw == size
        assert size[0] * size[1] <= MAX_PIXELS
        small, whole_hw = read_at_least(data, lambda _: (1, 1), MAX_PIXELS)
        assert whole_hw == size and small.size <= rgb.size
    except InputError as error:
        assert str(error).startswith("photo: ") and "\n" not in str(error)
    focal = focal_px_of(data)
    assert focal is None or focal > 0
    assert time.process_time() - begun < SECONDS


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_photos_are_read_or_refused_soon(kind, fuzz):
    assert fuzz(check, mutations(originals(kind))) > 0


@pytest.mark.fuzz
def test_fuzzed_exif_says_an_orientation_that_there_is(fuzz):
    def says(block: bytes, xmp: bytes) -> None:
        begun = time.process_time()
        found = read_exif(block, xmp)
        assert 1 <= found.orientation <= 8
        assert found.focal_35_mm is None or found.focal_35_mm > 0
        assert time.process_time() - begun < SECONDS

    from odd_exif import broken, unreadable, xmp

    blocks = [*broken(6).values(), *unreadable().values()]
    assert fuzz(says, mutations(blocks), st.one_of(st.binary(max_size=99), st.just(xmp(3)))) > 0
