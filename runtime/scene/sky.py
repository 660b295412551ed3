"""What is done about sky, and how depth is brought to metres.

Depth, confidence and sky maps of whole scenes in, new maps out; numpy only.
Source: ``utils/alignment.py`` and ``model/da3.py`` of Depth Anything 3. Its quantiles are taken of
a random sample from 100,000 pixels on; ours are always of all.
"""

from typing import NamedTuple

import numpy as np

from runtime.errors import InputError
from runtime.scene.focal import metres

SKY = 0.3  # from here on a pixel is sky to the network's own steps
SKY_MASK = 0.5  # and from here on in the mask that a prediction reports
MIN_PIXELS = 10  # pixels of sky, and of the rest, below which nothing is done
FAR = 0.99  # quantile of the rest that sky is put at
MAX_SKY_M = 200.0
MIN_METRIC_M, MIN_DEPTH = 1e-2, 1e-3  # depths below take no part in the fit


def fill_sky(depth: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Put sky at the 0.99 quantile of everything else.

    Args:
        depth, sky: float (...), of all views of one scene together.
    Returns:
        float32 of the same shape; unchanged where either side has 10 pixels or fewer.
    """
    depth, ground = np.asarray(depth, np.float32), np.asarray(sky) < SKY
    if ground.sum() <= MIN_PIXELS or (~ground).sum() <= MIN_PIXELS:
        return depth
    return np.where(ground, depth, np.float32(np.quantile(depth[ground], FAR)))


def metric_depth(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Metres, from the output of da3metric-large: depth * mean focal length in pixels / 300.

    Args:
        depth: float (..., H, W).
        intrinsics: (..., 3, 3), in pixels of that map.
    """
    intrinsics = np.asarray(intrinsics)
    return metres(depth, (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2)


class MetricScene(NamedTuple):
    """A scene in metres."""

    depth: np.ndarray  # float32 (N, H, W), metres; sky at 200 or nearer
    confidence: np.ndarray  # float32 (N, H, W); 1 where sky
    extrinsics: np.ndarray  # (N, 3, 4), translations in metres
    scale: float


def to_metres(
    depth: np.ndarray,
    confidence: np.ndarray,
    extrinsics: np.ndarray,
    metric: np.ndarray,
    sky: np.ndarray,
) -> MetricScene:
    """Scale a scene's depth to a metric network's, by least squares over what both are sure of.

    Args:
        depth, confidence: float (N, H, W), of the any-view network.
        extrinsics: (N, 3, 4), world-to-camera, in the same unknown unit as depth.
        metric: float (N, H, W), metres; sky: float (N, H, W).
    Raises:
        InputError: all but 10 pixels are sky, or no pixel takes part in the fit.
    """
    ground = np.asarray(sky) < SKY
    if ground.sum() <= MIN_PIXELS:
        raise InputError(
            f"{int(ground.sum())} of {ground.size} pixels are not sky: too few to find metres by; "
            "give photos that show more than sky"
        )
    sure = confidence >= np.quantile(confidence[ground], 0.5)
    used = sure & ground & (metric > MIN_METRIC_M) & (depth > MIN_DEPTH)
    if not used.any():
        raise InputError("no pixel is deeper than nothing: metres cannot be found")
    ours, theirs = depth[used].astype(np.float64), metric[used].astype(np.float64)
    scale = float((theirs @ ours) / max(ours @ ours, 1e-12))
    scaled = (depth * np.float32(scale)).astype(np.float32)
    far = min(float(np.quantile(scaled[ground], FAR)), MAX_SKY_M)
    extrinsics = np.array(extrinsics, np.float64)
    extrinsics[..., :3, 3] *= scale
    return MetricScene(
        np.where(ground, scaled, np.float32(far)),
        np.where(ground, confidence, np.float32(1)),
        extrinsics,
        scale,
    )
