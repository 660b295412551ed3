"""What a target is given, and what it gives back."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch

from compile.deploy import Form
from compile.stages import Stage
from compile.targets.journal import Journal
from compile.targets.options import NeuronOptions
from runtime.artifact.manifest import InputSpec
from runtime.photo.preprocess import RGB_MEAN


@dataclass(frozen=True)
class GraphSource:
    """What a target builds from: one stage of a model, or all of it."""

    name: str
    stage: Stage
    input: InputSpec
    whole: bool = True  # the model is this one stage
    without: tuple[str, ...] = ()  # rewrites left out
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    workdir: Path = Path("neuron-workdir")  # what a compiler leaves when it fails
    journal: Journal = field(default_factory=lambda: Journal(None))  # what was tried
    precision: str = "f32"  # asked for; one of the target's PRECISIONS
    calibration: Path = Path("input_images")  # photos for int8

    def rewrites(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """A target's rewrites, with those that the input asks for, less those left out."""
        asked = wanted if self.input.mean != RGB_MEAN else (*wanted, "rgb-input")
        return tuple(name for name in asked if name not in self.without)

    def form(self, rewrites: tuple[str, ...]) -> Form:
        """The stage, rewritten."""
        return self.stage.make(rewrites)

    def example(self) -> tuple[torch.Tensor, ...]:
        """Zeros as the graph takes them."""
        return self.stage.example()

    def file_name(self, suffix: str) -> str:
        """What to call the graph's file."""
        return f"{'graph' if self.whole else self.stage.name}{suffix}"

    def workdir_of(self, attempt: str) -> Path:
        """The folder of one attempt of a compiler."""
        return self.workdir / (attempt if self.whole else f"{self.stage.name}-{attempt}")

    def make_workdir(self, attempt: str) -> Path:
        """The same, made and empty."""
        folder = self.workdir_of(attempt)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@dataclass(frozen=True)
class Built:
    """What a target made: the graph's file, and what the manifest says of how."""

    graph: str
    precision: str
    rewrites: tuple[str, ...]
    compiler: dict[str, str] = field(default_factory=dict)
