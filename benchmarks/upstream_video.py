"""What upstream's ``run_video.py`` does with a video, step by step, one after the other.

A file in, an MPEG-4 file out: frames by OpenCV, each with a range of its own, matplotlib's colours,
the frame and 50 white columns on the left, OpenCV's ``mp4v`` at a rate without its fraction.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from runtime.errors import InputError

GAP_COLUMNS = 50

Infer = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, 3) BGR in, float32 (H, W) out


def upstream_video(infer: Infer, clip: Path, output: Path) -> int:
    """Write the video; the number of frames.

    Raises:
        InputError: OpenCV does not open the clip.
    """
    colours = matplotlib.colormaps["Spectral_r"]
    reader = cv2.VideoCapture(str(clip))
    if not reader.isOpened():
        raise InputError(f"{clip}: OpenCV does not open it")
    width, height = (
        int(reader.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    rate = int(reader.get(cv2.CAP_PROP_FPS))
    size = (2 * width + GAP_COLUMNS, height)
    writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    count = 0
    while True:
        more, frame = reader.read()
        if not more:
            break
        depth = infer(frame)
        scaled = (depth - depth.min()) / (depth.max() - depth.min()) * 255.0
        painted = (colours(scaled.astype(np.uint8))[:, :, :3] * 255)[..., ::-1].astype(np.uint8)
        gap = np.full((height, GAP_COLUMNS, 3), 255, np.uint8)
        writer.write(cv2.hconcat([frame, gap, painted]))
        count += 1
    reader.release()
    writer.release()
    return count
