"""Odd photos of the five formats: read right, or refused, and never another picture."""

import numpy as np
import pytest
from odd_photos import OddPhoto, odd_photos

from runtime.errors import InputError
from runtime.photo.decode import photo_size, read_photo

PHOTOS = {photo.name: photo for photo in odd_photos()}


def fault_of(photo: OddPhoto) -> str:
    """What is wrong with how a file is read, and with the size that its header tells."""
    try:
        rgb = read_photo(photo.data)
    except InputError:
        return photo.fault(None)
    size = photo_size(photo.data)
    if size != rgb.shape[:2]:
        return f"{photo.name}: its header says {size}, its pixels {rgb.shape}"
    return photo.fault(rgb)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "bmp", "webp"])
def test_every_odd_photo_is_read_right_or_refused(kind):
    photos = [photo for photo in PHOTOS.values() if photo.name.startswith(kind)]
    assert len(photos) > 50
    assert [fault for fault in map(fault_of, photos) if fault] == []


def test_the_corpus_is_large_and_the_same_each_time():
    assert len(PHOTOS) > 700
    odd_photos.cache_clear()
    assert all(photo.data == PHOTOS[photo.name].data for photo in odd_photos())


def test_a_wrong_picture_is_noticed():
    photo = PHOTOS["png-rgb-8.png"]
    assert photo.rgb is not None and photo.fault(photo.rgb) == ""
    assert "off by" in photo.fault(np.roll(photo.rgb, 1, axis=0))
    assert "refused" in photo.fault(None)
    assert "is to be refused" in photo._replace(rgb=None).fault(photo.rgb)
