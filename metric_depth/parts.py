"""Parts that things are made of: rods, foliage, a plain solid; and the colours of what grows.

A builder in, which places them; metres in its frame.
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


def foliage(b: Builder, center: np.ndarray, spread: np.ndarray, count: int, leaf: Material) -> None:
    """A cloud of overlapping ellipsoids."""
    for _ in range(count):
        place = center + b.rng.normal(0, 0.5, 3) * spread
        half = spread * b.rng.uniform(0.25, 0.65, 3)
        b.add(ELLIPSOID, place, half, leaf, rotation(*b.rng.uniform(-1, 1, 3)))


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
