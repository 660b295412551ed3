"""A photo becomes the same view for a graph of one size as for the network without one."""

import numpy as np
import pytest

from runtime.photo.preprocess import normalised, photo_to_tensor, resize_bytes
from runtime.scene.views import fit_view, make_view

PHOTOS = [(333, 500), (333, 477), (427, 641), (641, 427), (200, 200), (97, 301), (28, 42)]


@pytest.mark.parametrize("photo_hw", PHOTOS)
@pytest.mark.parametrize("side", [112, 252])
def test_a_graph_of_the_size_at_which_upstream_arrives_takes_upstreams_view(
    photo_hw, side, make_photo
):
    photo = make_photo(*photo_hw)
    upper = make_view(photo, side, "upper_bound_resize")
    fitted = fit_view(photo, upper.size_hw)
    np.testing.assert_array_equal(fitted.rgb, upper.rgb)
    assert (fitted.resized_hw, fitted.photo_hw) == (upper.resized_hw, upper.photo_hw)
    lower = make_view(photo, side, "lower_bound_resize")
    tensor = photo_to_tensor(photo, lower.size_hw, resize="bytes")
    np.testing.assert_array_equal(tensor[0], normalised(lower.rgb))


def test_the_two_steps_are_not_one(make_photo):
    photo = make_photo(333, 477)
    size_hw = make_view(photo, 252).size_hw
    assert not np.array_equal(fit_view(photo, size_hw).rgb, resize_bytes(photo, size_hw))


@pytest.mark.parametrize("size_hw", [(518, 518), (28, 252)])
def test_to_a_size_at_which_upstream_does_not_arrive_a_photo_is_resized_once(size_hw, make_photo):
    photo = make_photo(97, 301)
    np.testing.assert_array_equal(fit_view(photo, size_hw).rgb, resize_bytes(photo, size_hw))
