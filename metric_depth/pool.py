"""A stock of rendered scenes that training draws from again and again.

Seeds in; batches of augmented pictures and disparity out. On a CPU a scene costs more than a
training step on it, so each is used several times (another crop, mirrored, in other light), then
replaced.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from metric_depth.effects import gaussian_blur
from metric_depth.scenes import Scenes, render_scenes
from metric_depth.world import CALM_SHARE, PLAIN_SHARE
from runtime.photo.preprocess import MEAN, STD

RENDER_BATCH = 8
FURTHEST_1_M = 1e-3  # disparity below this is as good as sky


def normalise_pixels(rgb: torch.Tensor) -> torch.Tensor:
    """Pictures as the network takes them: float32 (B, 3, H, W), from [0, 1] to normalised."""
    mean, std = (torch.tensor(value, device=rgb.device).view(1, 3, 1, 1) for value in (MEAN, STD))
    return (rgb - mean) / std


def augmented(
    rgb: torch.Tensor, disparity: torch.Tensor, size_hw: tuple[int, int], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Another view of rendered scenes: crop, mirror, light, colour, blur.

    Args:
        rgb: float32 (B, 3, H, W) in [0, 1]; disparity: float32 (B, H, W).
        size_hw: size of what comes out.
    Returns:
        network input float32 (B, 3, *size_hw), normalised; disparity float32 (B, *size_hw).
    """
    batch, device = len(rgb), rgb.device

    def uniform(low: float, high: float) -> torch.Tensor:
        draw = torch.rand(batch, generator=generator)
        return draw.mul(high - low).add(low).to(device)

    # a window of the picture: its share of the shorter side, then its place
    share = uniform(0.55, 1.0)
    aspect = torch.exp(uniform(-0.15, 0.15)).mul(size_hw[1] / size_hw[0])
    high = share / torch.maximum(aspect, torch.ones_like(aspect))
    wide = high * aspect
    mirror = torch.where(uniform(0, 1).lt(0.5), -1.0, 1.0)
    theta = torch.zeros(batch, 2, 3, device=device)
    theta[:, 0, 0] = wide * mirror
    theta[:, 1, 1] = high
    theta[:, 0, 2] = (1 - wide) * uniform(-1, 1)
    theta[:, 1, 2] = (1 - high) * uniform(-1, 1)
    grid = F.affine_grid(theta, [batch, 1, *size_hw], align_corners=False)
    picture = F.grid_sample(rgb, grid, align_corners=False, padding_mode="border")
    truth = F.grid_sample(
        disparity.unsqueeze(1), grid, mode="nearest", align_corners=False, padding_mode="border"
    ).squeeze(1)

    def each(values: torch.Tensor) -> torch.Tensor:
        return values.view(-1, 1, 1, 1)

    if torch.rand((), generator=generator) < 0.2:
        picture = gaussian_blur(picture, float(torch.rand((), generator=generator)) + 0.3)
    picture = picture ** each(torch.exp(uniform(-0.3, 0.3)))
    picture = 0.5 + (picture - 0.5) * each(uniform(0.7, 1.3)) + each(uniform(-0.1, 0.1))
    tint = 1 + 0.12 * torch.randn(batch, 3, generator=generator).to(device)
    picture = picture * tint.view(-1, 3, 1, 1)
    grey = picture.mean(1, keepdim=True)
    colour = torch.where(uniform(0, 1).lt(0.07), torch.zeros_like(share), uniform(0.6, 1.4))
    picture = (grey + (picture - grey) * each(colour)).clamp(0, 1)
    return normalise_pixels(picture), truth.clamp(min=FURTHEST_1_M)


class ScenePool:
    """Scenes in memory, the oldest replaced as they are used up.

    Args:
        render_hw: size at which scenes are rendered.
        capacity: scenes held at once; a multiple of ``RENDER_BATCH``.
        reuse: how often each is drawn, on average, before it is replaced.
        first_seed: scenes are numbered upward from here.
        plain_calm: shares of plain scenes and, of the others, of calm ones.
    """

    def __init__(
        self,
        render_hw: tuple[int, int],
        capacity: int,
        reuse: float,
        first_seed: int,
        device: torch.device,
        plain_calm: tuple[float, float] = (PLAIN_SHARE, CALM_SHARE),
    ) -> None:
        self.reuse, self.device = reuse, device
        self._render_hw, self._plain_calm = render_hw, plain_calm
        self.next_seed = first_seed
        self.drawn = 0.0
        self._rgb = torch.zeros((capacity, 3, *render_hw), dtype=torch.uint8)
        self._disparity = torch.zeros((capacity, *render_hw), dtype=torch.float16)
        self._slot = 0

    def fill(self) -> Iterator[int]:
        """Render until the stock is full; yields the number of scenes after each batch."""
        for done in range(0, len(self._rgb), RENDER_BATCH):
            self._renew()
            yield done + RENDER_BATCH

    def _renew(self) -> None:
        seeds = range(self.next_seed, self.next_seed + RENDER_BATCH)
        scenes: Scenes = render_scenes(list(seeds), self._render_hw, self.device, *self._plain_calm)
        self.next_seed += RENDER_BATCH
        place = slice(self._slot, self._slot + RENDER_BATCH)
        self._rgb[place] = scenes.rgb.cpu()
        self._disparity[place] = scenes.disparity.cpu()
        self._slot = (self._slot + RENDER_BATCH) % len(self._rgb)

    def draw(
        self, batch: int, size_hw: tuple[int, int], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A training batch: network input (B, 3, *size_hw) and disparity (B, *size_hw)."""
        self.drawn += batch
        while self.drawn >= RENDER_BATCH * self.reuse:
            self.drawn -= RENDER_BATCH * self.reuse
            self._renew()
        index = torch.randint(len(self._rgb), (batch,), generator=generator)
        rgb = self._rgb[index].to(self.device).float() / 255
        disparity = self._disparity[index].to(self.device).float()
        return augmented(rgb, disparity, size_hw, generator)
