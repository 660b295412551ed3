"""Procedural textures: what the surfaces of generated scenes are made of.

A seed in; an atlas of grey textures out, tileable, with its mip levels, and the look-up that
samples it. Colours come from the surface, so a few dozen textures make endless materials. No
photos.
"""

from dataclasses import dataclass

import numpy as np
import torch

SIDE = 256
LEVELS = 8
FAMILIES = (
    "noise", "marble", "leaves", "spots", "bricks", "tiles", "wood", "stripes", "windows", "text",
    "weave", "plain",
)  # fmt: skip
VARIANTS = 6  # textures of each family


def texture_index(family: str, variant: int) -> int:
    """Where a texture stands in the atlas."""
    return FAMILIES.index(family) * VARIANTS + variant % VARIANTS


@dataclass(frozen=True)
class Atlas:
    """Every texture at every mip level, end to end: float32 (texels,) in [0, 1]."""

    texels: torch.Tensor
    starts: torch.Tensor  # int64 (LEVELS,): where each level begins

    def to(self, device: torch.device) -> "Atlas":
        """The same on another device."""
        return Atlas(self.texels.to(device), self.starts.to(device))

    def sample(
        self, index: torch.Tensor, uv: torch.Tensor, footprint: torch.Tensor
    ) -> torch.Tensor:
        """Look textures up, bilinear, at the mip level that a pixel covers.

        Args:
            index: int64 (K,), which texture.
            uv: float32 (K, 2), in tiles; whole numbers are the seams.
            footprint: float32 (K,), how many tiles a pixel spans.
        Returns:
            float32 (K,) in [0, 1].
        """
        level = footprint.mul(SIDE).clamp(min=1).log2().round().clamp(max=LEVELS - 1).long()
        side = SIDE >> level
        place = (uv - uv.floor()) * side.unsqueeze(1) - 0.5
        corner = place.floor()
        share = place - corner
        x, y = corner.long().unbind(1)
        start = self.starts[level] + index * side * side

        def texel(dx: int, dy: int) -> torch.Tensor:
            return self.texels[start + ((y + dy) % side) * side + (x + dx) % side]

        top = texel(0, 0) + (texel(1, 0) - texel(0, 0)) * share[:, 0]
        bottom = texel(0, 1) + (texel(1, 1) - texel(0, 1)) * share[:, 0]
        return top + (bottom - top) * share[:, 1]


def make_atlas(seed: int) -> Atlas:
    """Draw every texture: the same seed gives the same atlas on every machine."""
    makers = (
        _noise, _marble, _leaves, _spots, _bricks, _tiles, _wood, _stripes, _windows, _text,
        _weave, _plain,
    )  # fmt: skip
    textures = [
        make(np.random.default_rng([seed, family, variant]))
        for family, make in enumerate(makers)
        for variant in range(VARIANTS)
    ]
    level = torch.from_numpy(np.stack([_stretch(t) for t in textures]).astype(np.float32))
    levels = []
    for _ in range(LEVELS):
        levels.append(level.flatten())
        level = torch.nn.functional.avg_pool2d(level.unsqueeze(1), 2).squeeze(1)
    sizes = [len(texels) for texels in levels]
    return Atlas(torch.cat(levels), torch.tensor([sum(sizes[:i]) for i in range(LEVELS)]))


def _stretch(texture: np.ndarray) -> np.ndarray:
    low, high = np.percentile(texture, (1, 99))
    return np.clip((texture - low) / max(high - low, 1e-6), 0, 1)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    return x, y


