"""Train the demo checkpoint on generated scenes.

Nothing in; ``checkpoints/demo/`` out. ``python -m metric_depth.train --help``.
"""

import argparse
import dataclasses
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image
from torch import nn

from depth_anything_v2.dpt import DepthAnythingV2
from layers.pos_embed import TRAINED_GRID
from metric_depth.losses import depth_loss
from metric_depth.pictures import color_limits, paint
from metric_depth.pool import ScenePool, normalise_pixels
from metric_depth.scenes import HELD_OUT_SEED, render_scenes
from metric_depth.schedule import (
    CLIP_NORM,
    HEAD_RATE,
    ROUNDS,
    SHAPES,
    WEIGHT_DECAY,
    Size,
    Stage,
    average_share,
    batch_size_hw,
    learning_rate,
    scaled,
    stage_at,
)
from metric_depth.state import read_state, write_state
from runtime.engines import DEVICES
from runtime.errors import DepthError, InputError
from runtime.files import write_whole

log = logging.getLogger(__name__)

SAVE_EVERY_S = 45.0
LINE_EVERY_S = 60.0
PICTURE_EVERY_S = 240.0
ENCODER = "vitt"
EXAMPLES = """examples:
  python -m metric_depth.train                      # some hours on two cores
  python -m metric_depth.train --resume             # go on after a kill
  python -m metric_depth.train --stop-after 540     # a piece of nine minutes, then --resume
  python -m metric_depth.train --steps-scale 0.01   # does it run at all?
"""


@dataclass(frozen=True)
class TrainJob:
    """What to train, where to keep it and when to pause."""

    output: Path = Path("checkpoints/demo")
    work: Path = Path("training")
    device: str = "cpu"
    seed: int = 0
    resume: bool = False
    steps_scale: float = 1.0
    stop_after_s: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.steps_scale <= 100:
            raise InputError(f"steps_scale={self.steps_scale}: give a number above 0, up to 100")
        if not 0 <= self.seed < 1000:
            raise InputError(f"seed={self.seed}: give a whole number from 0 to 999")

    @property
    def first_scene(self) -> int:
        """Seed of the first scene; no two trainings share scenes, and none is held out."""
        return self.seed * 2_000_000


