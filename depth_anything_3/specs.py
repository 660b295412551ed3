"""Upstream's names for what ``DepthAnything3.inference`` gives; its predictions are of this class.

``Prediction(depth, is_metric, ...)`` takes what upstream's takes. It holds arrays and needs no
torch.
"""

from typing import Any, Optional

import numpy as np

from runtime.predict.found import ScenePrediction
from runtime.scene.gaussians import Gaussians

__all__ = ["Gaussians", "Prediction"]


class _AnyScene(type):
    """Whatever is a ``ScenePrediction`` is a ``Prediction``."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, ScenePrediction)


class Prediction(ScenePrediction, metaclass=_AnyScene):
    """A ``ScenePrediction`` with upstream's constructor.

    Args:
        is_metric: 1 if depth is in metres; by default what ``kind`` says.
        ours: other fields of ``ScenePrediction``, by name.
    """

    def __init__(
        self,
        depth: np.ndarray,
        is_metric: Optional[int] = None,
        sky: Optional[np.ndarray] = None,
        conf: Optional[np.ndarray] = None,
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        processed_images: Optional[np.ndarray] = None,
        gaussians: Any = None,
        aux: Optional[dict[str, np.ndarray]] = None,
        scale_factor: Optional[float] = None,
        **ours: Any,
    ) -> None:
        if is_metric is not None:
            ours["kind"] = "depth_m" if is_metric else "depth"
        super().__init__(
            depth=depth,
            sky=sky,
            conf=conf,
            extrinsics=extrinsics,
            intrinsics=intrinsics,
            processed_images=processed_images,
            gaussians=gaussians,
            aux={} if aux is None else aux,
            scale_factor=scale_factor,
            **ours,
        )
