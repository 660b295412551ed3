"""Random worlds: where the camera stands, what is around it, how it is lit and photographed.

A seed in; a ``World`` of plain arrays out. The rich layouts differ in what tells near from far, so
that no single habit ("lower is nearer") explains them all: streets and rooms, but also ceilings,
facades from below, tables from above, portraits and things that hang in the air. The two plain ones
(solids in a room, solids on the ground) are what a network can start from.
"""

from dataclasses import dataclass, field

import numpy as np

from metric_depth import things
from metric_depth.builder import MATERIAL_NUMBERS, Builder, rotation
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID, ROOM

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


@dataclass
class Stage:
    """What a layout decides beside its solids."""

    position_m: np.ndarray
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    focus_m: float = 5.0
    blur: float = 0.0  # how open the lens is
    indoor: bool = False
    fog: float = 0.0


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
    stage = layout(b)
    stage.roll += _heavy(rng, 0.05, 0.35, 0.0 if simple else 0.12) * (0.4 if framed else 1)
    stage.pitch += _heavy(rng, 0.06, 0.3, 0.0 if simple else 0.15) * (0.4 if framed else 1)
    fov = np.radians(rng.uniform(28, 95))
    overhang = rng.uniform() < (0.0 if simple or framed else 0.18)
    if framed:
        fov = np.radians(framing.uniform(26, 60))
        stage.yaw *= 0.4
    turn = rotation(stage.yaw, stage.pitch, stage.roll)
    if overhang:
        _overhang(b, stage.position_m, turn, fov)
    world = World(position_m=stage.position_m, rotation=turn, fov_rad=fov)
    world.solids, world.materials = _pack(b, stage.position_m)
    world.look = _look(rng, stage)
    return world


def _heavy(rng: np.random.Generator, usual: float, rare: float, chance: float) -> float:
    """A normal number that is now and then much larger."""
    return float(rng.normal(0, rare if rng.uniform() < chance else usual))


def _scatter(
    b: Builder, choice: tuple[things.Thing, ...], count: int, near: float, far: float, wide: float
) -> None:
    """Place things on the ground, as likely at any distance on a logarithmic scale."""
    rng = b.rng
    for _ in range(count):
        z = float(np.exp(rng.uniform(np.log(near), np.log(far))))
        with b.at((rng.uniform(-1, 1) * wide * z, 0, z), rotation(yaw=rng.uniform(-3.1, 3.1))):
            choice[int(rng.integers(len(choice)))](b)


def _ground(b: Builder, slope: float = 0.0) -> None:
    families = ("noise", "leaves", "spots", "tiles", "bricks", "marble", "plain")
    green = b.rng.uniform() < 0.35
    look = (
        b.tinted((0.12, 0.2, 0.05), "leaves", "noise", tile_m=3)
        if green
        else b.material(*families, tile_m=3)
    )
    b.add(BOX, (0, -0.5, 0), (400, 0.5, 400), look, rotation(pitch=slope))


def street(b: Builder) -> Stage:
    """Outdoors: ground, buildings and trees along a way or all about, people, cars."""
    rng = b.rng
    _ground(b, _heavy(rng, 0.0, 0.12, 0.3))
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
                    things.house(b)
                z += rng.uniform(8, 22)
    else:
        _scatter(b, (things.house, things.tree), int(rng.integers(0, 6)), 18, 90, 0.8)
    for _ in range(int(rng.integers(0, 4))):  # hills
        x, z, r = rng.uniform(-300, 300), rng.uniform(150, 390), rng.uniform(30, 120)
        hill = b.material("noise", "leaves", "marble", tile_m=40)
        b.add(ELLIPSOID, (x, 0, z), (r * 2, r * rng.uniform(0.2, 0.8), r), hill)
    _scatter(b, things.OUTDOOR, int(rng.integers(4, 14)), 1.8, 45, 0.7)
    height = float(np.exp(rng.uniform(np.log(0.5), np.log(3.5))))
    fog = float(np.exp(rng.uniform(-7.5, -4))) if rng.uniform() < 0.5 else 0.0
    return Stage(np.array([rng.normal(0, 1.5), height, 0]), rng.normal(0, 0.3), -0.05, fog=fog)


def aerial(b: Builder) -> Stage:
    """The same from above: a window, a bridge, a drone."""
    stage = street(b)
    stage.position_m[1] = float(np.exp(b.rng.uniform(np.log(4), np.log(30))))
    stage.pitch = -b.rng.uniform(0.15, 1.2)
    return stage


