"""Things that stand indoors: tables, seats, shelves, stairs, and the clutter upon them.

Each function places one with its foot at the origin of the builder's frame, facing -z, at its
natural size in metres.
"""

import numpy as np

from metric_depth.beings import animal, person
from metric_depth.builder import Builder, rotation
from metric_depth.parts import LEAF, WOOD, Thing, foliage
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID


def stairs(b: Builder) -> None:
    """Steps that rise away from the viewer."""
    rng = b.rng
    stone = b.material("noise", "tiles", "wood", "plain", "marble", tile_m=1)
    rise, run, wide = rng.uniform(0.12, 0.22), rng.uniform(0.22, 0.4), rng.uniform(0.5, 2.5)
    for step in range(int(rng.integers(4, 12))):
        b.box((-wide, 0, step * run), (wide, (step + 1) * rise, (step + 1) * run + 0.02), stone)


def table(b: Builder) -> None:
    """A table with things on it."""
    rng = b.rng
    wood = (
        b.tinted(WOOD, "wood", "plain", "marble") if rng.uniform() < 0.6 else b.material(tile_m=0.8)
    )
    wide, deep, high = rng.uniform(0.4, 1.1), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.8)
    b.add(BOX, (0, high, 0), (wide, 0.03, deep), wood)
    for x in (-0.9, 0.9):
        for z in (-0.9, 0.9):
            b.add(BOX, (x * wide, high / 2, z * deep), (0.03, high / 2, 0.03), wood)
    for _ in range(int(rng.integers(0, 6))):
        with b.at((rng.uniform(-0.8, 0.8) * wide, high + 0.03, rng.uniform(-0.8, 0.8) * deep)):
            clutter(b)


def chair(b: Builder) -> None:
    """A seat with a back and four legs."""
    rng = b.rng
    wood, cloth = b.material("wood", "plain"), b.material("weave", "plain", "wood", tile_m=0.3)
    seat, half, back = rng.uniform(0.4, 0.5), rng.uniform(0.18, 0.26), rng.uniform(0.2, 0.35)
    b.add(BOX, (0, seat, 0), (half, 0.03, half), cloth)
    b.add(
        BOX,
        (0, seat + back, half),
        (half, back, 0.025),
        cloth,
        rotation(pitch=-rng.uniform(0, 0.2)),
    )
    for x in (-0.9, 0.9):
        for z in (-0.9, 0.9):
            b.add(CYLINDER, (x * half, seat / 2, z * half), (0.02, seat / 2, 0.02), wood)


def sofa(b: Builder) -> None:
    """A sofa, an armchair or a bed, with cushions."""
    rng = b.rng
    cloth = b.material("weave", "plain", "noise", "stripes", tile_m=0.5)
    wide, deep, back = rng.uniform(0.45, 1.2), rng.uniform(0.4, 1.0), rng.uniform(0.2, 0.45)
    b.box((-wide, 0, -deep), (wide, 0.42, deep), cloth)
    b.box((-wide, 0.3, deep - 0.2), (wide, 0.42 + 2 * back, deep), cloth)
    if rng.uniform() < 0.6:
        for x in (-1, 1):
            b.box((x * wide - 0.1, 0, -deep), (x * wide + 0.1, 0.62, deep), cloth)
    for _ in range(int(rng.integers(0, 4))):
        pillow = b.material(tile_m=0.3)
        b.add(
            ELLIPSOID,
            (rng.uniform(-0.8, 0.8) * wide, 0.55, deep - 0.35),
            (0.22, 0.2, 0.1),
            pillow,
            rotation(roll=rng.uniform(-0.6, 0.6)),
        )


def shelf(b: Builder) -> None:
    """Boards with things, or a closed cupboard."""
    rng = b.rng
    wood = b.material("wood", "plain", "noise")
    wide, high, deep = rng.uniform(0.3, 1), rng.uniform(0.4, 1.2), rng.uniform(0.14, 0.3)
    if rng.uniform() < 0.35:
        b.box((-wide, 0, -deep), (wide, 2 * high, deep), wood)
        return
    for x in (-wide, wide):
        b.box((x - 0.02, 0, -deep), (x + 0.02, 2 * high, deep), wood)
    b.box((-wide, 0, deep - 0.02), (wide, 2 * high, deep), wood)
    for y in np.linspace(0.05, 2 * high, int(rng.integers(3, 6))):
        b.box((-wide, y - 0.015, -deep), (wide, y + 0.015, deep), wood)
        x = -wide * 0.9
        while x < wide * 0.8 and rng.uniform() < 0.85:  # a row of books
            thick, tall = rng.uniform(0.03, 0.14), rng.uniform(0.1, 0.3)
            b.box(
                (x, y, -deep * 0.7),
                (x + thick, y + tall, deep * 0.8),
                b.material("plain", "text", "stripes", tile_m=0.2),
            )
            x += thick + rng.uniform(0.002, 0.1)


