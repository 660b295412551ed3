"""What ``--range`` and ``--steady`` do to a video, where the camera's move and the depth are known.

A generated scene, through which the camera goes forward. Its exact disparity, once with a scale and
a shift that jitter from frame to frame, and once as the demo model finds it in rendered frames.
What is painted is compared in grey levels of 255: how much the mean of the picture shakes, and how
much it changes from beginning to end.
"""

import argparse
import copy
import statistics
from typing import Any, Optional

import numpy as np

from apps.estimators import eager_estimator
from benchmarks.document import markdown_table
from benchmarks.options import add_number
from compile.registry import DEMO, MODELS
from exports.colour_range import ValueHistogram
from metric_depth.scenes import HELD_OUT_SEED, render_worlds
from metric_depth.world import random_world
from runtime.photo.steady import LeakyFit

ABOUT = "how much a video's picture shakes, by --range and --steady"
DESCRIPTION = (
    "A generated scene with a known camera move: exact depth with jitter, and the demo model's, "
    "painted in each way; how much the picture shakes and how much of the real change is left."
)
EXAMPLE = "--scenes 1 --frames 60"
PAGE = "video.md"

RATE, FORWARD, SIZE_HW = 30.0, 0.25, (168, 224)  # frames a second; share of the way that is free
JITTER, DRIFT, NOISE = 0.03, 0.10, 0.01
STEADY_S = (0.25, 0.5, 1.0, 2.0)
TRUE, FRAME, VIDEO = "exact disparity, one range", "`--range frame`", "one range"
BATCH = 10


def section(args: argparse.Namespace, slug: str) -> str:
    """One for all machines: no time is in it."""
    return "steady"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_number(parser, "--scenes", 2)
    add_number(parser, "--frames", 120, "a scene")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Shaking and change of each way, for each scene.

    Raises:
        CheckpointError: the demo model is not there.
    """
    demo = eager_estimator(MODELS[DEMO], None, False, SIZE_HW[0], "cpu")
    found: dict[str, dict[str, list[tuple[float, float]]]] = {"jitter": {}, "demo": {}}
    for number in range(args.scenes):
        frames, truth = walk(HELD_OUT_SEED + number, args.frames)
        sides = {"jitter": jittered(truth, number), "demo": [demo(rgb).depth for rgb in frames]}
        for name, maps in sides.items():
            for way, levels in ways(maps, truth).items():
                found[name].setdefault(way, []).append(measured(levels))
    return {"scenes": args.scenes, "frames": args.frames, "found": found}


def table(numbers: dict[str, Any]) -> str:
    """Both sides, a row a way."""
    found = numbers["found"]
    rows = []
    for way in found["jitter"]:
        cells = [way]
        for name in ("jitter", "demo"):
            shaking, change = zip(*found[name][way])
            cells += [f"{statistics.mean(shaking):.2f}", f"{statistics.mean(change):+.1f}"]
        rows.append(cells)
    header = ("painted", "jitter: shakes", "jitter: changes", "demo: shakes", "demo: changes")
    return markdown_table(header, rows) + (
        f"\n\nMeans of {numbers['scenes']} scenes of {numbers['frames']} frames at {RATE:g} a "
        f"second, in grey levels of 255. The camera goes {FORWARD:.0%} of its free way forward. "
        f"*Jitter*: exact disparity, each frame's scale and shift off by {JITTER:.0%} (a drift of "
        f"{DRIFT:.0%} in the scale, {NOISE:.0%} noise on pixels). *Demo*: the shipped model on the "
        "rendered frames. *Shakes*: rms second difference of the picture's mean; *changes*: the "
        "mean at the end less that at the beginning."
    )


def walk(seed: int, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames uint8 (H, W, 3) and exact disparity float32 (H, W) on a camera's way forward."""
    world = random_world(seed, plain=0.0, calm=1.0)
    first = render_worlds([world], [0], SIZE_HW)
    free = float(first.depth_m[0][SIZE_HW[0] // 4 : -SIZE_HW[0] // 4].min())
    frames, truth = [], []
    for start in range(0, count, BATCH):
        part = []
        for index in range(start, min(start + BATCH, count)):
            moved = copy.copy(world)
            ahead = world.rotation[:, 2] * (FORWARD * free * index / max(count - 1, 1))
            moved.position_m = world.position_m + ahead
            part.append(moved)
        scenes = render_worlds(part, [0] * len(part), SIZE_HW)  # one seed: the same grain
        frames += [rgb.permute(1, 2, 0).numpy() for rgb in scenes.rgb]
        truth += [one.numpy() for one in scenes.disparity]
    return frames, truth


def jittered(truth: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Exact disparity, each frame with a scale and a shift of its own."""
    draw, mean = np.random.RandomState(seed), float(np.mean(truth[0]))
    maps = []
    for index, exact in enumerate(truth):
        scale = (1 + DRIFT * index / max(len(truth) - 1, 1)) * np.exp(JITTER * draw.normal())
        shift = JITTER * mean * draw.normal()
        noise = NOISE * mean * draw.normal(size=exact.shape)
        maps.append((scale * exact + shift + noise).astype(np.float32))
    return maps


def ways(maps: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What is painted, 0..255, in each way."""
    shown = {TRUE: _in_one_range(truth), FRAME: [_levels(one, None) for one in maps]}
    shown[VIDEO] = _in_one_range(maps)
    for seconds in STEADY_S:
        fit = LeakyFit(seconds)
        affine = [fit.next(one, 1 / RATE) for one in maps]
        steady = [scale * one + shift for one, (scale, shift) in zip(maps, affine)]
        shown[f"one range, `--steady {seconds:g}`"] = _in_one_range(steady)
    return shown


def measured(levels: list[np.ndarray]) -> tuple[float, float]:
    """Shaking and change of the picture's mean, in levels."""
    means = np.array([one.mean() for one in levels])
    tenth = max(1, len(means) // 10)
    shaking = float(np.sqrt(np.mean(np.diff(means, 2) ** 2)))
    return shaking, float(means[-tenth:].mean() - means[:tenth].mean())


def _in_one_range(maps: list[np.ndarray]) -> list[np.ndarray]:
    seen = ValueHistogram()
    for one in maps:
        seen.add(one)
    limits = seen.limits()
    return [_levels(one, limits) for one in maps]


def _levels(depth: np.ndarray, limits: Optional[tuple[float, float]]) -> np.ndarray:
    low, high = limits or (depth.min(), depth.max())
    return np.clip((depth - low) / (high - low), 0, 1) * 255
