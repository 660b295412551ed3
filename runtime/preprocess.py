"""Resize and normalise a photo into the tensor a depth network expects.

RGB uint8 (H, W, 3) in; float32 or uint8 (1, 3, h, w) out, h and w multiples of the patch size.
No disk, no network, no device.
"""

import cv2
import numpy as np

from runtime.errors import InputError

# ImageNet statistics, RGB, for values in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What leaves RGB as it is in a photo, 0..255.
RGB_MEAN = (0.0, 0.0, 0.0)
RGB_STD = (1 / 255, 1 / 255, 1 / 255)


def check_photo(photo: np.ndarray) -> None:
    """Refuse an array that is not a photo.

    Raises:
        InputError: photo is not a uint8 numpy array (H, W, 3) with at least one pixel.
    """
    if not isinstance(photo, np.ndarray):
        raise InputError(f"photo is {type(photo).__name__}, expected a numpy array (H, W, 3)")
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0 or photo.dtype != np.uint8:
        raise InputError(
            f"photo is {photo.dtype} {photo.shape}, expected uint8 (H, W, 3); "
            "convert grey or transparent images to three channels of 8 bits"
        )


def network_size(
    size_hw: tuple[int, int], short_side: int, patch_size: int = 14
) -> tuple[int, int]:
    """Size of the network's input that keeps a photo's aspect ratio.

    The shorter side becomes ``short_side``; both are rounded to the nearest multiple of the patch
    size (half to even), and up where that would fall below ``short_side``.

    Args:
        size_hw: height and width of the photo in pixels.
    Returns:
        height and width, multiples of ``patch_size``.
    Raises:
        InputError: a side or ``short_side`` is not positive.
    Source: the ``lower_bound`` resize of Depth Anything V2.
    """
    if min(size_hw) <= 0 or short_side <= 0:
        raise InputError(f"size {size_hw} to short side {short_side}: all must be positive")
    scale = max(short_side / size_hw[0], short_side / size_hw[1])

    def fit(side: int) -> int:
        nearest = int(np.round(scale * side / patch_size)) * patch_size
        if nearest < short_side:
            return int(np.ceil(scale * side / patch_size)) * patch_size
        return nearest

    return fit(size_hw[0]), fit(size_hw[1])


def photo_to_tensor(
    rgb: np.ndarray,
    size_hw: tuple[int, int],
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
    resize: str = "cubic",
) -> np.ndarray:
    """Resize a photo to exactly this size and normalise it.

    Args:
        rgb: uint8 (H, W, 3).
        size_hw: height and width of the result in pixels.
        mean, std: of the training images, RGB, for values in 0..1; (0, 0, 0) and (1/255, ...)
            leave RGB 0..255.
        dtype: of the result; values are rounded and clipped for uint8.
        resize: ``cubic`` in float64, or on ``bytes``, by ``resize_bytes``.
    Returns:
        (1, 3, *size_hw), RGB, normalised.
    Source: Depth Anything V2: cubic in float64, no antialiasing. Channel by channel, which is the
        same sum and a third of the memory.
    """
    if resize == "bytes":
        return normalised(resize_bytes(rgb, size_hw), mean, std)[None]
    tensor = np.empty((1, 3, *size_hw), np.float32)
    for channel in range(3):
        plane = rgb[..., channel] / 255.0
        plane = cv2.resize(plane, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        tensor[0, channel] = (plane - mean[channel]) / std[channel]
    return tensor if dtype == "float32" else as_bytes(tensor)


def as_bytes(tensor: np.ndarray) -> np.ndarray:
    """Round RGB 0..255 to uint8; cubic resizing overshoots, so values are clipped."""
    return np.clip(np.rint(tensor), 0, 255).astype(np.uint8)


def resize_bytes(rgb: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a photo on its 8 bits: by area, or cubic where a side grows.

    Args:
        rgb: uint8 (H, W, 3).
    Returns:
        uint8 (*size_hw, 3).
    Source: ``utils/io/input_processor.py`` of Depth Anything 3.
    """
    grows = size_hw[0] > rgb.shape[0] or size_hw[1] > rgb.shape[1]
    if rgb.shape[:2] == tuple(size_hw):
        return rgb
    how = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return cv2.resize(rgb, size_hw[::-1], interpolation=how)


def normalised(
    rgb: np.ndarray,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> np.ndarray:
    """Normalise in float32: uint8 (h, w, 3) -> float32 (3, h, w)."""
    scaled = (rgb.astype(np.float32) / np.float32(255) - np.array(mean, np.float32)) / np.array(
        std, np.float32
    )
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
