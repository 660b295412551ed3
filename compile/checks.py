"""What makes a compile impossible, said before anything is loaded.

A job in; silence, or an error that says what to change. ``check_settings`` knows it from the job
alone, ``check_machine`` from what is on this machine. No weights are read, nothing is kept; torch
is imported only by what asks for it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from compile.calibration import calibration_photos
from compile.registry import ModelSpec, find_model
from compile.targets import CHOICES, check_precision, target_module
from compile.targets.options import NeuronOptions
from runtime.artifact.manifest import BY_CASTS, PRECISIONS
from runtime.engines import CPU, CUDA, DEVICES, ENGINES, ON_CUDA, USUAL_ON_CUDA
from runtime.engines.where import torch_device
from runtime.errors import CheckpointError, InputError
from runtime.files import check_output_folder
from runtime.optional import require

if TYPE_CHECKING:
    from compile.job import CompileJob

SEEDED = ("never", "fallback", "always")
# What the graph takes: normalised float32, or RGB 0..255 as float32 or uint8
PIXELS = ("normalised", "rgb", "rgb8")
RESIZE_IN = ("float64", "float32")  # what photos are resized in, for V2


def check_settings(job: CompileJob) -> None:
    """Refuse settings that cannot work, each for itself and together.

    With ``target="auto"`` what depends on the target is left for later: the target is chosen first,
    and the job is then checked again.

    Raises:
        InputError: the text says which, and what would work.
    """
    from compile.deploy import check_rewrites  # which needs torch

    for name, value, known in (
        ("target", job.target, CHOICES),
        ("device", job.device, DEVICES),
        ("precision", job.precision, PRECISIONS),
        ("pixels", job.pixels, PIXELS),
        ("resize", job.resize, RESIZE_IN),
        ("seeded", job.seeded, SEEDED),
    ):
        if value not in known:
            raise InputError(f"{name}={value!r}: use one of {', '.join(known)}")
    if not job.views or any(views < 1 for views in job.views):
        raise InputError(f"views={job.views}: give numbers of 1 or more")
    if not job.sizes_hw:
        raise InputError("sizes_hw=(): give one size at least")
    check_rewrites(job.without)
    if "rgb-input" in job.without:
        raise InputError("rgb-input follows from pixels; leave it out with pixels=normalised")
    if job.seeded == "always" and job.checkpoint is not None:
        raise InputError("give a checkpoint or ask for seeded weights, not both")
    check_model(find_model(job.model), job)
    for size_hw in job.sizes_hw:
        job.input_spec(size_hw)
    if job.target != "auto":
        check_precision(job.target, job.precision)
        check_device(job.target, job.device)
        check_neuron_options(job.target, job.neuron)


def check_model(spec: ModelSpec, job: CompileJob) -> None:
    """Refuse what a model's graphs cannot take.

    Raises:
        InputError: views, a batch, pixels, a resize or a precision that it does not have.
    """
    if spec.family == "v3" and job.pixels != "normalised":
        raise InputError(
            f"pixels={job.pixels!r}: stages of Depth Anything 3 take normalised images"
        )
    if spec.family == "v3" and job.resize != "float64":
        raise InputError(
            f"resize={job.resize!r}: Depth Anything 3 resizes photos on their 8 bits; leave it out"
        )
    for views in job.views:
        check_shape(spec, job.batch, views)


def check_shape(spec: ModelSpec, batch: int, views: int) -> None:
    """Refuse a batch or a number of views that a model does not take.

    Raises:
        InputError: several views of a model that takes each photo for itself, or a batch of one
            that takes them together.
    """
    if views != 1 and not spec.any_view:
        raise InputError(f"views={views}: {spec.name} takes each photo for itself; use --batch")
    if batch != 1 and spec.any_view:
        raise InputError(
            f"batch={batch}: {spec.name}, an any-view model, takes --views of one scene"
        )


def check_device(target: str, device: str) -> None:
    """Refuse a device that a target's graphs do not run on.

    Raises:
        InputError: cuda for a target that is not of ``ON_CUDA``, cpu for one that runs there only.
    """
    if device == CUDA and target not in ON_CUDA:
        raise InputError(
            f"device='cuda': graphs for {target} do not run there; leave --device out, or use "
            f"--target {USUAL_ON_CUDA}"
        )
    if device == CPU and ENGINES[target].devices == (CUDA,):
        raise InputError(f"device='cpu': graphs for {target} run on cuda only; leave --device out")


def check_neuron_options(target: str, options: NeuronOptions) -> None:
    """Refuse options that a target's compiler does not have, or does not look at.

    Raises:
        InputError: options of neuron-cc for another compiler, or casts that neuronx-cc cannot do.
    """
    if target == "neuron":
        return
    known = getattr(target_module(target), "NEURON_OPTIONS", ())
    plain = NeuronOptions()
    changed = [
        field.name
        for field in dataclasses.fields(options)
        if field.name not in known and getattr(options, field.name) != getattr(plain, field.name)
    ]
    if changed:
        taken = f"only {' and '.join(known)} do something" if known else "this does nothing"
        raise InputError(f"{', '.join(changed)}: for target {target} {taken}; leave it out")
    casts = getattr(target_module(target), "AUTO_CAST", {})
    if target in BY_CASTS and options.casts not in casts:
        raise InputError(f"casts={options.casts!r}: neuronx-cc knows {', '.join(casts)}")


def check_machine(job: CompileJob) -> None:
    """Refuse what cannot work on this machine, for a job whose target is chosen.

    Raises:
        CheckpointError: the checkpoint is no file.
        InputError: no such device, no photo to calibrate with, an output folder that cannot be
            written to, or a precision that this torch cannot trace or compute.
        MissingDependency: what the precision needs is not installed.
    """
    check_output_folder(job.output)
    if job.checkpoint is not None and not job.checkpoint.is_file():
        found = "is a folder; name the file in it" if job.checkpoint.is_dir() else "no such file"
        raise CheckpointError(f"{job.checkpoint}: {found}")
    if job.device == "cuda":
        torch_device(job.device)
    check = getattr(target_module(job.target), "check_precision_here", None)
    if check is not None:
        check(job.precision, job.device)
    if job.precision == "int8":
        calibration_photos(job.calibration)
        require("nncf", "int8")
