"""A network's features of a scene to pictures: three principal directions as red, green and blue.

All views of a layer share one basis and one range, so the same colour means the same. A ``Scene``
with features and options in; JPEGs, and a video by PyAV, out.
Source: ``utils/export/feat_vis.py`` and ``utils/pca_utils.py`` of Depth Anything 3; its randomised
decomposition is exact here, and its signs are fixed: the largest part of each direction is above 0.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from exports.depth_vis import jpeg
from exports.scene import Scene, as_array
from runtime.errors import InputError
from runtime.optional import require

PREFIX = "feat_layer_"
SHOWN = 3  # directions
CUT = (0.1, 0.9)  # quantiles that become 0 and 1
LEAST_RANGE = 1e-4
LARGEST = 1e6  # what infinity counts as


@dataclass(frozen=True)
class FeatVisOptions:
    """How features are shown.

    Args:
        fps: views a second in the video.
        video: also write one; needs PyAV.
    Raises:
        InputError: a rate that is not above 0.
    """

    fps: float = 15
    video: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.fps < np.inf:
            raise InputError(f"fps={self.fps}: use more than 0")


def encode(scene: Scene, options: FeatVisOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``feat_vis/<layer>/000000.jpg`` and on, image | features; and ``feat_vis/<layer>.mp4``."""
    for layer in layers_of(scene):
        shown = principal_colours(as_array(scene.found.aux[layer]))
        for view in range(scene.views):
            yield f"feat_vis/{layer}/{view:06d}.jpg", [jpeg(page(scene, shown, view))]
        if options.video:
            from exports.feature_video import encode_video

            pages = (page(scene, shown, view) for view in range(scene.views))
            yield f"feat_vis/{layer}.mp4", encode_video(pages, options.fps)


def check_ready(options: FeatVisOptions, views: Optional[int] = None) -> None:
    """Refuse a video that could not be written.

    Raises:
        MissingDependency: PyAV is not installed.
    """
    if options.video:
        require("av", "video")


def check(scene: Scene, options: FeatVisOptions) -> None:
    """Refuse features that cannot be shown.

    Raises:
        InputError: fewer than three channels or places, or not one map a view.
    """
    for layer in layers_of(scene):
        shape = scene.found.aux[layer].shape
        check_shape(shape)
        if shape[0] != scene.views:
            raise InputError(f"{layer}: {shape[0]} maps for {scene.views} views; need one each")


def check_shape(shape: Sequence[int]) -> None:
    """The same of one layer's (N, h, w, D)."""
    if len(shape) != 4 or min(math.prod(shape[:3]), shape[3]) < SHOWN:
        raise InputError(
            f"features are {tuple(shape)}: give (N, h, w, D), 3 places and channels or more"
        )


def layers_of(scene: Scene) -> list[str]:
    """The layers whose features are there, in their order."""
    return [name for name in scene.found.aux or {} if name.startswith(PREFIX)]


def page(scene: Scene, shown: np.ndarray, view: int) -> np.ndarray:
    """Image | features of a view: uint8 (H, 2 W, 3)."""
    image = scene.image(view)
    height, width = image.shape[:2]
    rows = np.arange(height) * shown.shape[1] // height
    columns = np.arange(width) * shown.shape[2] // width
    small = np.floor(shown[view] * 255).astype(np.uint8)
    return np.concatenate((image, small[rows][:, columns]), axis=1)


def principal_colours(features: np.ndarray) -> np.ndarray:
    """Project features on their three principal directions, and stretch each to 0..1.

    Args:
        features: float (N, h, w, D).
    Returns:
        float32 (N, h, w, 3).
    Raises:
        InputError: fewer than three channels or places.
    """
    views, height, width, channels = features.shape
    check_shape(features.shape)

    def clean(view: int) -> np.ndarray:
        flat = np.asarray(features[view], np.float64).reshape(-1, channels)
        return np.nan_to_num(flat, nan=0.0, posinf=LARGEST, neginf=-LARGEST)

    count = views * height * width
    mean = sum(clean(view).sum(axis=0) for view in range(views)) / count
    products = np.zeros((channels, channels))
    for view in range(views):
        centred = clean(view) - mean
        products += centred.T @ centred
    directions = np.linalg.eigh(products)[1][:, : -SHOWN - 1 : -1]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(SHOWN)])
    values = np.stack([(clean(view) - mean) @ directions for view in range(views)])
    low, high = np.quantile(values, CUT, axis=(0, 1))
    shown = (values.clip(low, high) - low) / np.maximum(high - low, LEAST_RANGE)
    return shown.reshape(views, height, width, SHOWN).astype(np.float32)
