"""The inputs of the golden files, made from a seed: float32 at the scale of a normalised image."""

import numpy as np


def image(seed: int, height: int, width: int) -> np.ndarray:
    """Waves and a little noise: float32 (3, height, width), the same on every machine."""
    random = np.random.RandomState(seed)
    waves = random.uniform(size=(3, 6, 4))
    noise = random.standard_normal((3, height, width))
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5)[:, None] / height
    amplitude, across, down, phase = waves.transpose(2, 0, 1)[..., None, None]  # (3, 6, 1, 1) each
    angle = 2 * np.pi * (6 * across * x + 6 * down * y + phase)
    summed = ((0.3 + 0.7 * amplitude) * np.cos(angle)).sum(axis=1)  # (3, height, width)
    return (0.85 * summed + 0.05 * noise).astype(np.float32)


def batch(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """``count`` images with consecutive seeds: float32 (count, 3, height, width)."""
    return np.stack([image(seed + item, height, width) for item in range(count)])
