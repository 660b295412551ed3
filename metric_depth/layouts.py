"""How scenes are laid out, each in a way of its own.

A builder in; its solids placed and a ``Shot`` out: where the camera stands, and what it is focused
on. The rich layouts differ in what tells near from far, so that no single habit ("lower is nearer")
explains them all: streets and rooms, but also ceilings, facades from below, tables from above,
portraits and things that hang in the air. The two plain ones (solids in a room, solids on the
ground) are what a network can start from.
"""

from dataclasses import dataclass

import numpy as np

from metric_depth import beings, furniture, outdoors, parts
from metric_depth.builder import Builder, rotation
from metric_depth.furniture import INDOOR
from metric_depth.outdoors import OUTDOOR
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID, ROOM
from metric_depth.surroundings import ceiling, ground, scatter, shell, stand


@dataclass
class Shot:
    """What a layout decides beside its solids."""

    position_m: np.ndarray
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    focus_m: float = 5.0
    blur: float = 0.0  # how open the lens is
    indoor: bool = False
    fog: float = 0.0


def heavy_tailed(rng: np.random.Generator, usual: float, rare: float, chance: float) -> float:
    """A normal number that is now and then much larger."""
    return float(rng.normal(0, rare if rng.uniform() < chance else usual))


def street(b: Builder) -> Shot:
    """Outdoors: ground, buildings and trees along a way or all about, people, cars."""
    rng = b.rng
    ground(b, heavy_tailed(rng, 0.0, 0.12, 0.3))
    if rng.uniform() < 0.4:  # a road with its markings
        wide = rng.uniform(2, 7)
        b.box((-wide, -0.4, -50), (wide, 0.02, 300), b.tinted((0.1, 0.1, 0.1), "noise", tile_m=4))
        for z in np.arange(rng.uniform(2, 6), 60, 7):
            b.box((-0.08, 0, z), (0.08, 0.03, z + 3), b.tinted((0.8, 0.8, 0.75), "plain"))
    if rng.uniform() < 0.6:  # rows of houses
        for side in (-1, 1):
            z, away = rng.uniform(0, 15), rng.uniform(5, 16)
            while z < 90 and rng.uniform() < 0.9:
                with b.at((side * (away + rng.uniform(3, 8)), 0, z)):
                    outdoors.house(b)
                z += rng.uniform(8, 22)
    else:
        scatter(b, (outdoors.house, outdoors.tree), int(rng.integers(0, 6)), 18, 90, 0.8)
    for _ in range(int(rng.integers(0, 4))):  # hills
        x, z, r = rng.uniform(-300, 300), rng.uniform(150, 390), rng.uniform(30, 120)
        hill = b.material("noise", "leaves", "marble", tile_m=40)
        b.add(ELLIPSOID, (x, 0, z), (r * 2, r * rng.uniform(0.2, 0.8), r), hill)
    scatter(b, OUTDOOR, int(rng.integers(4, 14)), 1.8, 45, 0.7)
    height = float(np.exp(rng.uniform(np.log(0.5), np.log(3.5))))
    fog = float(np.exp(rng.uniform(-7.5, -4))) if rng.uniform() < 0.5 else 0.0
    return Shot(
        position_m=np.array([rng.normal(0, 1.5), height, 0]),
        yaw=rng.normal(0, 0.3),
        pitch=-0.05,
        fog=fog,
    )


def aerial(b: Builder) -> Shot:
    """The same from above: a window, a bridge, a drone."""
    shot = street(b)
    shot.position_m[1] = float(np.exp(b.rng.uniform(np.log(4), np.log(30))))
    shot.pitch = -b.rng.uniform(0.15, 1.2)
    return shot


