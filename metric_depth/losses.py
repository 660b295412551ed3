"""What the training minimises: shape of the disparity map, whatever its scale and shift.

Predicted and true disparity (B, H, W) in, a scalar out. Source: MiDaS (Ranftl et al., 2020),
sections 5 and A: the scale-and-shift-invariant loss and the multi-scale gradient matching term.
"""

import math

import torch
import torch.nn.functional as F

SCALES = 4
GRADIENT_WEIGHT = 0.5
NEARER_BY = 0.1  # of the logarithm of depth: nearer than that is a tie
SOFTNESS = 0.3  # of the mean deviation
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


def ranking_loss(
    predicted: torch.Tensor,
    true: torch.Tensor,
    generator: torch.Generator,
    contradicting: float = 0.5,
    pairs: int = 1024,
) -> torch.Tensor:
    """How surely the nearer of two points comes out nearer, over random pairs of each picture.

    Pairs whose nearer point is the higher one weigh ``contradicting`` of the whole, together: with
    a half, "lower is nearer" earns nothing; with their share in photos, about an eighth, it is
    worth what it is worth there.

    Source: Chen et al., "Single-Image Depth Perception in the Wild" (2016); the balance is ours.
    """
    batch, height, width = true.shape
    row = torch.rand(batch, pairs, generator=generator) * height
    column = torch.rand(batch, pairs, generator=generator) * width
    # from neighbours to the far corner, as likely on a logarithmic scale
    reach = 0.04 ** torch.rand(batch, pairs, generator=generator) * max(height, width)
    angle = torch.rand(batch, pairs, generator=generator).mul(2 * math.pi)
    other_row, other_column = row + reach * angle.sin(), column + reach * angle.cos()
    inside = (other_row >= 0) & (other_row < height) & (other_column >= 0) & (other_column < width)
    first = row.long() * width + column.long()
    second = torch.where(inside, other_row.long() * width + other_column.long(), first)
    device = true.device
    first, second = first.to(device), second.to(device)
    lower = (row > other_row).to(device)  # the first point is the lower one

    depths, maps = true.flatten(1), normalise(predicted).flatten(1)
    ratio = (depths.gather(1, first) / depths.gather(1, second)).log()
    clear = ratio.abs() > NEARER_BY
    follows = clear & ((ratio > 0) == lower)
    contradicts = clear & ~follows
    weight = (1 - contradicting) * follows / follows.sum().clamp(min=1)
    weight = weight + contradicting * contradicts / contradicts.sum().clamp(min=1)
    margin = (maps.gather(1, first) - maps.gather(1, second)) * ratio.sign()
    return (F.softplus(-margin / SOFTNESS) * weight).sum()


def depth_loss(
    predicted: torch.Tensor,
    true: torch.Tensor,
    generator: torch.Generator,
    ranking_weight: float,
    contradicting: float,
) -> torch.Tensor:
    """All three terms: what a training step descends.

    Args:
        predicted: float32 (B, H, W), relative disparity, sides of at least 16.
        true: float32 (B, H, W), disparity in 1/m, 0 where sky; finite.
        ranking_weight, contradicting: of the ranking loss, and within it.
    """
    shape = ssi_loss(predicted, true) + GRADIENT_WEIGHT * gradient_loss(predicted, true)
    ranking = ranking_loss(predicted, true, generator, contradicting)
    return ranking.mul(ranking_weight).add(shape)
