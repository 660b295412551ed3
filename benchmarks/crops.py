"""Centred crops. uint8 (H, W, 3) in, a view of it out. No disk."""

import numpy as np


def center_crop(rgb: np.ndarray, aspect_wh: tuple[int, int]) -> np.ndarray:
    """The largest centred part of a photo with this aspect ratio, (width, height)."""
    height, width = rgb.shape[:2]
    across, down = aspect_wh
    crop_h = min(height, round(width * down / across))
    crop_w = min(width, round(height * across / down))
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return rgb[top : top + crop_h, left : left + crop_w]
