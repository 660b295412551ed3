"""Photo to tensor: the size a network sees and the numbers in it.

``golden/v2_resize.npz`` holds rows of (photo width, photo height, input_size, network width,
network height), recorded from Depth Anything V2's ``Resize`` (``lower_bound``, multiples of 14).
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.photo import preprocess
from runtime.photo.preprocess import (
    MEAN,
    STD,
    network_size,
    photo_to_tensor,
    resize_cubic,
)

GOLDEN = Path(__file__).parent / "golden" / "v2_resize.npz"
RESIZES = np.load(GOLDEN)["v2_resize"].tolist()

sides = st.integers(1, 5000)
short_sides = st.integers(1, 100).map(lambda n: n * 14)


@pytest.mark.parametrize(("width", "height", "short_side", "net_width", "net_height"), RESIZES)
def test_network_size_is_upstreams(width, height, short_side, net_width, net_height):
    assert network_size((height, width), short_side) == (net_height, net_width)


@given(sides, sides, short_sides)
def test_network_size_is_a_multiple_of_the_patch_size(height, width, short_side):
    size_hw = network_size((height, width), short_side)
    assert all(side % 14 == 0 for side in size_hw)


@given(sides, sides, st.integers(1, 1400))
def test_network_size_is_never_below_the_short_side(height, width, short_side):
    assert min(network_size((height, width), short_side)) >= short_side


@given(sides, sides, short_sides)
def test_the_shorter_side_becomes_the_short_side(height, width, short_side):
    assert min(network_size((height, width), short_side)) == short_side


@given(sides, sides, short_sides)
def test_network_size_keeps_the_aspect_ratio_to_within_half_a_patch(height, width, short_side):
    scale = short_side / min(height, width)
    size_hw = network_size((height, width), short_side)
    for side, photo_side in zip(size_hw, (height, width)):
        assert abs(side - scale * photo_side) <= 7 * (1 + 1e-9)


@given(sides, sides, short_sides, st.sampled_from([14, 16]))
def test_network_size_of_a_turned_photo_is_the_turned_size(height, width, short_side, patch_size):
    turned = network_size((width, height), short_side, patch_size)
    assert network_size((height, width), short_side, patch_size) == turned[::-1]


@pytest.mark.parametrize(
    ("size_hw", "short_side"), [((0, 5), 518), ((5, 0), 518), ((-1, 5), 518), ((5, 5), 0)]
)
def test_a_size_that_is_not_positive_is_refused(size_hw, short_side):
    with pytest.raises(InputError, match="all must be positive"):
        network_size(size_hw, short_side)


@pytest.mark.parametrize("photo_hw", [(20, 30), (300, 200), (28, 42), (1, 1), (1, 500)])
@pytest.mark.parametrize("size_hw", [(28, 42), (70, 28)])
def test_the_tensor_is_the_whole_photo_in_float64_resized_then_normalised(
    photo_hw, size_hw, make_photo
):
    rgb = make_photo(*photo_hw)
    resized = cv2.resize(
        rgb.astype(np.float64) / 255, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC
    )
    expected = ((resized - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]
    tensor = photo_to_tensor(rgb, size_hw)
    assert tensor.dtype == np.float32 and tensor.shape == (1, 3, *size_hw)
    np.testing.assert_allclose(tensor, expected, rtol=0, atol=1e-6)


@given(st.integers(1, 700), st.integers(1, 90), st.integers(1, 20), st.integers(1, 20))
def test_a_cubic_resize_in_bands_of_rows_is_opencvs_bit_for_bit(height, width, down, across):
    size_hw = (14 * down, 14 * across)
    rgb = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    whole = cv2.resize(rgb / 255.0, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resize_cubic(rgb, size_hw), whole)


@pytest.mark.parametrize("whole_pixels", [1 << 22, 0])  # in one piece, in bands of rows
@pytest.mark.parametrize("photo_hw", [(480, 640), (700, 90), (90, 700), (28, 42), (1, 1)])
def test_float32_is_off_by_less_than_is_stated(photo_hw, whole_pixels, monkeypatch):
    monkeypatch.setattr(preprocess, "WHOLE_PIXELS", whole_pixels)
    noise = np.random.default_rng(0).integers(0, 256, (*photo_hw, 3), np.uint8)
    coarse = noise[: max(1, photo_hw[0] // 20), : max(1, photo_hw[1] // 20)]
    smooth = cv2.resize(coarse, photo_hw[::-1], interpolation=cv2.INTER_CUBIC)
    for rgb, bound in ((noise, 5e-4), (smooth, 4e-5)):
        found = photo_to_tensor(rgb, (126, 168), resize="cubic32")
        exact = photo_to_tensor(rgb, (126, 168))
        assert found.dtype == np.float32 and found.shape == exact.shape
        np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


def test_a_photo_already_of_that_size_is_only_normalised(make_photo):
    rgb = make_photo(28, 42)
    expected = (rgb / 255 - MEAN) / STD
    np.testing.assert_allclose(
        photo_to_tensor(rgb, (28, 42))[0], expected.transpose(2, 0, 1), rtol=0, atol=1e-6
    )


def test_the_channels_stay_red_green_blue():
    red = np.zeros((14, 14, 3), np.uint8)
    red[..., 0] = 255
    tensor = photo_to_tensor(red, (14, 14), mean=(0.0, 0.0, 0.0), std=(1.0, 2.0, 4.0))
    assert tensor[0].reshape(3, -1).max(axis=1).tolist() == [1.0, 0.0, 0.0]


def test_mean_and_deviation_are_those_given():
    grey = np.full((14, 14, 3), 255, np.uint8)
    tensor = photo_to_tensor(grey, (14, 14), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    np.testing.assert_allclose(tensor[0, :, 0, 0], [1.0, 1.0, 0.0])


def test_a_view_that_is_not_contiguous_gives_the_same_tensor(make_photo):
    rgb = make_photo(40, 60)[::-1, ::2]
    np.testing.assert_array_equal(
        photo_to_tensor(rgb, (28, 28)), photo_to_tensor(np.ascontiguousarray(rgb), (28, 28))
    )


def test_the_photo_is_not_changed(make_photo):
    rgb = make_photo(30, 30)
    photo_to_tensor(rgb, (28, 28))
    np.testing.assert_array_equal(rgb, make_photo(30, 30))
