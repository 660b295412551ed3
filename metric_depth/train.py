"""Train the demo checkpoint on generated scenes.

Nothing in; ``checkpoints/demo/`` out. ``python -m metric_depth.train --help``.
"""

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:  # as a script, as upstream's is started
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import io
import logging
import math
import time
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image

from depth_anything_v2.dpt import DepthAnythingV2
from metric_depth.initialisation import ENCODER
from metric_depth.pictures import color_limits, paint
from metric_depth.pool import ScenePool, normalise_pixels
from metric_depth.scenes import HELD_OUT_SEED, Scenes, render_scenes
from metric_depth.schedule import SHAPES, Size, Stage, batch_size_hw, stage_at
from metric_depth.training import Training, TrainJob, write_checkpoint
from runtime.command_line import UsageError, run_command
from runtime.engines import DEVICES
from runtime.engines.where import torch_device
from runtime.files import write_whole

log = logging.getLogger(__name__)

SAVE_EVERY_S = 45.0
LINE_EVERY_S = 60.0
PICTURE_EVERY_S = 240.0
SHOWN = 12  # held-out scenes in the picture
EXAMPLES = """examples:
  python -m metric_depth.train                      # some hours on two cores
  python -m metric_depth.train --resume             # go on after a kill
  python -m metric_depth.train --stop-after 540     # a piece of nine minutes, then --resume
  python -m metric_depth.train --steps-scale 0.01   # does it run at all?
"""
# Of upstream's metric_depth/train.py, which fine-tunes on Hypersim and Virtual KITTI 2
UPSTREAMS = (
    "--encoder",
    "--dataset",
    "--img-size",
    "--min-depth",
    "--max-depth",
    "--epochs",
    "--epoch",
    "--bs",
    "--lr",
    "--pretrained-from",
    "--save-path",
    "--local-rank",
    "--port",
)


class Every:
    """Tells when so many seconds have passed again."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether they have; if so they begin anew."""
        now = time.monotonic()
        if now - self._last <= self._seconds:
            return False
        self._last = now
        return True


def train(job: TrainJob) -> bool:
    """Run the recipe, or a piece of it.

    Returns:
        whether it is done; if so ``job.output`` holds the checkpoint.
    Raises:
        CheckpointError: nothing to resume.
        InputError: what is to be resumed follows another recipe.
    """
    from tqdm import tqdm

    training = Training(job)
    start, before = time.monotonic(), training.seconds
    save, line, picture = Every(SAVE_EVERY_S), Every(LINE_EVERY_S), Every(PICTURE_EVERY_S)
    at, smooth = -1, math.nan
    with tqdm(
        total=training.total, initial=training.step, unit="step", disable=not sys.stderr.isatty()
    ) as bar:
        while training.step < training.total:
            number, stage = stage_at(training.rounds, training.step)
            if number != at:
                at, pools = number, [_fill(training, stage, size) for size in stage.sizes]
                held_out = _held_out(stage.sizes[-1], training.device)
            size, loss = _step(training, stage, pools)
            smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
            training.seconds = before + time.monotonic() - start
            bar.update()
            if save.due():
                training.save()
            if line.due():
                _tell(training, size, smooth, bar)
            if picture.due():
                _draw_grid(training, held_out)
            if time.monotonic() - start > job.stop_after_s:
                training.save()
                log.info("paused at step %d; go on with --resume", training.step)
                return False
    training.save()
    write_checkpoint(training)
    return True


def _step(training: Training, stage: Stage, pools: Sequence[ScenePool]) -> tuple[Size, float]:
    """One step on a batch whose size and shape are drawn anew; that size, and the loss before."""
    generator = torch.Generator().manual_seed(training.job.seed * 1_000_003 + training.step)
    shape = SHAPES[int(torch.randint(len(SHAPES), (), generator=generator))]
    shares = torch.tensor([size.share for size in stage.sizes])
    which = int(torch.multinomial(shares, 1, generator=generator))
    size, pool = stage.sizes[which], pools[which]
    pool.next_seed = training.next_seed
    image, disparity = pool.draw(size.batch, batch_size_hw(size.side_px, shape), generator)
    training.next_seed = pool.next_seed
    return size, training.advance(image, disparity, generator, stage)


