"""What the formats of a scene are given: a prediction, the photos it is of, and its cameras.

A ``ScenePrediction`` in, never changed; arrays of one view at a time out.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar, cast

import numpy as np

from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.cameras import homogeneous
from runtime.scene.focal import focal_of_fov
from runtime.scene.gaussians import Gaussians
from runtime.scene.views import View

Made = TypeVar("Made")
# A part of the work: its name, what a step is called, and how many; gives what is called after each
Stage = Callable[[str, str, int], AbstractContextManager[Callable[[], object]]]
PREDICTED, GIVEN, EXIF = "the network", "the caller", "EXIF"
ASSUMED_FOV_DEG = 60.0  # across the longer side, if nobody knows the focal length
ASSUMED = f"assumed: {ASSUMED_FOV_DEG:g} degrees across the longer side"
WHAT = {  # a format may need -> what would bring it
    "images": "keep processed_images in the prediction",
    "cameras": "use an any-view model (da3-small, da3-base, ...), or give one photo at a time",
    "gaussians": "use infer_gs=True with da3-giant or da3nested-giant-large",
    "features": "name blocks by export_feat_layers",
    "photos": "give photos as paths",
}


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a file's coordinates are.

    Args:
        name: whose they are; axes: which way they point.
        matrix: (4, 4), a similarity from the prediction's world to them.
    """

    name: str = "the prediction's world"
    axes: str = "OpenCV: x right, y down, z forward"
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))

    def move(self, points: np.ndarray) -> np.ndarray:
        """From the prediction's world into this one: (P, 3) -> float64 (P, 3)."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def facts(self) -> dict[str, Any]:
        """The same as JSON values: x -> scale * rotation x + translation."""
        scale = float(np.cbrt(np.linalg.det(self.matrix[:3, :3])))
        return {
            "frame": self.name,
            "axes": self.axes,
            "from_world": {
                "scale": scale,
                "rotation": (self.matrix[:3, :3] / scale).tolist(),
                "translation": self.matrix[:3, 3].tolist(),
                "matrix": self.matrix.tolist(),
            },
        }


@dataclass(frozen=True)
class ScenePhoto:
    """A photo of a scene: its name, and how it became a view.

    Args:
        name: relative, with ``/``; unique in its scene.
        photo_hw: size of the upright photo.
        resized_hw: what the whole photo became; offset_yx: of the part that was kept.
    """

    name: str
    photo_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    offset_yx: tuple[int, int] = (0, 0)

    @classmethod
    def of_view(cls, name: str, view: View) -> "ScenePhoto":
        """A photo by how it became this view."""
        return cls(name, view.photo_hw, view.resized_hw, view.offset_yx)

    def intrinsics(self, of_view: np.ndarray) -> np.ndarray:
        """Pixels of the view to pixels of the photo, in the type they have: (3, 3) -> (3, 3)."""
        result = np.array(of_view)
        for row in (0, 1):
            result[row, 2] += self.offset_yx[1 - row]
            result[row] *= result.dtype.type(
                self.photo_hw[1 - row] / self.resized_hw[1 - row]  # as upstream rounds it
            )
        return result

    def pixels(self, of_view: np.ndarray) -> np.ndarray:
        """The same of places x, y: (P, 2) -> float64 (P, 2)."""
        offset = np.array(self.offset_yx[::-1], np.float64)
        scale = np.array(self.photo_hw[::-1]) / np.array(self.resized_hw[::-1])
        return (np.asarray(of_view, np.float64) + offset) * scale


@dataclass(frozen=True)
class Scene:
    """A prediction as the formats read it. Use ``scene_of``.

    Args:
        found: what was predicted.
        intrinsics: (N, 3, 3), pixels of the views; extrinsics: (N, 3 or 4, 4), world-to-camera.
            None: the views share no world.
        photos: one a view; None if they have no names.
        focal_from: who said the focal length.
        stage: who is told how far long work is; None: nobody asks.
    """

    found: ScenePrediction
    intrinsics: Optional[np.ndarray] = None
    extrinsics: Optional[np.ndarray] = None
    photos: Optional[tuple[ScenePhoto, ...]] = None
    focal_from: str = PREDICTED
    stage: Optional[Stage] = field(default=None, repr=False, compare=False)
    _made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What several files share: made for the first of them."""
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])

    @property
    def views(self) -> int:
        """How many."""
        return len(self.found.depth)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of each view."""
        return self.found.depth.shape[1], self.found.depth.shape[2]

    @property
    def gives(self) -> set[str]:
        """Which of ``WHAT`` is there."""
        there = {
            "images": self.found.processed_images is not None,
            "cameras": self.intrinsics is not None and self.extrinsics is not None,
            "gaussians": self.found.gaussians is not None,
            "features": any(name.startswith("feat_layer_") for name in self.found.aux or {}),
            "photos": self.photos is not None,
        }
        return {name for name, is_there in there.items() if is_there}

    def camera(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Intrinsics (3, 3) and world-to-camera (4, 4) of a view, float64."""
        assert self.intrinsics is not None and self.extrinsics is not None
        return np.asarray(self.intrinsics[view], np.float64), homogeneous(self.extrinsics[view])

    def image(self, view: int) -> np.ndarray:
        """What the network saw of a view: uint8 (H, W, 3).

        Raises:
            InputError: the prediction has no images.
        """
        if self.found.processed_images is None:
            raise InputError(f"scene: no images; {WHAT['images']}")
        return as_array(self.found.processed_images[view])

    def meaning(self, frame: Frame) -> dict[str, Any]:
        """What a cloud's coordinates are, as JSON values."""
        found = self.found
        return {
            "kind": found.kind,
            "unit": found.unit,
            "frame": frame.name,
            "axes": frame.axes,
            "focal_length_from": self.focal_from,
            **(found.provenance.facts() if found.provenance else {}),
        }

    def gaussians(self) -> Gaussians:
        """The splats, whatever kind of array they are in."""
        parts = (getattr(self.found.gaussians, name) for name in Gaussians.__dataclass_fields__)
        return Gaussians(*(as_array(part) for part in parts))


