"""Photos to the views that Depth Anything 3 takes, and back to the photos' own pixels.

RGB uint8 (H, W, 3) in; resized views with the intrinsics that go with them, and how to return, out.
Sides are multiples of the patch size. No disk, no device.
Source: ``utils/io/input_processor.py`` of Depth Anything 3; resizing is done on 8 bits, as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from runtime.errors import InputError
from runtime.photo.arrays import as_rgb
from runtime.photo.preprocess import (
    PATCH_SIZE,
    UPPER,
    normalised,
    patched_size,
    resize_as_upstream,
    resize_bytes,
    scaled_size,
)

PROCESS_RES = 504  # pixels of a view's longer side, as upstream has it
USUAL_HW = (378, 504)  # of a view of a photo 4:3
METHODS = ("upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop")


@dataclass(frozen=True)
class View:
    """A photo as the network takes it."""

    rgb: np.ndarray  # uint8 (h, w, 3)
    photo_hw: tuple[int, int]
    resized_hw: tuple[int, int]  # what the whole photo became
    offset_yx: tuple[int, int] = (0, 0)  # of the part that was kept

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the view."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def tensor(self) -> np.ndarray:
        """Normalised with the ImageNet mean and standard deviation: float32 (3, h, w)."""
        return normalised(self.rgb)

    def intrinsics_of_photo(self, intrinsics: np.ndarray) -> np.ndarray:
        """Pixels of the view to pixels of the photo: (3, 3) -> float64 (3, 3)."""
        result = np.array(intrinsics, np.float64)
        result[0, 2] += self.offset_yx[1]
        result[1, 2] += self.offset_yx[0]
        result[0] *= self.photo_hw[1] / self.resized_hw[1]
        result[1] *= self.photo_hw[0] / self.resized_hw[0]
        return result

    def intrinsics_of_view(self, intrinsics: np.ndarray) -> np.ndarray:
        """Pixels of the photo to pixels of the view: (3, 3) -> float64 (3, 3)."""
        result = np.array(intrinsics, np.float64)
        result[0] *= self.resized_hw[1] / self.photo_hw[1]
        result[1] *= self.resized_hw[0] / self.photo_hw[0]
        result[0, 2] -= self.offset_yx[1]
        result[1, 2] -= self.offset_yx[0]
        return result


def check_method(method: str) -> None:
    """Refuse a method that does not exist.

    Raises:
        InputError: it is none of ``METHODS``.
    """
    if method not in METHODS:
        raise InputError(f"process_res_method={method!r}: use one of {', '.join(METHODS)}")


def make_view(rgb: np.ndarray, process_res: int = PROCESS_RES, method: str = METHODS[0]) -> View:
    """Resize a photo, and round or crop its sides to multiples of the patch size.

    Args:
        rgb: pixels, as ``as_rgb`` takes them.
        process_res: pixels of the longer (``upper_bound``) or shorter (``lower_bound``) side.
        method: one of ``METHODS``; ``resize`` stretches a little, ``crop`` cuts the edges off.
    Raises:
        InputError: not a photo, an unknown method, or a result without a single patch.
    """
    check_method(method)
    if process_res < PATCH_SIZE:
        raise InputError(f"process_res={process_res}: use {PATCH_SIZE} pixels or more")
    rgb = as_rgb(rgb)
    photo_hw = (rgb.shape[0], rgb.shape[1])
    bound, _, how = method.partition("_bound_")
    size_hw = scaled_size(photo_hw, process_res, bound)
    rgb = resize_bytes(rgb, size_hw)
    if how == "resize":
        final_hw = patched_size(size_hw)
        return View(resize_bytes(rgb, final_hw), photo_hw, final_hw)
    kept_hw = (size_hw[0] // PATCH_SIZE * PATCH_SIZE, size_hw[1] // PATCH_SIZE * PATCH_SIZE)
    if 0 in kept_hw:
        raise InputError(
            f"photo of {photo_hw[0]}x{photo_hw[1]} becomes {size_hw[0]}x{size_hw[1]}, less than "
            f"one patch of {PATCH_SIZE}: use a resize method, or a larger process_res"
        )
    return _cropped(View(rgb, photo_hw, size_hw), kept_hw)


def fit_view(rgb: np.ndarray, size_hw: tuple[int, int]) -> View:
    """Resize a photo to exactly this size, which is what a graph takes: as ``make_view`` if it can.

    Raises:
        InputError: not a photo.
    """
    rgb = as_rgb(rgb)
    photo_hw = (rgb.shape[0], rgb.shape[1])
    return View(resize_as_upstream(rgb, size_hw, UPPER), photo_hw, size_hw)


def same_size(views: Sequence[View]) -> list[View]:
    """Crop views to the smallest height and width among them, around their centres."""
    size_hw = (min(v.size_hw[0] for v in views), min(v.size_hw[1] for v in views))
    return [_cropped(view, size_hw) for view in views]


def stack_views(views: Sequence[View]) -> np.ndarray:
    """The network's input: float32 (N, 3, h, w). All views have one size."""
    return np.stack([view.tensor() for view in views])


def _cropped(view: View, size_hw: tuple[int, int]) -> View:
    top, left = ((a - b) // 2 for a, b in zip(view.size_hw, size_hw))
    rgb = view.rgb[top : top + size_hw[0], left : left + size_hw[1]]
    offset = (view.offset_yx[0] + top, view.offset_yx[1] + left)
    return replace(view, rgb=rgb, offset_yx=offset)


def check_camera_counts(
    photos: int, extrinsics: Optional[np.ndarray], intrinsics: Optional[np.ndarray]
) -> None:
    """Refuse cameras that are not one a photo.

    Raises:
        InputError: more or fewer of them.
    """
    for name, cameras in (("extrinsics", extrinsics), ("intrinsics", intrinsics)):
        if cameras is not None and len(cameras) != photos:
            raise InputError(f"{len(cameras)} {name} for {photos} photos: give one each")


def view_intrinsics(
    views: Sequence[View], intrinsics: Optional[np.ndarray]
) -> Optional[np.ndarray]:
    """Intrinsics in pixels of the photos to pixels of the views: (N, 3, 3) -> float64 (N, 3, 3)."""
    if intrinsics is None:
        return None
    return np.stack([v.intrinsics_of_view(k) for v, k in zip(views, intrinsics)])
