"""Things that stand outdoors: trees, cars, houses, stones, fences.

Each function places one with its foot at the origin of the builder's frame, facing -z, at its
natural size in metres.
"""

import numpy as np

from metric_depth.beings import animal, person
from metric_depth.builder import Builder, rotation
from metric_depth.parts import BARK, LEAF, Thing, foliage, limb
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID


def tree(b: Builder) -> None:
    """A trunk that leans, boughs and leaves; 2 to 14 m."""
    rng = b.rng
    tall = rng.uniform(2, 14)
    bark = b.tinted(BARK, "noise", "wood", "marble", tile_m=0.8)
    hue = LEAF if rng.uniform() < 0.75 else (0.4, 0.2, 0.04)
    leaf = b.tinted(hue, "leaves", "noise", "spots", tile_m=tall / 5)
    top = limb(
        b,
        np.zeros(3),
        np.array([*rng.normal(0, 0.08, 2), 0]) + [0, 1, 0],
        tall * 0.5,
        tall * rng.uniform(0.015, 0.04),
        bark,
    )
    for _ in range(int(rng.integers(1, 5))):
        limb(
            b,
            top * rng.uniform(0.6, 1),
            rng.normal(0, 0.7, 3) + [0, 0.7, 0],
            tall * 0.3,
            tall * 0.01,
            bark,
        )
    if rng.uniform() < 0.85:
        spread = np.array([1, rng.uniform(0.6, 1.6), 1]) * tall * rng.uniform(0.15, 0.3)
        foliage(b, top + [0, tall * 0.15, 0], spread, int(rng.integers(5, 12)), leaf)


def bush(b: Builder) -> None:
    """Leaves down to the ground, 0.3 to 2 m."""
    size = b.rng.uniform(0.2, 1.2)
    leaf = b.tinted(LEAF, "leaves", "noise", tile_m=size)
    foliage(
        b,
        np.array([0, size * 0.7, 0]),
        np.array([size, size, size]),
        int(b.rng.integers(3, 7)),
        leaf,
    )


def car(b: Builder) -> None:
    """A car or a van, about 4 m long."""
    rng = b.rng
    paint, glass = b.material("plain", tile_m=2, gloss=0.9), b.tinted((0.03, 0.04, 0.05), "plain")
    tyre = b.tinted((0.02, 0.02, 0.02), "plain")
    long, wide, high = rng.uniform(1.7, 2.6), rng.uniform(0.8, 1.0), rng.uniform(0.3, 0.45)
    b.add(BOX, (0, 0.3 + high, 0), (wide, high, long), paint)
    cabin = rng.uniform(0.25, 0.6)
    back = rng.uniform(-0.3, 0.4)
    b.add(BOX, (0, 0.3 + 2 * high + cabin, back), (wide * 0.88, cabin, long * 0.55), glass)
    b.add(BOX, (0, 0.3 + 2 * high + 2 * cabin, back), (wide * 0.85, 0.04, long * 0.5), paint)
    for x in (-1, 1):
        for z in (-0.62, 0.62):
            b.add(
                CYLINDER,
                (x * wide * 0.93, 0.33, z * long),
                (0.33, 0.12, 0.33),
                tyre,
                rotation(roll=np.pi / 2),
            )


def bicycle(b: Builder) -> None:
    """Two thin wheels and a frame of rods: holes to see through."""
    rng = b.rng
    metal, tyre = b.material("plain", gloss=0.7), b.tinted((0.03, 0.03, 0.03), "plain")
    for z in (-0.52, 0.52):
        b.add(CYLINDER, (0, 0.34, z), (0.34, 0.02, 0.34), tyre, rotation(roll=np.pi / 2))
    joints = [
        np.array(p)
        for p in (
            (0, 0.34, -0.52),
            (0, 0.85, -0.35),
            (0, 0.8, 0.2),
            (0, 0.34, 0.52),
            (0, 0.3, 0.05),
        )
    ]
    for one, other in ((0, 1), (1, 2), (2, 3), (2, 4), (4, 1), (4, 3)):
        way = joints[other] - joints[one]
        limb(b, joints[one], way, float(np.linalg.norm(way)), 0.022, metal)
    b.add(ELLIPSOID, (0, 0.9, 0.22), (0.09, 0.05, 0.14), tyre)
    b.add(
        CYLINDER,
        (0, 1.0, -0.33),
        (0.02, 0.28, 0.02),
        metal,
        rotation(roll=np.pi / 2 + rng.normal(0, 0.1)),
    )


