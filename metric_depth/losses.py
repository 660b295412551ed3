"""What the training minimises: shape of the disparity map, whatever its scale and shift.

Predicted and true disparity (B, H, W) in, a scalar out. Source: MiDaS (Ranftl et al., 2020),
sections 5 and A: the scale-and-shift-invariant loss and the multi-scale gradient matching term.
"""

import torch
import torch.nn.functional as F

SCALES = 4
FLOOR = 1e-4  # of the mean deviation: an even map has no shape to compare


def normalise(disparity: torch.Tensor) -> torch.Tensor:
    """Take a map's median off and divide by its mean absolute deviation: float32 (B, H, W)."""
    flat = disparity.flatten(1)
    centered = flat - flat.median(dim=1, keepdim=True).values
    deviation = centered.abs().mean(dim=1, keepdim=True).clamp(min=FLOOR)
    return (centered / deviation).view_as(disparity)


def ssi_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference after both maps are normalised."""
    return (normalise(predicted) - normalise(true)).abs().mean()


def gradient_loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean absolute slope of the difference of the normalised maps, over four scales."""
    difference = (normalise(predicted) - normalise(true)).unsqueeze(1)
    total = difference.new_zeros(())
    for _ in range(SCALES):
        total = total + difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total


def depth_loss(
    predicted: torch.Tensor, true: torch.Tensor, gradient_weight: float = 0.5
) -> torch.Tensor:
    """Both terms: what a training step descends.

    Args:
        predicted: float32 (B, H, W), relative disparity, sides of at least 16.
        true: float32 (B, H, W), disparity in 1/m, 0 where sky; finite.
    """
    return ssi_loss(predicted, true) + gradient_weight * gradient_loss(predicted, true)