def facade(b: Builder) -> Shot:
    """A wall close by, slanted, straight on, or seen from its foot: higher may be nearer."""
    rng = b.rng
    if rng.uniform() < 0.6:
        ground(b)
    away = rng.uniform(1.5, 10)
    lean = rng.normal(0, 0.35)
    wall = b.material("windows", "bricks", "tiles", "wood", "noise", "marble", tile_m=3)
    with b.at((0, 0, away), rotation(rng.normal(0, 0.6), lean)):
        b.add(BOX, (0, 8, 1), (40, 20, 1), wall)
        for _ in range(int(rng.integers(6, 20))):  # sills, signs, pipes, balconies
            x, y = rng.normal(0, 0.7) * away, rng.uniform(0, 1.5) * away
            if rng.uniform() < 0.7:
                half = rng.uniform(0.05, 0.25, 3) * away * 0.6
                b.add(BOX, (x, y, -half[2] * rng.uniform(0, 1)), half, b.material(tile_m=1))
            else:
                with b.at((x, y, -rng.uniform(0.1, 0.4) * away)):
                    parts.shape(b, rng.uniform(0.05, 0.2) * away)
    scatter(b, OUTDOOR, int(rng.integers(0, 5)), 1.0, away, 0.5)
    pitch = rng.uniform(-0.2, 1.0) if rng.uniform() < 0.6 else rng.normal(0, 0.2)
    return Shot(
        position_m=np.array([0, rng.uniform(0.3, 3), 0]), yaw=rng.normal(0, 0.4), pitch=pitch
    )


def room(b: Builder) -> Shot:
    """Indoors: four walls, floor and ceiling, furniture, things on walls and hanging down."""
    rng = b.rng
    wide, high = rng.uniform(1.3, 4), rng.uniform(1.15, 2.1)
    near, far = rng.uniform(0.3, 2), rng.uniform(2, 9)
    shell(b, wide, high, near, far)
    for _ in range(int(rng.integers(3, 10))):  # pictures, windows, doors, radiators
        side = int(rng.integers(3))
        half = (rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.9), rng.uniform(0.01, 0.06))
        look = b.material(tile_m=0.8)
        y = rng.uniform(0.4, 1.7) * high
        if side == 2:
            b.add(BOX, (rng.uniform(-wide, wide), y, far), half, look)
        else:
            x = wide if side else -wide
            b.add(BOX, (x, y, rng.uniform(0.3, far)), half, look, rotation(yaw=np.pi / 2))
    for _ in range(int(rng.integers(4, 13))):
        z = rng.uniform(0.7, far - 0.3)
        x = rng.choice([-1, 1]) * wide * (1 - rng.beta(1, 2))
        with b.at(
            (x, 0, z), rotation(yaw=rng.choice([0, np.pi / 2, -np.pi / 2, rng.uniform(-3, 3)]))
        ):
            INDOOR[int(rng.integers(len(INDOOR)))](b)
    ceiling(b, wide, high, far)
    height = min(rng.uniform(0.5, 1.9), 1.8 * high)
    return Shot(
        position_m=np.array([rng.uniform(-0.5, 0.5) * wide, height, 0]),
        yaw=rng.normal(0, 0.35),
        pitch=rng.normal(-0.08, 0.2),
        focus_m=far / 2,
        indoor=True,
    )


def corridor(b: Builder) -> Shot:
    """A long passage: beams above, doors and pillars at the sides, stairs at times."""
    rng = b.rng
    wide, high, far = rng.uniform(0.7, 2.5), rng.uniform(1.1, 2.5), rng.uniform(8, 40)
    shell(b, wide, high, 1.0, far)
    pillar = b.material(tile_m=1)
    step = rng.uniform(1.2, 4)
    for z in np.arange(rng.uniform(0.8, 3), far, step):
        style = int(rng.integers(4))
        if style == 0:
            b.box((-wide, 2 * high - rng.uniform(0.1, 0.4), z), (wide, 2 * high, z + 0.3), pillar)
        elif style == 1:
            for x in (-wide, wide):
                b.add(CYLINDER, (x * 0.9, high, z), (0.12, high, 0.12), pillar)
        elif style == 2:
            side = rng.choice([-wide, wide])
            b.box(
                (side - 0.05, 0, z),
                (side + 0.05, 2, z + 0.9),
                b.material("wood", "plain", tile_m=1),
            )
        else:
            with b.at((rng.uniform(-0.8, 0.8) * wide, 0, z)):
                INDOOR[int(rng.integers(len(INDOOR)))](b)
    if rng.uniform() < 0.3:
        with b.at((0, 0, rng.uniform(1.5, 6))):
            furniture.stairs(b)
    ceiling(b, wide, high, far)
    height = min(rng.uniform(0.6, 1.8), 1.8 * high)
    return Shot(
        position_m=np.array([0, height, 0]),
        yaw=rng.normal(0, 0.2),
        pitch=rng.normal(0, 0.12),
        indoor=True,
    )


