"""The recipe of the demo checkpoint: stages, learning rate, weight average.

Steps in, numbers out; no tensors.
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Size:
    """A resolution that a stage trains at; a picture's area is about its side squared."""

    side_px: int
    render_px: int
    batch: int
    reuse: float  # how often a rendered scene is drawn
    pool: int  # scenes held at once
    share: float = 1.0  # of the stage's steps


@dataclass(frozen=True)
class Stage:
    """A stretch of training on one mixture of scenes."""

    steps: int
    sizes: tuple[Size, ...]
    plain: float  # share of plain scenes: all at first, none in the end
    calm: float  # share of the others that are framed as people frame photos
    ranking: float  # weight of the ranking loss: strong while "lower is nearer" must be unlearnt
    contra: float  # weight, within it, of pairs that contradict "lower is nearer"


@dataclass(frozen=True)
class Round:
    """Stages under one warm-up and one cosine (a warm restart, Loshchilov and Hutter, 2017)."""

    peak_rate: float
    stages: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        """Training steps of all its stages."""
        return sum(stage.steps for stage in self.stages)


ROUNDS = {
    "cpu": (
        Round(
            4e-4,
            (
                Stage(1500, (Size(84, 112, 32, reuse=8, pool=1024),), 1.0, 0.0, 2, 0.5),
                Stage(7000, (Size(84, 112, 32, reuse=8, pool=1024),), 0.3, 0.0, 2, 0.5),
                Stage(4000, (Size(126, 168, 16, reuse=8, pool=512),), 0.0, 0.6, 1, 0.25),
                Stage(1300, (Size(252, 308, 8, reuse=8, pool=256),), 0.0, 0.6, 1, 0.2),
                Stage(400, (Size(518, 560, 2, reuse=3, pool=64),), 0.0, 0.6, 1, 0.2),
            ),
        ),
        Round(
            2.5e-4,
            (
                Stage(
                    4408,
                    (
                        Size(252, 308, 8, reuse=16, pool=512, share=0.7),
                        Size(518, 560, 4, reuse=10, pool=128, share=0.3),
                    ),
                    plain=0.0,
                    calm=0.6,
                    ranking=1,
                    contra=0.25,
                ),
            ),
        ),
    ),
    "cuda": (
        Round(
            4e-4,
            (
                Stage(1500, (Size(84, 112, 256, reuse=2, pool=8192),), 1.0, 0.0, 2, 0.5),
                Stage(6000, (Size(84, 112, 256, reuse=2, pool=8192),), 0.3, 0.0, 2, 0.5),
                Stage(6000, (Size(126, 168, 128, reuse=2, pool=4096),), 0.0, 0.6, 1, 0.25),
                Stage(
                    6000,
                    (
                        Size(252, 308, 64, reuse=2, pool=2048, share=0.7),
                        Size(518, 560, 16, reuse=2, pool=512, share=0.3),
                    ),
                    plain=0.0,
                    calm=0.6,
                    ranking=1,
                    contra=0.25,
                ),
            ),
        ),
    ),
}
SHAPES = ((1.0, 1.0), (1.0, 1.0), (0.86, 1.17), (1.17, 0.86), (0.75, 1.33))  # of the sides
HEAD_RATE = 3.0  # times the encoder's, as convolutions bear it
WARM_UP_STEPS = 300
WEIGHT_DECAY = 0.05
CLIP_NORM = 1.0
AVERAGE = 0.999


def learning_rate(step: int, rounds: tuple[Round, ...]) -> float:
    """In each round a linear warm-up, then a cosine down to a hundredth of its peak."""
    for turn in rounds[:-1]:
        if step < turn.steps:
            break
        step -= turn.steps
    else:
        turn = rounds[-1]
    if step < WARM_UP_STEPS:
        return turn.peak_rate * (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, turn.steps - WARM_UP_STEPS)
    return turn.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def average_share(step: int) -> float:
    """How much of the weight average is kept at a step: less at first, when weights move fast."""
    return min(AVERAGE, (1 + step) / (10 + step))


def stage_at(rounds: tuple[Round, ...], step: int) -> tuple[int, Stage]:
    """Which stage a step belongs to: its number, counted over all rounds, and the stage."""
    stages = [stage for turn in rounds for stage in turn.stages]
    for index, stage in enumerate(stages):
        if step < stage.steps:
            return index, stage
        step -= stage.steps
    return len(stages) - 1, stages[-1]


def scaled(rounds: tuple[Round, ...], scale: float) -> tuple[Round, ...]:
    """The same recipe with more or fewer steps, at least one a stage."""

    def shorter(stage: Stage) -> Stage:
        return replace(stage, steps=max(1, round(stage.steps * scale)))

    return tuple(replace(turn, stages=tuple(map(shorter, turn.stages))) for turn in rounds)


def batch_size_hw(side_px: int, shape: tuple[float, float], patch: int = 14) -> tuple[int, int]:
    """Height and width of a batch: the shape's sides times the stage's, in whole patches."""
    height, width = (max(1, round(side_px * share / patch)) * patch for share in shape)
    return height, width
