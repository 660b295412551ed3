"""audit, numerics, plan and verify: what is known of a compile for Inferentia, before and after."""

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from compile.registry import MODELS, find_model
from runtime.errors import DepthError, InputError

if TYPE_CHECKING:
    from compile.trace import Graph

PINNED_TORCH = "1.13.1"
RAW = argparse.RawDescriptionHelpFormatter


def size(text: str) -> tuple[int, int]:
    """``HxW`` to (height, width), multiples of 14."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: give HEIGHTxWIDTH, such as 518x686")
    height, width = int(match[1]), int(match[2])
    nearest = tuple(max(14, round(side / 14) * 14) for side in (height, width))
    if nearest != (height, width):
        raise argparse.ArgumentTypeError(
            f"{text}: sides must be multiples of 14; nearest is {nearest[0]}x{nearest[1]}"
        )
    return height, width


def _audit_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compile audit",
        description="Trace the form that would be compiled for Inf1 and say which of its operators "
        "the chip runs, in how many parts, and what may still go wrong. Exit 1 if anything would "
        "fall to the CPU. Weights play no part. Takes seconds; about a minute for vitl.",
        epilog="examples:\n"
        "  python -m compile audit --model vits --size 518x518\n"
        "  python -m compile audit --model vitl --size 518x518 518x686 --json\n"
        "  python -m compile audit --model da3-small --views 4\n"
        "  python -m compile audit --without matrix-resize     with the framework's own resize\n",
        formatter_class=RAW,
    )
    _add_model(parser)
    parser.add_argument("--views", type=int, default=1, help="photos of a scene at once; default 1")
    parser.add_argument("--without", nargs="+", default=[], metavar="REWRITE", help="leave out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _numerics_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compile numerics",
        description="Emulate neuron-cc's cast modes on photos and compare with float32. An "
        "emulation of the documented roundings, not of the chip. Recommends the fastest mode "
        "within the tolerance.",
        epilog="examples:\n"
        "  python -m compile numerics --model demo\n"
        "  python -m compile numerics --model vits --checkpoint FILE --photos my_photos/\n"
        "  python -m compile numerics --model vits-indoor --seeded-weights --size 266x266\n",
        formatter_class=RAW,
    )
    _add_model(parser, sizes=False)
    parser.add_argument(
        "--photos", type=Path, default=Path("input_images"), help="folder; default input_images/"
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to use")
    weights.add_argument("--seeded-weights", action="store_true", help="random weights")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    parser.add_argument("--mean", type=float, metavar="SHARE", help="mean error allowed, of range")
    parser.add_argument("--pearson", type=float, metavar="R", help="least correlation allowed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _plan_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compile plan",
        description="Estimate what a model needs on Inf1: operations, memory, time, instances and "
        "dollars for a rate of images. Estimates from published numbers, not measurements.",
        epilog="examples:\n"
        "  python -m compile plan --model vits --rate 2000\n"
        "  python -m compile plan --model vitl --size 518x686 --rate 10 --json\n",
        formatter_class=RAW,
    )
    _add_model(parser, sizes=False)
    parser.add_argument("--rate", type=float, default=100, metavar="IMAGES_S", help="default 100")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _verify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compile verify",
        description="Compare an artifact with the eager model on this machine and write the report "
        "into its manifest. For Inferentia graphs, which are compiled where no chip is: run it on "
        "the instance that will serve them.",
        epilog="example: python -m compile verify artifacts/vits-518x518-b1-neuron",
    )
    parser.add_argument("artifact", type=Path, help="folder of the artifact")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights it was made of")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser


def _add_model(parser: argparse.ArgumentParser, sizes: bool = True) -> None:
    parser.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")
    parser.add_argument(
        "--size",
        type=size,
        nargs="+" if sizes else None,
        default=[(518, 518)] if sizes else (518, 518),
        metavar="HxW",
        help="height first, multiples of 14; default 518x518",
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call; default 1")


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; returns the exit status."""
    parser, run = COMMANDS[arguments[0]]
    args = parser().parse_args(arguments[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return run(args)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def audit(args: argparse.Namespace) -> int:
    """Print a report a size; 1 if one of them would not run whole on the chip."""
    import torch

    from compile import audit as room

    audits = []
    for size_hw in args.size:
        for name, graph in traced_graphs(args.model, size_hw, args.batch, args.views, args.without):
            audits.append(room.audit_graph(graph, name, torch.__version__))
            if not args.json:
                print(room.as_text(audits[-1], PINNED_TORCH), end="\n\n", flush=True)
    if args.json:
        print(room.as_json(audits))
    return 0 if all(report.passes for report in audits) else 1


def numerics(args: argparse.Namespace) -> int:
    """Print the table of modes and the recommendation; 1 if no mode is within the tolerance."""
    import torch
    from tqdm import tqdm

    from compile import numerics as room
    from compile.checkpoint import load_model
    from compile.fetch import local_checkpoint
    from depth_anything_v2.dpt import DepthAnythingV2
    from runtime.photo.find import find_photos

    mean = room.MEAN_TOLERANCE if args.mean is None else args.mean
    pearson = room.PEARSON_TOLERANCE if args.pearson is None else args.pearson
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA GPU here; use --device cpu")
    spec = find_model(args.model)
    if spec.family != "v2":
        raise InputError(f"--model {args.model}: the casts are emulated for V2's models only")
    file = None if args.seeded_weights else args.checkpoint or local_checkpoint(spec)
    if file is None and not args.seeded_weights:
        raise InputError(
            f"no weights of {args.model} here: give --checkpoint FILE, or --seeded-weights for "
            "random ones"
        )
    model, weights = load_model(spec, file)
    photos = find_photos(args.photos)
    modes = tqdm(room.MODES, unit="mode", disable=not sys.stderr.isatty())
    assert isinstance(model, DepthAnythingV2)
    errors = room.measure_model(model, args.size, photos, modes, args.device)
    best = room.recommend(errors, mean, pearson)
    what = "seeded weights" if weights.seeded else str(weights.file)
    height, width = args.size
    if args.json:
        facts = {
            "emulation": True,
            "model": args.model,
            "weights": what,
            "size_hw": args.size,
            "photos": len(photos),
            "modes": [asdict(error) for error in errors],
            "recommended": best.mode if best else None,
        }
        print(json.dumps(facts, indent=2))
    else:
        print(f"EMULATED casts of neuron-cc: {args.model} ({what}), {len(photos)} photos at ")
        print(f"{height}x{width}, worst of each measure; max and mean are shares of the range.\n")
        print(room.table(errors))
        asked = f"mean <= {mean:.1%} of the range and correlation >= {pearson}"
        verdict = f"recommended: --casts {best.mode}" if best else "no mode is good enough"
        print(f"\n{verdict} (the fastest with {asked} on every photo)")
    return 0 if best else 1


def plan(args: argparse.Namespace) -> int:
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
    if args.json:
        facts = {"estimate": True, "needs": asdict(needs), "plans": [asdict(p) for p in plans]}
        print(json.dumps(facts, indent=2))
    else:
        print(room.as_text(needs, plans, args.rate))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Print the artifact's folder once its manifest says ``passed``."""
    from compile.verify import verify_artifact

    print(verify_artifact(args.artifact, args.checkpoint, args.device).path)
    return 0


def traced_graphs(
    model: str, size_hw: tuple[int, int], batch: int, views: int, without: Sequence[str]
) -> Iterator[tuple[str, "Graph"]]:
    """The traced forms that the neuron target compiles first; their weights are not set."""
    from compile.checkpoint import build_model, network_of
    from compile.deploy import check_rewrites
    from compile.stages import stages_of
    from compile.targets import neuron
    from compile.trace import trace
    from depth_anything_3.config import NESTED
    from runtime.artifact.manifest import InputSpec

    check_rewrites(without)
    if model in NESTED:  # two networks: the metric one takes each view for itself
        for part in NESTED[model]:
            count = (batch, views) if find_model(part).any_view else (views, 1)
            for name, graph in traced_graphs(part, size_hw, *count, without):
                yield f"{model}: {name}", graph
        return
    rewrites = [name for name in neuron.REWRITES if name not in without]
    spec = find_model(model)
    network = network_of(build_model(spec))
    stages = stages_of(network, InputSpec(size_hw, batch), spec.output, views)
    for stage in stages:
        name = model if len(stages) == 1 else f"{model} {stage.name}"
        yield name, trace(stage.make(rewrites), stage.example())


COMMANDS = {
    "audit": (_audit_parser, audit),
    "numerics": (_numerics_parser, numerics),
    "plan": (_plan_parser, plan),
    "verify": (_verify_parser, verify),
}
