"""Encoders of Depth Anything V2, and vitt of our own, with their heads. Numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class V2Spec:
    """The head that belongs to an encoder: the arguments of ``DepthAnythingV2`` and the taps."""

    features: int
    out_channels: tuple[int, int, int, int]
    taps: tuple[int, int, int, int]


ENCODERS = {
    "vits": V2Spec(features=64, out_channels=(48, 96, 192, 384), taps=(2, 5, 8, 11)),
    "vitb": V2Spec(features=128, out_channels=(96, 192, 384, 768), taps=(2, 5, 8, 11)),
    "vitl": V2Spec(features=256, out_channels=(256, 512, 1024, 1024), taps=(4, 11, 17, 23)),
    "vitg": V2Spec(features=384, out_channels=(1536, 1536, 1536, 1536), taps=(9, 19, 29, 39)),
    "vitt": V2Spec(features=32, out_channels=(24, 48, 96, 192), taps=(2, 5, 8, 11)),  # ours
}

# Metres at which the metric models saturate, by the data set they were trained on.
MAX_DEPTH_M = {"indoor": 20.0, "outdoor": 80.0}  # Hypersim, Virtual KITTI 2
