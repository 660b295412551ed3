"""The recipe of the demo checkpoint: stages, learning rate, weight average.

Steps in, numbers out; no tensors.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one resolution; a picture's area is about its side squared."""

    side_px: int
    render_px: int
    batch: int
    steps: int
    reuse: float  # how often a rendered scene is drawn
    pool: int  # scenes held at once
    plain: float  # share of plain scenes: all at first, none in the end
    calm: float  # share of the others that are framed as people frame photos
    ranking: float  # weight of the ranking loss: strong while "lower is nearer" must be unlearnt
    contra: float  # weight, within it, of pairs that contradict "lower is nearer"


STAGES = {
    "cpu": (
        Stage(84, 112, 32, 1500, reuse=8, pool=1024, plain=1.0, calm=0.0, ranking=2, contra=0.5),
        Stage(84, 112, 32, 7000, reuse=8, pool=1024, plain=0.3, calm=0.0, ranking=2, contra=0.5),
        Stage(126, 168, 16, 4000, reuse=8, pool=512, plain=0.0, calm=0.6, ranking=1, contra=0.25),
        Stage(252, 308, 8, 1300, reuse=8, pool=256, plain=0.0, calm=0.6, ranking=1, contra=0.2),
        Stage(518, 560, 2, 400, reuse=3, pool=64, plain=0.0, calm=0.6, ranking=1, contra=0.2),
    ),
    "cuda": (
        Stage(84, 112, 256, 1500, reuse=2, pool=8192, plain=1.0, calm=0.0, ranking=2, contra=0.5),
        Stage(84, 112, 256, 6000, reuse=2, pool=8192, plain=0.3, calm=0.0, ranking=2, contra=0.5),
        Stage(126, 168, 128, 6000, reuse=2, pool=4096, plain=0.0, calm=0.6, ranking=1, contra=0.25),
        Stage(252, 308, 64, 4000, reuse=2, pool=2048, plain=0.0, calm=0.6, ranking=1, contra=0.2),
        Stage(518, 560, 16, 2000, reuse=2, pool=512, plain=0.0, calm=0.6, ranking=1, contra=0.2),
    ),
}
SHAPES = ((1.0, 1.0), (1.0, 1.0), (0.86, 1.17), (1.17, 0.86), (0.75, 1.33))  # of the sides
PEAK_RATE = 4e-4
HEAD_RATE = 3.0  # times the encoder's, as convolutions bear it
WARM_UP_STEPS = 300
WEIGHT_DECAY = 0.05
CLIP_NORM = 1.0
AVERAGE = 0.999


def learning_rate(step: int, total: int, peak: float = PEAK_RATE) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < WARM_UP_STEPS:
        return peak * (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, total - WARM_UP_STEPS)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def average_share(step: int) -> float:
    """How much of the weight average is kept at a step: less at first, when weights move fast."""
    return min(AVERAGE, (1 + step) / (10 + step))


def stage_at(stages: tuple[Stage, ...], step: int) -> int:
    """Which stage a step belongs to."""
    for index, stage in enumerate(stages):
        if step < stage.steps:
            return index
        step -= stage.steps
    return len(stages) - 1


def batch_size_hw(side_px: int, shape: tuple[float, float], patch: int = 14) -> tuple[int, int]:
    """Height and width of a batch: the shape's sides times the stage's, in whole patches."""
    height, width = (max(1, round(side_px * share / patch)) * patch for share in shape)
    return height, width
