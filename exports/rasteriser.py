"""Splats on a picture, blended from near to far, on the processor.

What a camera sees of splats in; colours, depth and coverage of each pixel out. The picture is cut
into tiles. A tile takes the splats that may touch it in rounds, and many tiles of about as many
splats go through a round together; it is left when nothing behind can be seen. Splats come in
chunks, so memory does not grow with how many there are, nor with how large they are.
Source: the blending of gsplat 1.5.2 (Ye et al., 2024), after 3D Gaussian Splatting (Kerbl et al.,
2023). Equal to it but for rounding: what is left out there is left out here.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from exports.splat_projection import LEAST_ALPHA, Drawn, rising

TILE = 8  # pixels a side
PIXELS = TILE * TILE
ROUND = 32  # splats that a tile takes at a time
TILES = 128  # that go through a round together: more leave the cache, fewer keep threads waiting
PER_TILE = 64  # splats of a chunk, about, for each tile that is still open
LEAST_CHUNK = 1 << 16  # splats, counted once for each tile that they touch
LOOK_AHEAD = 8  # chunks, if all tiles were open
CAP = 0.999  # the most that one splat covers
LEAST_LIGHT = 1e-4  # a splat that would leave less is not drawn, nor what is behind
MOST_THREADS = 8  # more wait for Python's lock
NOTHING = -200.0  # log of an opacity that is 0 as float32
SUMS = 5  # red, green, blue, depth, coverage


@dataclass(frozen=True, eq=False)
class Picture:
    """What a camera sees.

    Args:
        rgb: float32 (H, W, 3), 0 upwards, on the background.
        depth: float32 (H, W), each splat's depth times what it covers, summed; 0 if there is none.
        alpha: float32 (H, W), how much is covered, 0 to 1.
    """

    rgb: np.ndarray
    depth: np.ndarray
    alpha: np.ndarray

    def expected_depth(self) -> np.ndarray:
        """Mean depth of what covers a pixel: float32 (H, W); 0 if nothing does."""
        return np.asarray(self.depth / np.maximum(self.alpha, np.float32(1e-10)))


def rasterise(
    drawn: Drawn,
    size_hw: tuple[int, int],
    background: tuple[float, float, float] = (0, 0, 0),
    threads: int = 0,
) -> Picture:
    """Draw splats.

    Args:
        background: colour of light that no splat stopped.
        threads: 0: one for each core that this process may use.
    """
    canvas = _Canvas(drawn, size_hw)
    with ThreadPoolExecutor(threads or cores()) as pool:
        start = 0
        while start < len(drawn) and canvas.open.any():
            start = canvas.draw(start, pool)
    sums = canvas.picture()
    alpha = sums[..., 4]
    rgb = sums[..., :3] + (1 - alpha)[..., None] * np.asarray(background, np.float32)
    return Picture(rgb, sums[..., 3].copy(), alpha.copy())


def cores() -> int:
    """How many this process may use, up to as many as help."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


