"""Generated scenes: depth against geometry that can be worked out by hand."""

import math

import numpy as np
import pytest
import torch

from metric_depth.builder import MATERIAL_NUMBERS, rotation
from metric_depth.effects import gaussian_blur, hashed_noise, jpeg_damage
from metric_depth.layouts import CALM_CHANCES, CHANCES, LAYOUTS
from metric_depth.raycast import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    ROOM,
    Pinhole,
    Solids,
    first_hits,
    occluded,
)
from metric_depth.scenes import HELD_OUT_SEED, render_scenes
from metric_depth.textures import FAMILIES, VARIANTS, make_atlas, texture_index
from metric_depth.world import random_world
from runtime.errors import InputError

SIZE_HW = (41, 61)


def camera(turn=None, position=(0.0, 0.0, 0.0), focal_px: float = 50.0):
    return Pinhole(
        torch.tensor([position], dtype=torch.float32),
        torch.from_numpy(rotation() if turn is None else turn).float()[None],
        torch.tensor([focal_px]),
        SIZE_HW,
    )


def solids(*parts) -> Solids:
    """Each part: kind, center, half extents, and a rotation if it has one."""
    turns = [part[3] if len(part) > 3 else np.eye(3) for part in parts]
    return Solids(
        torch.tensor([[part[0] for part in parts]]),
        torch.ones((1, len(parts)), dtype=torch.bool),
        torch.tensor([[part[1] for part in parts]], dtype=torch.float32),
        torch.from_numpy(np.array([turns])).float(),
        torch.tensor([[part[2] for part in parts]], dtype=torch.float32),
    )


def depth_of(scene: Solids, seen_by: Pinhole) -> torch.Tensor:
    depth_m, _ = first_hits(scene, seen_by)
    return depth_m.view(SIZE_HW)


def pixel_rays(focal_px: float = 50.0):
    y, x = np.mgrid[0 : SIZE_HW[0], 0 : SIZE_HW[1]] + 0.5
    return (x - SIZE_HW[1] / 2) / focal_px, (SIZE_HW[0] / 2 - y) / focal_px


def test_a_wall_straight_ahead_has_one_depth():
    wall = solids((BOX, (0, 0, 5.5), (100, 100, 0.5)))
    torch.testing.assert_close(depth_of(wall, camera()), torch.full(SIZE_HW, 5.0))


def test_ground_below_a_level_camera_is_height_over_slope():
    ground = solids((BOX, (0, -0.5, 0), (1e3, 0.5, 1e3)))
    depth = depth_of(ground, camera(position=(0, 1.5, 0))).numpy()
    _, up = pixel_rays()
    below = up < -0.01
    np.testing.assert_allclose(depth[below], 1.5 / -up[below], rtol=1e-4)
    assert np.isinf(depth[up > 0]).all()


@pytest.mark.parametrize("pitch", [-0.6, 0.3])
def test_a_pitched_camera_sees_the_ground_where_its_plane_is(pitch):
    ground = solids((BOX, (0, -0.5, 0), (1e3, 0.5, 1e3)))
    depth = depth_of(ground, camera(rotation(pitch=pitch), (0, 2, 0))).numpy()
    _, up = pixel_rays()
    falls = -(up * math.cos(pitch) + math.sin(pitch))  # of a ray of depth 1, downward
    hit = falls > 0.01
    np.testing.assert_allclose(depth[hit], (2 / falls)[hit], rtol=1e-4)


def test_a_ball_is_where_the_quadratic_formula_says():
    center, radius = np.array([0.3, -0.2, 4.0]), 1.2
    depth = depth_of(solids((ELLIPSOID, tuple(center), (radius,) * 3)), camera()).numpy()
    across, up = pixel_rays()
    rays = np.stack([across, up, np.ones_like(up)], axis=-1)
    a, b = (rays**2).sum(-1), rays @ center
    inside = b**2 - a * (center @ center - radius**2)
    expected = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    clear = np.abs(inside) > 1e-3
    np.testing.assert_allclose(depth[clear], expected[clear], rtol=1e-4)