def facade(b: Builder) -> Stage:
    """A wall close by, slanted, straight on, or seen from its foot: higher may be nearer."""
    rng = b.rng
    if rng.uniform() < 0.6:
        _ground(b)
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
                    things.shape(b, rng.uniform(0.05, 0.2) * away)
    _scatter(b, things.OUTDOOR, int(rng.integers(0, 5)), 1.0, away, 0.5)
    pitch = rng.uniform(-0.2, 1.0) if rng.uniform() < 0.6 else rng.normal(0, 0.2)
    return Stage(np.array([0, rng.uniform(0.3, 3), 0]), rng.normal(0, 0.4), pitch)


def room(b: Builder) -> Stage:
    """Indoors: four walls, floor and ceiling, furniture, things on walls and hanging down."""
    rng = b.rng
    wide, high = rng.uniform(1.3, 4), rng.uniform(1.15, 2.1)
    near, far = rng.uniform(0.3, 2), rng.uniform(2, 9)
    _shell(b, wide, high, near, far)
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
            things.INDOOR[int(rng.integers(len(things.INDOOR)))](b)
    _ceiling(b, wide, high, far)
    height = min(rng.uniform(0.5, 1.9), 1.8 * high)
    return Stage(
        np.array([rng.uniform(-0.5, 0.5) * wide, height, 0]),
        rng.normal(0, 0.35),
        rng.normal(-0.08, 0.2),
        focus_m=far / 2,
        indoor=True,
    )


def corridor(b: Builder) -> Stage:
    """A long passage: beams above, doors and pillars at the sides, stairs at times."""
    rng = b.rng
    wide, high, far = rng.uniform(0.7, 2.5), rng.uniform(1.1, 2.5), rng.uniform(8, 40)
    _shell(b, wide, high, 1.0, far)
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
                things.INDOOR[int(rng.integers(len(things.INDOOR)))](b)
    if rng.uniform() < 0.3:
        with b.at((0, 0, rng.uniform(1.5, 6))):
            things.stairs(b)
    _ceiling(b, wide, high, far)
    height = min(rng.uniform(0.6, 1.8), 1.8 * high)
    return Stage(np.array([0, height, 0]), rng.normal(0, 0.2), rng.normal(0, 0.12), indoor=True)


def tabletop(b: Builder) -> Stage:
    """Small things on a table or the floor, close by, a room or the open behind them."""
    rng = b.rng
    indoor = rng.uniform() < 0.7
    top = 0.75
    if indoor:
        _shell(b, rng.uniform(1, 3), 1.3, 1.5, rng.uniform(1.2, 5))
        _scatter(b, things.INDOOR, int(rng.integers(0, 5)), 1.2, 4, 0.5)
    else:
        _ground(b)
        _scatter(b, things.OUTDOOR, int(rng.integers(2, 8)), 2.5, 30, 0.7)
    wood = b.material("wood", "plain", "marble", "weave", "tiles", "noise", tile_m=0.5)
    deep = rng.uniform(0.35, 1.0)
    b.box(
        (-rng.uniform(0.5, 1.5), top - 0.04, 0.02), (rng.uniform(0.5, 1.5), top, 0.1 + deep), wood
    )
    for _ in range(int(rng.integers(3, 14))):
        with b.at((rng.normal(0, 0.2), top, rng.uniform(0.2, deep))):
            if rng.uniform() < 0.85:
                things.clutter(b)
            else:
                size = rng.uniform(0.03, 0.1)
                with b.at((0, size, 0)):
                    things.shape(b, size)
    pitch = -rng.uniform(0.0, 1.3)
    reach = rng.uniform(0.25, 0.7)
    aim = np.array([0, top + 0.05, 0.1 + deep / 2])
    eye = aim + reach * np.array([rng.normal(0, 0.1), np.sin(-pitch), -np.cos(pitch)])
    blur = float(np.exp(rng.uniform(-8.5, -6))) if rng.uniform() < 0.6 else 0.0
    return Stage(eye, 0, pitch, focus_m=reach, blur=blur, indoor=indoor)


