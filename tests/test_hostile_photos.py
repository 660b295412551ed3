"""The benchmark of the worst photos: its photos can be read, its table judges."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import hostile, hostile_photos
from runtime.photo.decode import read_photo

SMALL_HW = (40, 60)


@pytest.mark.parametrize(
    ("make", "size_hw"),
    [
        (hostile_photos.jpeg("CMYK", size_hw=SMALL_HW, progressive=True), SMALL_HW),
        (hostile_photos.png(16, 6, 4, True, size_hw=(40, 64)), (40, 64)),
        (hostile_photos.png(8, 3, 1, size_hw=SMALL_HW), SMALL_HW),
        (hostile_photos.tiff(3, 16, 2, planar=True, block_hw=(7, 0), size_hw=SMALL_HW), SMALL_HW),
        (hostile_photos.tiff(3, 8, 2, 5, block_hw=(16, 16), size_hw=SMALL_HW), SMALL_HW),
        (hostile_photos.bmp(32, SMALL_HW, 3, hostile_photos.MASKS), SMALL_HW),
        (hostile_photos.bmp(8, SMALL_HW, 1), SMALL_HW),
    ],
    ids=["jpeg", "png", "png-palette", "tiff-planes", "tiff-tiles", "bmp-masks", "bmp-runs"],
)
def test_the_worst_photos_in_small_are_photos(make, size_hw, tmp_path):
    make(tmp_path / "photo")
    rgb = read_photo(tmp_path / "photo")
    assert rgb.shape == (*size_hw, 3) and np.ptp(rgb) > 0


def test_a_jpeg_of_twenty_scans_has_twenty(tmp_path, monkeypatch):
    monkeypatch.setattr(hostile_photos, "SQUARE_HW", SMALL_HW)
    hostile_photos.many_scans(tmp_path / "photo")
    assert (tmp_path / "photo").read_bytes().count(b"\xff\xda") == 20
    with Image.open(tmp_path / "photo") as image:
        image.load()


def test_the_table_names_what_costs_too_much():
    case = {"name": "a", "file_mb": 1, "said": "9 x 9", "peak_mb": 1400, "decode_s": 1}
    cases = [{**case, "seconds": 3}, {**case, "name": "b", "seconds": 11}]
    numbers = {"model": "demo", "cases": cases}
    assert "Over 1,500 MB or 10 s: b." in hostile.table(numbers)
    assert "Over 1,500 MB or 10 s: none." in hostile.table({**numbers, "cases": cases[:1]})
