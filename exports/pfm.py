"""Depth to PFM of float32 (H, W). The format has no room for a description."""

import cv2
import numpy as np


def encode_pfm(depth: np.ndarray) -> bytes:
    """A map to a PFM file.

    Raises:
        OSError: this build of OpenCV cannot write the format.
    """
    try:
        _, data = cv2.imencode(".pfm", depth)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot write .pfm in this build: {error}") from error
    return data.tobytes()