def portrait(b: Builder) -> Stage:
    """Somebody or something near, the world behind it out of focus."""
    rng = b.rng
    indoor = rng.uniform() < 0.5
    if indoor:
        far = rng.uniform(2.5, 7)
        wide, high = rng.uniform(1.5, 4), rng.uniform(1.3, 2)
        _shell(b, wide, high, 1.5, far)
        _scatter(b, things.INDOOR, int(rng.integers(1, 6)), 1.8, far, 0.5)
        _ceiling(b, wide, high, far)
    else:
        _ground(b)
        _scatter(
            b, (*things.OUTDOOR, things.house, things.tree), int(rng.integers(4, 14)), 4, 60, 0.7
        )
    near = float(np.exp(rng.uniform(np.log(0.55), np.log(3))))
    height = 1.5
    for number in range(int(rng.choice([1, 1, 1, 2, 3]))):
        x = rng.normal(0, 0.12) * near if number == 0 else rng.uniform(-0.6, 0.6) * near
        with b.at((x, 0, near * (1 + 0.6 * number)), rotation(yaw=rng.normal(0, 0.7))):
            subject = int(rng.choice([0, 0, 0, 1, 1, 2]))
            if subject == 0:
                things.person(b)
            elif subject == 1:
                things.animal(b)
                height = 0.6
            else:
                with b.at((0, rng.uniform(0.2, 1.5), 0)):
                    things.shape(b, 0.2 * near)
    height *= rng.uniform(0.7, 1.15)
    blur = float(np.exp(rng.uniform(-7.5, -4.2))) if rng.uniform() < 0.7 else 0.0
    stage = Stage(np.array([0, height, 0]), rng.normal(0, 0.08), rng.normal(-0.05, 0.12))
    stage.focus_m, stage.blur, stage.indoor = near, blur, indoor
    if rng.uniform() < 0.1:  # the camera took the background for the subject
        stage.focus_m = 4 * near
    return stage


def floating(b: Builder) -> Stage:
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
                things.shape(b, z * np.exp(rng.uniform(-3.2, -1.1)))
            else:
                choice = (*things.OUTDOOR, *things.INDOOR, things.clutter)
                thing = choice[int(rng.integers(len(choice)))]
                with b.at((0, 0, 0), rotation(*rng.uniform(-3, 3, 3)), z * rng.uniform(0.05, 0.2)):
                    thing(b)
    blur = float(np.exp(rng.uniform(-7.5, -4.5))) * far / 10 if rng.uniform() < 0.3 else 0.0
    return Stage(np.zeros(3), focus_m=far / 3, blur=blur, indoor=bool(rng.uniform() < 0.4))


def plain_room(b: Builder) -> Stage:
    """Balls, boxes and cylinders that stand in a room or hang below its ceiling."""
    rng = b.rng
    wide, high, far = rng.uniform(1.3, 4), rng.uniform(1.15, 2.1), rng.uniform(2.5, 9)
    _shell(b, wide, high, 1.0, far)
    for _ in range(int(rng.integers(2, 10))):
        _stand(b, rng.uniform(-0.9, 0.9) * wide, rng.uniform(1, far), rng.uniform(0.15, 0.6))
    _ceiling(b, wide, high, far)
    eye = np.array([rng.uniform(-0.5, 0.5) * wide, rng.uniform(0.6, 1.7), 0])
    return Stage(eye, rng.normal(0, 0.35), rng.normal(-0.08, 0.2), indoor=True)


def plain_ground(b: Builder) -> Stage:
    """The same in the open, up to forty metres away."""
    rng = b.rng
    _ground(b)
    for _ in range(int(rng.integers(4, 16))):
        z = float(np.exp(rng.uniform(np.log(1.2), np.log(40))))
        size = rng.uniform(0.15, 1.2) * (1 if rng.uniform() < 0.7 else 4)
        _stand(b, rng.uniform(-0.8, 0.8) * z, z, size)
    height = float(np.exp(rng.uniform(np.log(0.4), np.log(3))))
    return Stage(np.array([0, height, 0]), 0, rng.normal(-0.08, 0.15))


PLAIN = (plain_room, plain_ground)
LAYOUTS = (street, aerial, facade, room, corridor, tabletop, portrait, floating)
CHANCES = (0.22, 0.05, 0.07, 0.24, 0.06, 0.13, 0.18, 0.05)
CALM_CHANCES = (0.26, 0.03, 0.03, 0.27, 0.03, 0.16, 0.22, 0.0)


def _stand(b: Builder, x: float, z: float, size_m: float) -> None:
    """One solid with its foot on the floor."""
    rng = b.rng
    half = size_m * np.exp(rng.normal(0, 0.35, 3))
    look = b.material(tile_m=float(half.max()), gloss=0.3)
    kind = int(rng.choice([ELLIPSOID, BOX, CYLINDER]))
    b.add(kind, (x, half[1], z), half, look, rotation(yaw=rng.uniform(-3, 3)))


