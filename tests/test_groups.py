"""Scenes of more photos than a graph takes: which graph, which groups, and one scale in the end."""

import numpy as np
import pytest

from runtime.scene.cameras import inverse
from runtime.scene.groups import group_views, join_groups, pick_views
from runtime.scene.similarity import Similarity


@pytest.mark.parametrize(
    "photos, compiled, views",
    [
        (1, [1, 2, 4], 1),
        (1, [2, 4], 2),  # filled up
        (2, [1, 4], 4),
        (3, [1, 4], 4),  # three single views would have three scales
        (3, [4, 2, 1], 4),
        (4, [1, 2, 4, 8], 4),
        (5, [1, 2, 4], 4),  # in groups
        (9, [2, 4], 4),
        (3, [1], 1),  # there is nothing else
    ],
)
def test_several_photos_go_through_a_graph_of_several_views(photos, compiled, views):
    assert pick_views(photos, compiled) == views


def test_groups_overlap_and_cover_everything():
    assert group_views(3, 4) == [(0, 1, 2)]
    assert group_views(3, 1) == [(0,), (1,), (2,)]
    for count in range(1, 30):
        for views in (2, 3, 4, 8):
            groups = group_views(count, views)
            assert sorted({index for group in groups for index in group}) == list(range(count))
            assert all(set(a) & set(b) for a, b in zip(groups, groups[1:]))


def test_joining_recovers_a_scene_that_was_cut_in_three():
    """Groups of one true scene, each later one in another scale and other axes."""
    rng = np.random.RandomState(0)
    poses = np.stack([np.eye(4)] * 7)
    poses[:, :3, 3] = rng.normal(0, 1, (7, 3))
    extrinsics, depth = inverse(poses), rng.uniform(1, 3, (7, 6, 8)).astype(np.float32)

    def seen(group, change):
        rows = list(group)
        back = Similarity(
            change.rotation.T,
            -change.rotation.T @ change.translation / change.scale,
            1 / change.scale,
        )
        return {
            "depth": (depth[rows] / change.scale).astype(np.float32),
            "conf": np.full((len(rows), 6, 8), 2.0, np.float32),
            "extrinsics": back.move_cameras(extrinsics[rows])[:, :3],
            "number": np.array(rows),
        }

    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    groups = [(0, 1, 2), (2, 3, 4), (4, 5, 6)]
    changes = [
        Similarity(np.eye(3), np.zeros(3), 1.0),
        Similarity(quarter, np.ones(3), 2.5),
        Similarity(quarter.T, -np.ones(3), 0.3),
    ]
    parts = [seen(*pair) for pair in zip(groups, changes)]
    joined = join_groups(parts, groups, linked=True)
    assert np.allclose(joined["depth"], depth, rtol=1e-5)
    assert np.allclose(joined["extrinsics"], extrinsics[:, :3], atol=1e-6)
    assert joined["number"].tolist() == list(range(7))
    assert joined["depth"].dtype == np.float32
    apart = join_groups(parts, groups, linked=False)
    assert np.array_equal(apart["depth"][3], parts[1]["depth"][1])
