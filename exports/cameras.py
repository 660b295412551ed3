"""The cameras of a scene to JSON, for programs: what they are, and one camera a photo."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.views import View

CAMERAS = "cameras.json"
CONVENTION = (
    "OpenCV: x right, y down, z forward; world_to_camera is 3x4; intrinsics are in pixels of the "
    "upright photo, from its upper left corner"
)


def encode_cameras(scene: ScenePrediction, views: Sequence[View], names: Sequence[str]) -> bytes:
    """JSON of a scene's cameras; intrinsics are in pixels of the photos themselves.

    Args:
        views: how each photo became a view.
        names: of the photos, in the same order.
    Raises:
        InputError: the scene has no cameras.
    """
    if scene.intrinsics is None or scene.extrinsics is None:
        raise InputError("scene: no cameras; use an any-view model (da3-small, da3-base, ...)")
    facts = {
        **scene.facts(),
        "convention": CONVENTION,
        "groups": [[names[index] for index in group] for group in scene.groups],
        "photos": [
            camera_row(name, view.photo_hw, view.intrinsics_of_photo(intrinsics), extrinsics)
            for name, view, intrinsics, extrinsics in zip(
                names, views, scene.intrinsics, scene.extrinsics
            )
        ],
    }
    for key in ("cameras", "size", "grid"):  # of maps, which are not in this file
        facts.pop(key)
    return (json.dumps(facts, indent=2) + "\n").encode()


def camera_row(
    name: str, photo_hw: tuple[int, int], intrinsics: np.ndarray, extrinsics: np.ndarray
) -> dict[str, Any]:
    """A photo's camera: intrinsics (3, 3) in its own pixels, world-to-camera (3, 4)."""
    return {
        "name": name,
        "size": {"height": photo_hw[0], "width": photo_hw[1]},
        "intrinsics": intrinsics.tolist(),
        "world_to_camera": extrinsics.tolist(),
    }
