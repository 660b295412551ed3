"""A question about a scene checks itself where it is put."""

import dataclasses

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.scene.query import SceneQuery
from runtime.scene.views import fit_view

EYES, LENSES = np.stack([np.eye(4)] * 3), np.stack([np.diag([50.0, 60, 1])] * 3)


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"extrinsics": EYES}, "extrinsics and intrinsics together, or neither"),
        ({"intrinsics": LENSES}, "extrinsics and intrinsics together, or neither"),
        ({"extrinsics": EYES[:, :2], "intrinsics": LENSES}, "pose is"),
        ({"extrinsics": EYES, "intrinsics": LENSES[:2]}, r"expected intrinsics \(3, 3, 3\)"),
        ({"extrinsics": EYES, "intrinsics": LENSES[:, :2]}, r"expected intrinsics \(3, 3, 3\)"),
        ({"extrinsics": EYES * np.nan, "intrinsics": LENSES}, "some numbers are not finite"),
        ({"extrinsics": EYES, "intrinsics": LENSES + np.inf}, "some numbers are not finite"),
        ({"export_feat_layers": (-1,)}, "use 0 or more"),
        ({"ref_view_strategy": "best"}, "use one of saddle_balanced"),
    ],
)
def test_a_wrong_question_is_refused_where_it_is_put(asked, message):
    with pytest.raises(InputError, match=message):
        SceneQuery(**asked)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SceneQuery(), **asked)


def test_a_word_that_is_no_question_is_refused():
    with pytest.raises(TypeError, match="use_ray_poses"):
        SceneQuery(use_ray_poses=True)


def test_cameras_follow_the_views_and_are_never_changed():
    given, lenses = EYES[:, :3].copy(), LENSES.copy()
    given[:, 0, 3] = [5, 6, 9]
    query = SceneQuery(extrinsics=given, intrinsics=lenses)
    assert query.extrinsics.shape == (3, 4, 4) and query.has_cameras
    views = [fit_view(np.zeros((70, 100, 3), np.uint8), (28, 50))] * 3
    seen = query.in_pixels_of(views)
    assert np.allclose(seen.intrinsics[0], np.diag([25.0, 24, 1]))
    assert seen.of_views([2, 0]).extrinsics[:, 0, 3].tolist() == [9, 5]
    assert seen.normalised().extrinsics[:, 0, 3].tolist() == [0, 1, 4]
    assert np.array_equal(query.extrinsics[:, 0, 3], [5, 6, 9]) and np.array_equal(lenses, LENSES)
    with pytest.raises(InputError, match="3 extrinsics for 2 photos"):
        query.in_pixels_of(views[:2])


def test_without_cameras_there_is_nothing_to_move():
    query = SceneQuery(use_ray_pose=True)
    assert query.of_views([1]).normalised() is query and not query.has_cameras