def _fractal(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> np.ndarray:
    """Noise whose spectrum falls with frequency; ``stretch`` draws it out along x."""
    frequency = np.fft.fftfreq(SIDE, 1.0)
    radius = np.hypot(frequency[None] * stretch, frequency[:, None])
    radius[0, 0] = np.inf
    phase = np.fft.fft2(rng.standard_normal((SIDE, SIDE)))
    noise = np.fft.ifft2(phase * radius**-slope).real
    return noise / noise.std()


def _noise(rng: np.random.Generator) -> np.ndarray:
    return _fractal(rng, rng.uniform(0.4, 2.0), rng.choice([1, 1, 3]))


def _marble(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    u, v = rng.integers(0, 5, 2)
    veins = np.sin(2 * np.pi * (u * x + v * y) + rng.uniform(1, 4) * _fractal(rng, 1.6))
    return np.abs(veins) ** rng.uniform(0.3, 1.5)


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Overlapping ellipses of many sizes: the dead leaves model of natural images."""
    texture = rng.uniform(0, 1, (SIDE, SIDE))
    smallest = rng.uniform(3, 7)
    for _ in range(700):
        radius = smallest / max(rng.uniform(0.02, 1), 0.1)
        long, wide = radius * rng.uniform(1, 2.5), radius
        reach = int(long) + 1
        cx, cy = rng.integers(0, SIDE, 2)
        rows, columns = np.arange(cy - reach, cy + reach), np.arange(cx - reach, cx + reach)
        dy, dx = (rows - cy)[:, None], (columns - cx)[None]
        angle = rng.uniform(0, np.pi)
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / long
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / wide
        inside = along**2 + across**2 < 1
        shade = rng.uniform(0, 1) + 0.3 * across + rng.uniform(-0.1, 0.1, inside.shape)
        place = np.ix_(rows % SIDE, columns % SIDE)
        texture[place] = np.where(inside, shade, texture[place])
    return texture


def _spots(rng: np.random.Generator) -> np.ndarray:
    """Pebbles, cells or dots: distance to the nearest of some points."""
    points = rng.uniform(0, 1, (int(rng.integers(20, 160)), 2))
    x, y = _grid()
    nearest = np.full((SIDE, SIDE), np.inf)
    owner = np.zeros((SIDE, SIDE))
    for px, py in points:
        dx, dy = np.abs(x - px), np.abs(y - py)
        distance = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
        shade = rng.uniform()
        owner = np.where(distance < nearest, shade, owner)
        nearest = np.minimum(nearest, distance)
    cells = nearest * np.sqrt(len(points))
    return owner * 0.6 - cells if rng.uniform() < 0.6 else (cells < rng.uniform(0.2, 0.4)) * 1.0


def _bricks(rng: np.random.Generator) -> np.ndarray:
    rows = int(rng.choice([4, 6, 8, 12, 16]))
    columns, joint = rows // 2, rng.uniform(0.04, 0.12)
    x, y = _grid()
    row = np.floor(y * rows)
    across = x * columns + 0.5 * (row % 2)
    shade = rng.uniform(0.3, 1, (rows, columns))[
        row.astype(int), np.floor(across).astype(int) % columns
    ]
    mortar = (across % 1 < joint / 2) | ((y * rows) % 1 < joint)
    return np.where(mortar, rng.choice([0.0, 1.3]), shade) + 0.08 * _fractal(rng, 0.8)


def _tiles(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice([2, 4, 4, 6, 8]))
    x, y = _grid()
    column, row = np.floor(x * count).astype(int), np.floor(y * count).astype(int)
    joint = rng.uniform(0, 0.08)
    shade = (column + row) % 2 * rng.choice([0.0, 1.0]) + 0.4 * rng.uniform(0, 1, (count, count))[
        row, column
    ]
    line = ((x * count) % 1 < joint) | ((y * count) % 1 < joint)
    return np.where(line, -0.5, shade) + 0.05 * _fractal(rng, 1.0)


def _wood(rng: np.random.Generator) -> np.ndarray:
    _, y = _grid()
    planks = int(rng.choice([1, 3, 4, 6, 8]))
    plank = np.floor(y * planks).astype(int)
    grain = np.sin(2 * np.pi * int(rng.integers(3, 9)) * y + 2 * _fractal(rng, 1.6, 8))
    gap = (y * planks) % 1 < (0.05 if planks > 1 else 0)
    return grain + 2 * rng.uniform(0, 1, planks)[plank] + 0.4 * _fractal(rng, 0.5, 12) - 4 * gap


def _stripes(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    u, v = [(1, 0), (0, 1), (2, 0), (0, 5), (8, 0), (3, 3)][int(rng.integers(6))]
    wave = np.sin(2 * np.pi * (u * x + v * y) * int(rng.integers(1, 4)))
    return np.sign(wave) if rng.uniform() < 0.5 else wave + 0.1 * _fractal(rng, 1.2)


def _windows(rng: np.random.Generator) -> np.ndarray:
    """A facade: rows of dark or lit panes in a wall."""
    columns, rows = int(rng.integers(2, 7)), int(rng.integers(2, 7))
    x, y = _grid()
    u, v = (x * columns) % 1, (y * rows) % 1
    wide, high = rng.uniform(0.35, 0.8, 2)
    pane = (np.abs(u - 0.5) < wide / 2) & (np.abs(v - 0.5) < high / 2)
    bars = (np.abs(u - 0.5) < 0.02) | (np.abs(v - 0.45) < 0.02)
    light = rng.uniform(0, 1, (rows, columns)) ** 3
    shade = light[np.floor(y * rows).astype(int), np.floor(x * columns).astype(int)] * 0.8
    return np.where(pane & ~bars, shade, 0.8) + 0.05 * _fractal(rng, 1.0)


def _text(rng: np.random.Generator) -> np.ndarray:
    """Rows of short strokes, as print looks from a distance."""
    texture = np.ones((SIDE, SIDE))
    line = int(rng.choice([12, 18, 28, 44]))
    for top in range(4, SIDE - line, line):
        x = int(rng.integers(4, 30))
        while x < SIDE - int(rng.integers(8, 60)):
            wide = int(rng.integers(1, max(2, line // 4)))
            high = int(line * rng.uniform(0.3, 0.65))
            texture[top + line // 2 - high // 2 : top + line // 2 + high // 2, x : x + wide] = 0
            if rng.uniform() < 0.5:
                texture[top + line // 2, x : x + line // 3] = 0
            x += wide + int(rng.integers(1, max(2, line // 3)))
    return texture if rng.uniform() < 0.7 else 1 - texture


def _weave(rng: np.random.Generator) -> np.ndarray:
    """Plaid and cloth: stripes both ways."""
    x, y = _grid()
    bands = [int(rng.integers(1, 20)) for _ in range(4)]
    warp = np.sin(2 * np.pi * bands[0] * x) + rng.uniform() * np.sin(2 * np.pi * bands[1] * x)
    weft = np.sin(2 * np.pi * bands[2] * y) + rng.uniform() * np.sin(2 * np.pi * bands[3] * y)
    return np.sign(warp) + rng.uniform(0.2, 1) * np.sign(weft) + 0.3 * _fractal(rng, 0.3)


def _plain(rng: np.random.Generator) -> np.ndarray:
    """Nearly nothing: wide stains, for surfaces whose two colours are close."""
    return _fractal(rng, rng.uniform(1.5, 2.2))
