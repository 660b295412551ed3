"""PNG files of our own making: what any reader gets back is what went in, and what it says."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from exports.png import BAND_BYTES, png_bytes
from runtime.errors import InputError

sides = st.integers(1, 40)
colors = st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, (*hw, 3)))
greys = st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint16, hw))


def read_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.array(image)


def read_by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents, in the order in which they are written."""
    found, here = [], 8
    while here < len(data):
        length = int.from_bytes(data[here : here + 4], "big")
        found.append((data[here + 4 : here + 8], data[here + 8 : here + 8 + length]))
        here += 12 + length
    return found


@pytest.mark.parametrize("read", [read_by_pillow, read_by_opencv], ids=["pillow", "opencv"])
@given(st.one_of(colors, greys))
def test_a_reader_gets_back_every_pixel(read, pixels):
    np.testing.assert_array_equal(read(png_bytes(pixels, {})), pixels)


@pytest.mark.parametrize("read", [read_by_pillow, read_by_opencv], ids=["pillow", "opencv"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_of_rows_leave_no_seam(read, dtype):
    shape = (2 * BAND_BYTES // 3000 + 5, 1000, 3) if dtype == np.uint8 else (301, 1500)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    assert pixels.nbytes > 2 * BAND_BYTES
    np.testing.assert_array_equal(read(png_bytes(pixels, {})), pixels)


def test_a_row_larger_than_a_band_is_written():
    pixels = np.random.default_rng(0).integers(0, 256, (3, BAND_BYTES // 3 + 9, 3), np.uint8)
    np.testing.assert_array_equal(read_by_pillow(png_bytes(pixels, {})), pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), np.uint16)], ids=["rgb", "grey16"]
)
def test_head_and_text_are_those_that_pillow_writes_and_stand_before_the_pixels(pixels):
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", '{"kind": "depth", "caf\u00e9": 1}')
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    ours = chunks(png_bytes(pixels, {"Description": '{"kind": "depth", "caf\u00e9": 1}'}))
    pillows = chunks(buffer.getvalue())
    assert [name for name, _ in ours] == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert ours[:2] == pillows[:2]


def test_a_view_that_is_not_contiguous_is_written_as_it_looks():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)[::-2, ::3, ::-1]
    np.testing.assert_array_equal(read_by_pillow(png_bytes(pixels, {})), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((5, 7), np.uint8),
        np.zeros((5, 7, 4), np.uint8),
        np.zeros((5, 7, 3), np.uint16),
        np.zeros((5, 7), np.float32),
        np.zeros((0, 7, 3), np.uint8),
    ],
)
def test_pixels_of_another_kind_are_refused(pixels):
    with pytest.raises(InputError, match=r"expected uint8 \(H, W, 3\) or uint16 \(H, W\)"):
        png_bytes(pixels, {})
