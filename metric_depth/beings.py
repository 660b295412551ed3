"""People and animals.

Each function places one with its foot at the origin of the builder's frame, facing -z, at its
natural size in metres.
"""

import numpy as np

from metric_depth.builder import Builder, rotation
from metric_depth.parts import SKIN, limb
from metric_depth.raycast import BOX, CYLINDER, ELLIPSOID


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
