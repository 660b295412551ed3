"""A training at some step: what it is, one step further, and how it is kept on disk.

A ``TrainJob`` in; a ``Training`` that steps, saves and goes on, and in the end a checkpoint, out.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.amp.autocast_mode import autocast
from torch.nn.utils.clip_grad import clip_grad_norm_

from metric_depth.initialisation import ENCODER, fresh_model, parameter_groups
from metric_depth.losses import depth_loss
from metric_depth.schedule import (
    CLIP_NORM,
    ROUNDS,
    WEIGHT_DECAY,
    Stage,
    average_share,
    learning_rate,
    scaled,
)
from metric_depth.state import read_state, write_state
from runtime.errors import InputError
from runtime.files import write_whole


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
        with autocast(self.device.type, dtype=torch.bfloat16):
            predicted = self.model(image)
        loss = depth_loss(predicted.float(), disparity, generator, stage.ranking, stage.contra)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_grad_norm_(self.model.parameters(), CLIP_NORM)
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


def write_checkpoint(training: Training) -> None:
    """Write the averaged weights in float16, and what is known of how they came about.

    Raises:
        OSError: the disk refuses.
    """
    from safetensors.torch import save

    job = training.job
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
    write_whole(job.output / "training.json", (json.dumps(facts, indent=2) + "\n").encode())
