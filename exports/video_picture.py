"""A frame's depth to its picture and its files, in a range that other frames may share.

A map and its frame in; uint8 (H, W, 3) RGB, or bytes, out. With the map's own least and greatest
value as the range, the picture is the one that upstream's ``run_video.py`` gives its encoder.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Optional

import cv2
import numpy as np

from exports.colour import colorize, spectral, stamp_warning
from exports.depth16 import to_uint16
from exports.files import SUFFIXES, encode_float
from exports.png import encode_png
from exports.v2_picture import beside
from runtime.predict.found import Prediction

Limits = tuple[float, float]

# A frame's numbers carry its own number alone; its picture has .color before the suffix
FRAME_SUFFIXES = {**SUFFIXES, "png16": ".png"}


def frame_picture(
    found: Prediction,
    limits: Limits,
    rgb: Optional[np.ndarray] = None,
    grayscale: bool = False,
    colormap: Optional[str] = None,
) -> np.ndarray:
    """Paint a map, stretched from one value to another and cut to whole levels.

    Args:
        limits: what becomes the first and the last level; values beyond them get these levels.
        rgb: the frame, uint8 (H, W, 3), to be put on the left; None: depth alone.
        grayscale, colormap: as for ``exports.v2_picture.v2_picture``.
    Returns:
        uint8 (H, W, 3), or (H, 2 W + 50, 3) with the frame; stamped if the numbers mean nothing.
    """
    if grayscale:
        painted = np.repeat(levels_within(found.depth, limits)[..., None], 3, axis=-1)
    elif colormap is not None:
        low, high = (np.float32(limit) for limit in limits)
        painted = colorize(np.clip(found.depth, low, high), found.output, colormap, limits)
    else:
        table = _palette(found.output.larger_is_nearer)
        painted = cv2.applyColorMap(levels_within(found.depth, limits), table)
    stamp_warning(painted, found.provenance.warning)
    return painted if rgb is None else beside(rgb, painted)


@functools.lru_cache(maxsize=2)
def _palette(larger_is_nearer: bool) -> np.ndarray:
    """Upstream's colours, as OpenCV takes them: uint8 (256, 1, 3), RGB."""
    return np.ascontiguousarray(spectral(reversed_map=larger_is_nearer)[:, None])


def levels_within(depth: np.ndarray, limits: Limits) -> np.ndarray:
    """Stretch a range to 0..255 and cut: uint8 (H, W); zeros if the range is empty.

    Source: ``run_video.py`` of Depth Anything V2, whose range is each map's own.
    """
    low, high = (np.float32(limit) for limit in limits)
    if not low < high:
        return np.zeros(depth.shape, np.uint8)
    scaled = np.clip(depth, low, high)
    scaled -= low
    scaled /= high - low
    scaled *= np.float32(255)
    return scaled.astype(np.uint8)


def frame_files(
    found: Prediction, formats: Sequence[str], limits16: Limits, painted: Optional[np.ndarray]
) -> Iterator[tuple[str, bytes]]:
    """Encode a frame's map, one format after the other.

    Args:
        formats: of ``exports.files.FORMATS``.
        limits16: what 0 and 65535 stand for in png16 of relative maps; values beyond get these.
        painted: the picture of depth alone, for png.
    Yields:
        each file's suffix and its bytes; what it is stands in the file itself, if that has room.
    """
    facts = found.facts()
    for name in formats:
        if name == "png":
            assert painted is not None
            data = encode_png(painted, facts)
        elif name == "png16":
            depth = found.depth
            if found.output.unit == "relative":
                depth = np.clip(depth, np.float32(limits16[0]), np.float32(limits16[1]))
            stored, encoding = to_uint16(depth, found.output, limits16)
            data = encode_png(stored, {**facts, "png16": vars(encoding)})
        else:
            data = encode_float(found, name, facts)
        yield FRAME_SUFFIXES[name], data
