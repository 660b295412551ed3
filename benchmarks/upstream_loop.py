"""What upstream's ``run.py --pred-only`` does with a photo, step by step, one after the other.

Photos on disk in, one colour PNG each out. The network is a parameter: eager, as upstream has it,
or an engine of ours. The steps around it are upstream's: the whole photo in float64 before it is
resized, depth enlarged by torch, matplotlib's colours, OpenCV's PNG. (By default ``run.py`` writes
the photo beside the depth, too, which takes longer.)
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from torch.nn import functional

from runtime.photo.preprocess import MEAN, STD, network_size

INPUT_SIZE = 518

# float32 (1, 3, h, w) in, float32 (1, h, w) out
Network = Callable[[torch.Tensor], torch.Tensor]
SizeOf = Callable[[tuple[int, int]], tuple[int, int]]


def keep_aspect(photo_hw: tuple[int, int]) -> tuple[int, int]:
    """Upstream's network input: the shorter side 518, the other in proportion."""
    return network_size(photo_hw, INPUT_SIZE)


def upstream_loop(
    network: Network, photos: list[Path], output: Path, size_of: SizeOf = keep_aspect
) -> None:
    """Write ``output/<name>.png`` for each photo."""
    colours = matplotlib.colormaps["Spectral_r"]
    for photo in photos:
        depth = infer_image(network, cv2.imread(str(photo)), size_of)
        scaled = (depth - depth.min()) / (depth.max() - depth.min()) * 255.0
        painted = colours(scaled.astype(np.uint8))[..., :3] * 255
        cv2.imwrite(str(output / f"{photo.name}.png"), painted[..., ::-1].astype(np.uint8))


def infer_image(network: Network, bgr: np.ndarray, size_of: SizeOf = keep_aspect) -> np.ndarray:
    """uint8 (H, W, 3) BGR in, float32 (H, W) out."""
    photo_hw = (bgr.shape[0], bgr.shape[1])
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) / 255.0
    height, width = size_of(photo_hw)
    rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
    normal = (rgb - MEAN) / STD
    tensor = torch.from_numpy(normal.transpose(2, 0, 1).astype(np.float32))[None]
    with torch.no_grad():
        depth = functional.interpolate(
            network(tensor)[:, None], photo_hw, mode="bilinear", align_corners=True
        )
    return depth[0, 0].numpy()
