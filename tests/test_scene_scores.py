"""A scene's scores: perfect where it is, wrong where it is not, with and without alignment."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_recipe import rotation

from metric_depth.scene_samples import METRE, SceneSample, truth_of_view
from metric_depth.scene_scores import CAMERAS, DEPTH, score_scene
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.similarity import Similarity
from runtime.scene.views import View, make_view, same_size

HW = (28, 42)
PERFECT = {"abs_rel": 0, "rmse": 0, "delta1": 1, "accuracy": 0, "completeness": 0, "overall": 0}
PERFECT |= {"precision": 1, "recall": 1, "f1": 1}


def sample(views=4, seed=0, spread=1.0):
    """Views of wavy surfaces a few metres away, from different places."""
    random = np.random.RandomState(seed)
    poses = np.tile(np.eye(4), (views, 1, 1))
    for pose, (a, b) in zip(poses, random.uniform(-0.3, 0.3, (views, 2))):
        pose[:3, :3] = rotation("y", a) @ rotation("x", b)
    poses[:, :3, 3] = spread * random.uniform(-1, 1, (views, 3)) + [4, -2, 1]
    lens = np.array([[40.0, 0, HW[1] / 2], [0, 40, HW[0] / 2], [0, 0, 1]])
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    depth = [3 + np.sin(rows / 5 + v) + 0.5 * np.cos(columns / 7 - v) for v in range(views)]
    return SceneSample(
        photos=[np.zeros((*HW, 3), np.uint8)] * views,
        extrinsics=inverse(poses),
        intrinsics=np.tile(lens, (views, 1, 1)),
        depth=[d.astype(np.float32) for d in depth],
    )


def views_of(truth):
    return [View(photo, photo.shape[:2], photo.shape[:2]) for photo in truth.photos]


def exact(truth):
    return ScenePrediction(
        depth=np.stack(truth.depth), extrinsics=truth.extrinsics, intrinsics=truth.intrinsics
    )


def moved(found, by):
    """The same scene in another world's axes and unit."""
    depth = (by.scale * found.depth).astype(np.float32)
    return replace(found, depth=depth, extrinsics=by.move_cameras(found.extrinsics)[:, :3])


ELSEWHERE = Similarity(rotation("z", 2) @ rotation("x", 1), np.array([5.0, -7, 9]), 1.0)


def about(values):
    return pytest.approx(values, abs=1e-5)


def test_the_truth_is_perfect_either_way():
    truth = sample()
    scores = score_scene(exact(truth), views_of(truth), truth)
    assert scores.aligned == about(PERFECT) and scores.unaligned == about(PERFECT)
    assert [scores.pose[f"auc_{angle}"] for angle in (3, 5, 15, 30)] == [1] * 4
    assert scores.pose["focal"] == 0 and scores.aligned_by == CAMERAS
    assert scores.scale == pytest.approx(1)


def test_a_scene_twice_as_large_is_perfect_aligned_and_wrong_as_it_is():
    truth = sample()
    found = moved(exact(truth), Similarity(np.eye(3), np.zeros(3), 2.0))
    scores = score_scene(found, views_of(truth), truth)
    assert scores.aligned == about(PERFECT) and scores.scale == pytest.approx(0.5)
    assert scores.unaligned["abs_rel"] == about(1.0) and scores.unaligned["delta1"] == 0
    assert scores.unaligned["accuracy"] > 1 and scores.unaligned["f1"] < 0.2
    assert scores.pose["auc_3"] == 1  # directions and turns do not change


def test_a_scene_in_other_axes_is_perfect_either_way():
    truth = sample()
    scores = score_scene(moved(exact(truth), ELSEWHERE), views_of(truth), truth)
    assert scores.aligned == about(PERFECT) and scores.unaligned == about(PERFECT)


@settings(max_examples=12)
@given(st.integers(3, 12), st.floats(0.1, 10), st.integers(0, 2**31))
def test_no_similarity_changes_what_is_aligned(views, scale, seed):
    truth = sample(views, seed)
    by = replace(ELSEWHERE, scale=scale)
    scores = score_scene(moved(exact(truth), by), views_of(truth), truth)
    assert scores.aligned == pytest.approx(PERFECT, abs=1e-4)
    assert scores.scale == pytest.approx(1 / scale, rel=1e-4)


def test_depth_that_is_off_by_a_tenth_is_off_by_a_tenth():
    truth = sample()
    found = exact(truth)
    scores = score_scene(replace(found, depth=1.1 * found.depth), views_of(truth), truth)
    assert scores.aligned["abs_rel"] == about(0.1) and scores.aligned["delta1"] == 1
    assert scores.pose["auc_3"] == 1 and scores.aligned["f1"] < 1


def test_one_camera_elsewhere_costs_points_and_not_depth():
    truth = sample()
    found = exact(truth)
    wrong = found.extrinsics.copy()
    wrong[2, :3, 3] += 0.4
    scores = score_scene(replace(found, extrinsics=wrong), views_of(truth), truth)
    assert 0.2 < scores.unaligned["precision"] < 1 and scores.pose["auc_3"] < 1
    assert scores.unaligned["abs_rel"] == about(0)


