"""Put solids together: what a scene's layout calls to place things.

Poses, sizes and materials in; flat arrays of solids out. Metres; x right, y up, z forward.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from metric_depth.raycast import BOX
from metric_depth.textures import FAMILIES, VARIANTS, texture_index

Vector = Union[Sequence[float], np.ndarray]  # three numbers


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Radians to a matrix (3, 3): roll about z, then pitch about x (up is positive), then yaw."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return turn @ nod @ tilt


@dataclass(frozen=True)
class Material:
    """How a surface looks: a texture between two colours."""

    texture: int
    tile_m: float  # one repeat of the texture
    turn: float  # radians
    shift: tuple[float, float]
    dark: tuple[float, float, float]  # linear RGB
    light: tuple[float, float, float]
    gloss: float

    def row(self) -> list[float]:
        """As numbers, in the order that ``scenes.shade`` reads."""
        place = [self.texture, self.tile_m, np.cos(self.turn), np.sin(self.turn), *self.shift]
        return [*place, *self.dark, *self.light, self.gloss]


MATERIAL_NUMBERS = 13


class Builder:
    """Collects solids; ``at`` moves everything placed within it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.kinds: list[int] = []
        self.centers: list[np.ndarray] = []
        self.rotations: list[np.ndarray] = []
        self.halves: list[np.ndarray] = []
        self.materials: list[list[float]] = []
        self._pose = (np.zeros(3), np.eye(3), 1.0)

    @contextlib.contextmanager
    def at(
        self, position: Vector, turn: Optional[np.ndarray] = None, scale: float = 1.0
    ) -> Iterator[None]:
        """A frame of its own for what is placed within."""
        before = self._pose
        origin, turned, scaled = before
        place = origin + scaled * turned @ np.asarray(position, float)
        self._pose = (place, turned if turn is None else turned @ turn, scaled * scale)
        yield
        self._pose = before

    def add(
        self,
        kind: int,
        center: Vector,
        half: Vector,
        material: Material,
        turn: Optional[np.ndarray] = None,
    ) -> None:
        """Place one solid: center and half extents in the current frame."""
        origin, turned, scaled = self._pose
        self.kinds.append(kind)
        self.centers.append(origin + scaled * turned @ np.asarray(center, float))
        self.rotations.append(turned if turn is None else turned @ turn)
        self.halves.append(np.maximum(np.asarray(half, float) * scaled, 1e-3))
        self.materials.append(material.row())

    def box(self, low: Vector, high: Vector, material: Material) -> None:
        """Place an upright box between two corners."""
        corner, other = np.asarray(low, float), np.asarray(high, float)
        self.add(BOX, (corner + other) / 2, np.abs(other - corner) / 2, material)

    def material(
        self, *families: str, tile_m: float = 1.0, strength: float = 1.0, gloss: float = 0.0
    ) -> Material:
        """Draw a material.

        Args:
            families: textures to choose from; none means any.
            tile_m: about how large one repeat is.
            strength: how far its two colours are apart; 0 is one colour.
            gloss: chance of a shine.
        """
        rng = self.rng
        family = str(rng.choice(families or FAMILIES))
        base = random_colour(rng)
        other = random_colour(rng) if rng.uniform() < 0.35 else base * rng.uniform(0.15, 0.9)
        strength *= rng.uniform(0.15, 0.4) if family == "plain" else rng.uniform(0.3, 1.0)
        dark = base + (other - base) * strength
        return Material(
            texture=texture_index(family, int(rng.integers(VARIANTS))),
            tile_m=tile_m * np.exp(rng.normal(0, 0.5)),
            turn=float(rng.choice([0, 0, 0, np.pi / 2, rng.uniform(0, np.pi)])),
            shift=tuple(rng.uniform(0, 1, 2)),
            dark=tuple(dark),
            light=tuple(base),
            gloss=float(rng.uniform(0.1, 0.9)) if rng.uniform() < gloss else 0.0,
        )

    def tinted(self, colour: Vector, *families: str, tile_m: float = 1.0) -> Material:
        """A material of about this colour (linear RGB)."""
        rng = self.rng
        family = str(rng.choice(families))
        base = np.clip(np.asarray(colour) * np.exp(rng.normal(0, 0.25, 3)), 0.01, 0.95)
        return Material(
            texture=texture_index(family, int(rng.integers(VARIANTS))),
            tile_m=tile_m * np.exp(rng.normal(0, 0.4)),
            turn=float(rng.uniform(0, np.pi)) if family in ("noise", "leaves", "marble") else 0.0,
            shift=tuple(rng.uniform(0, 1, 2)),
            dark=tuple(base * rng.uniform(0.1, 0.8)),
            light=tuple(base),
            gloss=0.0,
        )


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Linear RGB as surfaces have it: mostly dull, now and then vivid."""
    hue, value = rng.uniform(0, 6), np.exp(rng.uniform(np.log(0.03), np.log(0.9)))
    dullness = 1 - (rng.beta(1.0, 3.0) if rng.uniform() < 0.75 else rng.uniform(0.4, 1))
    wheel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (dullness + (1 - dullness) * wheel)
