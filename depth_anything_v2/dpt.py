"""Depth Anything V2: DINOv2 encoder and DPT head, relative or metric.

Normalised image (B, 3, H, W) in, depth (B, H, W) out. Same import path, constructor, methods and
checkpoint keys as upstream's ``depth_anything_v2.dpt``; needs torch alone, and OpenCV only for the
methods that take photos.
"""

from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import nn

from depth_anything_v2.config import ENCODERS
from layers.dpt import Reassemble, resize
from layers.patch_embed import PATCH_SIZE
from layers.precision import in_type_of
from layers.vit import VITS, VisionTransformer


class DPTHead(Reassemble):
    """Four token maps to one depth map.

    The output layers end in a ReLU (relative) or a sigmoid (metric).
    """

    def __init__(
        self,
        in_channels: int,
        features: int,
        out_channels: Sequence[int],
        use_bn: bool,
        use_clstoken: bool,
        metric: bool,
    ) -> None:
        super().__init__(in_channels, features, out_channels, use_bn, spare_unit=True)
        self.use_clstoken = use_clstoken
        if use_clstoken:
            self.readout_projects = nn.ModuleList(
                nn.Sequential(nn.Linear(2 * in_channels, in_channels), nn.GELU())
                for _ in out_channels
            )
        self.scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.Sigmoid() if metric else nn.ReLU(),
        )

    def forward(
        self, taps: Sequence[tuple[torch.Tensor, torch.Tensor]], grid_hw: tuple[int, int]
    ) -> torch.Tensor:
        """Decode depth.

        Args:
            taps: four pairs of patch tokens (B, h*w, C) and class token (B, C), finest first.
            grid_hw: h and w, the patch grid.
        Returns:
            float (B, 1, 14*h, 14*w): in [0, inf) if relative, in [0, 1] if metric.
        """
        tokens = [patches for patches, _ in taps]
        if self.use_clstoken:
            tokens = [
                readout(torch.cat((patches, class_token.unsqueeze(1).expand_as(patches)), dim=-1))
                for readout, (patches, class_token) in zip(self.readout_projects, taps)
            ]
        levels = self.reassemble(tokens, grid_hw)
        x = self.scratch.output_conv1(self.scratch.fuse(levels, grid_hw))
        x = resize(x, (grid_hw[0] * PATCH_SIZE, grid_hw[1] * PATCH_SIZE))
        return self.scratch.output_conv2(x)


class DepthAnythingV2(nn.Module):
    """Depth Anything V2 (Yang et al., 2024).

    Args:
        encoder: vits, vitb, vitl or vitg.
        features, out_channels: widths of the head; by default those of the official checkpoint
            of ``encoder``.
        use_bn: batch norm in the head. No official checkpoint has it.
        use_clstoken: join the class token to the patch tokens in the head. Likewise.
        max_depth: metres at which a metric model saturates (20 indoor, 80 outdoor); None for the
            relative model.
    Raises:
        ValueError: an unknown encoder, or max_depth that is not positive.
    """

    def __init__(
        self,
        encoder: str = "vitl",
        features: Optional[int] = None,
        out_channels: Optional[Sequence[int]] = None,
        use_bn: bool = False,
        use_clstoken: bool = False,
        max_depth: Optional[float] = None,
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder={encoder!r}: choose one of {', '.join(ENCODERS)}")
        if max_depth is not None and not max_depth > 0:
            raise ValueError(f"max_depth={max_depth}: give metres above 0, or None for relative")
        spec = ENCODERS[encoder]
        self.encoder = encoder
        self.max_depth = max_depth
        self.intermediate_layer_idx = {name: list(s.taps) for name, s in ENCODERS.items()}
        self.pretrained = VisionTransformer(VITS[encoder])
        self.depth_head = DPTHead(
            self.pretrained.embed_dim,
            spec.features if features is None else features,
            spec.out_channels if out_channels is None else out_channels,
            use_bn,
            use_clstoken,
            metric=max_depth is not None,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Estimate depth.

        Args:
            x: float (B, 3, H, W), RGB normalised with the ImageNet mean and standard deviation;
                H and W multiples of 14. It is brought to the type of the weights.
        Returns:
            float (B, H, W). Relative model: disparity, no unit, larger is nearer, never negative.
            Metric model: depth in metres, from 0 to max_depth.
        Raises:
            ValueError: x has another shape, or is no floats.
        """
        x = in_type_of(self.pretrained.cls_token, x)
        taps = self.pretrained.get_intermediate_layers(
            x, ENCODERS[self.encoder].taps, return_class_token=True
        )
        depth = self.depth_head(taps, self.pretrained.grid_hw(x))
        return (depth if self.max_depth is None else depth * self.max_depth).squeeze(1)

    @torch.no_grad()
    def infer_image(self, raw_image: Any, input_size: int = 518) -> Any:
        """Estimate the depth of a photo, on the photo's own pixel grid.

        Args:
            raw_image: numpy array in BGR order, as ``cv2.imread`` returns it: uint8 (H, W, 3); or
                grey, with alpha, or of other numbers, as ``runtime.photo.arrays`` takes them.
            input_size: length in pixels that the photo's shorter side is resized to.
        Returns:
            float32 numpy array (H, W): disparity, or metres for a metric model.
        Raises:
            InputError: raw_image is no such array.
        """
        from runtime.photo.postprocess import resize_to_photo

        tensor, size_hw = self.image2tensor(raw_image, input_size)
        return resize_to_photo(self.forward(tensor)[0].float().cpu().numpy(), size_hw)

    def image2tensor(
        self, raw_image: Any, input_size: int = 518
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Turn a photo into the network's input.

        Args:
            raw_image: numpy array in BGR order, as for ``infer_image``.
            input_size: length in pixels that the photo's shorter side is resized to.
        Returns:
            float (1, 3, h, w) on the model's device and in its dtype, and the photo's (H, W).
        Raises:
            InputError: raw_image is no such array.
        """
        # Photos need numpy and OpenCV; the network itself does not, so they are asked for here.
        from runtime.photo.arrays import rgb_of_array
        from runtime.photo.preprocess import network_size, photo_to_tensor

        rgb = rgb_of_array(raw_image, "raw_image")[..., ::-1]
        size_hw = (rgb.shape[0], rgb.shape[1])
        array = photo_to_tensor(rgb, network_size(size_hw, input_size))
        parameter = next(self.parameters())
        return torch.from_numpy(array).to(parameter.device, parameter.dtype), size_hw
