"""Frames a second of ``run_video.py`` against upstream's loop, with a network and without.

Both get the same clip and the same engine. Without a network, depth comes from a table: upstream's
loop gets it on the frame's own pixels, ours on the network's, so that bringing it to the frame's
pixels is in our time and not in upstream's. The sides take turns.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from apps.estimators import Stages, artifact_estimator
from apps.video import FRAME, VIDEO, VideoJob, make_video
from apps.video_sources import Source
from benchmarks.crops import center_crop
from benchmarks.document import markdown_table
from benchmarks.options import add_artifact, add_number, add_rounds, add_size
from benchmarks.rounds import interleave, times_as_fast
from benchmarks.upstream_loop import infer_image
from benchmarks.upstream_video import upstream_video
from exports.video import to_yuv, writing_video
from runtime.artifact.manifest import InputSpec, OutputSpec, WeightsSpec
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.found import Prediction, Provenance
from runtime.predict.predictor import Predictor, Prepared

ABOUT = "frames/s of run_video.py against upstream's loop, with a network and without"
DESCRIPTION = (
    "Videos to videos of depth: run_video.py against upstream's loop on the same artifact, and "
    "both with depth from a table instead of a network, in interleaved rounds."
)
EXAMPLE = "--frames 60 --rounds 3"
PAGE = "video.md"

UPSTREAM, OURS = "upstream's loop", "run_video.py, one range"
OURS_FRAME = "run_video.py, `--range frame`"
ALONE = ", no network"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifact(parser)
    add_number(parser, "--frames", 100, "of the clip")
    add_size(parser, (576, 1024))
    add_rounds(parser, 3)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds a frame of each side and round.

    Raises:
        InputError: no photos to make the clip of.
        ArtifactError: the artifact cannot be used.
    """
    predictor = cast(Predictor, artifact_estimator([args.artifact], "auto").predict)
    with tempfile.TemporaryDirectory(prefix="video-") as scratch:
        root = Path(scratch)
        clip = make_clip(args.input, root / "clip.mp4", args.frames, args.size)
        sides = {
            **_sides(predictor, _upstreams_network(predictor), clip, root, ""),
            **_sides(Instant(args.size), _instant_upstream(args.size), clip, root, ALONE),
        }
        counted = {name: (args.frames, run) for name, run in sides.items()}
        seconds, others, rounds = interleave(counted, args.rounds)
    return {
        "artifact": predictor.artifacts[0].manifest.name,
        "frames": args.frames,
        "size_hw": list(args.size),
        "seconds_a_frame": seconds,
        "others": others,
        "rounds_run": rounds,
    }


def table(numbers: dict[str, Any]) -> str:
    """Frames a second, and how often upstream's."""
    seconds, rows = numbers["seconds_a_frame"], []
    for name, took in seconds.items():
        base = seconds[UPSTREAM + (ALONE if name.endswith(ALONE) else "")]
        ratios = times_as_fast(base, took)
        rows.append(
            (
                name,
                f"{1 / statistics.median(took):.1f}",
                f"**{statistics.median(ratios):.2f}**",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
        )
    height, width = numbers["size_hw"]
    return (
        markdown_table(("side", "frames/s", "times upstream's", "single rounds"), rows)
        + f"\n\n`{numbers['artifact']}`, a clip of {numbers['frames']} frames of {width} x "
        f"{height}, medians of {len(numbers['others'])} interleaved rounds after a warm-up; in "
        f"those that count, others took at most {max(numbers['others']):.0%} of the processor."
    )


def make_clip(photos: Path, file: Path, count: int, frame_hw: tuple[int, int]) -> Path:
    """A slow pan over a photo, in H.264 at 30 frames a second.

    Raises:
        InputError: no photo there.
    """
    height, width = frame_hw
    whole = center_crop(read_photo(find_photos(photos)[0]), (width, height))
    whole = cv2.resize(whole, (width * 5 // 4, height * 5 // 4), interpolation=cv2.INTER_CUBIC)
    rate = Fraction(30)
    with writing_video(file, frame_hw, 1 / rate, rate) as writer:
        for index in range(count):
            left, top = (side * index // (4 * count) for side in (width, height))
            frame = np.ascontiguousarray(whole[top : top + height, left : left + width])
            writer.picture(to_yuv(frame), index, 1)
    return file


class Instant:
    """A model that takes no time: each frame gets the next map of a table."""

    batch = 1
    short_side = 252

    def __init__(self, frame_hw: tuple[int, int]) -> None:
        self._maps = _table(frame_hw)
        self._hw, self._count = frame_hw, 0
        self._nothing = np.zeros((1, 3, 1, 1), np.float32)

    def prepare(self, rgb: np.ndarray) -> Prepared:
        """Nothing."""
        return Prepared(self._nothing, self._hw, bucket=0, seconds={})

    def infer(self, group: Any) -> list[tuple[np.ndarray, float]]:
        """The next map of the table."""
        self._count += 1
        return [(self._maps[self._count % len(self._maps)], 0.0) for _ in group]

    def finish(
        self, prepared: Prepared, depth: np.ndarray, infer_seconds: float
    ) -> tuple[Prediction, dict[str, float]]:
        """As ``Predictor.finish``."""
        weights = WeightsSpec("checkpoint", "0" * 64, "Apache-2.0")
        full = resize_to_photo(depth, prepared.photo_hw)
        spec = InputSpec((14, 14))
        found = Prediction(
            full, OutputSpec("disparity"), Provenance("none", weights), spec, self._hw
        )
        return found, {}


def _table(frame_hw: tuple[int, int]) -> list[np.ndarray]:
    """Maps on a network's grid that move to the side and back, as a camera's pan shows them."""
    draw = np.random.RandomState(0)
    width = round(252 * frame_hw[1] / frame_hw[0] / 14) * 14
    small = draw.gamma(2, 3, (9, 20)).astype(np.float32)
    wide = cv2.resize(small, (width * 5 // 4, 252), interpolation=cv2.INTER_CUBIC)
    there = [np.ascontiguousarray(wide[:, left : left + width]) for left in range(0, width // 4, 2)]
    return there + there[::-1]


def _instant_upstream(frame_hw: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    maps, calls = [resize_to_photo(one, frame_hw) for one in _table(frame_hw)], iter(range(10**9))
    return lambda frame: maps[next(calls) % len(maps)]


def _upstreams_network(predictor: Predictor) -> Callable[[np.ndarray], np.ndarray]:
    def network(tensor: torch.Tensor) -> torch.Tensor:
        array = tensor.numpy()
        prepared = Prepared(array, (array.shape[2], array.shape[3]), bucket=0, seconds={})
        ((depth, _),) = predictor.infer([prepared])
        return torch.from_numpy(depth)[None]

    return lambda frame: infer_image(network, frame, predictor.input_hw)


def _sides(
    model: Any,
    upstreams: Callable[[np.ndarray], np.ndarray],
    clip: Path,
    root: Path,
    name: str,
) -> dict[str, Callable[[], Any]]:
    source = Source(clip, root / "ours")

    def ours(range_of: str) -> None:
        make_video(source, cast(Stages, model), "", VideoJob(range=range_of), _untracked)

    return {
        UPSTREAM + name: lambda: upstream_video(upstreams, clip, root / "upstream.mp4"),
        OURS + name: lambda: ours(VIDEO),
        OURS_FRAME + name: lambda: ours(FRAME),
    }


def _untracked(items: Any, what: str, total: Any) -> Any:
    return items
