"""A scene as a COLMAP model that bundle adjustment can use, in the prediction's world.

A ``Scene`` with photos and options in; COLMAP's files out. Cameras and observations are in pixels
of the photos themselves. Each pixel that is sure enough makes one point; its track begins with that
pixel, and goes on with every view whose own depth says the same.
Source: ``utils/export/colmap.py`` of Depth Anything 3, whose tracks end at the first pixel.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from exports import colmap
from exports.colmap import NO_ERROR, OBSERVATION, POINT, TRACK, Image, Points
from exports.points import project
from exports.scene import WHAT, Scene
from exports.selection import PixelOptions, select
from exports.tracks import Tracks, ViewPoints
from runtime.errors import InputError
from runtime.scene.cameras import quaternion_from_rotation
from runtime.scene.views import check_method


@dataclass(frozen=True)
class ColmapOptions(PixelOptions):
    """A COLMAP model.

    Args:
        tracks: also observe points in other views; False: as upstream, of no use for adjustment.
        depth_tolerance: two depths agree if they differ by this share at most.
        min_views: leave out points that fewer views see; at 2 every point can be adjusted, and
            COLMAP refuses to adjust a model that has others.
        text: write text instead of binary files.
        image_paths: of the photos, if they are not known already; process_res_method: how they
            became views.
    Raises:
        InputError: as ``PixelOptions``; a tolerance that is not between 0 and 1, or an unknown
            method.
    """

    tracks: bool = True
    depth_tolerance: float = 0.02
    min_views: int = 1
    text: bool = False
    image_paths: Optional[Sequence[str]] = None
    process_res_method: str = "upper_bound_resize"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_method(self.process_res_method)
        if not 0 < self.depth_tolerance < 1:
            raise InputError(f"depth_tolerance={self.depth_tolerance}: use 0 to 1, neither of them")


def check(scene: Scene, options: ColmapOptions) -> None:
    """Refuse scenes that are no COLMAP model.

    Raises:
        InputError: no photos, no images, or names that its text files cannot hold.
    """
    for what in ("photos", "images"):
        if what not in scene.gives:
            raise InputError(f"colmap needs {what}: {WHAT[what]}")
    names = [photo.name for photo in scene.photos or ()]
    if options.text and any(name != "".join(name.split()) for name in names):
        raise InputError("colmap: its text files hold no names with spaces; use text=False")


def encode(scene: Scene, options: ColmapOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``cameras``, ``rigs``, ``frames``, ``images`` and ``points3D``, ``.bin`` or ``.txt``.

    Raises:
        InputError: no photos, no images or no cameras.
    """
    check(scene, options)
    selection = select(scene, options)
    tolerance = options.depth_tolerance if options.tracks and scene.views > 1 else None
    model = _Model(scene, Tracks(selection, tolerance, options.min_views))
    write = colmap.text if options.text else colmap.binary
    yield from write(model.images(), model.points(), int(model.tracks.own.sum()))


class _Model:
    """A scene's images and points, made as they are written."""

    def __init__(self, scene: Scene, tracks: Tracks) -> None:
        self.scene, self.tracks = scene, tracks

    def images(self) -> list[Image]:
        result = []
        for view, photo in enumerate(self.scene.photos or ()):
            assert self.scene.intrinsics is not None
            _, pose = self.scene.camera(view)
            k = photo.intrinsics(self.scene.intrinsics[view])
            x, y, z, w = quaternion_from_rotation(pose[:3, :3])
            result.append(
                Image(
                    name=photo.name,
                    width=photo.photo_hw[1],
                    height=photo.photo_hw[0],
                    params=tuple(map(float, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))),
                    quaternion=(w, x, y, z),
                    translation=tuple(pose[:3, 3]),
                    seen=self.tracks.observations(view),
                    observations=_Observations(self, view),
                )
            )
        return result

    def observed(self, view: int) -> Iterator[np.ndarray]:
        """What a view sees: its own points, then those of the other views."""
        assert self.scene.photos is not None
        photo, own = self.scene.photos[view], self.tracks.points[view]
        yield _observations(photo.pixels(own.pixels), own, slice(None))
        for other, points in enumerate(self.tracks.points):
            seen = self.tracks.seen(other, view)
            if seen is not None:
                pixels, _ = project(points.world[seen], *self.scene.camera(view))
                yield _observations(photo.pixels(pixels), points, seen)

    def points(self) -> Iterator[Points]:
        for view, own in enumerate(self.tracks.points):
            count = len(own.world)
            seen = {
                other: bits
                for other in range(self.scene.views)
                if (bits := self.tracks.seen(view, other)) is not None
            }
            lengths = 1 + sum(bits.astype(np.int64) for bits in seen.values())
            table = np.zeros(count, POINT)
            table["id"] = own.first + 1 + np.arange(count)
            table["xyz"], table["rgb"], table["error"] = own.world, own.colours, NO_ERROR
            table["length"] = lengths
            starts = np.cumsum(table["length"].astype(np.int64)) - lengths
            track = np.zeros(int(table["length"].sum()), TRACK)
            track["image"][starts] = view + 1
            track["index"][starts] = np.arange(count)
            filled = starts + 1
            for other, bits in seen.items():
                track["image"][filled[bits]] = other + 1
                first = self.tracks.first_index(view, other)
                track["index"][filled[bits]] = first + np.arange(np.count_nonzero(bits))
                filled += bits
            yield Points(table, track)


class _Observations:
    """The blocks of one view, made anew each time they are asked for."""

    def __init__(self, model: _Model, view: int) -> None:
        self._model, self._view = model, view

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._model.observed(self._view)


def _observations(places: np.ndarray, points: ViewPoints, which: Any) -> np.ndarray:
    numbers = (points.first + 1 + np.arange(len(points.world)))[which]
    block = np.empty(len(places), OBSERVATION)
    block["x"], block["y"], block["point"] = places[:, 0], places[:, 1], numbers
    return block


def names_of(paths: Sequence[str]) -> list[str]:
    """Names for photos: their paths below the folder that holds all of them, with ``/``."""
    absolute = [Path(path).absolute() for path in paths]
    common = absolute[0].parent
    while not all(common in path.parents for path in absolute):
        common = common.parent
    return [path.relative_to(common).as_posix() for path in absolute]
