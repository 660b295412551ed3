"""Resize and normalise a photo into the tensor a depth network expects.

RGB uint8 (H, W, 3) in; float32 or uint8 (1, 3, h, w) out, h and w multiples of the patch size.
No disk, no network, no device.
"""

import contextlib
import math
import mmap

import cv2
import numpy as np

from runtime.errors import InputError

# ImageNet statistics, RGB, for values in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What leaves RGB as it is in a photo, 0..255.
RGB_MEAN = (0.0, 0.0, 0.0)
RGB_STD = (1 / 255, 1 / 255, 1 / 255)
# Rows of a photo that are floats at a time: keeps them in the processor's cache.
BAND_ROWS = 16
WHOLE_PIXELS = 1 << 22  # of a photo that float32 takes as a whole: 12 bytes a pixel
UNIT = np.arange(256) / 255.0  # bytes to 0..1
PATCH_SIZE = 14
UPPER, LOWER = "upper", "lower"  # which side of a photo Depth Anything 3 was told: longer, shorter


def network_size(
    size_hw: tuple[int, int], short_side: int, patch_size: int = PATCH_SIZE
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
        resize: ``cubic`` in float64, ``cubic32`` in float32, which takes half the time
            and is off by 4e-5 at most on photos, 5e-4 on noise; or on ``bytes``, by
            ``resize_as_upstream``.
    Returns:
        (1, 3, *size_hw), RGB, normalised.
    Source: Depth Anything V2: cubic in float64, no antialiasing.
    """
    if resize == "bytes":
        return normalised(resize_as_upstream(rgb, size_hw, LOWER), mean, std)[None]
    resized = resize_cubic32(rgb, size_hw) if resize == "cubic32" else resize_cubic(rgb, size_hw)
    tensor = np.empty((1, 3, *size_hw), np.float32)
    for channel in range(3):
        tensor[0, channel] = (resized[..., channel] - mean[channel]) / std[channel]
    return tensor if dtype == "float32" else as_bytes(tensor)


def resize_cubic(rgb: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a photo cubically in float64, without antialiasing.

    Bit for bit what ``cv2.resize`` makes of the whole photo in float64, which takes 24 bytes a
    pixel. Here the rows that count get their width first, a few at a time, then all their height:
    the order in which OpenCV works too.

    Args:
        rgb: uint8 (H, W, 3).
    Returns:
        float64 (*size_hw, 3), 0 to 1 and a little beyond.
    """
    return _resize_in_bands(rgb, size_hw, UNIT)


def resize_cubic32(rgb: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The same in float32 throughout; small photos as a whole, which saves a pass.

    Returns:
        float32 (*size_hw, 3).
    """
    if rgb.shape[0] * rgb.shape[1] > WHOLE_PIXELS:
        return _resize_in_bands(rgb, size_hw, UNIT.astype(np.float32))
    unit = cv2.LUT(rgb, UNIT.astype(np.float32))
    return cv2.resize(unit, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def _resize_in_bands(rgb: np.ndarray, size_hw: tuple[int, int], unit: np.ndarray) -> np.ndarray:
    """Cubically in the type of ``unit``, which is what each byte becomes."""
    count = _rows_that_count(rgb.shape[0], size_hw[0])
    shape = (rgb.shape[0], size_hw[1], 3)
    narrow = _zeros(shape, unit.dtype, 2 * len(count) < rgb.shape[0])  # (H, w, 3)
    for start in range(0, len(count), BAND_ROWS):
        some = count[start : start + BAND_ROWS]
        band = cv2.LUT(rgb[some], unit)
        narrow[some] = cv2.resize(band, (size_hw[1], len(some)), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(narrow, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def _zeros(shape: tuple[int, int, int], dtype: np.dtype, sparse: bool) -> np.ndarray:
    """Zeros; if few rows will be written, only these take memory.

    A system with huge pages would back two megabytes for each row: a gigabyte for a high photo.
    """
    if not sparse or not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.zeros(shape, dtype)
    size = dtype.itemsize * math.prod(shape)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


def _rows_that_count(source: int, target: int) -> np.ndarray:
    """The rows of a photo that a cubic resize to ``target`` rows looks at: four for each."""
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    four = np.floor(position).astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.unique(four.clip(0, source - 1))


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


def resize_as_upstream(rgb: np.ndarray, size_hw: tuple[int, int], bound: str) -> np.ndarray:
    """Resize a photo on its 8 bits to exactly this size: as upstream comes there, if it does.

    Upstream keeps the photo's aspect ratio first and goes to multiples of the patch size then:
    twice, where once would give other pixels. To a size at which it does not arrive, once.

    Args:
        rgb: uint8 (H, W, 3).
        bound: ``UPPER`` if the longer side was given, ``LOWER`` if the shorter.
    Returns:
        uint8 (*size_hw, 3).
    """
    side = max(size_hw) if bound == UPPER else min(size_hw)
    scaled_hw = scaled_size((rgb.shape[0], rgb.shape[1]), side, bound)
    if patched_size(scaled_hw) == tuple(size_hw):
        rgb = resize_bytes(rgb, scaled_hw)
    return resize_bytes(rgb, size_hw)


def scaled_size(photo_hw: tuple[int, int], process_res: int, bound: str) -> tuple[int, int]:
    """Height and width at which a photo's longer (``UPPER``) or shorter side has so many pixels."""
    side = max(photo_hw) if bound == UPPER else min(photo_hw)
    scale = process_res / side
    return max(1, round(photo_hw[0] * scale)), max(1, round(photo_hw[1] * scale))


def patched_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """The nearest multiples of the patch size, the larger of two, at least one patch."""
    height, width = (max(1, (side + PATCH_SIZE // 2) // PATCH_SIZE) for side in size_hw)
    return height * PATCH_SIZE, width * PATCH_SIZE


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
