"""python -m compile: checkpoint to artifact, and the fetching of checkpoints."""

import argparse
import logging
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from compile.fetch import fetch_checkpoint, local_checkpoint
from compile.registry import MODELS, table
from compile.targets import CHOICES
from runtime.errors import DepthError

EXAMPLES = """examples:
  python -m compile --model vits                               best target here, 518x518
  python -m compile --model vitl --target onnx --seeded-weights
  python -m compile --model vits --sizes 518x518 518x686 686x518
  python -m compile --model vits-indoor --checkpoint my.safetensors --output artifacts/
  python -m compile fetch --model vitl                         official weights to checkpoints/
  python -m compile --list                                     models, outputs, licences
"""


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
        help="build artifacts (the default), or only fetch official weights",
    )
    parser.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")
    parser.add_argument(
        "--target", default="auto", choices=CHOICES, help="what shall run it; default auto"
    )
    parser.add_argument(
        "--sizes",
        type=size,
        nargs="+",
        default=[(518, 518)],
        metavar="HxW",
        help="input shapes, height first, multiples of 14; default 518x518",
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call; default 1")
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
    parser.add_argument("--list", action="store_true", help="print the models and stop")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    if args.list:
        print(table())
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: no half-made artifact stays
    try:
        (fetch if args.command == "fetch" else build)(args)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


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
