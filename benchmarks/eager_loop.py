"""What upstream's ``run.py`` does: read, eager ``infer_image``, colour, write, one after the other.

Photos on disk in, one colour PNG each out. The baseline of ``end2end``. Upstream paints with
matplotlib's Spectral_r; OpenCV's inferno stands in here and costs less.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

INPUT_SIZE = 518


class InfersImages(Protocol):
    """Upstream's model, or what is called as it is."""

    def infer_image(self, bgr: np.ndarray, input_size: int) -> np.ndarray:
        """uint8 (H, W, 3) BGR in, float32 (H, W) out."""


def eager_loop(model: InfersImages, photos: list[Path], output: Path) -> None:
    """Write ``output/<name>.png`` for each photo."""
    for photo in photos:
        depth = model.infer_image(cv2.imread(str(photo)), INPUT_SIZE)
        scaled = (depth - depth.min()) / (depth.max() - depth.min()) * 255.0
        painted = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_INFERNO)
        cv2.imwrite(str(output / f"{photo.name}.png"), painted)