def _tell(training: Training, size: Size, loss: float, bar: Any) -> None:
    """Say how far it is: on the bar, or as a line."""
    bar.set_postfix(loss=f"{loss:.3f}")
    if bar.disable:
        left = (training.total - training.step) / (training.step / training.seconds)
        log.info(
            "step %d of %d, last at %d px, loss %.3f, %.0f min done, about %.0f to go",
            training.step,
            training.total,
            size.side_px,
            loss,
            training.seconds / 60,
            left / 60,
        )


def _fill(training: Training, stage: Stage, size: Size) -> ScenePool:
    side = size.render_px
    pool = ScenePool(
        render_hw=(side, side),
        capacity=size.pool,
        reuse=size.reuse,
        first_seed=training.next_seed,
        device=training.device,
        plain_calm=(stage.plain, stage.calm),
    )
    log.info("rendering %d scenes at %dx%d to begin with", size.pool, side, side)
    for _ in pool.fill():
        pass
    training.next_seed = pool.next_seed
    return pool


def _held_out(size: Size, device: torch.device) -> Scenes:
    seeds = list(range(HELD_OUT_SEED, HELD_OUT_SEED + SHOWN))
    return render_scenes(seeds, batch_size_hw(size.side_px, (1.0, 1.0)), device)


@torch.no_grad()
def _draw_grid(training: Training, held_out: Scenes) -> None:
    """Photo, truth and prediction of a dozen held-out scenes, into the work folder."""
    model = DepthAnythingV2(ENCODER).to(training.device).eval()
    model.load_state_dict(training.average)
    images = normalise_pixels(held_out.rgb.float() / 255)
    predicted = torch.cat([model(image[None]) for image in images])

    def row(maps: torch.Tensor) -> np.ndarray:
        return np.hstack([paint(m, color_limits(m)) for m in maps.float().cpu().numpy()])

    photos = np.hstack(list(held_out.rgb.permute(0, 2, 3, 1).cpu().numpy()))
    halves = np.hsplit(np.vstack([photos, row(held_out.disparity), row(predicted)]), 2)
    picture = io.BytesIO()
    Image.fromarray(np.vstack(halves)).save(picture, "PNG")
    write_whole(training.job.work / f"grid-{training.step:06}.png", picture.getvalue())


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m metric_depth.train",
        description="Train the demo checkpoint on generated scenes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = TrainJob()
    parser.add_argument("--output", type=Path, default=default.output, help="where the weights go")
    parser.add_argument("--work", type=Path, default=default.work, help="state and pictures")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--resume", action="store_true", help="go on from --work")
    parser.add_argument(
        "--steps-scale", type=float, default=default.steps_scale, help="more or fewer steps"
    )
    parser.add_argument(
        "--stop-after", type=float, default=default.stop_after_s, help="pause after seconds"
    )
    for flag in UPSTREAMS:
        parser.add_argument(flag, dest="upstreams", action="append", help=argparse.SUPPRESS)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    stopped = "stopped; --resume goes on from the last state that was saved"
    return run_command(build_parser(), run, argv, stopped)


def run(args: argparse.Namespace) -> None:
    """Train as the command line says.

    Raises:
        InputError: a device that is not here, or a job that cannot be.
        CheckpointError: nothing to resume.
    """
    if args.upstreams:
        raise UsageError(
            "upstream's training flags: it fine-tunes on Hypersim or Virtual KITTI 2. This trains "
            "the demo checkpoint on generated scenes; weights that upstream's script has trained "
            "run here with metric_depth/run.py --load-from FILE"
        )
    job = TrainJob(
        output=args.output,
        work=args.work,
        device=torch_device(args.device).type,
        seed=args.seed,
        resume=args.resume,
        steps_scale=args.steps_scale,
        stop_after_s=args.stop_after,
    )
    job.work.mkdir(parents=True, exist_ok=True)
    if train(job):
        print(job.output / "model.safetensors")


if __name__ == "__main__":
    sys.exit(main())
