"""Things that scenes are furnished with: people, animals, trees, cars, furniture, clutter.

Each function places one thing with its foot at the origin of the builder's frame, facing -z, at its
natural size in metres.
"""

from collections.abc import Callable
from typing import Optional

import numpy as np

from metric_depth.builder import Builder, Material, rotation
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID

SKIN = (0.55, 0.33, 0.22)
LEAF = (0.10, 0.22, 0.05)
BARK = (0.18, 0.11, 0.07)
WOOD = (0.40, 0.24, 0.12)

Thing = Callable[[Builder], None]


def limb(
    b: Builder, start: np.ndarray, way: np.ndarray, length: float, radius: float, skin: Material
) -> np.ndarray:
    """A rod from a point along a way; returns its far end."""
    way = way / np.linalg.norm(way)
    side = np.cross(way, [0.3, 0.1, 0.95])
    side /= np.linalg.norm(side)
    frame = np.stack([side, way, np.cross(side, way)], axis=1)
    kind = CYLINDER if b.rng.uniform() < 0.7 else ELLIPSOID
    b.add(kind, start + way * length / 2, (radius, length / 2 * 1.05, radius), skin, frame)
    return start + way * length


def person(b: Builder) -> None:
    """Somebody who stands or sits, 1.1 to 2 m."""
    rng = b.rng
    scale = rng.uniform(1.45, 1.95) / 1.75 if rng.uniform() < 0.85 else rng.uniform(0.6, 0.8)
    skin = b.tinted(np.array(SKIN) * np.exp(rng.uniform(-1.2, 0.6)), "plain")
    cloth = b.material("plain", "weave", "stripes", "noise", tile_m=0.4)
    trousers = b.material("plain", "weave", "noise", tile_m=0.4)
    hair = b.material("noise", "plain", tile_m=0.2)
    sits = rng.uniform() < 0.2
    with b.at((0, 0, 0), scale=scale):
        hip = 0.5 if sits else 0.9
        for side in (-0.1, 0.1):
            thigh = np.array([rng.normal(0, 0.1), -0.1 if sits else -1, rng.normal(0, 0.2)])
            if sits:
                thigh[2] = -1
            knee = limb(b, np.array([side, hip, 0]), thigh, 0.45, 0.085, trousers)
            limb(b, knee, np.array([0, -1, rng.normal(0, 0.15)]), 0.45, 0.065, trousers)
        chest = BOX if rng.uniform() < 0.3 else ELLIPSOID
        b.add(chest, (0, hip + 0.28, 0), (0.21, 0.33, 0.13), cloth)
        b.add(ELLIPSOID, (0, hip + 0.46, 0), (0.24, 0.13, 0.12), cloth)
        for side in (-0.23, 0.23):
            way = np.array([side * rng.uniform(0, 3), rng.uniform(-1, 0.3), rng.normal(-0.1, 0.4)])
            elbow = limb(b, np.array([side, hip + 0.5, 0]), way, 0.3, 0.055, cloth)
            way = way + rng.normal(0, 0.5, 3) + 1e-3
            hand = limb(b, elbow, way, 0.28, 0.04, skin)
            b.add(ELLIPSOID, hand, (0.05, 0.07, 0.04), skin)
        b.add(CYLINDER, (0, hip + 0.62, 0), (0.06, 0.08, 0.06), skin)
        b.add(ELLIPSOID, (0, hip + 0.77, -0.02), (0.08, 0.12, 0.1), skin)
        long = rng.uniform(0, 0.1)
        b.add(ELLIPSOID, (0, hip + 0.81 - long, 0.02), (0.095, 0.1 + long, 0.105), hair)


def animal(b: Builder) -> None:
    """Four legs, a head with ears, a tail; 0.3 to 2 m long."""
    rng = b.rng
    fur = b.material("noise", "leaves", "plain", "marble", "spots", tile_m=0.3)
    with b.at((0, 0, 0), rotation(yaw=rng.uniform(-3, 3)), np.exp(rng.uniform(-1.3, 0.4))):
        tall, long, wide = rng.uniform(0.25, 0.7), rng.uniform(0.4, 0.65), rng.uniform(0.14, 0.26)
        b.add(ELLIPSOID, (0, tall + wide, 0), (wide, wide * rng.uniform(0.9, 1.3), long), fur)
        for x in (-0.6, 0.6):
            for z in (-0.65, 0.65):
                radius = rng.uniform(0.035, 0.06)
                b.add(CYLINDER, (x * wide, tall / 2, z * long), (radius, tall / 2, radius), fur)
        size = rng.uniform(0.13, 0.22)
        head = np.array(
            [rng.normal(0, 0.1), tall + wide + rng.uniform(0.05, 0.5), -long - size / 2]
        )
        limb(
            b,
            np.array([0, tall + wide, -long * 0.7]),
            head - [0, tall + wide, -long * 0.7],
            0.3,
            0.1,
            fur,
        )
        b.add(ELLIPSOID, head, (size, size, size * 1.2), fur)
        b.add(ELLIPSOID, head + [0, -0.04, -size], (size / 2, size / 2, size * 0.7), fur)
        for x in (-0.7, 0.7):
            b.add(ELLIPSOID, head + [x * size, size, 0.02], (size / 3, size * 0.6, 0.03), fur)
        limb(b, np.array([0, tall + wide, long]), rng.normal(0, 1, 3) + [0, 0.5, 1], 0.4, 0.03, fur)


def foliage(b: Builder, center: np.ndarray, spread: np.ndarray, count: int, leaf: Material) -> None:
    """A cloud of overlapping ellipsoids."""
    for _ in range(count):
        place = center + b.rng.normal(0, 0.5, 3) * spread
        half = spread * b.rng.uniform(0.25, 0.65, 3)
        b.add(ELLIPSOID, place, half, leaf, rotation(*b.rng.uniform(-1, 1, 3)))


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


def shape(b: Builder, size: Optional[float] = None) -> None:
    """A plain solid of any kind and pose, its center at the origin."""
    rng = b.rng
    half = (size or np.exp(rng.uniform(-2, 0.5))) * np.exp(rng.normal(0, 0.5, 3))
    kind = int(rng.choice([ELLIPSOID, BOX, CYLINDER]))
    b.add(
        kind,
        (0, 0, 0),
        half,
        b.material(tile_m=float(half.max()), gloss=0.3),
        rotation(*rng.uniform(-3, 3, 3)),
    )


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
