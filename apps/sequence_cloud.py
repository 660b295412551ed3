"""Points of a sequence's frames, and the bytes of a cloud.

A frame in the scene in; points with colours and confidence out; then a cloud's points to PLY.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from exports.ply import POINT, encode_ply
from exports.points import CENTRES, pixels_of, unproject
from runtime.photo.preprocess import resize_bytes
from runtime.scene.cameras import homogeneous
from runtime.scene.stream import StreamFrame


def points_of(
    frame: StreamFrame, used: np.ndarray, rgb: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some pixels of a frame as points of the scene.

    Args:
        used: bool (H, W). rgb: uint8, of any size.
    Returns:
        points (P, 3), colours uint8 (P, 3), confidence (P,).
    """
    colours = resize_bytes(rgb, (frame.depth.shape[0], frame.depth.shape[1]))
    points = unproject(
        pixels_of(used, 0, CENTRES),
        frame.depth[used],
        frame.intrinsics,
        homogeneous(frame.extrinsics),
    )
    return points, colours[used], frame.conf[used]


def cloud_ply(
    points: np.ndarray, colours: np.ndarray, conf: np.ndarray, facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """A cloud with confidence as binary PLY; ``facts`` say what it is."""
    rows = np.empty(len(points), [*POINT, ("confidence", "<f4")])
    for at, axis in enumerate("xyz"):
        rows[axis] = points[:, at]
    for at, name in enumerate(("red", "green", "blue")):
        rows[name] = colours[:, at]
    rows["confidence"] = conf
    yield from encode_ply([rows], rows.dtype, len(rows), facts)
