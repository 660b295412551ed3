"""HEIC and AVIF: read upright within the same limits, or a sentence that names the extra."""

import io

import numpy as np
import pytest
from fuzzing import mutations
from odd_photos import scene, stored
from PIL import Image, features

from runtime.errors import InputError, LimitError, MissingDependency
from runtime.photo import heif
from runtime.photo.decode import focal_px_of, photo_size, read_photo

RGB = scene(48, 64)
KINDS = ("HEIF", "AVIF")


def encode(kind: str, rgb: np.ndarray, orientation: int = 1) -> bytes:
    """By the libraries that read it."""
    made, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    if kind == "AVIF":
        if not features.check("avif"):
            pytest.skip("Pillow here has no AVIF; from 11.3 on its wheels do")
        Image.fromarray(rgb).save(made, "AVIF", quality=90, exif=tags)
    else:
        pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
        picture = pillow_heif.from_pillow(Image.fromarray(rgb))
        picture.save(made, quality=90, exif=tags.tobytes())
    return made.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_as_phones_store_it_is_read_upright(kind, orientation):
    data = encode(kind, stored(RGB, orientation), orientation)
    rgb = read_photo(data)
    assert rgb.shape == RGB.shape == (*photo_size(data), 3)
    assert np.abs(rgb.astype(int) - RGB).mean() < 4
    assert focal_px_of(data) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_limits_hold_for_it(kind):
    data = encode(kind, RGB)
    with pytest.raises(LimitError, match="64 x 48 = 3,072 pixels, limit 3,071"):
        read_photo(data, max_pixels=3071)
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_photo(data[: len(data) * 2 // 3])


def test_a_format_that_needs_an_extra_names_it(monkeypatch):
    heic, avif = b"\0\0\0\x1cftypheic" + bytes(99), b"\0\0\0\x1cftypavif" + bytes(99)

    def absent(module: str, extra: str) -> None:
        raise MissingDependency(f"{module} is not installed; run: ./setup.sh {extra}")

    monkeypatch.setattr(heif, "require", absent)
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(InputError, match=r"photo: a photo in HEIF: pillow_heif is not.*heif"):
        read_photo(heic)
    with pytest.raises(InputError, match=r"photo: a photo in AVIF: Pillow's reader of AVIF.*heif"):
        photo_size(avif)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_photos_of_phones_are_read_or_refused(kind, fuzz):
    def check(data: bytes) -> None:
        try:
            assert read_photo(data, 300_000).shape == (*photo_size(data), 3)
        except InputError as error:
            assert str(error).startswith("photo: ")

    assert fuzz(check, mutations([encode(kind, RGB), encode(kind, stored(RGB, 6), 6)])) > 0
