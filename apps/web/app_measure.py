"""Lengths in a scene, from two places on a picture of it.

A scene, a view and places in; a length with its unit, and a picture with the places marked, out.
Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from exports.points import unproject
from exports.scene import Scene
from runtime.errors import InputError

RED, DOT = (255, 59, 48), 0.008  # of a dot, as a share of the picture's height
METRE = "metre"

Place = tuple[int, int]  # x, y in pixels of the view


@dataclass(frozen=True)
class Measured:
    """Two places: how deep each is, and how far apart they are; in ``unit``."""

    depths: tuple[float, ...]
    distance: float
    unit: str

    def text(self) -> str:
        """For people."""
        if self.unit == METRE:
            depths = " and ".join(f"{depth:.2f} m" for depth in self.depths)
            return f"**{self.distance:.3g} m** between the points, which are {depths} deep."
        depths = " and ".join(f"{depth:.3g}" for depth in self.depths)
        return (
            f"**{self.distance:.3g}** between the points, which are {depths} deep: relative units, "
            "not metric. A length that you know makes metres of them."
        )


def measure(scene: Scene, view: int, places: Sequence[Place]) -> Measured:
    """How far apart two places of a view are.

    Raises:
        InputError: the scene has no camera, or there is no depth at a place.
    """
    if "cameras" not in scene.gives:
        raise InputError("this model finds no cameras, so no lengths can be measured")
    found = scene.found
    height, width = scene.size_hw
    inside = [(min(max(x, 0), width - 1), min(max(y, 0), height - 1)) for x, y in places]
    depth = np.array([found.depth[view][y, x] for x, y in inside], np.float64)
    if found.sky is not None and any(found.sky[view][y, x] for x, y in inside):
        raise InputError("one of the points is sky, which has no depth")
    if not np.isfinite(depth).all() or (depth <= 0).any():
        raise InputError("there is no depth at one of the points")
    intrinsics, pose = scene.camera(view)
    points = unproject(np.array(inside, np.float64) + 0.5, depth, intrinsics, pose)
    distance = float(np.linalg.norm(points[0] - points[1]))
    return Measured(tuple(map(float, depth)), distance, found.unit)


def mark(picture: np.ndarray, places: Sequence[Place]) -> np.ndarray:
    """A copy of uint8 (H, W, 3) with dots, and a line between two."""
    marked = picture.copy()
    size = max(2, round(DOT * picture.shape[0]))
    if len(places) == 2:
        cv2.line(marked, places[0], places[1], RED, max(1, size // 2), cv2.LINE_AA)
    for place in places:
        cv2.circle(marked, place, size, RED, -1, cv2.LINE_AA)
    return marked
