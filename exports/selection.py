"""Which pixels of a scene become points.

A ``Scene`` and options in; masks, places and depth, a block of rows at a time, out. The prediction
is never changed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

import numpy as np

from exports.points import (
    CENTRES,
    UPSTREAM,
    check_pixel_grid,
    even_choice,
    pixels_of,
    row_blocks,
    unproject,
)
from exports.quantiles import percentiles
from exports.scene import WHAT, Scene, as_array
from runtime.errors import InputError

DARK, BRIGHT = 16, 240  # all channels below, or none below: background, if that is filtered
UNSURE = np.float32(1)  # the confidence of filtered background
MIN_GROUND = 10  # pixels off the sky, above which they alone say what is sure
SEED = 0


@dataclass(frozen=True)
class PixelOptions:
    """Which pixels become points. Names and defaults are upstream's where upstream has them.

    Args:
        num_max_points: more are thinned to this many, with an even density.
        conf_thresh_percentile: of all confidences; what is below it is left out.
        keep_sky: put sky at the percentile ``sky_depth_def`` of the other depths; False: leave it
            out.
        pixel_grid: ``centres``, or ``upstream``: rays through whole numbers.
    Raises:
        InputError: numbers out of their range, or an unknown grid.
    """

    num_max_points: int = 1_000_000
    conf_thresh_percentile: float = 40.0
    keep_sky: bool = False
    sky_depth_def: float = 98.0
    pixel_grid: str = CENTRES

    def __post_init__(self) -> None:
        check_pixel_grid(self.pixel_grid)
        if self.num_max_points < 1:
            raise InputError(f"num_max_points={self.num_max_points}: use 1 or more")
        check_percentile("conf_thresh_percentile", self.conf_thresh_percentile)
        check_percentile("sky_depth_def", self.sky_depth_def)


@dataclass(frozen=True)
class CloudOptions(PixelOptions):
    """The same for clouds, which people look at.

    Args:
        conf_thresh: least confidence of a point, raised to ``conf_thresh_percentile`` of all
            confidences, then lowered to their ``ensure_thresh_percentile``.
        filter_black_bg, filter_white_bg: take pixels near black or white for background.
    """

    conf_thresh: float = 1.05
    ensure_thresh_percentile: float = 90.0
    filter_black_bg: bool = False
    filter_white_bg: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_percentile("ensure_thresh_percentile", self.ensure_thresh_percentile)


def check_percentile(name: str, value: float) -> None:
    """Refuse what is no percentile.

    Raises:
        InputError: it is below 0 or above 100.
    """
    if not 0 <= value <= 100:
        raise InputError(f"{name}={value}: use 0 to 100")


class Block(NamedTuple):
    """Some rows of a view, and which of their pixels become points."""

    view: int
    rows: slice
    kept: np.ndarray  # bool (rows, W)
    depth: np.ndarray  # float32 (rows, W), with sky where it is put


@dataclass(frozen=True)
class Selection:
    """The pixels of a scene that become points, in the order of views, rows and columns.

    Args:
        threshold: least confidence; None: the scene has none.
        sky_depth: where sky is put; None: it stays where it is, or is left out.
        total: how many pixels there are.
    """

    scene: Scene
    options: PixelOptions
    threshold: Optional[float] = None
    sky_depth: Optional[float] = None
    total: int = 0

    def blocks(self) -> Iterator[Block]:
        """All rows of all views."""
        scene = self.scene
        for view in range(scene.views):
            for rows in row_blocks(scene.size_hw):
                depth = part(scene.found.depth, view, rows)
                sky = _sky(scene, view, rows)
                if self.sky_depth is not None:
                    depth = np.where(sky, np.float32(self.sky_depth), depth)
                kept = _is_depth(depth)
                if self.threshold is not None:
                    kept &= _confidence(scene, self.options, view, rows) >= self.threshold
                if not self.options.keep_sky:
                    kept &= ~sky
                yield Block(view, rows, kept, depth)

    def points(self) -> Iterator[np.ndarray]:
        """Where they are in the prediction's world: float64 (P, 3) of each block."""
        for block in self.blocks():
            yield self.points_of(block)

    def points_of(self, block: Block) -> np.ndarray:
        """The same of one block."""
        pixels = pixels_of(block.kept, block.rows.start, self.options.pixel_grid)
        return unproject(pixels, block.depth[block.kept], *self.scene.camera(block.view))

    def numbered(self, numbers: Optional[np.ndarray]) -> Iterator[tuple[Block, np.ndarray]]:
        """Blocks, and which of their points have these numbers, which rise; None: all.

        Yields:
            int64 indices into the points of each block.
        """
        start = 0
        for block in self.blocks():
            count = int(np.count_nonzero(block.kept))
            if numbers is None:
                yield block, np.arange(count)
            else:
                first, last = np.searchsorted(numbers, (start, start + count))
                yield block, numbers[first:last] - start
            start += count

    def chosen(self) -> Optional[np.ndarray]:
        """The numbers of those that are kept if there are too many; None: all are.

        They rise; on upstream's grid they are drawn at random, as there, and in that order.
        """
        most = self.options.num_max_points
        if self.total <= most:
            return None
        if self.options.pixel_grid == UPSTREAM:
            return np.random.RandomState(SEED).choice(self.total, most, replace=False)
        return even_choice(self._areas, self._positions, self.total, most)

    def _areas(self) -> Iterator[np.ndarray]:
        """The surface that each stands for, if it faces its camera: (P,) of each block."""
        for block in self.blocks():
            intrinsics, _ = self.scene.camera(block.view)
            pixel = abs(intrinsics[0, 0] * intrinsics[1, 1])
            yield block.depth[block.kept].astype(np.float64) ** 2 / pixel

    def _positions(self, numbers: np.ndarray) -> np.ndarray:
        """Points of these numbers, which rise: float32 (K, 3)."""
        result, done = np.empty((len(numbers), 3), np.float32), 0
        for block, inside in self.numbered(numbers):
            if len(inside):
                result[done : done + len(inside)] = self.points_of(block)[inside]
                done += len(inside)
        return result


