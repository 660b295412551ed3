"""A scene's cloud as one PLY file, in the prediction's world."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from exports.cloud import make_cloud
from exports.ply import POINT, encode_ply
from exports.scene import Frame, Scene
from exports.selection import CloudOptions

FILE = "scene.ply"
BLOCK_ROWS = 1 << 17


@dataclass(frozen=True)
class PlyOptions(CloudOptions):
    """The points of ``scene.glb``: see ``CloudOptions``."""


def encode(scene: Scene, options: PlyOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Points with colours, and confidence if the network gives it."""
    cloud = make_cloud(scene, options)
    conf, count = cloud.confidence, len(cloud.positions)
    dtype = np.dtype(POINT + ([] if conf is None else [("confidence", "<f4")]))

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, count, BLOCK_ROWS):
            own = slice(start, start + BLOCK_ROWS)
            rows = np.empty(len(cloud.positions[own]), dtype)
            for axis, name in enumerate("xyz"):
                rows[name] = cloud.positions[own, axis]
            for channel, name in enumerate(("red", "green", "blue")):
                rows[name] = cloud.colours[own, channel]
            if conf is not None:
                rows["confidence"] = conf[own]
            yield rows

    yield FILE, encode_ply(blocks(), dtype, count, scene.meaning(Frame()))