def test_ten_views_are_aligned_past_a_camera_that_is_nowhere():
    truth = sample(11)
    found = moved(exact(truth), replace(ELSEWHERE, scale=3.0))
    found.extrinsics[5, :, 3] += 100
    scores = score_scene(found, views_of(truth), truth)
    assert scores.scale == pytest.approx(1 / 3, rel=1e-5)


def test_one_pixel_that_is_nowhere_costs_a_point_and_not_the_scene():
    truth = sample()
    found = exact(truth)
    found.depth[1, 5, 5] = 1e12
    scores = score_scene(found, views_of(truth), truth)
    assert scores.pose["auc_3"] == 1 and 0.99 < scores.aligned["precision"] < 1
    assert scores.aligned["accuracy"] > 1e6


@pytest.mark.parametrize("views, spread", [(1, 1.0), (3, 0.0)])
def test_cameras_in_one_place_are_aligned_by_depth(views, spread):
    truth = sample(views, spread=spread)
    by = replace(ELSEWHERE, scale=0.25)
    scores = score_scene(moved(exact(truth), by), views_of(truth), truth)
    assert scores.aligned == about(PERFECT) and scores.aligned_by == DEPTH
    assert scores.scale == pytest.approx(4, rel=1e-5)
    assert scores.unaligned["abs_rel"] == about(0.75)


def test_given_cameras_score_nothing_and_depth_scores_as_ever():
    truth = sample()
    scores = score_scene(exact(truth), views_of(truth), truth, given=True)
    assert scores.pose == {} and scores.aligned == about(PERFECT)


def test_without_depth_only_cameras_score():
    truth = sample()
    scores = score_scene(exact(truth), views_of(truth), replace(truth, depth=None))
    assert scores.pose["auc_3"] == 1 and scores.aligned == scores.unaligned == {}
    assert scores.threshold is scores.scale is scores.aligned_by is None


def test_sky_unknown_and_far_do_not_count():
    truth = sample()
    found = exact(truth)
    for depth in truth.depth:
        depth[:5], depth[5:9], depth[9:12] = np.inf, np.nan, 90
    found = replace(found, depth=np.stack([np.where(d < 80, d, 7) for d in truth.depth]))
    scores = score_scene(found, views_of(truth), replace(truth, max_depth=80.0))
    assert scores.aligned == about(PERFECT)
    assert scores.threshold == pytest.approx(0.025 * np.median([d[12:] for d in truth.depth]))
    stated = score_scene(found, views_of(truth), replace(truth, max_depth=80.0, threshold=0.3))
    assert stated.threshold == 0.3


@pytest.mark.parametrize("method", ["upper_bound_resize", "lower_bound_crop"])
def test_truth_is_looked_up_where_a_views_pixels_are_in_the_photo(method):
    rows, columns = np.mgrid[:90, :120]
    depth = (1 + rows + 1000.0 * columns).astype(np.float32)  # says where it is from
    view = same_size([make_view(np.zeros((180, 240, 3), np.uint8), 60, method)])[0]
    truth = truth_of_view(depth, view)
    column, row = divmod(truth.depth - 1, 1000)
    np.testing.assert_allclose(truth.pixels, np.stack((column + 0.5, row + 0.5), -1) * 2)
    middles = np.mgrid[: view.size_hw[0], : view.size_hw[1]] + 0.5
    for at, axis in ((1, 0), (0, 1)):
        in_view = truth.pixels[..., at] * (view.resized_hw[axis] / (180, 240)[axis])
        off = in_view - view.offset_yx[axis] - middles[axis]
        assert np.abs(off).max() <= 0.51 * max(1, view.resized_hw[axis] / (90, 120)[axis])


def test_a_view_of_another_size_than_the_truth_is_scored_on_its_own_pixels():
    truth = sample(3)
    flat = replace(truth, depth=[np.full((7, 21), 3, np.float32)] * 3)
    found = replace(exact(truth), depth=np.full((3, *HW), 3, np.float32))
    assert score_scene(found, views_of(truth), flat).aligned["abs_rel"] == about(0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"extrinsics": None}, "no cameras were found"),
        ({"depth": np.full((4, *HW), np.nan, np.float32)}, "view 0: the found depth is not finite"),
        ({"extrinsics": np.full((4, 3, 4), np.inf)}, "not finite"),
        ({"extrinsics": np.eye(4)[None].repeat(3, 0)}, "3 found and 4 true cameras"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    truth = sample()
    with pytest.raises(InputError, match=message):
        score_scene(replace(exact(truth), **change), views_of(truth), truth)


def test_a_scene_without_depth_that_counts_is_refused():
    truth = sample()
    empty = replace(truth, depth=[np.full(HW, np.inf, np.float32)] * 4)
    with pytest.raises(InputError, match="no pixel of this scene"):
        score_scene(exact(truth), views_of(truth), empty)
    with pytest.raises(InputError, match="4 photos: give one camera and one map for each"):
        replace(truth, depth=truth.depth[:3])
    assert truth.unit == METRE and homogeneous(truth.extrinsics).shape == (4, 4, 4)