def sinusoidal_pos_embed(dim: int, grid: int = TRAINED_GRID) -> torch.Tensor:
    """Positions as slow sines across the picture: float32 (1, 1 + grid*grid, dim).

    Frequencies are counted in cycles a picture, at most four, so that every patch grid from 9x9 on
    sees the same function. They are not trained.
    """
    place = (torch.arange(grid, dtype=torch.float32) + 0.5) / grid
    cycles = torch.logspace(-2, 2, dim // 4, base=2)
    angle = 2 * math.pi * place.unsqueeze(1) * cycles  # (grid, dim/4)
    axis = torch.cat((angle.sin(), angle.cos()), dim=1)  # (grid, dim/2)
    rows = axis.unsqueeze(1).expand(grid, grid, -1)
    columns = axis.unsqueeze(0).expand(grid, grid, -1)
    patches = torch.cat((rows, columns), dim=2).reshape(1, grid * grid, dim)
    return 0.3 * torch.cat((torch.zeros(1, 1, dim), patches), dim=1)


def fresh_model(seed: int) -> DepthAnythingV2:
    """The network before training: the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = DepthAnythingV2(ENCODER)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
            nn.init.zeros_(module.bias)
        elif "patch_embed" in name and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.06)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                # small: or the first steps drown what the patches show in one mean map
                parameter.fill_(0.1)
            elif "refinenet4.resConfUnit1" in name:
                parameter.zero_()  # never used; zeros compress
        model.pretrained.cls_token.normal_(std=0.02)
        model.pretrained.pos_embed.copy_(sinusoidal_pos_embed(model.pretrained.embed_dim))
        # clear of the final ReLU's zero, where nothing would be learnt
        model.depth_head.scratch.output_conv2[2].bias.fill_(1.0)
    model.pretrained.pos_embed.requires_grad_(False)
    model.pretrained.mask_token.requires_grad_(False)
    return model


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """What is trained, by learning rate (``share`` of the schedule's) and weight decay."""
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        head, decays = name.startswith("depth_head"), parameter.ndim > 1
        settings = {"params": [], "share": HEAD_RATE if head else 1.0}
        if not decays:
            settings["weight_decay"] = 0.0
        groups.setdefault((head, decays), settings)["params"].append(parameter)
    return list(groups.values())


class Training:
    """A model, its optimiser and its average, at some step of the recipe."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.device = torch.device(job.device)
        self.rounds = scaled(ROUNDS[self.device.type], job.steps_scale)
        self.total = sum(turn.steps for turn in self.rounds)
        self.step, self.seconds, self.next_seed = 0, 0.0, job.first_scene
        self.model = fresh_model(job.seed).to(self.device).train()
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY
        )
        if job.resume:
            self._load()

    def advance(
        self,
        image: torch.Tensor,
        disparity: torch.Tensor,
        generator: torch.Generator,
        stage: Stage,
    ) -> float:
        """One step down the loss; returns the loss before it."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * learning_rate(self.step, self.rounds)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            predicted = self.model(image)
        loss = depth_loss(predicted.float(), disparity, generator, stage.ranking, stage.contra)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        if torch.isfinite(norm):  # else the step is left out: one bad scene must not end a training
            self.optimiser.step()
        share = average_share(self.step)
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - share)
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Write everything needed to go on."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors.update({f"average.{k}": v for k, v in self.average.items()})
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors[f"first.{index}"] = state["exp_avg"]
            tensors[f"second.{index}"] = state["exp_avg_sq"]
        numbers = {
            "step": self.step,
            "rounds": self.recipe(),
            "seconds": self.seconds,
            "next_seed": self.next_seed,
        }
        write_state(self.job.work / "state", tensors, numbers)

    def recipe(self) -> list[dict[str, Any]]:
        """The rounds as JSON has them."""
        plain: list[dict[str, Any]] = json.loads(
            json.dumps([dataclasses.asdict(turn) for turn in self.rounds])
        )
        return plain

    def _load(self) -> None:
        tensors, numbers = read_state(self.job.work / "state")
        if numbers.get("rounds") != self.recipe():
            raise InputError(
                f"{self.job.work / 'state'}: from a training by another recipe; use the same "
                "version, --steps-scale and kind of device, or start anew without --resume"
            )

        def part(prefix: str) -> dict[str, torch.Tensor]:
            start = len(prefix) + 1
            return {k[start:]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}

        self.model.load_state_dict(part("model"))
        self.average = {k: v.to(self.device) for k, v in part("average").items()}
        state = self.optimiser.state_dict()
        second = part("second")
        state["state"] = {
            int(index): {
                "step": torch.tensor(float(numbers["step"])),
                "exp_avg": value,
                "exp_avg_sq": second[index],
            }
            for index, value in part("first").items()
        }
        self.optimiser.load_state_dict(state)
        self.step, self.seconds = numbers["step"], numbers["seconds"]
        self.next_seed = numbers["next_seed"]


def train(job: TrainJob) -> bool:
    """Run the recipe, or a piece of it.

    Returns:
        whether it is done; if so ``job.output`` holds the checkpoint.
    """
    from tqdm import tqdm

    training = Training(job)
    start = time.monotonic()
    clock = {"save": start, "line": start, "picture": start}
    before = training.seconds
    held_out: Optional[tuple[torch.Tensor, torch.Tensor]] = None
    pools: list[ScenePool] = []
    at = -1
    smooth = math.nan
    with tqdm(
        total=training.total, initial=training.step, unit="step", disable=not sys.stderr.isatty()
    ) as bar:
        while training.step < training.total:
            stage_number, stage = stage_at(training.rounds, training.step)
            if stage_number != at:
                at, pools = stage_number, [_fill(training, stage, size) for size in stage.sizes]
                held_out = _held_out(stage.sizes[-1], training.device)
            generator = torch.Generator().manual_seed(job.seed * 1_000_003 + training.step)
            shape = SHAPES[int(torch.randint(len(SHAPES), (), generator=generator))]
            shares = torch.tensor([size.share for size in stage.sizes])
            which = int(torch.multinomial(shares, 1, generator=generator))
            size, pool = stage.sizes[which], pools[which]
            pool.next_seed = training.next_seed
            size_hw = batch_size_hw(size.side_px, shape)
            image, disparity = pool.draw(size.batch, size_hw, generator)
            training.next_seed = pool.next_seed
            loss = training.advance(image, disparity, generator, stage)
            smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
            bar.update()
            now = time.monotonic()
            training.seconds = before + now - start
            if now - clock["save"] > SAVE_EVERY_S:
                clock["save"] = now
                training.save()
            if now - clock["line"] > LINE_EVERY_S:
                clock["line"] = now
                bar.set_postfix(loss=f"{smooth:.3f}")
                if bar.disable:
                    left = (training.total - training.step) / (training.step / training.seconds)
                    log.info(
                        "step %d of %d, last at %d px, loss %.3f, %.0f min done, about %.0f to go",
                        training.step,
                        training.total,
                        size.side_px,
                        smooth,
                        training.seconds / 60,
                        left / 60,
                    )
            if now - clock["picture"] > PICTURE_EVERY_S and held_out is not None:
                clock["picture"] = now
                _draw_grid(training, held_out)
            if now - start > job.stop_after_s:
                training.save()
                log.info("paused at step %d; go on with --resume", training.step)
                return False
    training.save()
    write_checkpoint(training)
    return True


def _fill(training: Training, stage: Stage, size: Size) -> ScenePool:
    side = size.render_px
    seed, device = training.next_seed, training.device
    share = (stage.plain, stage.calm)
    pool = ScenePool((side, side), size.pool, size.reuse, seed, device, share)
    log.info("rendering %d scenes at %dx%d to begin with", size.pool, side, side)
    for _ in pool.fill():
        pass
    training.next_seed = pool.next_seed
    return pool


def _held_out(size: Size, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    seeds = list(range(HELD_OUT_SEED, HELD_OUT_SEED + 12))
    scenes = render_scenes(seeds, batch_size_hw(size.side_px, (1.0, 1.0)), device)
    return scenes.rgb, scenes.disparity


@torch.no_grad()
def _draw_grid(training: Training, held_out: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Photo, truth and prediction of a dozen held-out scenes, into the work folder."""
    rgb, disparity = held_out
    model = DepthAnythingV2(ENCODER).to(training.device).eval()
    model.load_state_dict(training.average)
    images = normalise_pixels(rgb.float() / 255)
    predicted = torch.cat([model(image[None]) for image in images])

    def row(maps: torch.Tensor) -> np.ndarray:
        return np.hstack([paint(m, color_limits(m)) for m in maps.float().cpu().numpy()])

    photos = np.hstack(list(rgb.permute(0, 2, 3, 1).cpu().numpy()))
    halves = np.hsplit(np.vstack([photos, row(disparity), row(predicted)]), 2)
    file = training.job.work / f"grid-{training.step:06}.png"
    Image.fromarray(np.vstack(halves)).save(file)


def write_checkpoint(training: Training) -> None:
    """Write the averaged weights in float16, and what is known of how they came about."""
    from safetensors.torch import save

    job = training.job
    job.output.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().half().cpu().contiguous() for k, v in training.average.items()}
    write_whole(job.output / "model.safetensors", save(weights))
    facts: dict[str, Any] = {
        "encoder": ENCODER,
        "seed": job.seed,
        "steps": training.step,
        "scenes": training.next_seed - job.first_scene,
        "minutes": round(training.seconds / 60, 1),
        "device": training.device.type,
        "torch": torch.__version__,
        "rounds": training.recipe(),
    }
    (job.output / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


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
    parser.add_argument("--steps-scale", type=float, default=1.0, help="more or fewer steps")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="pause after seconds")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns the exit status."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("device cuda: torch sees no CUDA GPU here; use --device cpu")
        job = TrainJob(
            args.output,
            args.work,
            device,
            args.seed,
            args.resume,
            args.steps_scale,
            args.stop_after,
        )
        job.work.mkdir(parents=True, exist_ok=True)
        if train(job):
            print(job.output / "model.safetensors")
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
