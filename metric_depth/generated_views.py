"""Generated scenes seen from several places: photos, exact cameras and exact depth.

A seed in; a ``SceneSample`` out, the same on every machine up to rounding. The first view is that
of ``scenes.render_scenes``; the others look at what is in its middle from beside it, where nothing
stands in the way.
"""

import dataclasses

import numpy as np
import torch

from metric_depth.raycast import ROOM, occluded
from metric_depth.scene_samples import SceneSample
from metric_depth.scenes import render_worlds, stack_solids
from metric_depth.world import World, random_world
from runtime.scene.cameras import inverse

AIM_M = (0.6, 20.0)  # how far the point that all look at may be
ASIDE = (0.1, 0.35)  # how far cameras go aside, of that
CLEAR_M = 0.15  # between a camera and whatever is there
TRIES = 12
SKY_M = 20.0  # where a picture of sky alone is aimed at
FLIP = np.diag([1.0, -1.0, 1.0])  # y up, as worlds have it, to y down, as cameras have it


def generated_scene(
    seed: int, views: int, size_hw: tuple[int, int], max_depth_m: float
) -> SceneSample:
    """Render one scene from several places.

    Args:
        seed: of the world, from 0; from ``scenes.HELD_OUT_SEED`` on it is one that training has
            not seen.
        views: at least 1.
        size_hw: of each photo.
    """
    world = random_world(seed)
    first = render_worlds([world], [seed], size_hw).depth_m[0].numpy()
    others = other_views(world, first, views - 1, seed)
    worlds = [world, *(dataclasses.replace(world, position_m=p, rotation=r) for p, r in others)]
    rendered = render_worlds(worlds, [seed + at for at in range(views)], size_hw)
    cameras = np.tile(np.eye(4), (views, 1, 1))
    for camera, placed in zip(cameras, worlds):
        camera[:3, :3], camera[:3, 3] = FLIP @ placed.rotation @ FLIP, FLIP @ placed.position_m
    focal = max(size_hw) / 2 / np.tan(world.fov_rad / 2)
    lens = np.array([[focal, 0, size_hw[1] / 2], [0, focal, size_hw[0] / 2], [0, 0, 1]])
    return SceneSample(
        photos=list(rendered.rgb.permute(0, 2, 3, 1).contiguous().numpy()),
        extrinsics=inverse(cameras),
        intrinsics=np.tile(lens, (views, 1, 1)),
        depth=list(rendered.depth_m.numpy()),
        depth_from="the scene itself",
        max_depth=max_depth_m,
    )


def other_views(
    world: World, depth_m: np.ndarray, count: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places beside a world's camera, and how cameras there are turned.

    Args:
        depth_m: float (H, W), what the camera sees; +inf is sky.
    Returns:
        ``count`` positions (3,) and rotations (3, 3), camera to world, y up.
    """
    rng = np.random.default_rng([seed, 22])
    seen = depth_m[np.isfinite(depth_m)]
    aim_m = float(np.clip(np.median(seen) if len(seen) else SKY_M, *AIM_M))
    target = world.position_m + aim_m * world.rotation[:, 2]
    views = []
    for _ in range(count):
        angle = rng.uniform(0, 2 * np.pi)
        way = np.array([np.cos(angle), 0.4 * np.sin(angle), rng.uniform(-0.3, 0.3)])
        step = aim_m * rng.uniform(*ASIDE) * world.rotation @ way
        for _ in range(TRIES):
            if _is_clear(world, world.position_m + step):
                break
            step = step / 2
        position = world.position_m + step
        near = target + 0.08 * aim_m * rng.normal(size=3)
        views.append((position, looking_at(position, near, world.rotation[:, 1])))
    return views


def looking_at(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """How a camera is turned that looks at a point: (3, 3), camera to world, y up."""
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(up, ahead)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(ahead, right), ahead), axis=1)


def _is_clear(world: World, place_m: np.ndarray) -> bool:
    """Whether a camera can be here, and nothing is between it and the world's own."""
    solids = world.solids
    offset = np.einsum("nij,ni->nj", solids["rotation"], place_m - solids["center_m"])
    inside = (np.abs(offset) < solids["half_m"] + CLEAR_M).all(1)
    within = (np.abs(offset) < solids["half_m"] - CLEAR_M).all(1)
    is_room = solids["kind"] == ROOM
    if inside[~is_room].any() or not within[is_room].all():
        return False
    start = torch.as_tensor(world.position_m, dtype=torch.float32).view(1, 1, 3)
    way = torch.as_tensor(place_m - world.position_m, dtype=torch.float32).view(1, 1, 3)
    return not bool(occluded(stack_solids([world], "cpu"), start, way).any())
