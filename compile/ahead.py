"""What is known before a compile: the commands ``audit``, ``numerics`` and ``plan``.

One function each, parsed arguments in; results go to stdout. Each returns the exit status, None for
done, or raises; torch is imported only once there is something to compute.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compile.checks import check_shape
from compile.fetch import local_checkpoint
from compile.options import FORMS
from compile.registry import find_model
from depth_anything_3.config import NESTED
from runtime.artifact.manifest import InputSpec
from runtime.engines.where import torch_device
from runtime.errors import InputError
from runtime.photo.find import find_photos

if TYPE_CHECKING:
    from compile.trace import Graph

Size = tuple[int, int]

PINNED_TORCH = "1.13.1"


def audit(args: argparse.Namespace) -> int:
    """Print a report a size; 1 if one of them would not run whole on the chip."""
    passes = print_audits(
        args.model,
        args.size,
        args.batch,
        args.views,
        args.without,
        as_json=args.json,
        form=args.form,
    )
    return 0 if passes else 1


def numerics(args: argparse.Namespace) -> int:
    """Print the table of modes and the recommendation; 1 if no mode is within the tolerance."""
    from compile.checkpoint import load_model
    from compile.emulated import emulate

    spec = find_model(args.model)
    for views in args.views or ():
        check_shape(spec, 1, views)
    if spec.name in NESTED:
        raise InputError(
            f"--model {args.model}: two networks; ask for {' and '.join(NESTED[args.model])}"
        )
    if args.device == "cuda":
        torch_device(args.device)
    photos = find_photos(args.photos)
    file = None if args.seeded_weights else args.checkpoint or local_checkpoint(spec)
    if file is None and not args.seeded_weights:
        raise InputError(
            f"no weights of {args.model} here: give --checkpoint FILE, or --seeded-weights for "
            "random ones"
        )
    model, weights = load_model(spec, file)
    found = emulate(spec, model, args.size, photos, args.views, args.device)
    limits = (args.mean, args.pearson)
    best = found.recommended(*limits)
    what = "seeded weights" if weights.seeded else str(weights.file)
    if args.json:
        facts = {"emulation": True, "model": args.model, "weights": what, "size_hw": args.size}
        facts.update(photos=len(photos), **found.facts(), recommended=best)
        print(json.dumps(facts, indent=2))
    else:
        height, width = args.size
        print(f"EMULATED casts of neuron-cc: {args.model} ({what}), {len(photos)} photos at ")
        print(f"{height}x{width}, worst of each measure; max and mean are shares of the range.\n")
        print(found.table())
        verdict = f"recommended: --casts {best}" if best else "no mode is good enough"
        print(f"\n{verdict} (the fastest with {found.asked(*limits)})")
    return 0 if best else 1


def plan(args: argparse.Namespace) -> None:
    """Print the estimate, for Inf1 or for all platforms."""
    from compile import platforms
    from compile import resources as room

    spec = find_model(args.model)
    graphs = list(traced_graphs(args.model, args.size, args.batch, args.views, []))
    if len(graphs) == 1:
        ((name, graph),) = graphs
        needs = room.needs_of(graph, name)
    else:
        needs = room.needs_of_scene(graphs, spec.name, args.views)
    if args.platforms:
        rows = platforms.compare(needs, args.rate, platforms.read_prices(args.prices), args.host_ms)
        write = platforms.as_json if args.json else platforms.as_text
        print(write(needs, rows, args.rate))
        return
    plans = room.plans_for(needs, args.rate)
    print(room.as_json(needs, plans) if args.json else room.as_text(needs, plans, args.rate))


def print_audits(
    model: str,
    sizes_hw: Sequence[Size],
    batch: int,
    views: int,
    without: Sequence[str],
    as_json: bool = False,
    form: str = FORMS[0],
) -> bool:
    """Print a report a size; True if all of them would run whole on the chip."""
    import torch

    from compile import audit as room

    audits: list[room.Audit] = []
    for size_hw in dict.fromkeys(sizes_hw):
        first = len(audits)
        for name, graph in traced_graphs(model, size_hw, batch, views, without, form):
            audits.append(room.audit_graph(graph, name, torch.__version__))
            if not as_json:
                print(room.as_text(audits[-1], PINNED_TORCH), end="\n\n", flush=True)
        smaller = room.smaller_size(audits[first:], size_hw)
        if smaller and not as_json:
            print(f"  {smaller}\n", flush=True)
    if as_json:
        print(room.as_json(audits))
    return all(report.passes for report in audits)


def traced_graphs(
    model: str,
    size_hw: Size,
    batch: int,
    views: int,
    without: Sequence[str],
    form: str = FORMS[0],
) -> Iterator[tuple[str, "Graph"]]:
    """The traced forms that the neuron target compiles; their weights are not set.

    Args:
        form: ``asked``, which is compiled first; ``hybrid``, last; ``eager``, the model as it is,
            or its stages before any rewrite.
    Raises:
        InputError: a rewrite that does not exist, or a batch or views that the model does not take.
    """
    import torch

    from compile.checkpoint import build_model, network_of
    from compile.deploy import MATRIX, check_rewrites
    from compile.stages import stages_of
    from compile.targets import neuron
    from compile.trace import trace

    check_rewrites(without)
    spec = find_model(model)
    check_shape(spec, batch, views)
    if model in NESTED:  # two networks: the metric one takes each view for itself
        for part in NESTED[model]:
            count = (batch, views) if find_model(part).any_view else (views, 1)
            for name, graph in traced_graphs(part, size_hw, *count, without, form):
                yield f"{model}: {name}", graph
        return
    taken_off = {"asked": (), "hybrid": MATRIX, "eager": neuron.REWRITES}[form]
    rewrites = [n for n in neuron.REWRITES if n not in without and n not in taken_off]
    network = network_of(build_model(spec))
    taken = InputSpec(size_hw=size_hw, batch=batch)
    if form == "eager" and spec.family == "v2":
        yield f"{model}, eager", trace(network, torch.zeros(batch, 3, *size_hw))
        return
    stages = stages_of(network, taken, spec.output, views)
    for stage in stages:
        name = model if len(stages) == 1 else f"{model} {stage.name}"
        yield name, trace(stage.make(rewrites), stage.example())
