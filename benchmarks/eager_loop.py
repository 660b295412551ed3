"""What upstream's ``run.py`` does: read, eager ``infer_image``, colour, write, one after the other.

Photos on disk in, one colour PNG each out. The baseline of ``end2end``. Upstream paints with
matplotlib's Spectral_r; OpenCV's inferno stands in here and costs less.
"""

from pathlib import Path

import cv2
import numpy as np

from depth_anything_v2.dpt import DepthAnythingV2

INPUT_SIZE = 518


def eager_loop(model: DepthAnythingV2, photos: list[Path], output: Path) -> None:
    """Write ``output/<name>.png`` for each photo."""
    for photo in photos:
        depth = model.infer_image(cv2.imread(str(photo)), INPUT_SIZE)
        scaled = (depth - depth.min()) / (depth.max() - depth.min()) * 255.0
        painted = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_INFERNO)
        cv2.imwrite(str(output / f"{photo.name}.png"), painted)
