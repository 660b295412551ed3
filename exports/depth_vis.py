"""Depth of a scene to pictures as Depth Anything 3 paints them, pixel for pixel.

Inverse depth from its 2nd to its 98th percentile, each view for itself: near is red, far violet.
Source: ``utils/visualize.py`` and ``utils/export/depth_vis.py`` of Depth Anything 3.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

import numpy as np
from PIL import Image

from exports.colour import spectral_shares, stamp_warning
from exports.scene import Scene, as_array
from runtime.errors import InputError

MIN_PIXELS = 10  # of depth, above which percentiles are taken
LEAST_RANGE = 1e-6
QUALITY = 95
MAPS = ("Spectral", "gray")


@dataclass(frozen=True)
class DepthVisOptions:
    """Nothing is to be chosen."""


def name_of(view: int) -> str:
    """The file of a view."""
    return f"depth_vis/{view:04d}.jpg"


def encode(scene: Scene, options: DepthVisOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """A JPEG for each view: image | depth."""
    for view in range(scene.views):
        yield name_of(view), [jpeg(beside(scene, view))]


def beside(scene: Scene, view: int) -> np.ndarray:
    """Image | depth of a view: uint8 (H, 2 W, 3)."""
    painted, _ = depth_picture(as_array(scene.found.depth[view]))
    provenance = scene.found.provenance
    stamp_warning(painted, None if provenance is None else provenance.warning)
    return np.concatenate((scene.image(view), painted), axis=1)


def jpeg(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) to a JPEG of upstream's quality."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def depth_picture(
    depth: np.ndarray,
    depth_min: Optional[float] = None,
    depth_max: Optional[float] = None,
    percentile: float = 2,
    cmap: str = "Spectral",
    as_float: bool = False,
) -> tuple[np.ndarray, tuple[float, float]]:
    """Paint a depth map.

    Args:
        depth: float32 (H, W), larger is farther; at 0 and below it shows as far, NaN as black.
        depth_min, depth_max: of inverse depth; None: the percentiles.
        percentile: from this one to 100 minus it.
        cmap: of ``MAPS``.
        as_float: colours from 0 to 1.
    Returns:
        uint8, or float64 if asked, (H, W, 3), and the range of inverse depth.
    Raises:
        InputError: another ``cmap``.
    """
    if cmap not in MAPS:
        raise InputError(f"cmap={cmap!r}: use one of {', '.join(MAPS)}")
    inverse = np.array(depth)
    valid = inverse > 0
    inverse[valid] = 1 / inverse[valid]
    enough = valid.sum() > MIN_PIXELS
    low = _limit(depth_min, inverse[valid] if enough else None, percentile)
    high = _limit(depth_max, inverse[valid] if enough else None, 100 - percentile)
    if low == high:
        low, high = low - np.float32(LEAST_RANGE), high + np.float32(LEAST_RANGE)
    scaled = 1 - ((inverse - low) / (high - low)).clip(0, 1)
    table = spectral_shares(reversed_map=False) if cmap == "Spectral" else _grey()
    if not as_float:
        table = (table * 255).astype(np.uint8)  # cut, as matplotlib's are
    with np.errstate(invalid="ignore"):
        index = np.clip(scaled * 256, 0, 255).astype(np.uint8)
    painted = table[index]
    painted[np.isnan(scaled)] = 0
    return painted, (float(low), float(high))


def _limit(given: Optional[float], values: Optional[np.ndarray], percentile: float) -> np.float32:
    if given is not None:
        return np.float32(given)
    return np.float32(0 if values is None else np.percentile(values, percentile))


def _grey() -> np.ndarray:
    return np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)
