"""In which views the points of a scene are seen: those whose own depth says the same.

A selection of pixels in; for each pair of views which points of one are seen in the other, and
where, out. Points are kept, which are at most as many as asked for; depth is read view by view.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

import numpy as np

from exports.points import PIXEL_GRIDS, pixels_of, project
from exports.scene import as_array
from exports.selection import Selection, part


@dataclass(frozen=True)
class ViewPoints:
    """The points that the pixels of one view make.

    Args:
        pixels: float64 (P, 2), x and y in the view.
        world: float64 (P, 3).
        colours: uint8 (P, 3); first: the number of the first one in its scene, from 0.
    """

    pixels: np.ndarray
    world: np.ndarray
    colours: np.ndarray
    first: int = 0


def points_of_views(selection: Selection) -> Iterator[ViewPoints]:
    """The points of each view, thinned as the options ask, in the order of rows and columns."""
    images = selection.scene.found.processed_images
    chosen = selection.chosen()
    numbers = None if chosen is None else np.sort(chosen)
    parts: list[tuple[np.ndarray, ...]] = []
    view = 0
    for block, inside in selection.numbered(numbers):
        if block.view != view:
            yield _joined(parts)
            view, parts = block.view, []
        pixels = pixels_of(block.kept, block.rows.start, selection.options.pixel_grid)[inside]
        rgb = part(images, view, block.rows)[block.kept][inside]
        parts.append((pixels, selection.points_of(block)[inside], rgb))
    yield _joined(parts)


def _joined(parts: list[tuple[np.ndarray, ...]]) -> ViewPoints:
    pixels, world, colours = (np.concatenate(arrays) for arrays in zip(*parts))
    return ViewPoints(pixels, world, colours)


def seen_in(selection: Selection, points: np.ndarray, view: int, tolerance: float) -> np.ndarray:
    """Which points a view sees: in front of it, inside its picture, and where its depth is.

    Depth between pixels is interpolated as its inverse, which is exact on planes.

    Args:
        points: (P, 3); tolerance: largest difference of the depths, as a share.
    Returns:
        bool (P,).
    """
    scene = selection.scene
    pixels, depth = project(points, *scene.camera(view))
    height, width = scene.size_hw
    middle = pixels - PIXEL_GRIDS[selection.options.pixel_grid]  # pixel 0 has its middle at 0
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (middle >= -0.5).all(axis=1)
        inside &= (middle[:, 0] < width - 0.5) & (middle[:, 1] < height - 0.5)
    seen = np.flatnonzero(inside)
    there = inverse_between(as_array(scene.found.depth[view]), middle[seen])
    with np.errstate(invalid="ignore"):
        agrees = abs(there * depth[seen] - 1) <= tolerance
    result = np.zeros(len(points), bool)
    result[seen[agrees]] = True
    return result


def inverse_between(depth: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Inverse depth between pixels: (H, W), x and y from the first pixel's middle -> (P,).

    Pixels without depth do not count; NaN where no pixel around has any.
    """
    height, width = depth.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        valid = np.isfinite(depth) & (depth > 0)
        inverse = np.where(valid, 1 / depth, 0).astype(np.float64)
    corner = np.floor(places).astype(np.int64)
    share = places - corner
    total, weights = np.zeros(len(places)), np.zeros(len(places))
    for right in (0, 1):
        for below in (0, 1):
            x = (corner[:, 0] + right).clip(0, width - 1)
            y = (corner[:, 1] + below).clip(0, height - 1)
            weight = abs(1 - right - share[:, 0]) * abs(1 - below - share[:, 1]) * valid[y, x]
            total += weight * inverse[y, x]
            weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / weights


class Tracks:
    """Which points each view sees beside its own, kept as bits.

    Args:
        selection: the pixels that made the points.
        tolerance: as for ``seen_in``; None: nobody sees another view's points.
        min_views: points that fewer views see are left out.
    """

    def __init__(
        self, selection: Selection, tolerance: Optional[float], min_views: int = 1
    ) -> None:
        self.selection, self.tolerance = selection, tolerance
        views = selection.scene.views
        self.points: list[ViewPoints] = []
        self.others = np.zeros((views, views), np.int64)  # of view v, seen in view u
        self._bits: dict[tuple[int, int], np.ndarray] = {}
        first = 0
        for view, points in enumerate(points_of_views(selection)):
            seen = {
                other: seen_in(selection, points.world, other, tolerance)
                for other in range(views)
                if other != view and tolerance is not None
            }
            often = np.full(len(points.world), 1) + sum(seen.values()) >= min_views
            self.points.append(
                ViewPoints(points.pixels[often], points.world[often], points.colours[often], first)
            )
            first += int(np.count_nonzero(often))
            for other, bits in seen.items():
                self.others[view, other] = np.count_nonzero(bits[often])
                if self.others[view, other]:
                    self._bits[view, other] = np.packbits(bits[often])
        self.own = np.array([len(points.world) for points in self.points])

    def seen(self, view: int, other: int) -> Optional[np.ndarray]:
        """Which points of a view another one sees: bool (P,); None: no one."""
        bits = self._bits.get((view, other))
        return None if bits is None else np.unpackbits(bits, count=int(self.own[view])).astype(bool)

    def observations(self, other: int) -> int:
        """How many points a view sees, its own among them."""
        return int(self.own[other] + self.others[:, other].sum())

    def first_index(self, view: int, other: int) -> int:
        """Where in a view's list the first point of another stands: its own come first."""
        return int(self.own[other] + self.others[:view, other].sum())