def test_a_cylinder_shows_its_side_and_its_lid():
    upright = solids((CYLINDER, (0, 0, 5), (1, 2, 1)))
    middle = (SIZE_HW[0] // 2, SIZE_HW[1] // 2)
    assert depth_of(upright, camera())[middle] == pytest.approx(4.0, rel=1e-4)
    lying = solids((CYLINDER, (0, 0, 5), (1, 2, 1), rotation(pitch=math.pi / 2)))
    assert depth_of(lying, camera())[middle] == pytest.approx(3.0, rel=1e-4)


def test_a_room_is_seen_from_within():
    depth = depth_of(solids((ROOM, (0, 0, 2), (3, 2, 4))), camera()).numpy()
    across, up = pixel_rays()
    with np.errstate(divide="ignore"):
        expected = np.minimum(np.minimum(3 / np.abs(across), 2 / np.abs(up)), 6)
    np.testing.assert_allclose(depth, expected, rtol=1e-4)


def test_the_nearer_of_two_solids_wins_whatever_their_order():
    near, far = (BOX, (0, 0, 3), (0.5, 0.5, 0.5)), (ELLIPSOID, (0, 0, 9), (4, 4, 4))
    one = first_hits(solids(near, far), camera())
    other = first_hits(solids(far, near), camera())
    torch.testing.assert_close(one[0], other[0])
    assert ((one[1] == 0) == (other[1] == 1)).all()


def test_what_is_behind_the_camera_is_not_seen():
    assert depth_of(solids((BOX, (0, 0, -5), (1, 1, 1))), camera()).isinf().all()


def test_shadow_falls_behind_what_stands_before_the_lamp():
    scene = solids((BOX, (0, 1, 0), (0.2, 0.2, 0.2)))
    points = torch.tensor([[[0.0, 0, 0], [2, 0, 0]]])
    lamp = torch.tensor([0.0, 3, 0])
    assert occluded(scene, points, lamp - points).tolist() == [[True, False]]


def test_the_same_seed_gives_the_same_scene_alone_or_in_a_batch():
    alone = render_scenes([5], (48, 64))
    batch = render_scenes([3, 5], (48, 64))
    assert (alone.rgb[0].int() - batch.rgb[1].int()).abs().max() <= 2
    torch.testing.assert_close(alone.depth_m[0], batch.depth_m[1], rtol=1e-4, atol=1e-4)
    assert (batch.rgb[0] != batch.rgb[1]).any()


def test_scenes_are_pictures_with_depth_at_every_scale():
    scenes = render_scenes(range(HELD_OUT_SEED, HELD_OUT_SEED + 24), (42, 56))
    assert scenes.rgb.shape == (24, 3, 42, 56) and scenes.rgb.dtype == torch.uint8
    assert scenes.depth_m.dtype == torch.float32 and (scenes.depth_m > 0).all()
    assert torch.isfinite(scenes.disparity).all()
    nearest = scenes.depth_m.flatten(1).amin(1)
    assert nearest.min() < 0.5 and nearest.max() > 1.5
    assert scenes.depth_m.isinf().any()  # some sky
    assert scenes.rgb.float().flatten(1).std(1).median() > 15  # not blank


def test_every_layout_can_be_drawn():
    for chances in (CHANCES, CALM_CHANCES):
        assert len(LAYOUTS) == len(chances) and sum(chances) == pytest.approx(1)
    for seed in range(60):
        world = random_world(seed, plain=0.3)
        assert len(world.solids["kind"]) == len(world.materials) > 0
        assert world.materials.shape[1] == MATERIAL_NUMBERS
        assert np.isfinite(world.materials).all() and (world.solids["half_m"] > 0).all()


@pytest.mark.parametrize(
    "seed, plain, calm, solids, expected",
    [
        (0, 0.1, 0.5, 112, (2566.69132011, 1088.54485177, 5266.73631389, 1.01462354, 304.06739460)),
        (1, 1.0, 0.0, 7, (99.13022874, 813.44189907, 354.10114934, 1.52060196, 291.01039910)),
        (7, 0.0, 1.0, 46, (886.46166958, 897.69286566, 1012.67336604, 0.97463601, 349.33886136)),
        (HELD_OUT_SEED, 0, 0, 39, (91.79552745, 17.6127985, 1888.2225625, 0.6857697, 27.0231278)),
    ],
)  # fmt: skip
def test_worlds_are_those_that_the_demo_checkpoint_was_trained_on(
    seed, plain, calm, solids, expected
):
    world = random_world(seed, plain, calm)
    assert len(world.solids["kind"]) == solids
    parts = (
        np.abs(world.solids["center_m"]).sum(),
        world.solids["half_m"].sum(),
        world.materials.sum(),
        world.fov_rad,
        sum(np.abs(numbers).sum() for numbers in world.look.values()),
    )
    assert parts == pytest.approx(expected, rel=1e-8)


def test_pictures_are_those_that_the_demo_checkpoint_was_trained_on():
    scenes = render_scenes([0, HELD_OUT_SEED], (84, 112))
    means = [*scenes.rgb.float().flatten(1).mean(1), *scenes.disparity.flatten(1).mean(1)]
    assert means == pytest.approx([93.7658, 108.9076, 0.304011, 1.612296], rel=1e-4)


@pytest.mark.parametrize("seeds, size_hw", [([], (64, 64)), ([-1], (64, 64)), ([1], (8, 64))])
def test_seeds_and_sizes_that_make_no_scene_are_refused(seeds, size_hw):
    with pytest.raises(InputError, match="give at least one seed from 0 and sides from 16"):
        render_scenes(seeds, size_hw)


def test_textures_repeat_without_a_seam_and_blur_with_distance():
    atlas = make_atlas(1)
    index = torch.tensor([texture_index(family, 0) for family in FAMILIES])
    uv = torch.rand(len(FAMILIES), 2, generator=torch.Generator().manual_seed(0))
    sharp = torch.zeros(len(FAMILIES))
    here, next_tile = atlas.sample(index, uv, sharp), atlas.sample(index, uv + 3, sharp)
    torch.testing.assert_close(here, next_tile, atol=2e-3, rtol=0)
    every = torch.arange(len(FAMILIES) * VARIANTS).repeat_interleave(200)
    places = torch.rand(len(every), 2, generator=torch.Generator().manual_seed(1))
    near = atlas.sample(every, places, torch.zeros(len(every)))
    far = atlas.sample(every, places, torch.ones(len(every)))
    assert near.min() >= 0 and near.max() <= 1 and far.std() < 0.6 * near.std()


def test_noise_is_nearly_normal_and_follows_its_seed():
    noise = hashed_noise(torch.Size((2, 3, 100, 100)), torch.tensor([1, 2]))
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1, abs=0.05)
    assert abs((noise[0] * noise[1]).mean()) < 0.05
    again = hashed_noise(torch.Size((1, 3, 100, 100)), torch.tensor([2]))
    torch.testing.assert_close(again[0], noise[1])


def test_jpeg_damage_keeps_even_areas_and_changes_fine_detail():
    checks = (torch.arange(40)[:, None] + torch.arange(36)) % 2 * 0.2 + 0.4
    image = torch.stack([torch.full((40, 36), 0.5), checks]).unsqueeze(1).expand(-1, 3, -1, -1)
    damaged = jpeg_damage(image, torch.tensor([1.0, 1.0]))
    assert damaged.shape == image.shape
    assert (damaged[0] - 0.5).abs().max() < 0.04
    assert (damaged[1] - image[1]).abs().mean() > 0.02
    assert torch.equal(jpeg_damage(image, torch.zeros(2)), image)


@pytest.mark.parametrize("sigma_px", [0.7, 1.5, 5.0])
def test_blur_keeps_the_mean_and_spreads_a_point(sigma_px):
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 31:33, 31:33] = 0.25
    blurred = gaussian_blur(image, sigma_px)
    assert blurred.sum() == pytest.approx(1, abs=0.05)
    x = torch.arange(64) - 31.5
    spread = (blurred[0, 0].sum(0) * x**2).sum().sqrt()
    assert spread == pytest.approx(sigma_px, rel=0.25)
