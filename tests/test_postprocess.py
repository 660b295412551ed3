"""Back to the photo's grid: bilinear, with the corner pixels of both grids on each other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.photo.postprocess import resize_to_photo

sides = st.integers(1, 80)
seeds = st.integers(0, 2**32 - 1)


def random_map(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 3, (height, width)).astype(np.float32)


def torch_resize(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(depth)[None, None], size_hw, mode="bilinear", align_corners=True
    )
    return resized[0, 0].numpy()


@given(sides, sides, sides, sides, seeds)
def test_resizing_equals_torch_with_aligned_corners(h, w, height, width, seed):
    depth = random_map(h, w, seed)
    resized = resize_to_photo(depth, (height, width))
    assert resized.dtype == np.float32 and resized.shape == (height, width)
    tolerance = 1e-5 * float(np.abs(depth).max())
    np.testing.assert_allclose(
        resized, torch_resize(depth, (height, width)), rtol=0, atol=tolerance
    )


def plain_resize(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The definition, on whole arrays: columns, then rows, each a + (b - a) w in float32."""
    for axis, target in ((1, size_hw[1]), (0, size_hw[0])):
        last = depth.shape[axis] - 1
        position = np.linspace(0, last, target) if target > 1 else np.zeros(1)
        first = np.minimum(position.astype(int), last)
        a, b = depth.take(first, axis), depth.take(np.minimum(first + 1, last), axis)
        weight = (position - first).astype(np.float32)
        depth = a + (b - a) * (weight if axis else weight[:, None])
    return depth


@given(sides, sides, sides, sides, seeds)
def test_working_on_the_rows_between_two_at_once_changes_no_bit(h, w, height, width, seed):
    depth = random_map(h, w, seed)
    resized = resize_to_photo(depth, (height, width))
    np.testing.assert_array_equal(resized, plain_resize(depth, (height, width)))


@given(sides, sides, st.integers(2, 300), st.integers(2, 300), seeds)
def test_the_corners_are_kept_exactly(h, w, height, width, seed):
    depth = random_map(h, w, seed)
    resized = resize_to_photo(depth, (height, width))
    np.testing.assert_array_equal(resized[:: height - 1, :: width - 1], depth[[0, -1]][:, [0, -1]])


@given(sides, sides, sides, sides, seeds)
def test_no_value_leaves_the_range_of_the_map(h, w, height, width, seed):
    depth = random_map(h, w, seed)
    resized = resize_to_photo(depth, (height, width))
    slack = 1e-6 * float(np.abs(depth).max())
    assert depth.min() - slack <= resized.min() and resized.max() <= depth.max() + slack


@given(sides, sides)
def test_a_map_of_the_same_size_is_kept_bit_for_bit(height, width):
    depth = random_map(height, width)
    np.testing.assert_array_equal(resize_to_photo(depth, (height, width)), depth)


def test_a_map_of_the_same_size_is_a_copy():
    depth = random_map(4, 4)
    resize_to_photo(depth, (4, 4))[0, 0] = 99
    assert depth[0, 0] != 99


def test_a_constant_stays_that_constant():
    resized = resize_to_photo(np.full((7, 9), 3.5, np.float32), (50, 31))
    np.testing.assert_allclose(resized, 3.5, rtol=1e-6)


def test_a_size_given_as_a_list_is_a_size():
    np.testing.assert_array_equal(
        resize_to_photo(random_map(4, 5), [7, 9]), resize_to_photo(random_map(4, 5), (7, 9))
    )


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (1, 1, 4, 4)])
def test_a_map_with_a_batch_axis_is_refused(shape):
    with pytest.raises(InputError, match="drop the batch axis"):
        resize_to_photo(np.zeros(shape, np.float32), (8, 8))
