"""One compile: a model, a target and some sizes in; one artifact a size out."""

import dataclasses
import importlib.metadata
import logging
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
import torch

from compile.checkpoint import load_model
from compile.deploy import check_rewrites
from compile.fetch import fetch_checkpoint, local_checkpoint
from compile.parity import check_parity
from compile.registry import ModelSpec, find_model
from compile.targets import pick_target, target_module
from compile.targets.options import NeuronOptions
from compile.targets.source import Source
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.artifact import Artifact, commit, describe_files, partial_folder
from runtime.engines import load_engine
from runtime.errors import CheckpointError, CompileError, InputError
from runtime.manifest import InputSpec, Manifest, OutputSpec, ParityReport, WeightsSpec
from runtime.preprocess import RGB_MEAN, RGB_STD

log = logging.getLogger(__name__)

SEEDED = ("never", "fallback", "always")
# What the graph takes: normalised float32, or RGB 0..255 as float32 or uint8
PIXELS = ("normalised", "rgb", "rgb8")


@dataclass(frozen=True)
class CompileJob:
    """What to compile.

    ``seeded`` says whether random weights may stand in for a checkpoint, ``pixels`` what the graph
    takes, ``without`` which rewrites to leave out.
    """

    model: str = "vits"
    target: str = "auto"
    sizes_hw: tuple[tuple[int, int], ...] = ((518, 518),)
    batch: int = 1
    output: Path = Path("artifacts")
    checkpoint: Optional[Path] = None
    seeded: str = "never"
    device: str = "auto"
    pixels: str = "normalised"
    without: tuple[str, ...] = ()
    neuron: NeuronOptions = field(default_factory=NeuronOptions)

    def __post_init__(self) -> None:
        if self.pixels not in PIXELS:
            raise InputError(f"pixels={self.pixels!r}: use one of {', '.join(PIXELS)}")
        check_rewrites(self.without)
        if "rgb-input" in self.without:
            raise InputError("rgb-input follows from pixels; leave it out with pixels=normalised")
        if self.seeded not in SEEDED:
            raise InputError(f"seeded={self.seeded!r}: use one of {', '.join(SEEDED)}")
        if self.seeded == "always" and self.checkpoint is not None:
            raise InputError("give a checkpoint or ask for seeded weights, not both")
        for size_hw in self.sizes_hw:
            self.input_spec(size_hw)

    def input_spec(self, size_hw: tuple[int, int]) -> InputSpec:
        """What the graph of this size takes."""
        if self.pixels == "normalised":
            return InputSpec(size_hw, self.batch)
        dtype = "uint8" if self.pixels == "rgb8" else "float32"
        return InputSpec(size_hw, self.batch, mean=RGB_MEAN, std=RGB_STD, dtype=dtype)


def compile_model(job: CompileJob) -> Iterator[Artifact]:
    """Compile each size, check it against the eager model and write it.

    Yields:
        the artifacts, one by one as they are done.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        CompileError: the graph cannot be made or does not equal the model.
        MissingDependency: the target's compiler is not installed.
    """
    spec = find_model(job.model)
    target = pick_target() if job.target == "auto" else job.target
    versions = {
        "depth-anything-inferentia": importlib.metadata.version("depth-anything-inferentia"),
        "python": platform.python_version(),
        **target_module(target).versions(),  # before the weights: a missing compiler fails at once
    }
    model, weights = load_model(spec, find_weights(job, spec))
    for size_hw in job.sizes_hw:
        log.info("compiling %s for %s at %dx%d", spec.name, target, *size_hw)
        yield _compile_one(job, spec, target, model, weights, versions, size_hw)


def find_weights(job: CompileJob, spec: ModelSpec) -> Optional[Path]:
    """The checkpoint to load: given, found or fetched; None for random weights.

    ``seeded="fallback"`` stands in for weights that are absent, never for weights that are bad.

    Raises:
        CheckpointError: there are none, and random ones were not asked for.
    """
    if job.seeded == "always":
        return None
    file = job.checkpoint or local_checkpoint(spec)
    if file is not None:
        return file
    try:
        return fetch_checkpoint(spec)
    except CheckpointError as error:
        if job.seeded != "fallback":
            raise
        log.warning("%s", error)
    log.warning(
        "NO WEIGHTS for %s: using random ones. The pipeline is real, the depth means nothing. "
        "Get the real ones with: make checkpoints MODEL=%s",
        spec.name,
        spec.name,
    )
    return None


def _compile_one(
    job: CompileJob,
    spec: ModelSpec,
    target: str,
    model: DepthAnythingV2,
    weights: WeightsSpec,
    versions: dict[str, str],
    size_hw: tuple[int, int],
) -> Artifact:
    module = target_module(target)
    input_spec = job.input_spec(size_hw)
    output_spec = OutputSpec(spec.kind, spec.max_depth_m)
    workdir = job.output / "neuron-workdir"
    source = Source(spec.name, model, input_spec, output_spec, job.without, job.neuron, workdir)
    with partial_folder(job.output) as folder:
        try:
            built = module.build(source, folder)
        except (RuntimeError, AttributeError) as error:
            raise CompileError(f"{target} cannot compile {spec.name}: {error}") from error
        manifest = Manifest(
            model=spec.name,
            family=spec.family,
            target=target,
            precision=built.precision,
            graph=built.graph,
            input=input_spec,
            output=output_spec,
            weights=weights,
            rewrites=built.rewrites,
            compiler=built.compiler,
            versions=versions,
            parity=ParityReport("pending device", "none yet", module.TOLERANCE),
            files=describe_files(folder),
        )
        if getattr(module, "device_present", lambda: True)():
            manifest = with_parity(manifest, folder, model, job.device)
        else:
            log.warning(
                "no chip here for %s: parity is pending. Where there is one, run: "
                "python -m compile verify %s",
                target,
                job.output / manifest.name,
            )
        return commit(folder, manifest, job.output)


def with_parity(manifest: Manifest, folder: Path, model: torch.nn.Module, device: str) -> Manifest:
    """Compare the graph with the eager model and put the report into the manifest.

    Raises:
        CompileError: it does not equal the model within the target's tolerance.
    """
    module = target_module(manifest.target)
    engine = load_engine(folder, manifest, device)

    def graph(image: np.ndarray) -> np.ndarray:
        return engine({manifest.input.name: image})[manifest.output.kind]

    def eager(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(image)).numpy()

    reference = f"eager float32, torch {torch.__version__}, CPU"
    report = check_parity(graph, eager, manifest.input, reference, module.TOLERANCE)
    worst = max(case.max_rel_range for case in report.cases)
    log.info("parity: off by at most %.1e of the range, tolerance %.0e", worst, module.TOLERANCE)
    return dataclasses.replace(manifest, parity=report)