class _Canvas:
    """Tiles that are being drawn on."""

    def __init__(self, drawn: Drawn, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.rows, self.columns = (-(-side // TILE) for side in size_hw)
        tiles = self.rows * self.columns
        self.light = np.ones((tiles, PIXELS), np.float32)
        self.sums = np.zeros((tiles, SUMS, PIXELS), np.float32)
        self.open = np.ones(tiles, bool)
        self.drawn = drawn
        self.values = np.zeros((len(drawn) + 1, SUMS), np.float32)  # the last one is no splat
        self.values[:-1, :3], self.values[:-1, 3] = drawn.colours, drawn.depths
        self.values[:-1, 4] = 1
        self.boxes = self._boxes()
        top, bottom, left, right = self.boxes.astype(np.int64)
        counts = (bottom - top + 1) * (right - left + 1)
        self.reached = np.concatenate(([0], np.cumsum(counts)))
        y, x = np.meshgrid(*[np.arange(TILE) + 0.5 - TILE / 2] * 2, indexing="ij")
        x, y = x.reshape(-1), y.reshape(-1)
        basis = (np.ones(PIXELS), x, y, -x * x / 2, -y * y / 2, -x * y)
        self.basis = np.stack(basis).astype(np.float32)  # (6, PIXELS)

    def _boxes(self) -> np.ndarray:
        """Tiles that each ellipse may touch: int32 (4, D), first and last row, the same columns."""
        boxes = []
        for axis in (1, 0):
            side = self.size_hw[1 - axis]
            place, reach = self.drawn.centres[:, axis], self.drawn.reach[:, axis]
            first = np.ceil(place - reach - 0.5).clip(0, side)
            last = np.floor(place + reach - 0.5).clip(-1, side - 1)
            boxes += [first.astype(np.int32) // TILE, last.astype(np.int32) // TILE]
            boxes[-1][last < first] = boxes[-2][last < first] - 1
        return np.stack(boxes)

    def draw(self, start: int, pool: ThreadPoolExecutor) -> int:
        """Draw the next splats of all; returns where the ones after them begin."""
        room = max(PER_TILE * int(self.open.sum()), LEAST_CHUNK)
        far = self.reached[start] + LOOK_AHEAD * room
        end = min(max(int(np.searchsorted(self.reached, far)), start + 1), len(self.drawn))
        own = np.arange(start, end)
        touching = self._touch_open(own)
        inside = np.cumsum(np.diff(self.reached[start : end + 1]) * touching)
        kept = max(int(np.searchsorted(inside, room, side="right")), 1)
        pairs, tiles = self._pairs(own[:kept][touching[:kept]])
        if len(pairs):
            self._blend(pairs, tiles, pool)
        return start + kept

    def _touch_open(self, own: np.ndarray) -> np.ndarray:
        """Whether there is an open tile in each splat's box: bool (D,)."""
        table = np.zeros((self.rows + 1, self.columns + 1), np.int32)
        table[1:, 1:] = self.open.reshape(self.rows, self.columns).cumsum(0).cumsum(1)
        top, bottom, left, right = self.boxes[:, own]
        bottom, right = bottom + 1, right + 1
        inside = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        return np.asarray((inside > 0) & (bottom > top) & (right > left))

    def _pairs(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Splats and the open tiles they may touch, tile by tile, each from near to far."""
        top, bottom, left, right = self.boxes[:, own]
        wide = right - left + 1
        counts = wide * (bottom - top + 1)
        which = np.repeat(np.arange(len(own), dtype=np.int32), counts)
        begins = np.cumsum(counts) - counts
        place = np.arange(len(which), dtype=np.int32) - begins.astype(np.int32)[which]
        down = place // wide[which]
        tiles = (top * self.columns + left)[which] + down * self.columns
        tiles += place - down * wide[which]
        is_open = self.open[tiles]
        which, tiles = which[is_open], tiles[is_open]
        order = rising(tiles.astype(np.uint32))
        return own[which[order]], tiles[order]

    def _blend(self, pairs: np.ndarray, tiles: np.ndarray, pool: ThreadPoolExecutor) -> None:
        """Draw what is sorted into tiles."""
        shapes = np.full((len(pairs) + 1, 6), 0, np.float32)
        shapes[-1, 0] = NOTHING
        shapes[:-1] = self._shapes(pairs, tiles)
        pairs = np.append(pairs, len(self.drawn))
        counts = np.bincount(tiles, minlength=len(self.open))
        begins = np.cumsum(counts) - counts
        some = np.flatnonzero(counts)
        some = some[np.argsort(-counts[some], kind="stable")]
        batches = [some[at : at + TILES] for at in range(0, len(some), TILES)]
        jobs = [
            pool.submit(self._batch, batch, begins[batch], counts[batch], pairs, shapes)
            for batch in batches
        ]
        for job in jobs:
            job.result()

    def _shapes(self, pairs: np.ndarray, tiles: np.ndarray) -> np.ndarray:
        """Log of what splats cover, as polynomials about the middles of tiles: float64 (P, 6)."""
        middle = np.stack((tiles % self.columns, tiles // self.columns), axis=1) * TILE + TILE / 2
        x, y = (self.drawn.centres[pairs] - middle).T
        xx, xy, yy = self.drawn.conics[pairs].T
        right, down = xx * x + xy * y, xy * x + yy * y
        peak = np.log(self.drawn.opacities[pairs].astype(np.float64))
        return np.stack((peak - (x * right + y * down) / 2, right, down, xx, yy, xy), axis=1)

    def _batch(
        self,
        batch: np.ndarray,
        begins: np.ndarray,
        counts: np.ndarray,
        pairs: np.ndarray,
        shapes: np.ndarray,
    ) -> None:
        """Draw on some tiles of about as many splats."""
        at = 0
        steps = np.arange(ROUND)[:, None]
        while len(batch):
            number = at + steps
            rows = np.where(number < counts, begins + number, len(pairs) - 1)  # (ROUND, m)
            self._round(batch, shapes[rows], self.values[pairs[rows]])
            at += ROUND
            bright = self.light[batch].max(axis=1) > LEAST_LIGHT
            self.open[batch[~bright]] = False
            more = bright & (counts > at)
            batch, begins, counts = batch[more], begins[more], counts[more]

    def _round(self, batch: np.ndarray, shapes: np.ndarray, values: np.ndarray) -> None:
        """Blend ROUND splats on each of m tiles: shapes (ROUND, m, 6), values (ROUND, m, 5)."""
        count, tiles = shapes.shape[:2]
        cover = (shapes.reshape(-1, 6) @ self.basis).reshape(count, tiles * PIXELS)
        np.exp(cover, out=cover)
        np.minimum(cover, np.float32(CAP), out=cover)
        cover *= cover >= np.float32(LEAST_ALPHA)
        light = self.light[batch].reshape(-1)
        after = 1 - cover
        after[0] *= light
        for step in range(1, count):
            after[step] *= after[step - 1]
        cover[0] *= light
        cover[1:] *= after[:-1]
        cover *= after > np.float32(LEAST_LIGHT)
        cover = cover.reshape(count, tiles, PIXELS)
        self.sums[batch] += values.transpose(1, 2, 0) @ cover.transpose(1, 0, 2)
        self.light[batch] = after[-1].reshape(tiles, PIXELS)

    def picture(self) -> np.ndarray:
        """The sums of each pixel: float32 (H, W, 5)."""
        whole = self.sums.reshape(self.rows, self.columns, SUMS, TILE, TILE)
        whole = whole.transpose(0, 3, 1, 4, 2).reshape(self.rows * TILE, self.columns * TILE, SUMS)
        return whole[: self.size_hw[0], : self.size_hw[1]]
