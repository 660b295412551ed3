"""One scene with a known answer: its photos, where their cameras truly are, and true depth.

Plain arrays; nothing is read or computed here but what is true on the pixels of a view.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import homogeneous
from runtime.scene.views import View

METRE, UNKNOWN_UNIT = "metre", "the cameras' own"
# Up to which a point is right where a dataset names no distance: of the median true depth
THRESHOLD_SHARE = 0.025


@dataclass(frozen=True, eq=False)
class SceneSample:
    """Photos of one scene and what is known about them.

    Args:
        photos: N uint8 (H, W, 3), upright, of any sizes.
        extrinsics: float64 (N, 4, 4), world-to-camera; intrinsics: (N, 3, 3), pixels of the photos.
        depth: N float32 (h, w) along the optical axis, over the whole photo, at any resolution;
            +inf is sky, NaN is not known. None: only cameras are known.
        depth_from: who measured it.
        unit: of cameras and depth.
        max_depth: what is farther does not count.
        threshold: up to which a point is right, in that unit; None: see ``THRESHOLD_SHARE``.
    Raises:
        InputError: not one camera and one map for each photo.
    """

    photos: Sequence[np.ndarray]
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    depth: Optional[Sequence[np.ndarray]] = None
    depth_from: str = "depth maps"
    unit: str = METRE
    max_depth: float = math.inf
    threshold: Optional[float] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "extrinsics", homogeneous(self.extrinsics))
        counts = {len(self.photos), len(self.extrinsics), len(self.intrinsics)}
        if len(counts | ({len(self.depth)} if self.depth is not None else set())) != 1:
            raise InputError(f"{len(self.photos)} photos: give one camera and one map for each")


@dataclass(frozen=True)
class SceneEntry:
    """A scene, not read yet. ``load`` raises InputError or OSError if it cannot be used."""

    name: str
    load: Callable[[], SceneSample]


class Truth(NamedTuple):
    """What is true at the pixels of a view.

    ``depth`` float64 (h, w), NaN where it does not count; ``pixels`` float64 (h, w, 2), x and y of
    the places in the photo that it was measured at.
    """

    depth: np.ndarray
    pixels: np.ndarray


def truth_of_view(depth: np.ndarray, view: View, max_depth: float = math.inf) -> Truth:
    """True depth at the middle of each pixel of a view: the nearest that was measured, unmixed.

    Args:
        depth: float (H, W), over the whole photo; +inf sky, NaN not known.
        view: how the photo became what the network saw.
    """
    places = []
    for axis in (0, 1):
        middles = np.arange(view.size_hw[axis]) + 0.5 + view.offset_yx[axis]
        at = middles * (depth.shape[axis] / view.resized_hw[axis])
        places.append(np.minimum(at.astype(np.int64), depth.shape[axis] - 1))
    rows, columns = places
    found = depth[np.ix_(rows, columns)].astype(np.float64)
    with np.errstate(invalid="ignore"):
        found[~((found > 0) & (found <= max_depth) & np.isfinite(found))] = np.nan
    y = (rows + 0.5) * (view.photo_hw[0] / depth.shape[0])
    x = (columns + 0.5) * (view.photo_hw[1] / depth.shape[1])
    return Truth(found, np.stack(np.meshgrid(x, y), axis=-1))