def tabletop(b: Builder) -> Shot:
    """Small things on a table or the floor, close by, a room or the open behind them."""
    rng = b.rng
    indoor = rng.uniform() < 0.7
    top = 0.75
    if indoor:
        shell(b, rng.uniform(1, 3), 1.3, 1.5, rng.uniform(1.2, 5))
        scatter(b, INDOOR, int(rng.integers(0, 5)), 1.2, 4, 0.5)
    else:
        ground(b)
        scatter(b, OUTDOOR, int(rng.integers(2, 8)), 2.5, 30, 0.7)
    wood = b.material("wood", "plain", "marble", "weave", "tiles", "noise", tile_m=0.5)
    deep = rng.uniform(0.35, 1.0)
    b.box(
        (-rng.uniform(0.5, 1.5), top - 0.04, 0.02), (rng.uniform(0.5, 1.5), top, 0.1 + deep), wood
    )
    for _ in range(int(rng.integers(3, 14))):
        with b.at((rng.normal(0, 0.2), top, rng.uniform(0.2, deep))):
            if rng.uniform() < 0.85:
                furniture.clutter(b)
            else:
                size = rng.uniform(0.03, 0.1)
                with b.at((0, size, 0)):
                    parts.shape(b, size)
    pitch = -rng.uniform(0.0, 1.3)
    reach = rng.uniform(0.25, 0.7)
    aim = np.array([0, top + 0.05, 0.1 + deep / 2])
    eye = aim + reach * np.array([rng.normal(0, 0.1), np.sin(-pitch), -np.cos(pitch)])
    blur = float(np.exp(rng.uniform(-8.5, -6))) if rng.uniform() < 0.6 else 0.0
    return Shot(position_m=eye, yaw=0, pitch=pitch, focus_m=reach, blur=blur, indoor=indoor)


def portrait(b: Builder) -> Shot:
    """Somebody or something near, the world behind it out of focus."""
    rng = b.rng
    indoor = rng.uniform() < 0.5
    if indoor:
        far = rng.uniform(2.5, 7)
        wide, high = rng.uniform(1.5, 4), rng.uniform(1.3, 2)
        shell(b, wide, high, 1.5, far)
        scatter(b, INDOOR, int(rng.integers(1, 6)), 1.8, far, 0.5)
        ceiling(b, wide, high, far)
    else:
        ground(b)
        scatter(b, (*OUTDOOR, outdoors.house, outdoors.tree), int(rng.integers(4, 14)), 4, 60, 0.7)
    near = float(np.exp(rng.uniform(np.log(0.55), np.log(3))))
    height = 1.5
    for number in range(int(rng.choice([1, 1, 1, 2, 3]))):
        x = rng.normal(0, 0.12) * near if number == 0 else rng.uniform(-0.6, 0.6) * near
        with b.at((x, 0, near * (1 + 0.6 * number)), rotation(yaw=rng.normal(0, 0.7))):
            subject = int(rng.choice([0, 0, 0, 1, 1, 2]))
            if subject == 0:
                beings.person(b)
            elif subject == 1:
                beings.animal(b)
                height = 0.6
            else:
                with b.at((0, rng.uniform(0.2, 1.5), 0)):
                    parts.shape(b, 0.2 * near)
    height *= rng.uniform(0.7, 1.15)
    blur = float(np.exp(rng.uniform(-7.5, -4.2))) if rng.uniform() < 0.7 else 0.0
    shot = Shot(
        position_m=np.array([0, height, 0]), yaw=rng.normal(0, 0.08), pitch=rng.normal(-0.05, 0.12)
    )
    shot.focus_m, shot.blur, shot.indoor = near, blur, indoor
    if rng.uniform() < 0.1:  # the camera took the background for the subject
        shot.focus_m = 4 * near
    return shot


