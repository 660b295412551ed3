"""The points of a scene with their colours, at most as many as wanted.

A ``Scene`` and options in; arrays in the prediction's world out. Views are read a block of rows at
a time: beyond the points themselves, memory does not grow with their number.
"""

from dataclasses import dataclass, fields
from typing import Any, Optional

import numpy as np

from exports.points import UPSTREAM
from exports.quantiles import percentiles
from exports.scene import WHAT, Scene
from exports.selection import CloudOptions, Selection, part, select
from runtime.errors import InputError


@dataclass(frozen=True)
class Cloud:
    """Points in the order of views, rows and columns; on upstream's grid, thinned ones as drawn."""

    positions: np.ndarray  # float32 (K, 3), in the prediction's world
    colours: np.ndarray  # uint8 (K, 3), RGB
    confidence: Optional[np.ndarray]  # float32 (K,)
    selection: Selection


def make_cloud(scene: Scene, options: CloudOptions) -> Cloud:
    """Gather the points of a scene; once for all files that ask for the same.

    Raises:
        InputError: no cameras, or no images.
    """
    return scene.once(("cloud", cloud_key(options)), lambda: _gather(scene, options))


def cloud_key(options: CloudOptions) -> tuple[Any, ...]:
    """What a cloud depends on, whichever format asks."""
    return tuple(getattr(options, one.name) for one in fields(CloudOptions))


def _gather(scene: Scene, options: CloudOptions) -> Cloud:
    if "images" not in scene.gives:
        raise InputError(f"points have no colours without processed_images: {WHAT['images']}")
    selection = select(scene, options)
    chosen = selection.chosen()
    rising = None if chosen is None else np.sort(chosen)
    count = selection.total if rising is None else len(rising)
    positions, colours = np.empty((count, 3), np.float32), np.empty((count, 3), np.uint8)
    conf = None if scene.found.conf is None else np.empty(count, np.float32)
    done = 0
    for block, inside in selection.numbered(rising):
        to = slice(done, done + len(inside))
        positions[to] = selection.points_of(block)[inside]
        rgb = part(scene.found.processed_images, block.view, block.rows)
        colours[to] = rgb[block.kept][inside]
        if conf is not None:
            conf[to] = part(scene.found.conf, block.view, block.rows)[block.kept][inside]
        done = to.stop
    if chosen is not None and rising is not None and options.pixel_grid == UPSTREAM:
        drawn = np.searchsorted(rising, chosen)
        positions, colours = positions[drawn], colours[drawn]
        conf = None if conf is None else conf[drawn]
    return Cloud(positions, colours, conf, selection)


def median_in(cloud: Cloud, matrix: np.ndarray) -> Optional[np.ndarray]:
    """The median per axis of all points, thinned ones too, in another frame: (3,).

    Args:
        matrix: (4, 4), from the prediction's world to that frame.
    Returns:
        None: there is no point.
    """

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    if not cloud.selection.total:
        return None
    if len(cloud.positions) == cloud.selection.total:
        return np.asarray(np.median(moved(cloud.positions), axis=0))
    found = percentiles(lambda: map(moved, cloud.selection.points()), [50.0])
    assert found is not None
    return found[0]