def select(scene: Scene, options: PixelOptions) -> Selection:
    """Decide which pixels of a scene become points.

    Raises:
        InputError: the scene has no cameras.
    """
    if "cameras" not in scene.gives:
        raise InputError(f"{scene.views} views without cameras are no cloud: {WHAT['cameras']}")
    selection = Selection(scene, options, _threshold(scene, options), _sky_depth(scene, options))
    return replace(selection, total=sum(int(np.count_nonzero(b.kept)) for b in selection.blocks()))


def _threshold(scene: Scene, options: PixelOptions) -> Optional[float]:
    """The least confidence of a point."""
    if scene.found.conf is None:
        return None
    clouds = isinstance(options, CloudOptions)
    ground = clouds and scene.found.sky is not None and _ground(scene) > MIN_GROUND

    def pool() -> Iterable[np.ndarray]:
        for view in range(scene.views):
            for rows in row_blocks(scene.size_hw):
                conf = _confidence(scene, options, view, rows)
                yield conf[~_sky(scene, view, rows)] if ground else conf.reshape(-1)

    wanted = [options.conf_thresh_percentile]
    if isinstance(options, CloudOptions):
        wanted.append(options.ensure_thresh_percentile)
    found = percentiles(pool, wanted)
    if found is None:  # not one number
        return np.inf
    if isinstance(options, CloudOptions):
        found[0] = min(max(options.conf_thresh, found[0]), found[1])
    return float(np.float32(found[0]))


def _ground(scene: Scene) -> int:
    """How many pixels are no sky."""
    sky = scene.found.sky
    assert sky is not None
    return sum(int(np.count_nonzero(~as_array(one).astype(bool))) for one in sky)


def _sky_depth(scene: Scene, options: PixelOptions) -> Optional[float]:
    if scene.found.sky is None or not options.keep_sky:
        return None

    def others() -> Iterable[np.ndarray]:
        for view in range(scene.views):
            for rows in row_blocks(scene.size_hw):
                depth = part(scene.found.depth, view, rows)
                yield depth[~_sky(scene, view, rows) & _is_depth(depth)]

    found = percentiles(others, [options.sky_depth_def])
    return None if found is None else float(found[0])


def _confidence(scene: Scene, options: PixelOptions, view: int, rows: slice) -> np.ndarray:
    """Of some rows, with background as unsure as asked: float32 (rows, W)."""
    conf = part(scene.found.conf, view, rows)
    if not isinstance(options, CloudOptions):
        return conf
    for asked, is_background in (
        (options.filter_black_bg, lambda rgb: (rgb < DARK).all(axis=-1)),
        (options.filter_white_bg, lambda rgb: (rgb >= BRIGHT).all(axis=-1)),
    ):
        if asked:
            rgb = part(scene.found.processed_images, view, rows)
            conf = np.where(is_background(rgb), UNSURE, conf)
    return conf


def _sky(scene: Scene, view: int, rows: slice) -> np.ndarray:
    """Where sky is: bool (rows, W)."""
    if scene.found.sky is None:
        return np.zeros((rows.stop - rows.start, scene.size_hw[1]), bool)
    return part(scene.found.sky, view, rows).astype(bool)


def _is_depth(depth: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.isfinite(depth) & (depth > 0)


def part(maps: Any, view: int, rows: slice) -> np.ndarray:
    """Some rows of one view of a stack of maps."""
    return as_array(maps[view][rows])