def house(b: Builder) -> None:
    """A building of one or two blocks, with a flat or a pitched roof, 3 to 30 m high."""
    rng = b.rng
    wall = b.material("windows", "windows", "bricks", "plain", "noise", tile_m=6)
    wide, deep, high = rng.uniform(2.5, 9), rng.uniform(2.5, 9), np.exp(rng.uniform(1.1, 3.2)) / 2
    b.add(BOX, (0, high, 0), (wide, high, deep), wall)
    if high < 5 and rng.uniform() < 0.7:
        roof = b.material("bricks", "tiles", "noise", tile_m=2)
        b.add(
            BOX,
            (0, 2 * high, 0),
            (wide * 0.72, wide * 0.72, deep * 1.03),
            roof,
            rotation(roll=np.pi / 4),
        )
    for _ in range(int(rng.integers(0, 4))):  # doors, balconies, boxes on the roof
        x, y = rng.uniform(-0.8, 0.8) * wide, rng.uniform(0.1, 1.9) * high
        b.add(BOX, (x, y, -deep), rng.uniform(0.2, 1.0, 3), b.material(tile_m=1))


def rock(b: Builder) -> None:
    """A stone, 0.1 to 1.5 m."""
    size = np.exp(b.rng.uniform(-2.5, 0.3))
    stone = b.material("noise", "marble", "spots", tile_m=size * 2)
    b.add(
        ELLIPSOID,
        (0, size * 0.4, 0),
        size * b.rng.uniform(0.5, 1.2, 3),
        stone,
        rotation(*b.rng.uniform(-3, 3, 3)),
    )


def post(b: Builder) -> None:
    """A street lamp or a sign, 2 to 7 m."""
    rng = b.rng
    metal = b.material("plain", "stripes", tile_m=1)
    tall = rng.uniform(1.8, 7)
    b.add(CYLINDER, (0, tall / 2, 0), (0.05, tall / 2, 0.05), metal)
    if rng.uniform() < 0.5:
        b.add(
            BOX,
            (0, tall, -0.05),
            (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.6), 0.03),
            b.material("text", "plain", "stripes", tile_m=1),
        )
    else:
        b.add(CYLINDER, (0, tall, -0.6), (0.04, 0.6, 0.04), metal, rotation(pitch=np.pi / 2))
        b.add(ELLIPSOID, (0, tall - 0.05, -1.2), (0.16, 0.09, 0.3), b.material("plain"))


def fence(b: Builder) -> None:
    """Posts and rails, 2 to 6 m long."""
    rng = b.rng
    wood = b.material("wood", "plain", "noise", tile_m=0.5)
    long, high, count = rng.uniform(1, 3), rng.uniform(0.6, 1.6), int(rng.integers(3, 9))
    for x in np.linspace(-long, long, count):
        b.add(
            BOX if rng.uniform() < 0.5 else CYLINDER, (x, high / 2, 0), (0.05, high / 2, 0.05), wood
        )
    for y in (0.35, 0.85):
        b.add(BOX, (0, high * y, 0), (long, 0.05, 0.03), wood)


OUTDOOR: tuple[Thing, ...] = (
    person,
    person,
    tree,
    tree,
    bush,
    car,
    bicycle,
    rock,
    post,
    fence,
    animal,
)
