"""What the commands of ``python -m compile`` do: one function each, parsed arguments in.

Results go to stdout. Each returns the exit status, None for done, or raises; torch is imported only
once there is something to compute.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional, Union

from compile.ahead import print_audits
from compile.fetch import WITHOUT_WEIGHTS, default_model, fetch_checkpoint, local_checkpoint
from compile.neuron_options import neuron_options_of
from compile.options import USUAL
from compile.registry import ModelSpec, find_model, table
from compile.targets import NEURON_TARGETS, pick_target, usual_pixels, usual_precision
from runtime.command_line import USAGE, UsageError
from runtime.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from compile.job import CompileJob

Size = tuple[int, int]


def build(args: argparse.Namespace) -> Optional[int]:
    """Compile every size; prints the artifacts' folders.

    2 if the target's compiler is not installed; for Inf1 the audit is printed then.
    """
    if args.list:
        list_models(args)
        return None
    from compile.job import compile_model

    job = job_of(args)
    try:
        for artifact in compile_model(job):
            print(artifact.path, flush=True)
    except MissingDependency as error:
        if job.target not in NEURON_TARGETS:
            raise
        if job.target == "neuron":  # what can be said of Inf1 without its compiler
            print_audits(job.model, job.sizes_hw, job.batch, job.views[0], job.without)
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    return None


def fetch(args: argparse.Namespace) -> None:
    """Fetch official weights unless they are here; prints their path, and the licence to stderr."""
    spec = find_model(args.model or WITHOUT_WEIGHTS)
    file = local_checkpoint(spec)
    if file is None:
        file = fetch_checkpoint(spec)
    else:
        logging.info("%s is here already", file)
    logging.info("licence of the %s weights: %s", spec.name, spec.licence)
    print(file)


def list_models(args: argparse.Namespace) -> None:
    """Print the table of models."""
    print(table())


def verify(args: argparse.Namespace) -> None:
    """Print the artifact's folder once its manifest says ``passed``."""
    from compile.verify import verify_artifact

    print(verify_artifact(args.artifact, args.checkpoint, args.device).path)


def job_of(args: argparse.Namespace) -> "CompileJob":
    """The compile that is asked for, its model, target and sizes chosen.

    Raises:
        UsageError: options that do not go together.
    """
    from compile.job import CompileJob

    if args.calibration is not None and args.precision != "int8":
        raise UsageError("--calibration: photos are for --precision int8 only")
    if args.seeded == "always" and args.checkpoint is not None:
        raise UsageError("--seeded-weights: not together with --checkpoint")
    spec = find_model(args.model or _unnamed_model(args))
    more = {} if args.calibration is None else {"calibration": args.calibration}
    target = pick_target(args.device) if args.target == "auto" else args.target
    try:
        return CompileJob(
            model=spec.name,
            target=target,
            sizes_hw=sizes_of(args.sizes, spec),
            batch=args.batch,
            output=args.output,
            checkpoint=args.checkpoint,
            seeded=args.seeded,
            device=args.device,
            pixels=args.pixels or usual_pixels(target, args.device, spec.family),
            resize=args.resize,
            without=tuple(args.without),
            neuron=neuron_options_of(args),
            views=tuple(args.views),
            precision=args.precision or usual_precision(target, args.device),
            **more,
        )
    except InputError as error:
        raise UsageError(str(error)) from error


def sizes_of(words: Sequence[Union[str, Size]], spec: ModelSpec) -> tuple[Size, ...]:
    """Sizes (height, width) in the order given, each once; ``usual`` stands for the model's own."""
    sizes: list[Size] = []
    for word in words:
        if isinstance(word, str):
            assert word == USUAL, word
            sizes += spec.usual_sizes
        else:
            sizes.append(word)
    return tuple(dict.fromkeys(sizes))


def _unnamed_model(args: argparse.Namespace) -> str:
    """What is meant if no model is named: one that has weights, unless others are given."""
    given = args.checkpoint or args.seeded == "always"
    return WITHOUT_WEIGHTS if given else default_model()