def scene_of(
    found: ScenePrediction,
    photos: Optional[Sequence[ScenePhoto]] = None,
    intrinsics: Optional[np.ndarray] = None,
    focal_from: str = GIVEN,
) -> Scene:
    """A prediction with what its files need beside it.

    One view without cameras stands in its own camera's frame; nobody knows its focal length unless
    it is given, and ``ASSUMED_FOV_DEG`` is taken.

    Args:
        intrinsics: (1, 3, 3), in pixels of the view, if the prediction has none.
        focal_from: who said them, or those of a prediction without extrinsics.
    Raises:
        InputError: photos that are not one a view, or two of one name.
    """
    names = [photo.name for photo in photos or ()]
    if photos is not None and len(names) != len(found.depth):
        raise InputError(f"{len(names)} photos for {len(found.depth)} views: give one each")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"photos of one name: {', '.join(twice)}; give each photo once")
    kept = None if photos is None else tuple(photos)
    if found.extrinsics is not None and found.intrinsics is not None:
        return Scene(found, as_array(found.intrinsics), as_array(found.extrinsics), kept)
    scene = Scene(found, photos=kept)
    if len(found.depth) != 1:
        return scene
    known = found.intrinsics if intrinsics is None else intrinsics
    if known is None:
        known, focal_from = assumed_camera(scene.size_hw), ASSUMED
    return Scene(found, as_array(known), np.eye(4)[None], kept, focal_from)


def assumed_camera(size_hw: tuple[int, int]) -> np.ndarray:
    """Intrinsics (1, 3, 3) of a view at ``ASSUMED_FOV_DEG``, through the middle of its picture."""
    height, width = size_hw
    focal_px = focal_of_fov(ASSUMED_FOV_DEG, max(size_hw))
    return np.array([[[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]]], float)


def as_array(values: Any) -> np.ndarray:
    """numpy's array of a tensor or a list; numpy's own as they are."""
    if hasattr(values, "detach"):  # a tensor, which this room does not know
        values = values.detach().cpu().numpy()
    return np.asarray(values)
