"""The nested model: an any-view network whose scene is brought to metres by a metric network.

Images (B, N, 3, H, W) in; what the any-view network says, in metres, out.
Source: ``NestedDepthAnything3Net`` of Depth Anything 3.
"""

from typing import Optional

import numpy as np
import torch
from torch import nn

from depth_anything_3.config import DA3Spec
from depth_anything_3.model import VIEWS_IN_MEMORY, DepthAnything3Net, Output
from depth_anything_3.traced import is_traced
from runtime.errors import InputError
from runtime.scene.query import SceneQuery
from runtime.scene.sky import metric_depth, to_metres


class NestedDepthAnything3Net(nn.Module):
    """Two networks in one checkpoint."""

    def __init__(
        self, any_view: DA3Spec, metric: DA3Spec, max_views_in_memory: int = VIEWS_IN_MEMORY
    ) -> None:
        super().__init__()
        self.da3 = DepthAnything3Net(any_view, max_views_in_memory)
        self.da3_metric = DepthAnything3Net(metric, max_views_in_memory)

    def forward(self, images: torch.Tensor, query: Optional[SceneQuery] = None) -> Output:
        """Estimate depth in metres; arguments as for ``DepthAnything3Net``.

        Returns:
            what the any-view network returns, with depth and translations in metres (splats keep
            the network's own unit), sky's confidence at 1, and ``is_metric`` and ``scale_factor``
            (a number, or one for each of the batch).
        """
        if is_traced():
            raise InputError(
                "a nested model finds metres on the host; trace its two networks, "
                "model.model.da3 and model.model.da3_metric"
            )
        output: Output = self.da3(images, query)
        metric = self.da3_metric(images)
        names = ("depth", "depth_conf", "extrinsics", "intrinsics")
        known = [output[name].cpu().numpy() for name in names]
        maps = [metric[name].cpu().numpy() for name in ("depth", "sky")]
        scenes = [
            to_metres(depth, sure, extrinsics, metric_depth(metres, intrinsics), sky)
            for depth, sure, extrinsics, intrinsics, metres, sky in zip(*known, *maps)
        ]
        for name, part in (("depth", 0), ("depth_conf", 1), ("extrinsics", 2)):
            stacked = np.stack([scene[part] for scene in scenes]).astype(np.float32)
            output[name] = torch.from_numpy(stacked).to(images.device)
        scales = [scene.scale for scene in scenes]
        output["is_metric"] = 1
        output["scale_factor"] = scales[0] if len(scales) == 1 else scales
        output["sky"] = metric["sky"]
        return output
