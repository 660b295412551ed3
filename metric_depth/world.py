"""Random worlds: where the camera stands, what is around it, how it is lit and photographed.

A seed in; a ``World`` of plain arrays out.
"""

from dataclasses import dataclass, field

import numpy as np

from metric_depth.builder import MATERIAL_NUMBERS, Builder, rotation
from metric_depth.layouts import CALM_CHANCES, CHANCES, LAYOUTS, PLAIN, heavy_tailed
from metric_depth.look import draw_look
from metric_depth.raycast import ROOM
from metric_depth.surroundings import overhang

MAX_SOLIDS = 160
PLAIN_SHARE = 0.1
CALM_SHARE = 0.5


@dataclass
class World:
    """One scene before it is rendered."""

    solids: dict[str, np.ndarray] = field(default_factory=dict)
    materials: np.ndarray = field(default_factory=lambda: np.zeros((0, MATERIAL_NUMBERS)))
    position_m: np.ndarray = field(default_factory=lambda: np.zeros(3))
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    fov_rad: float = 1.0  # across the image's longer side
    look: dict[str, np.ndarray] = field(default_factory=dict)


def random_world(seed: int, plain: float = PLAIN_SHARE, calm: float = CALM_SHARE) -> World:
    """Make one world: the same seed and shares give the same world on every machine.

    Args:
        plain: how likely it is one of the plain layouts, by a camera held straight.
        calm: how likely any other is framed as people frame photos: held level, no wide angle,
            nothing in the way, and the layouts as often as they are photographed.
    """
    rng = np.random.default_rng([seed, 20])
    b = Builder(rng)
    simple = rng.uniform() < plain
    framing = np.random.default_rng([seed, 21])  # apart: the others do not change with ``calm``
    framed = not simple and framing.uniform() < calm
    layout = (
        PLAIN[int(rng.integers(len(PLAIN)))]
        if simple
        else LAYOUTS[int(rng.choice(len(LAYOUTS), p=CALM_CHANCES if framed else CHANCES))]
    )
    shot = layout(b)
    shot.roll += heavy_tailed(rng, 0.05, 0.35, 0.0 if simple else 0.12) * (0.4 if framed else 1)
    shot.pitch += heavy_tailed(rng, 0.06, 0.3, 0.0 if simple else 0.15) * (0.4 if framed else 1)
    fov = np.radians(rng.uniform(28, 95))
    juts_in = rng.uniform() < (0.0 if simple or framed else 0.18)
    if framed:
        fov = np.radians(framing.uniform(26, 60))
        shot.yaw *= 0.4
    turn = rotation(shot.yaw, shot.pitch, shot.roll)
    if juts_in:
        overhang(b, shot.position_m, turn, fov)
    world = World(position_m=shot.position_m, rotation=turn, fov_rad=fov)
    world.solids, world.materials = _pack(b, shot.position_m)
    world.look = draw_look(rng, shot)
    return world


def _pack(b: Builder, position_m: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays of the solids, without those that the camera would be inside of."""
    centers, halves = np.array(b.centers), np.array(b.halves)
    turns, kinds = np.array(b.rotations), np.array(b.kinds)
    offset = np.einsum("nij,ni->nj", turns, position_m - centers)
    inside = (np.abs(offset) < halves + 0.08).all(1) & (kinds != ROOM)
    inside &= halves.max(1) < 100  # never the ground
    keep = np.flatnonzero(~inside)[:MAX_SOLIDS]
    solids = {
        "kind": kinds[keep],
        "center_m": centers[keep],
        "rotation": turns[keep],
        "half_m": halves[keep],
    }
    return solids, np.array(b.materials)[keep]
