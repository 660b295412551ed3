"""The focal length of a photo: given, then intrinsics, then EXIF; refused if it does nothing."""

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.scene.focal import (
    check_focal_px,
    focal_of,
    focal_of_input,
    metres,
    refuse_useless_focal,
)

INTRINSICS = np.array([[700.0, 0, 50], [0, 800.0, 40], [0, 0, 1]])


def not_asked():
    raise AssertionError("EXIF was asked although the focal length was known")


def test_what_was_given_counts_before_intrinsics_and_these_before_exif():
    assert focal_of(123.0, INTRINSICS, not_asked) == 123.0
    assert focal_of(None, INTRINSICS, not_asked) == 750.0
    assert focal_of(None, None, lambda: 35.0) == 35.0
    assert focal_of(None, None, lambda: None) is None


@pytest.mark.parametrize("wrong", [0.0, -5.0, float("nan"), float("inf")])
def test_a_focal_length_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="give the focal length in pixels, above 0"):
        check_focal_px(wrong)
    with pytest.raises(InputError, match="above 0"):
        focal_of(wrong, None, not_asked)


def test_a_focal_length_that_does_nothing_is_refused_under_the_callers_name():
    with pytest.raises(InputError, match=r"^--focal-px: the depth of vits does not depend on it"):
        refuse_useless_focal("vits", False, True, "--focal-px")
    refuse_useless_focal("vits", False, False)
    refuse_useless_focal("da3metric-large", True, True)


def test_metres_follow_from_the_focal_length_of_the_input():
    assert focal_of_input(600.0, (100, 200), (50, 100)) == 300.0
    depth = np.ones((2, 3, 4), np.float32)
    found = metres(depth, np.array([300.0, 600.0]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0, 0], [1, 2])
