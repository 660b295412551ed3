"""What the commands of ``python -m compile`` do: one function each, parsed arguments in.

Results go to stdout. Each returns the exit status, None for done, or raises; torch is imported only
once there is something to compute.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Optional, Union

from compile.checks import check_cuda, check_shape
from compile.fetch import WITHOUT_WEIGHTS, default_model, fetch_checkpoint, local_checkpoint
from compile.options import USUAL
from compile.registry import ModelSpec, find_model, table
from compile.targets import NEURON_TARGETS, pick_target
from compile.targets.options import NeuronOptions
from runtime.artifact.manifest import InputSpec
from runtime.command_line import USAGE, UsageError
from runtime.errors import InputError, MissingDependency
from runtime.photo.find import find_photos

if TYPE_CHECKING:
    from compile.job import CompileJob
    from compile.numerics import ModeError
    from compile.trace import Graph

Size = tuple[int, int]

PINNED_TORCH = "1.13.1"


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


def audit(args: argparse.Namespace) -> int:
    """Print a report a size; 1 if one of them would not run whole on the chip."""
    passes = print_audits(
        args.model, args.size, args.batch, args.views, args.without, as_json=args.json
    )
    return 0 if passes else 1


def numerics(args: argparse.Namespace) -> int:
    """Print the table of modes and the recommendation; 1 if no mode is within the tolerance."""
    from tqdm import tqdm

    from compile import numerics as room
    from compile.checkpoint import load_model
    from depth_anything_v2.dpt import DepthAnythingV2

    spec = find_model(args.model)
    if spec.family != "v2":
        raise InputError(f"--model {args.model}: the casts are emulated for V2's models only")
    if args.device == "cuda":
        check_cuda()
    photos = find_photos(args.photos)
    file = None if args.seeded_weights else args.checkpoint or local_checkpoint(spec)
    if file is None and not args.seeded_weights:
        raise InputError(
            f"no weights of {args.model} here: give --checkpoint FILE, or --seeded-weights for "
            "random ones"
        )
    model, weights = load_model(spec, file)
    assert isinstance(model, DepthAnythingV2)
    modes = tqdm(room.MODES, unit="mode", disable=not sys.stderr.isatty())
    errors = room.measure_model(model, args.size, photos, modes, args.device)
    mean = room.MEAN_TOLERANCE if args.mean is None else args.mean
    pearson = room.PEARSON_TOLERANCE if args.pearson is None else args.pearson
    best = room.recommend(errors, mean, pearson)
    what = "seeded weights" if weights.seeded else str(weights.file)
    if args.json:
        print(json.dumps(_numerics_facts(args, what, len(photos), errors, best), indent=2))
    else:
        height, width = args.size
        print(f"EMULATED casts of neuron-cc: {args.model} ({what}), {len(photos)} photos at ")
        print(f"{height}x{width}, worst of each measure; max and mean are shares of the range.\n")
        print(room.table(errors))
        asked = f"mean <= {mean:.1%} of the range and correlation >= {pearson}"
        verdict = f"recommended: --casts {best.mode}" if best else "no mode is good enough"
        print(f"\n{verdict} (the fastest with {asked} on every photo)")
    return 0 if best else 1


def plan(args: argparse.Namespace) -> None:
    """Print the estimate."""
    from compile import resources as room

    if find_model(args.model).any_view:
        raise InputError(
            f"--model {args.model}: several graphs, which this estimate does not add up; "
            "`python -m compile audit` has the work of each"
        )
    ((name, graph),) = traced_graphs(args.model, args.size, args.batch, 1, [])
    needs = room.needs_of(graph, name)
    plans = room.plans_for(needs, args.rate)
    print(room.as_json(needs, plans) if args.json else room.as_text(needs, plans, args.rate))


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
    try:
        return CompileJob(
            model=spec.name,
            target=pick_target() if args.target == "auto" else args.target,
            sizes_hw=sizes_of(args.sizes, spec),
            batch=args.batch,
            output=args.output,
            checkpoint=args.checkpoint,
            seeded=args.seeded,
            device=args.device,
            pixels=args.pixels,
            without=tuple(args.without),
            neuron=_neuron_options(args),
            views=tuple(args.views),
            precision=args.precision,
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


def _neuron_options(args: argparse.Namespace) -> NeuronOptions:
    return NeuronOptions(
        casts=args.casts,
        pipeline_cores=args.pipeline_cores,
        saturate_infinity=args.saturate_infinity,
        fast_loading=args.fast_loading,
        float16_io=args.float16_io,
        timeout_s=args.timeout,
        cpu_operators=args.cpu_operators,
        subgraphs=args.subgraphs,
        minimum_segment_size=args.minimum_segment_size,
        separate_weights={"auto": None, "yes": True, "no": False}[args.separate_weights],
        retries=not args.no_retries,
    )


def _numerics_facts(
    args: argparse.Namespace,
    weights: str,
    photos: int,
    errors: Sequence["ModeError"],
    best: Optional["ModeError"],
) -> dict[str, Any]:
    return {
        "emulation": True,
        "model": args.model,
        "weights": weights,
        "size_hw": args.size,
        "photos": photos,
        "modes": [asdict(error) for error in errors],
        "recommended": best.mode if best else None,
    }


def print_audits(
    model: str,
    sizes_hw: Sequence[Size],
    batch: int,
    views: int,
    without: Sequence[str],
    as_json: bool = False,
) -> bool:
    """Print a report a size; True if all of them would run whole on the chip."""
    import torch

    from compile import audit as room

    audits = []
    for size_hw in dict.fromkeys(sizes_hw):
        for name, graph in traced_graphs(model, size_hw, batch, views, without):
            audits.append(room.audit_graph(graph, name, torch.__version__))
            if not as_json:
                print(room.as_text(audits[-1], PINNED_TORCH), end="\n\n", flush=True)
    if as_json:
        print(room.as_json(audits))
    return all(report.passes for report in audits)


def traced_graphs(
    model: str, size_hw: Size, batch: int, views: int, without: Sequence[str]
) -> Iterator[tuple[str, "Graph"]]:
    """The traced forms that the neuron target compiles first; their weights are not set.

    Raises:
        InputError: a rewrite that does not exist, or a batch or views that the model does not take.
    """
    from compile.checkpoint import build_model, network_of
    from compile.deploy import check_rewrites
    from compile.stages import stages_of
    from compile.targets import neuron
    from compile.trace import trace
    from depth_anything_3.config import NESTED

    check_rewrites(without)
    spec = find_model(model)
    check_shape(spec, batch, views)
    if model in NESTED:  # two networks: the metric one takes each view for itself
        for part in NESTED[model]:
            count = (batch, views) if find_model(part).any_view else (views, 1)
            for name, graph in traced_graphs(part, size_hw, *count, without):
                yield f"{model}: {name}", graph
        return
    rewrites = [name for name in neuron.REWRITES if name not in without]
    network = network_of(build_model(spec))
    taken = InputSpec(size_hw=size_hw, batch=batch)
    stages = stages_of(network, taken, spec.output, views)
    for stage in stages:
        name = model if len(stages) == 1 else f"{model} {stage.name}"
        yield name, trace(stage.make(rewrites), stage.example())