def plant(b: Builder) -> None:
    """A pot with leaves, 0.3 to 1.5 m."""
    rng = b.rng
    size = rng.uniform(0.3, 1.3)
    with b.at((0, 0, 0), scale=size):
        b.add(CYLINDER, (0, 0.15, 0), (0.16, 0.15, 0.16), b.material("plain", "noise", "stripes"))
        leaf = b.tinted(LEAF, "plain", "stripes", "noise", tile_m=0.2)
        for _ in range(int(rng.integers(4, 10))):
            way = np.array([*rng.normal(0, 0.5, 2), 0])[[0, 2, 1]] + [0, rng.uniform(0.2, 0.8), 0]
            b.add(
                ELLIPSOID,
                np.array([0, 0.3, 0]) + way * 0.6,
                (0.07, 0.3, 0.02),
                leaf,
                rotation(*rng.uniform(-1.2, 1.2, 3)),
            )


def floor_lamp(b: Builder) -> None:
    """A pole with a shade."""
    tall = b.rng.uniform(1, 1.8)
    b.add(CYLINDER, (0, tall / 2, 0), (0.02, tall / 2, 0.02), b.material("plain"))
    b.add(
        CYLINDER,
        (0, tall, 0),
        (0.2, b.rng.uniform(0.1, 0.2), 0.2),
        b.tinted((0.8, 0.7, 0.5), "plain"),
    )


def clutter(b: Builder) -> None:
    """One small thing: a bottle, a cup, a book, a ball, a box, fruit."""
    rng = b.rng
    look = b.material(tile_m=0.12, gloss=0.4)
    size = np.exp(rng.normal(0, 0.35))
    choice = int(rng.integers(7))
    with b.at((0, 0, 0), rotation(yaw=rng.uniform(-3, 3)), size):
        if choice == 0:
            b.add(CYLINDER, (0, 0.1, 0), (0.035, 0.1, 0.035), look)
            b.add(ELLIPSOID, (0, 0.2, 0), (0.035, 0.04, 0.035), look)
            b.add(CYLINDER, (0, 0.25, 0), (0.013, 0.05, 0.013), look)
        elif choice == 1:
            b.add(CYLINDER, (0, 0.045, 0), (0.04, 0.045, 0.04), look)
            b.add(CYLINDER, (0, 0.088, 0), (0.034, 0.003, 0.034), b.material("plain"))
            b.add(
                CYLINDER, (0.05, 0.045, 0), (0.025, 0.007, 0.025), look, rotation(pitch=np.pi / 2)
            )
        elif choice == 2:
            for level in range(int(rng.integers(1, 4))):
                b.add(
                    BOX,
                    (0, 0.015 + 0.03 * level, 0),
                    (0.08, 0.015, 0.11),
                    b.material("plain", "text"),
                    rotation(yaw=rng.normal(0, 0.3)),
                )
        elif choice == 3:
            b.add(ELLIPSOID, (0, 0.06, 0), (0.06, 0.06, 0.06), look)
        elif choice == 4:
            half = rng.uniform(0.03, 0.12, 3)
            b.add(BOX, (0, half[1], 0), half, look)
        elif choice == 5:
            b.add(CYLINDER, (0, 0.01, 0), (0.12, 0.01, 0.12), look)
            for _ in range(int(rng.integers(1, 5))):
                place = (*rng.uniform(-0.06, 0.06, 2), 0)
                b.add(
                    ELLIPSOID,
                    (place[0], 0.05, place[1]),
                    rng.uniform(0.02, 0.05, 3),
                    b.material("plain", "noise", "spots", tile_m=0.1),
                )
        else:
            b.add(CYLINDER, (0, 0.08, 0), (0.04, 0.08, 0.04), b.material("plain"))
            leaf = b.material("plain", "spots", tile_m=0.1)
            foliage(b, np.array([0, 0.24, 0]), np.full(3, 0.09), 4, leaf)


INDOOR: tuple[Thing, ...] = (
    table,
    table,
    chair,
    chair,
    sofa,
    shelf,
    plant,
    floor_lamp,
    person,
    animal,
)
