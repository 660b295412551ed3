"""Scores of cameras and clouds have the values that a person can work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene_recipe import rotation

from metric_depth.cloud_metrics import cloud_scores, nearest, thinned
from metric_depth.pose_metrics import (
    ANGLES_DEG,
    area_under_curve,
    focal_error,
    pair_errors,
    pose_scores,
)
from runtime.errors import InputError
from runtime.scene.cameras import inverse
from runtime.scene.similarity import Similarity


def cameras(centres, turns=None):
    """World-to-camera (N, 4, 4) of cameras at these places."""
    poses = np.tile(np.eye(4), (len(centres), 1, 1))
    poses[:, :3, 3] = centres
    if turns is not None:
        poses[:, :3, :3] = turns
    return inverse(poses)


def path(count=6, seed=0):
    random = np.random.RandomState(seed)
    turns = [rotation("y", a) @ rotation("x", b) for a, b in random.uniform(-1, 1, (count, 2))]
    return cameras(random.uniform(-2, 2, (count, 3)), turns)


def turned(poses, index, degrees, axis="y"):
    """The same cameras, one of them turned where it stands."""
    there = inverse(poses)
    there[index, :3, :3] = there[index, :3, :3] @ rotation(axis, np.radians(degrees))
    return inverse(there)


def test_perfect_cameras_score_1_at_every_angle():
    scores = pose_scores(path(), path())
    for name in ("auc", "rotation_auc", "translation_auc"):
        assert [scores[f"{name}_{angle}"] for angle in ANGLES_DEG] == [1.0] * 4
    assert scores["rotation_deg"] == pytest.approx(0, abs=1e-6)
    assert scores["translation_deg"] == pytest.approx(0, abs=1e-5)


def test_neither_axes_nor_origin_nor_scale_of_the_world_matters():
    elsewhere = Similarity(rotation("z", 2) @ rotation("x", 1), np.array([5.0, -7, 9]), 3.5)
    moved = elsewhere.move_cameras(path())
    errors = pair_errors(moved, path())
    np.testing.assert_allclose(errors.rotation_deg, 0, atol=1e-6)
    np.testing.assert_allclose(errors.translation_deg, 0, atol=1e-5)
    worse, moved_worse = turned(path(), 2, 8), turned(moved, 2, 8)
    for one, other in zip(pair_errors(worse, path()), pair_errors(moved_worse, path())):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("degrees", [1e-4, 0.5, 7.5, 90, 179.5, 180])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turned_camera_is_off_by_its_angle_in_its_pairs(degrees, axis):
    errors = pair_errors(turned(path(3), 1, degrees, axis), path(3))
    # pairs are 01, 02, 12
    np.testing.assert_allclose(errors.rotation_deg, [degrees, 0, degrees], atol=1e-5)


def test_a_camera_elsewhere_is_off_by_the_angle_between_the_directions():
    true = cameras([[0, 0, 0], [1, 0, 0]])
    for degrees in (0, 10, 60, 135, 180):
        way = np.radians(degrees)
        found = cameras([[0, 0, 0], [7 * np.cos(way), 0, 7 * np.sin(way)]])
        errors = pair_errors(found, true)
        assert errors.translation_deg == pytest.approx([degrees], abs=1e-6)
        assert errors.rotation_deg == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize(
    "errors, limit, expected",
    [
        ([0.0], 3, 1.0),
        ([0.99], 3, 1.0),  # below the first degree
        ([1.0], 3, 2 / 3),
        ([2.5], 3, 1 / 3),
        ([2.5], 5, 3 / 5),
        ([3.0], 3, 1 / 3),  # the last bin has its upper end
        ([3.01], 3, 0.0),
        ([4.5, 0.5], 5, (1 / 5 + 1) / 2),
        ([10.5], 30, 20 / 30),
        ([180.0], 30, 0.0),
        ([0.5, 1.5, 2.5, 50.0], 3, (1 + 2 + 3) / (3 * 4)),
    ],
)
def test_areas_are_those_of_upstreams_bins(errors, limit, expected):
    assert area_under_curve(np.array(errors), limit) == pytest.approx(expected)


def test_no_pair_has_no_area():
    assert area_under_curve(np.zeros(0), 3) is None
    assert set(pose_scores(path(1), path(1)).values()) == {None}


def test_known_rotations_give_known_areas():
    """One of three cameras is 2.5 degrees off where it stands: two pairs of three."""
    scores = pose_scores(turned(path(3), 1, 2.5), path(3))
    assert scores["rotation_auc_3"] == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert scores["rotation_auc_5"] == pytest.approx((3 / 5 + 1 + 3 / 5) / 3)
    assert scores["rotation_auc_30"] == pytest.approx((28 / 30 + 1 + 28 / 30) / 3)
    assert scores["rotation_deg"] == pytest.approx(2.5)


def test_the_larger_of_both_errors_counts():
    true = cameras([[0, 0, 0], [1, 0, 0]])
    way = np.radians(10.5)
    found = cameras([[0, 0, 0], [np.cos(way), 0, np.sin(way)]])
    scores = pose_scores(found, true)
    assert scores["rotation_auc_3"] == 1 and scores["translation_auc_30"] == pytest.approx(20 / 30)
    assert scores["auc_30"] == pytest.approx(20 / 30) and scores["auc_5"] == 0


def test_the_sign_of_a_translation_counts_in_degrees_only():
    true, found = cameras([[0, 0, 0], [1, 0, 0]]), cameras([[0, 0, 0], [-1, 0, 0]])
    scores = pose_scores(found, true)
    assert scores["auc_3"] == 1 and scores["translation_deg"] == pytest.approx(180)


def test_cameras_in_one_place_count_by_their_rotation():
    places = [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    true = cameras(places)
    scores = pose_scores(true, true)
    assert scores["auc_3"] == scores["translation_auc_3"] == 1
    errors = pair_errors(cameras([[0, 0, 0], [0, 0, 0.3], [1, 0, 0]]), true)
    assert np.isnan(errors.translation_deg[0]) and errors.translation_deg[1] < 1e-6
    # found in one place where the true ones are not: no direction
    collapsed = pair_errors(cameras([[0, 0, 0]] * 3), true).translation_deg
    np.testing.assert_array_equal(collapsed, [np.nan, 90, 90])
    alone = pose_scores(cameras([[1, 2, 3]] * 3), cameras([[1, 2, 3]] * 3))
    assert alone["auc_3"] == 1 and alone["translation_auc_3"] is None


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_areas_grow_with_the_angle_and_with_either_alone(count, seed):
    random = np.random.RandomState(seed)
    noisy = path(count, 1)
    noisy[:, :3, 3] += random.normal(0, 0.1, (count, 3))
    scores = pose_scores(turned(noisy, 0, random.uniform(0, 40)), path(count, 1))
    for name in ("auc", "rotation_auc", "translation_auc"):
        areas = [scores[f"{name}_{angle}"] for angle in ANGLES_DEG]
        assert all(0 <= area <= 1 for area in areas)
        assert all(scores[f"auc_{angle}"] <= scores[f"{name}_{angle}"] for angle in ANGLES_DEG)


@pytest.mark.parametrize(
    "found, message",
    [
        (path(3), "3 found and 6 true cameras"),
        (np.full((6, 4, 4), np.nan), "not finite"),
        (np.zeros((6, 3, 3)), "pose is"),
    ],
)
def test_cameras_that_cannot_be_scored_are_refused(found, message):
    with pytest.raises(InputError, match=message):
        pair_errors(found, path())


def test_the_error_of_focal_lengths_is_relative():
    true = np.tile(np.diag([100.0, 200, 1]), (2, 1, 1))
    found = true.copy()
    found[0, 0, 0] = 110
    assert focal_error(found, true) == pytest.approx(0.1 / 4)


# --- clouds


def grid(count=8, step=1.0):
    axis = np.arange(count) * step
    return np.stack(np.meshgrid(axis, axis, [0.0], indexing="ij"), -1).reshape(-1, 3)


def test_a_cloud_is_perfect_against_itself_in_any_order():
    points = grid()
    scores = cloud_scores(points[::-1], points, 1e-9)
    assert scores["accuracy"] == scores["completeness"] == scores["overall"] == 0
    assert scores["precision"] == scores["recall"] == scores["f1"] == 1


def test_a_cloud_above_the_true_one_is_off_by_the_distance():
    points = grid()
    scores = cloud_scores(points + [0, 0, 0.25], points, 0.2)
    assert scores["accuracy"] == scores["completeness"] == pytest.approx(0.25)
    assert scores["precision"] == scores["recall"] == scores["f1"] == 0
    assert cloud_scores(points + [0, 0, 0.25], points, 0.25)["f1"] == 1


def test_half_a_cloud_is_accurate_and_not_complete():
    points = grid(8)
    half = points[points[:, 0] < 4]
    scores = cloud_scores(half, points, 0.5)
    assert scores["accuracy"] == 0 and scores["precision"] == 1
    # rows at 4 .. 7 are 1 .. 4 from the row at 3
    assert scores["completeness"] == pytest.approx((1 + 2 + 3 + 4) / 8)
    assert scores["recall"] == 0.5 and scores["f1"] == pytest.approx(2 * 0.5 / 1.5)
    other = cloud_scores(points, half, 0.5)
    assert (other["precision"], other["recall"]) == (0.5, 1)
    assert other["overall"] == pytest.approx(scores["overall"])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_the_nearest_point_is_the_nearest(count, others, seed):
    random = np.random.RandomState(seed)
    one, two = random.normal(size=(count, 3)), random.normal(size=(others, 3))
    slow = np.linalg.norm(one[:, None] - two[None], axis=2).min(1)
    np.testing.assert_allclose(nearest(one, two), slow, rtol=1e-12)


def test_thinned_clouds_have_the_mean_of_each_cube():
    points = np.array([[0, 0, 0], [0.2, 0.4, 0], [0.9, 0, 0], [1.1, 0, 0], [-3, 5, 2.0]])
    found = thinned(points, 1.0)
    # cubes begin at the lowest corner, (-3, 0, 0)
    np.testing.assert_allclose(
        found[np.lexsort(found.T)], [[1.1, 0, 0], [1.1 / 3, 0.4 / 3, 0], [-3, 5, 2]]
    )
    assert len(thinned(grid(), 100.0)) == 1 and len(thinned(grid(), 0.5)) == 64
    assert thinned(np.zeros((0, 3)), 1.0).shape == (0, 3)
    far = np.concatenate((grid(4), [[1e9, 1e9, 1e9]]))  # too many cubes to number
    assert len(thinned(far, 1e-3)) == 17 and len(thinned(far, 10.0)) == 2
    close = thinned(np.concatenate((grid(4), grid(4), far[-1:])), 1e-3)
    np.testing.assert_allclose(close[np.lexsort(close.T)], far[np.lexsort(far.T)])


@pytest.mark.parametrize(
    "found, threshold, message",
    [
        (np.zeros((0, 3)), 1.0, r"the found cloud is \(0, 3\)"),
        (np.zeros((4, 2)), 1.0, r"the found cloud is \(4, 2\)"),
        (np.full((4, 3), np.inf), 1.0, "not finite"),
        (grid(), 0.0, "threshold=0.0"),
        (grid(), np.nan, "threshold=nan"),
    ],
)
def test_clouds_that_cannot_be_scored_are_refused(found, threshold, message):
    with pytest.raises(InputError, match=message):
        cloud_scores(found, grid(), threshold)
