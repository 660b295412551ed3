"""What is found about a scene: depth and cameras of several views, and what the numbers mean.

Arrays and their meaning; no computation.
"""

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from runtime.artifact.manifest import KINDS


@dataclass
class ScenePrediction:
    """Depth Anything 3's answer for N views.

    ``kind`` says what depth holds: ``depth`` is relative (up to scale, larger is farther),
    ``depth_m`` metres. All views of a scene share one scale, unless ``groups`` says otherwise.
    """

    depth: np.ndarray  # float32 (N, H, W), on the grid of processed_images
    kind: str = "depth"
    conf: Optional[np.ndarray] = None  # float32 (N, H, W), above 1
    sky: Optional[np.ndarray] = None  # bool (N, H, W), True where sky
    extrinsics: Optional[np.ndarray] = None  # (N, 3, 4), OpenCV world-to-camera
    intrinsics: Optional[np.ndarray] = None  # (N, 3, 3), pixels of processed_images
    processed_images: Optional[np.ndarray] = None  # uint8 (N, H, W, 3), RGB
    gaussians: Any = None
    aux: dict[str, np.ndarray] = field(default_factory=dict)
    scale_factor: Optional[float] = None  # by which a nested model scaled its depth
    # Views that went through the network together; later groups were brought into the first one's
    # scale and axes by the views they share with earlier ones. Groups that share none have scales
    # of their own. Empty: all went together.
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def is_metric(self) -> int:
        """1 if depth is in metres, else 0."""
        return int(self.kind == "depth_m")

    @property
    def unit(self) -> str:
        """``metre`` or ``relative``."""
        return KINDS[self.kind][0]
