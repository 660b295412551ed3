"""Generated scenes from several places: cameras and depth of all views tell of one world."""

import numpy as np
import pytest

from exports.points import project, unproject
from metric_depth.generated_views import FLIP, generated_scene, looking_at, other_views
from metric_depth.raycast import BOX, ROOM
from metric_depth.scenes import HELD_OUT_SEED
from metric_depth.world import World
from runtime.scene.cameras import inverse

HW = (42, 56)
SEED = HELD_OUT_SEED + 4  # a room with things in it


@pytest.fixture(scope="module")
def room():
    return generated_scene(SEED, 3, HW, 80.0)


def test_a_scene_has_photos_cameras_and_depth_of_one_size(room):
    assert [photo.shape for photo in room.photos] == [(*HW, 3)] * 3
    assert {photo.dtype for photo in room.photos} == {np.dtype(np.uint8)}
    assert [depth.shape for depth in room.depth] == [HW] * 3
    turns = room.extrinsics[:, :3, :3]
    products = turns @ np.swapaxes(turns, 1, 2)
    np.testing.assert_allclose(products, np.tile(np.eye(3), (3, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    assert room.max_depth == 80 and room.unit == "metre"


def test_what_one_view_measures_the_others_see_at_that_depth(room):
    """Most points of a view are in another at the depth that this one has; the rest are hidden."""
    rows, columns = np.nonzero(np.isfinite(room.depth[0]))
    pixels = np.stack((columns, rows), 1) + 0.5
    depth = room.depth[0][rows, columns]
    points = unproject(pixels, depth, room.intrinsics[0], room.extrinsics[0])
    for view in (1, 2):
        places, far = project(points, room.intrinsics[view], room.extrinsics[view])
        inside = (far > 0) & (places > 1).all(1) & (places < np.array(HW[::-1]) - 1).all(1)
        assert inside.mean() > 0.4
        x, y = places[inside].astype(int).T
        off = room.depth[view][y, x] / far[inside] - 1
        assert np.median(np.abs(off)) < 0.02 and np.mean(np.abs(off) < 0.06) > 0.7
        assert np.mean(off > 0.1) < 0.05  # nothing is seen through


def test_a_scene_is_the_same_again_and_its_views_stand_apart(room):
    again = generated_scene(SEED, 2, HW, 80.0)
    np.testing.assert_array_equal(again.extrinsics, room.extrinsics[:2])
    np.testing.assert_array_equal(again.photos[0], room.photos[0])
    centres = inverse(room.extrinsics)[:, :3, 3]
    median = np.median(room.depth[0][np.isfinite(room.depth[0])])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(3, 1)]
    assert (apart > 0.01 * median).all() and (apart < median).all()


def test_cameras_look_at_what_is_in_the_middle_and_stand_upright():
    turn = looking_at(np.array([1.0, 0, 0]), np.array([1.0, 0, 5]), np.array([0.0, 1, 0]))
    np.testing.assert_allclose(turn, np.eye(3), atol=1e-12)
    turn = looking_at(np.zeros(3), np.array([2.0, 0, 2]), np.array([0.0, 1, 0]))
    np.testing.assert_allclose(turn[:, 2], [0.5**0.5, 0, 0.5**0.5])
    np.testing.assert_allclose(turn[:, 0], [0.5**0.5, 0, -(0.5**0.5)])
    # in OpenCV's axes the same camera looks to its right: x is right, y down
    np.testing.assert_allclose((FLIP @ turn @ FLIP)[:, 2], [0.5**0.5, 0, 0.5**0.5])


def narrow_world():
    """A room of 1 x 1 m, 10 m long, and a board across it behind the camera's right."""
    solids = {
        "kind": np.array([ROOM, BOX]),
        "center_m": np.array([[0, 0, 4.0], [0.3, 0, 0.0]]),
        "rotation": np.tile(np.eye(3), (2, 1, 1)),
        "half_m": np.array([[0.5, 0.5, 5], [0.02, 0.5, 0.5]]),
    }
    return World(solids=solids)


def test_no_camera_is_put_into_a_wall_or_behind_a_board():
    views = other_views(narrow_world(), np.full(HW, 8.0), 20, 3)
    places = np.array([position for position, _ in views])
    assert (np.abs(places[:, :2]) <= 0.35 + 1e-9).all() and (places[:, 0] < 0.3 - 0.17).all()
    assert len(np.unique(places.round(6), axis=0)) == 20


def test_a_picture_of_sky_alone_has_other_views_too():
    world = World(solids={name: value[:0] for name, value in narrow_world().solids.items()})
    views = other_views(world, np.full(HW, np.inf), 2, 0)
    assert np.isfinite([position for position, _ in views]).all()
