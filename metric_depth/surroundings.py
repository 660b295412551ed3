"""What things stand in and on: ground, walls, ceilings, and what juts into the picture.

A builder in, which places them; metres in its frame.
"""

import numpy as np

from metric_depth import parts
from metric_depth.builder import Builder, rotation
from metric_depth.parts import Thing
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID, ROOM


def scatter(
    b: Builder, choice: tuple[Thing, ...], count: int, near: float, far: float, wide: float
) -> None:
    """Place things on the ground, as likely at any distance on a logarithmic scale."""
    rng = b.rng
    for _ in range(count):
        z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
        with b.at((rng.uniform(-1, 1) * wide * z, 0, z), rotation(yaw=rng.uniform(-3.1, 3.1))):
            choice[int(rng.integers(len(choice)))](b)


def ground(b: Builder, slope: float = 0.0) -> None:
    families = ("noise", "leaves", "spots", "tiles", "bricks", "marble", "plain")
    green = b.rng.uniform() < 0.35
    look = (
        b.tinted((0.12, 0.2, 0.05), "leaves", "noise", tile_m=3)
        if green
        else b.material(*families, tile_m=3)
    )
    b.add(BOX, (0, -0.5, 0), (400, 0.5, 400), look, rotation(pitch=slope))


def stand(b: Builder, x: float, z: float, size_m: float) -> None:
    """One solid with its foot on the floor."""
    rng = b.rng
    half = size_m * np.exp(rng.normal(0, 0.35, 3))
    look = b.material(tile_m=float(half.max()), gloss=0.3)
    kind = int(rng.choice([ELLIPSOID, BOX, CYLINDER]))
    b.add(kind, (x, half[1], z), half, look, rotation(yaw=rng.uniform(-3, 3)))


def shell(b: Builder, wide: float, high: float, near: float, far: float) -> None:
    """Walls, and a floor and a ceiling of their own looks; the floor's top is y = 0."""
    wall = b.material("plain", "plain", "stripes", "bricks", "noise", "wood", tile_m=1.5)
    middle, deep = (far - near) / 2, (far + near) / 2
    b.add(ROOM, (0, high, middle), (wide, high, deep), wall)
    floor = b.material("wood", "tiles", "weave", "noise", "marble", "plain", tile_m=1.2)
    b.add(BOX, (0, -0.06, middle), (wide, 0.065, deep), floor)
    ceiling = b.material("plain", "plain", "tiles", "wood", "noise", tile_m=1.5)
    b.add(BOX, (0, 2 * high + 0.06, middle), (wide, 0.065, deep), ceiling)


def ceiling(b: Builder, wide: float, high: float, far: float) -> None:
    """Lamps, beams and things that hang down: near and high in the picture."""
    rng = b.rng
    for _ in range(int(rng.integers(0, 5))):
        x, z, drop = (
            rng.uniform(-0.7, 0.7) * wide,
            rng.uniform(0.5, far * 0.9),
            rng.uniform(0.02, 0.8),
        )
        b.add(CYLINDER, (x, 2 * high - drop / 2, z), (0.012, drop / 2, 0.012), b.material("plain"))
        kind = int(rng.choice([ELLIPSOID, BOX, CYLINDER]))
        lamp = b.tinted((0.85, 0.8, 0.7), "plain") if rng.uniform() < 0.6 else b.material()
        b.add(kind, (x, 2 * high - drop, z), rng.uniform(0.05, 0.3, 3), lamp)
    if rng.uniform() < 0.25:
        beam = b.material("wood", "plain", tile_m=1)
        for z in np.arange(rng.uniform(0.5, 1.5), far, rng.uniform(0.6, 2)):
            b.box((-wide, 2 * high - 0.2, z), (wide, 2 * high, z + 0.15), beam)


def overhang(b: Builder, position_m: np.ndarray, turn: np.ndarray, fov: float) -> None:
    """Something near at the picture's edge: a branch, a frame, an arm, a lamp."""
    rng = b.rng
    z = float(np.exp(rng.uniform(np.log(0.5), np.log(2.5))))
    reach = z * np.tan(fov / 2)
    with b.at(position_m, turn):
        style = int(rng.integers(3))
        if style == 0:  # leaves from above or aside
            leaf = b.tinted(parts.LEAF, "leaves", "noise", tile_m=0.4)
            for _ in range(int(rng.integers(5, 16))):
                x, y = rng.uniform(-1, 1) * reach, rng.uniform(0.25, 0.9) * reach
                half = reach * rng.uniform(0.04, 0.15, 3) * (1, 1, 0.3)
                b.add(
                    ELLIPSOID,
                    (x, y, z * rng.uniform(0.8, 1.3)),
                    half,
                    leaf,
                    rotation(*rng.uniform(-3, 3, 3)),
                )
            start = np.array([-reach, rng.uniform(0.3, 0.9) * reach, z * 1.05])
            parts.limb(
                b,
                start,
                np.array([1, rng.normal(0, 0.2), 0.1]),
                2 * reach,
                0.02 * reach,
                b.tinted(parts.BARK, "noise"),
            )
        elif style == 1:  # a doorway or a window frame
            frame, edge = (
                b.material("plain", "wood", "bricks", tile_m=0.5),
                rng.uniform(0.55, 0.9, 4),
            )
            for x in (-edge[0], edge[1]):
                b.add(BOX, (x * reach + np.sign(x) * reach, 0, z), (reach, 4 * reach, 0.05), frame)
            if rng.uniform() < 0.7:
                b.add(BOX, (0, edge[2] * 0.8 * reach + reach, z), (4 * reach, reach, 0.05), frame)
        else:  # something hangs or juts in
            for _ in range(int(rng.integers(1, 4))):
                x, y = rng.uniform(-1, 1) * reach, rng.uniform(0, 0.9) * reach
                with b.at((x, y, z * rng.uniform(0.8, 1.6))):
                    parts.shape(b, reach * rng.uniform(0.06, 0.25))