def floating(b: Builder) -> Shot:
    """Solids at any place and distance, before a sky, a wall or in a box: no ground to lean on."""
    rng = b.rng
    backdrop = int(rng.integers(4))
    far = float(np.exp(rng.uniform(np.log(2), np.log(40))))
    if backdrop == 0:
        turn = rotation(rng.normal(0, 0.5), rng.normal(0, 0.5))
        b.add(BOX, (0, 0, far + 1), (50 * far, 50 * far, 1), b.material(tile_m=far / 3), turn)
    elif backdrop == 1:
        b.add(
            ROOM,
            (0, 0, far * 0.4),
            far * rng.uniform(0.3, 0.7, 3) + 0.4,
            b.material(tile_m=far / 3),
            rotation(*rng.normal(0, 0.3, 3)),
        )
    elif backdrop == 2:
        b.add(
            BOX,
            (0, rng.uniform(0.1, 0.6) * far, 0),
            (400, 0.02, 400),
            b.material(tile_m=far / 2),
            rotation(roll=rng.normal(0, 0.4)),
        )
    for _ in range(int(rng.integers(5, 26))):
        z = float(np.exp(rng.uniform(np.log(0.08 * far), np.log(far))))
        x, y = rng.uniform(-0.8, 0.8, 2) * z
        with b.at((x, y, z)):
            if rng.uniform() < 0.75:
                parts.shape(b, z * np.exp(rng.uniform(-3.2, -1.1)))
            else:
                choice = (*OUTDOOR, *INDOOR, furniture.clutter)
                thing = choice[int(rng.integers(len(choice)))]
                with b.at((0, 0, 0), rotation(*rng.uniform(-3, 3, 3)), z * rng.uniform(0.05, 0.2)):
                    thing(b)
    blur = float(np.exp(rng.uniform(-7.5, -4.5))) * far / 10 if rng.uniform() < 0.3 else 0.0
    return Shot(np.zeros(3), focus_m=far / 3, blur=blur, indoor=bool(rng.uniform() < 0.4))


def plain_room(b: Builder) -> Shot:
    """Balls, boxes and cylinders that stand in a room or hang below its ceiling."""
    rng = b.rng
    wide, high, far = rng.uniform(1.3, 4), rng.uniform(1.15, 2.1), rng.uniform(2.5, 9)
    shell(b, wide, high, 1.0, far)
    for _ in range(int(rng.integers(2, 10))):
        stand(b, rng.uniform(-0.9, 0.9) * wide, rng.uniform(1, far), rng.uniform(0.15, 0.6))
    ceiling(b, wide, high, far)
    eye = np.array([rng.uniform(-0.5, 0.5) * wide, rng.uniform(0.6, 1.7), 0])
    return Shot(position_m=eye, yaw=rng.normal(0, 0.35), pitch=rng.normal(-0.08, 0.2), indoor=True)


def plain_ground(b: Builder) -> Shot:
    """The same in the open, up to forty metres away."""
    rng = b.rng
    ground(b)
    for _ in range(int(rng.integers(4, 16))):
        z = float(np.exp(rng.uniform(np.log(1.2), np.log(40))))
        size = rng.uniform(0.15, 1.2) * (1 if rng.uniform() < 0.7 else 4)
        stand(b, rng.uniform(-0.8, 0.8) * z, z, size)
    height = float(np.exp(rng.uniform(np.log(0.4), np.log(3))))
    return Shot(position_m=np.array([0, height, 0]), yaw=0, pitch=rng.normal(-0.08, 0.15))


PLAIN = (plain_room, plain_ground)
LAYOUTS = (street, aerial, facade, room, corridor, tabletop, portrait, floating)
CHANCES = (0.22, 0.05, 0.07, 0.24, 0.06, 0.13, 0.18, 0.05)
CALM_CHANCES = (0.26, 0.03, 0.03, 0.27, 0.03, 0.16, 0.22, 0.0)
