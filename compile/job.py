"""One compile: a model, a target and some sizes in; one artifact a size out."""

import dataclasses
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
from compile.checks import check_machine, check_settings
from compile.fetch import fetch_checkpoint, local_checkpoint
from compile.parity import check_parity, check_stages, eager
from compile.registry import ModelSpec, find_model
from compile.stages import Stage, any_view_network, stages_of
from compile.targets import absence, pick_target, target_module
from compile.targets.journal import Journal
from compile.targets.options import NeuronOptions
from compile.targets.source import Built, GraphSource
from runtime.artifact.folder import Artifact, commit, describe_files
from runtime.artifact.manifest import InputSpec, Manifest, ParityReport, WeightsSpec
from runtime.engines import load_engine
from runtime.engines.staged import CAMERA_TOKENS
from runtime.errors import CheckpointError, CompileError
from runtime.files import partial_folder
from runtime.optional import version_of
from runtime.photo.preprocess import RGB_MEAN, RGB_STD

log = logging.getLogger(__name__)

WORKDIR = "neuron-workdir"  # below the output: reports, and what compilers leave


@dataclass(frozen=True)
class CompileJob:
    """What to compile.

    ``seeded`` says whether random weights may stand in for a checkpoint, ``pixels`` what the graph
    takes, ``resize`` the type that photos are resized in, ``without`` which rewrites to leave out,
    ``views`` how many photos of a scene go together, ``precision`` what matrix products are
    computed in, ``calibration`` the photos that int8 is fitted to.
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
    resize: str = "float64"
    without: tuple[str, ...] = ()
    neuron: NeuronOptions = field(default_factory=NeuronOptions)
    views: tuple[int, ...] = (1,)
    precision: str = "f32"
    calibration: Path = Path("input_images")

    def __post_init__(self) -> None:
        check_settings(self)

    def input_spec(self, size_hw: tuple[int, int]) -> InputSpec:
        """What the graph of this size takes."""
        resize = "cubic32" if self.resize == "float32" else "cubic"
        if find_model(self.model).family == "v3":
            resize = "bytes"
        spec = InputSpec(size_hw=size_hw, batch=self.batch, resize=resize)
        if self.pixels == "normalised":
            return spec
        dtype = "uint8" if self.pixels == "rgb8" else "float32"
        return dataclasses.replace(spec, mean=RGB_MEAN, std=RGB_STD, dtype=dtype)


@dataclass(frozen=True)
class Loaded:
    """A job whose target is chosen, with its eager model and what is said of both."""

    job: CompileJob
    model: nn.Module
    weights: WeightsSpec
    versions: dict[str, str]


def compile_model(job: CompileJob) -> Iterator[Artifact]:
    """Compile each size, check it against the eager model and write it.

    What cannot work is refused before the weights are read. A size or a number of views that is
    named twice is compiled once.

    Yields:
        the artifacts, one by one as they are done.
    Raises:
        CheckpointError: no weights, or weights that do not fit.
        CompileError: the graph cannot be made or does not equal the model.
        InputError: this target, device, precision or output cannot work, or not here.
        MissingDependency: the target's compiler is not installed.
    """
    if job.target == "auto":
        job = dataclasses.replace(job, target=pick_target(job.device))
    spec = find_model(job.model)
    check_machine(job)
    versions = {
        "depth-anything-inferentia": version_of("depth-anything-inferentia"),
        "python": platform.python_version(),
        **target_module(job.target).versions(),  # a missing compiler fails at once
    }
    loaded = Loaded(job, *load_model(spec, find_weights(job, spec)), versions)
    for size_hw in dict.fromkeys(job.sizes_hw):
        for views in dict.fromkeys(job.views):
            log.info("compiling %s for %s at %dx%d", spec.name, job.target, *size_hw)
            yield _compile_one(loaded, size_hw, views)


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


def _compile_one(loaded: Loaded, size_hw: tuple[int, int], views: int) -> Artifact:
    job, spec = loaded.job, find_model(loaded.job.model)
    module = target_module(job.target)
    input_spec = job.input_spec(size_hw)
    stages = stages_of(loaded.model, input_spec, spec.output, views)
    journal = _journal_of(loaded, input_spec, views)
    with journal, partial_folder(job.output) as folder:
        built = _build_stages(job, stages, input_spec, folder, journal)
        any_view = any_view_network(loaded.model)
        if any_view is not None:
            tokens = any_view.backbone.pretrained.default_camera_tokens(1, views)[0]
            np.save(folder / CAMERA_TOKENS, tokens.detach().float().numpy())
        manifest = Manifest(
            model=spec.name,
            family=spec.family,
            target=job.target,
            precision=built[0].precision,
            stages=tuple(stage.described(one.graph) for stage, one in zip(stages, built)),
            input=input_spec,
            output=spec.output,
            weights=loaded.weights,
            rewrites=built[0].rewrites,
            compiler=_compiler_facts(stages, built),
            versions=loaded.versions,
            parity=ParityReport(
                "pending device", "none yet", module.TOLERANCES[built[0].precision]
            ),
            files=describe_files(folder),
            views=views,
        )
        if getattr(module, "device_present", lambda: True)():
            manifest = with_parity(manifest, folder, loaded.model, job.device)
        else:
            log.warning(
                "%s, so the parity of %s is pending. Where there is one, run: "
                "python -m compile verify %s",
                absence(job.target),
                job.target,
                job.output / manifest.name,
            )
        return commit(folder, manifest, job.output)


def _journal_of(loaded: Loaded, spec: InputSpec, views: int) -> Journal:
    """What is written down while one artifact is made, and was by a compile that was cut."""
    job = loaded.job
    height, width = spec.size_hw
    count = f"v{views}" if views > 1 else f"b{spec.batch}"
    facts = {
        "model": job.model,
        "target": job.target,
        "input": dataclasses.asdict(spec),
        "views": views,
        "without": list(job.without),
        "weights": dataclasses.asdict(loaded.weights),
        "options": dataclasses.asdict(job.neuron),
        "versions": loaded.versions,
    }
    folder = job.output / WORKDIR / f"{job.model}-{height}x{width}-{count}-{job.target}"
    return Journal(folder, facts, job.neuron.fresh)


def _build_stages(
    job: CompileJob,
    stages: Sequence[Stage],
    input_spec: InputSpec,
    folder: Path,
    journal: Journal,
) -> list[Built]:
    """Have the target make each stage's graph, in this folder."""
    built = []
    for stage in stages:
        if len(stages) > 1:
            log.info("stage %s", stage.name)
        source = GraphSource(
            name=job.model,
            stage=stage,
            input=input_spec,
            whole=len(stages) == 1,
            without=job.without,
            neuron=job.neuron,
            workdir=journal.folder or job.output,
            journal=journal,
            precision=job.precision,
            calibration=job.calibration,
        )
        try:
            built.append(target_module(job.target).build(source, folder))
        except (RuntimeError, AttributeError) as error:
            raise CompileError(f"{job.target} cannot compile {job.model}: {error}") from error
    return built


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
    module = target_module(manifest.target)
    tolerance = module.TOLERANCES[manifest.precision]
    load = getattr(module, "load_for_parity", load_engine)
    engines = [load(folder, manifest, device, None, stage) for stage in manifest.stages]
    reference = f"eager float32, torch {torch.__version__}, CPU"
    if len(engines) == 1:
        report = check_parity(engines[0], eager(model), manifest, reference, tolerance)
    else:
        stages = stages_of(model, manifest.input, manifest.output, manifest.views)
        report = check_stages(stages, engines, model, manifest, reference, tolerance)
    worst = max(case.max_rel_range for case in report.cases)
    log.info("parity: off by at most %.1e of the range, tolerance %.0e", worst, tolerance)
    return dataclasses.replace(manifest, parity=report)
