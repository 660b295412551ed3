"""python -m compile: checkpoint to artifact, and what is known before and after."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from compile import commands
from compile.fetch import (
    WITHOUT_WEIGHTS,
    default_model,
    fetch_checkpoint,
    local_checkpoint,
)
from compile.registry import MODELS, table
from compile.targets import CHOICES, NEURON_TARGETS
from compile.targets.options import CASTS, DEFAULT_CASTS, NeuronOptions
from runtime.artifact.manifest import PRECISIONS
from runtime.errors import DepthError, MissingDependency

USUAL = "usual"
EXAMPLES = """examples:
  python -m compile                                            weights and target that are here
  python -m compile --model vits                               best target here, 518x518
  python -m compile --model vitl --target onnx --seeded-weights
  python -m compile --model vits --sizes 518x518 518x686 686x518
  python -m compile --model vits-indoor --checkpoint my.safetensors --output artifacts/
  python -m compile --model vits --target torchscript --precision f16 --batch 8    for a GPU
  python -m compile --model vits --target neuron --casts matmult --timeout 3600
  python -m compile fetch --model vitl                         official weights to checkpoints/
  python -m compile --list                                     models, outputs, licences

before and after a compile for Inferentia (each has its own --help):
  python -m compile audit     which operators the chip runs, and what may still go wrong
  python -m compile numerics  what its casts do to the answer, emulated
  python -m compile plan      how many instances a rate needs, and what an image costs
  python -m compile verify    on the instance: the artifact against the model
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m compile",
        description="Compile a depth model for one or more fixed shapes, check the graph against "
        "the eager model, and write one artifact a shape. Prints their folders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        default="build",
        choices=("build", "fetch"),
        help="build artifacts (the default), or only fetch official weights; see below for more",
    )
    parser.add_argument(
        "--model", choices=list(MODELS), help="default: the first that has weights here"
    )
    parser.add_argument(
        "--target", default="auto", choices=CHOICES, help="what shall run it; default auto"
    )
    parser.add_argument(
        "--precision",
        default="f32",
        choices=PRECISIONS,
        help="what matrix products are computed in; default f32. openvino has bf16 and int8, "
        "torchscript bf16 and f16",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        default=Path("input_images"),
        metavar="FOLDER",
        help="photos that int8 is fitted to, like those it will see; default input_images/",
    )
    parser.add_argument(
        "--sizes",
        type=_size_or_usual,
        nargs="+",
        default=[(518, 518)],
        metavar="HxW",
        help="input shapes, height first, multiples of 14; default 518x518. `usual`: the model's "
        "three for square, wide and upright photos",
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call; default 1")
    parser.add_argument(
        "--views",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="photos of one scene a call, any-view models only; default 1",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("artifacts"), help="folder; default artifacts/"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to use")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where parity runs"
    )
    seeded = parser.add_mutually_exclusive_group()
    seeded.add_argument(
        "--seeded-weights",
        dest="seeded",
        action="store_const",
        const="always",
        default="never",
        help="random weights: everything works, the depth means nothing",
    )
    seeded.add_argument(
        "--seeded-fallback",
        dest="seeded",
        action="store_const",
        const="fallback",
        help="the same, only if no checkpoint can be found or fetched",
    )
    parser.add_argument(
        "--pixels",
        default="normalised",
        choices=("normalised", "rgb", "rgb8"),
        help="what the graph takes: normalised float32, RGB 0..255 as float32 or as uint8 (a "
        "quarter of the bytes to the chip, rounds the resized photo); default normalised",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="REWRITE",
        help="exact rewrites to leave out (docs/inferentia.md lists them)",
    )
    parser.add_argument("--list", action="store_true", help="print the models and stop")
    _add_neuron_options(parser.add_argument_group("targets neuron and neuronx"))
    return parser


def _add_neuron_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--casts",
        default=DEFAULT_CASTS,
        choices=CASTS,
        help=f"how float32 is rounded, see docs/numerics.md; default {DEFAULT_CASTS}",
    )
    group.add_argument("--timeout", type=int, metavar="SECONDS", help="of the compiler")
    group.add_argument(
        "--pipeline-cores", type=int, default=1, metavar="N", help="cores one model is spread over"
    )
    group.add_argument(
        "--saturate-infinity", action="store_true", help="infinity becomes the largest float"
    )
    group.add_argument("--fast-loading", action="store_true", help="uncompressed graph")
    group.add_argument("--float16-io", action="store_true", help="float16 to and from the chip")
    group.add_argument(
        "--cpu-operators", action="store_true", help="accept operators on the CPU; default refuses"
    )
    group.add_argument(
        "--subgraphs", type=int, default=1, metavar="N", help="most parts accepted; default 1"
    )
    group.add_argument(
        "--minimum-segment-size", type=int, default=2, metavar="N", help="smaller parts stay on CPU"
    )
    group.add_argument(
        "--separate-weights",
        choices=("auto", "yes", "no"),
        default="auto",
        help="weights beside the graph; default: by size",
    )
    group.add_argument(
        "--no-retries", action="store_true", help="do not try other forms when the compiler fails"
    )


def _size_or_usual(text: str) -> Union[str, tuple[int, int]]:
    return text if text == USUAL else commands.size(text)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in commands.COMMANDS:
        return commands.main(arguments)
    args = build_parser().parse_args(arguments)
    if args.list:
        print(table())
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: no half-made artifact stays
    try:
        args.model = args.model or _unnamed_model(args)
        if USUAL in args.sizes:
            args.sizes = MODELS[args.model].usual_sizes
        (fetch if args.command == "fetch" else build)(args)
    except MissingDependency as error:
        if args.target not in NEURON_TARGETS:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if args.target == "neuron":  # what can be said of Inf1 without its compiler
            sizes = [f"{height}x{width}" for height, width in args.sizes]
            without = ["--without", *args.without] if args.without else []
            shape = ["--size", *sizes, "--batch", str(args.batch)]
            shape += ["--views", str(args.views[0])]
            commands.main(["audit", "--model", args.model, *shape, *without])
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _unnamed_model(args: argparse.Namespace) -> str:
    """What is meant where no model is named: one that has weights, unless others are given."""
    given = args.command == "fetch" or args.checkpoint or args.seeded == "always"
    return WITHOUT_WEIGHTS if given else default_model()


def build(args: argparse.Namespace) -> None:
    """Compile every size; prints the artifacts' folders."""
    from compile.job import CompileJob, compile_model

    job = CompileJob(
        args.model,
        args.target,
        tuple(args.sizes),
        args.batch,
        args.output,
        args.checkpoint,
        args.seeded,
        args.device,
        args.pixels,
        tuple(args.without),
        views=tuple(args.views),
        precision=args.precision,
        calibration=args.calibration,
        neuron=NeuronOptions(
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
        ),
    )
    for artifact in compile_model(job):
        print(artifact.path, flush=True)


def fetch(args: argparse.Namespace) -> None:
    """Fetch official weights unless they are here; prints their path, and the licence to stderr."""
    spec = MODELS[args.model]
    file = local_checkpoint(spec)
    if file is None:
        file = fetch_checkpoint(spec)
    else:
        logging.info("%s is here already", file)
    logging.info("licence of the %s weights: %s", spec.name, spec.licence)
    print(file)


if __name__ == "__main__":
    sys.exit(main())
