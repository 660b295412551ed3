"""One compile: a model, a target and some sizes in; one artifact a size out."""

import dataclasses
import importlib.metadata
import logging
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from torch import nn

from compile.checkpoint import load_model
from compile.deploy import check_rewrites
from compile.fetch import fetch_checkpoint, local_checkpoint
from compile.parity import check_parity, check_stages, eager
from compile.registry import ModelSpec, find_model
from compile.stages import Stage, stages_of, views_apart
from compile.targets import check_precision, pick_target, target_module
from compile.targets.options import NeuronOptions
from compile.targets.source import Built, Source
from depth_anything_3.config import NESTED
from depth_anything_3.model import DepthAnything3Net
from runtime.artifact.folder import Artifact, commit, describe_files
from runtime.artifact.manifest import PRECISIONS, InputSpec, Manifest, ParityReport, WeightsSpec
from runtime.engines import load_engine
from runtime.engines.staged import CAMERA_TOKENS
from runtime.errors import CheckpointError, CompileError, InputError
from runtime.files import partial_folder
from runtime.photo.preprocess import RGB_MEAN, RGB_STD

log = logging.getLogger(__name__)

SEEDED = ("never", "fallback", "always")
# What the graph takes: normalised float32, or RGB 0..255 as float32 or uint8
PIXELS = ("normalised", "rgb", "rgb8")


@dataclass(frozen=True)
class CompileJob:
    """What to compile.

    ``seeded`` says whether random weights may stand in for a checkpoint, ``pixels`` what the graph
    takes, ``without`` which rewrites to leave out, ``views`` how many photos of a scene go
    together, ``precision`` what matrix products are computed in, ``calibration`` the photos that
    int8 is fitted to.
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
    views: tuple[int, ...] = (1,)
    precision: str = "f32"
    calibration: Path = Path("input_images")

    def __post_init__(self) -> None:
        if not self.views or any(views < 1 for views in self.views):
            raise InputError(f"views={self.views}: give numbers of 1 or more")
        if self.model in NESTED:
            raise InputError(
                f"{self.model} is two networks and is not compiled: run it from Python, "
                "`from depth_anything_3.api import DepthAnything3`, on a CPU or with CUDA; `python "
                "-m compile audit` says what they need"
            )
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r}: use one of {', '.join(PRECISIONS)}")
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
            resize = "bytes" if find_model(self.model).family == "v3" else "cubic"
            return InputSpec(size_hw, self.batch, resize=resize)
        dtype = "uint8" if self.pixels == "rgb8" else "float32"
        return InputSpec(size_hw, self.batch, mean=RGB_MEAN, std=RGB_STD, dtype=dtype)


def compile_model(job: CompileJob) -> Iterator[Artifact]:
    """Compile each size, check it against the eager model and write it.

    Yields:
        the artifacts, one by one as they are done.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        CompileError: the graph cannot be made or does not equal the model.
        InputError: the target does not have this precision.
        MissingDependency: the target's compiler is not installed.
    """
    spec = find_model(job.model)
    target = pick_target() if job.target == "auto" else job.target
    check_precision(target, job.precision)
    versions = {
        "depth-anything-inferentia": importlib.metadata.version("depth-anything-inferentia"),
        "python": platform.python_version(),
        **target_module(target).versions(),  # before the weights: a missing compiler fails at once
    }
    model, weights = load_model(spec, find_weights(job, spec))
    for size_hw in job.sizes_hw:
        for views in job.views:
            log.info("compiling %s for %s at %dx%d", spec.name, target, *size_hw)
            yield _compile_one(job, spec, target, model, weights, versions, size_hw, views)


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
    model: nn.Module,
    weights: WeightsSpec,
    versions: dict[str, str],
    size_hw: tuple[int, int],
    views: int,
) -> Artifact:
    module = target_module(target)
    input_spec, output_spec = job.input_spec(size_hw), spec.output
    stages = stages_of(model, input_spec, output_spec, views)
    with partial_folder(job.output) as folder:
        described, built = [], []
        for stage in stages:
            if len(stages) > 1:
                log.info("stage %s", stage.name)
            source = Source(
                spec.name,
                stage,
                input_spec,
                len(stages) == 1,
                job.without,
                job.neuron,
                job.output / "neuron-workdir",
                job.precision,
                job.calibration,
            )
            try:
                built.append(module.build(source, folder))
            except (RuntimeError, AttributeError) as error:
                raise CompileError(f"{target} cannot compile {spec.name}: {error}") from error
            described.append(stage.described(built[-1].graph))
        if views_apart(model):
            tokens = model.backbone.pretrained.default_camera_tokens(1, views)[0]
            np.save(folder / CAMERA_TOKENS, tokens.detach().float().numpy())
        manifest = Manifest(
            model=spec.name,
            family=spec.family,
            target=target,
            precision=built[0].precision,
            stages=tuple(described),
            input=input_spec,
            output=output_spec,
            weights=weights,
            rewrites=built[0].rewrites,
            compiler=_compiler_facts(stages, built),
            versions=versions,
            parity=ParityReport(
                "pending device", "none yet", module.TOLERANCES[built[0].precision]
            ),
            files=describe_files(folder),
            views=views,
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


def _compiler_facts(stages: Sequence[Stage], built: Sequence[Built]) -> dict[str, str]:
    """What the compiler was told, with the stage's name before it where there are several."""
    if len(stages) == 1:
        return built[0].compiler
    return {
        f"{stage.name}: {name}": value
        for stage, one in zip(stages, built)
        for name, value in one.compiler.items()
    }


def with_parity(manifest: Manifest, folder: Path, model: nn.Module, device: str) -> Manifest:
    """Compare the graphs with the eager model and put the report into the manifest.

    Raises:
        CompileError: they do not equal the model within the tolerance for target and precision.
    """
    tolerance = target_module(manifest.target).TOLERANCES[manifest.precision]
    engines = [load_engine(folder, manifest, device, None, stage) for stage in manifest.stages]
    reference = f"eager float32, torch {torch.__version__}, CPU"
    if len(engines) == 1:
        report = check_parity(engines[0], eager(model), manifest, reference, tolerance)
    else:
        stages = stages_of(model, manifest.input, manifest.output, manifest.views)
        assert isinstance(model, DepthAnything3Net)
        report = check_stages(stages, engines, model, manifest, reference, tolerance)
    worst = max(case.max_rel_range for case in report.cases)
    log.info("parity: off by at most %.1e of the range, tolerance %.0e", worst, tolerance)
    return dataclasses.replace(manifest, parity=report)
