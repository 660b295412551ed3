"""What a target is given, and what it gives back."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch

from compile.deploy import DeploymentFormV2, deployment_form
from compile.targets.options import NeuronOptions
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.manifest import InputSpec, OutputSpec
from runtime.preprocess import RGB_MEAN


@dataclass(frozen=True)
class Source:
    """What a target builds from."""

    name: str
    model: DepthAnythingV2
    input: InputSpec
    output: OutputSpec
    without: tuple[str, ...] = ()  # rewrites left out
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    workdir: Path = Path("neuron-workdir")  # what a compiler leaves when it fails

    def rewrites(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """A target's rewrites, with those that the input asks for, less those left out."""
        asked = wanted if self.input.mean != RGB_MEAN else (*wanted, "rgb-input")
        return tuple(name for name in asked if name not in self.without)

    def form(self, rewrites: tuple[str, ...]) -> DeploymentFormV2:
        """The model, rewritten."""
        return deployment_form(self.model, self.input.shape, rewrites, self.input.dtype)

    def example(self) -> torch.Tensor:
        """Zeros as the graph takes them."""
        return torch.zeros(self.input.shape, dtype=getattr(torch, self.input.dtype))

    def make_workdir(self, attempt: str) -> Path:
        """An empty folder for one attempt of a compiler."""
        height, width = self.input.size_hw
        folder = self.workdir / f"{self.name}-{height}x{width}-b{self.input.batch}-{attempt}"
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