def _shell(b: Builder, wide: float, high: float, near: float, far: float) -> None:
    """Walls, and a floor and a ceiling of their own looks; the floor's top is y = 0."""
    wall = b.material("plain", "plain", "stripes", "bricks", "noise", "wood", tile_m=1.5)
    middle, deep = (far - near) / 2, (far + near) / 2
    b.add(ROOM, (0, high, middle), (wide, high, deep), wall)
    floor = b.material("wood", "tiles", "weave", "noise", "marble", "plain", tile_m=1.2)
    b.add(BOX, (0, -0.06, middle), (wide, 0.065, deep), floor)
    ceiling = b.material("plain", "plain", "tiles", "wood", "noise", tile_m=1.5)
    b.add(BOX, (0, 2 * high + 0.06, middle), (wide, 0.065, deep), ceiling)


def _ceiling(b: Builder, wide: float, high: float, far: float) -> None:
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


def _overhang(b: Builder, position_m: np.ndarray, turn: np.ndarray, fov: float) -> None:
    """Something near at the picture's edge: a branch, a frame, an arm, a lamp."""
    rng = b.rng
    z = float(np.exp(rng.uniform(np.log(0.5), np.log(2.5))))
    reach = z * np.tan(fov / 2)
    with b.at(position_m, turn):
        style = int(rng.integers(3))
        if style == 0:  # leaves from above or aside
            leaf = b.tinted(things.LEAF, "leaves", "noise", tile_m=0.4)
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
            things.limb(
                b,
                start,
                np.array([1, rng.normal(0, 0.2), 0.1]),
                2 * reach,
                0.02 * reach,
                b.tinted(things.BARK, "noise"),
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
                    things.shape(b, reach * rng.uniform(0.06, 0.25))


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


def _look(rng: np.random.Generator, stage: Stage) -> dict[str, np.ndarray]:
    """Light, sky, lens and what the camera does to the picture: numbers for ``scenes``."""
    elevation, azimuth = rng.uniform(0.15, 1.4), rng.uniform(-3.1, 3.1)
    sun = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
    )
    warm = np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1)])
    if stage.indoor:  # a lamp near the camera's ceiling, or a window
        lamp = stage.position_m + rng.uniform(-1, 1, 3) * (2.5, 0.4, 2.5) + (0, 0.6, 1)
        ambient = rng.uniform(0.08, 0.4)
    else:
        lamp = stage.position_m + 200 * sun
        ambient = rng.uniform(0.1, 0.5)
    horizon = (
        np.array([0.7, 0.8, 0.95]) * rng.uniform(0.5, 1.1) * (warm if rng.uniform() < 0.3 else 1)
    )
    zenith = np.array([0.15, 0.35, 0.8]) * rng.uniform(0.2, 1.0)
    if rng.uniform() < 0.35:  # overcast
        zenith = horizon = np.full(3, rng.uniform(0.4, 1.0))
    return {
        "lamp_m": lamp,
        "lamp_colour": warm * rng.uniform(0.3, 1.6),
        "fill_way": rng.normal(0, 1, 3),
        "fill": np.array(rng.uniform(0, 0.4)),
        "ambient_up": ambient * (zenith / max(zenith.mean(), 1e-3)) ** 0.3,
        "ambient_down": ambient * rng.uniform(0.2, 0.8) * warm**0.5,
        "horizon": horizon,
        "zenith": zenith,
        "clouds": np.array(
            [rng.uniform(0, 1) * (rng.uniform() < 0.6), rng.uniform(0.3, 3), rng.integers(6)]
        ),
        "fog": np.array(stage.fog),
        "focus_m": np.array(stage.focus_m),
        "blur": np.array(stage.blur),
        "exposure": np.array(np.exp(rng.normal(np.log(0.28), 0.35))),
        "contrast": np.array(np.exp(rng.normal(0.12, 0.18))),
        "saturation": np.array(0.0 if rng.uniform() < 0.06 else np.exp(rng.normal(0.2, 0.25))),
        "cast": np.exp(rng.normal(0, 0.07, 3)),
        "vignette": np.array(rng.uniform(0, 0.5) ** 2),
        "softness": np.array(rng.uniform(0, 1.0) ** 2),
        "noise": np.array(0.06 * rng.uniform() ** 4),
        "jpeg": np.array(rng.uniform(0, 1) ** 3 if rng.uniform() < 0.6 else 0.0),
    }
