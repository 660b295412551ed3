"""The command line of ``python -m compile``: words to a namespace, no more. No torch."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from compile.checks import PIXELS, RESIZE_IN
from compile.neuron_options import add_neuron_options
from compile.registry import MODELS, PATCH
from compile.targets import CHOICES
from runtime.artifact.manifest import PRECISIONS
from runtime.command_line import above_zero, positive
from runtime.engines import DEVICES

USUAL = "usual"  # a word in the place of a size
BUILD = "build"  # the command that is meant if none is named
PHOTOS = Path("input_images")
HOST_MS = 28.6  # docs/scale.md: read, decode, finish, write and coordination of a small photo
FORMS = ("asked", "hybrid", "eager")  # of a model, to be audited

EXAMPLES = """examples:
  python -m compile                        weights and target that are here; the same as `build`
  python -m compile --model vits --sizes 518x518 518x686 686x518
  python -m compile fetch --model vitl     official weights to checkpoints/
  python -m compile list                   models, outputs, licences
  python -m compile build --help           all options of a compile

before and after a compile for Inferentia:
  python -m compile audit                  which operators the chip runs, and what may go wrong
  python -m compile numerics               what its casts do to the answer, emulated
  python -m compile plan                   how many instances a rate needs; what an image costs
  python -m compile verify ARTIFACT        on the instance: the artifact against the model
"""
BUILD_EXAMPLES = """examples (the word `build` may be left out):
  python -m compile                                            weights and target that are here
  python -m compile --model vits                               best target here, 518x518
  python -m compile --model vitl --target onnx --seeded-weights
  python -m compile --model vits --sizes usual 1036x1036
  python -m compile --model vits-indoor --checkpoint my.safetensors --output artifacts/
  python -m compile --model vits --target torchscript --precision f16 --batch 8    for a GPU
  python -m compile --model da3-small --views 1 2 4
  python -m compile --model vits --target neuron --casts matmult --timeout 3600
  python -m compile --model vits --target neuron --attempts as-asked hybrid --optlevel 2
"""
FETCH_EXAMPLES = """examples:
  python -m compile fetch --model vits
  python -m compile fetch --model da3-small
"""
LIST_EXAMPLES = """examples:
  python -m compile list
"""
AUDIT_EXAMPLES = """examples:
  python -m compile audit --model vits --size 518x518
  python -m compile audit --model vitl --size 518x518 518x686 --json
  python -m compile audit --model da3-small --views 4
  python -m compile audit --without matrix-resize     with the framework's own resize
  python -m compile audit --form hybrid               what the last attempt leaves to the CPU
"""
NUMERICS_EXAMPLES = """examples:
  python -m compile numerics --model demo
  python -m compile numerics --model vits --checkpoint FILE --photos my_photos/
  python -m compile numerics --model vits-indoor --seeded-weights --size 266x266
  python -m compile numerics --model da3-small --seeded-weights --size 280x504 --views 1 3
"""
PLAN_EXAMPLES = """examples:
  python -m compile plan --model vits --rate 2000
  python -m compile plan --model vitl --size 518x686 --rate 10 --json
  python -m compile plan --model da3-small --size 280x504 --views 4
  python -m compile plan --model vits --rate 100 --platforms --prices my_prices.json
"""
VERIFY_EXAMPLES = """examples:
  python -m compile verify artifacts/vits-518x518-b1-neuron
  python -m compile verify artifacts/vits-518x518-b1-neuron --checkpoint my.safetensors
"""

Commands = Any  # argparse's private class for sub-commands


def with_command(arguments: Sequence[str]) -> list[str]:
    """The same words, with ``build`` before them if they name no command.

    An option in the first place means a compile, but for ``-h`` and ``--help``, which stay those of
    the whole. Any other word stays, and the parser takes or refuses it.
    """
    words = list(arguments)
    if words and (words[0] in ("-h", "--help") or not words[0].startswith("-")):
        return words
    return [BUILD, *words]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m compile",
        description="Checkpoints to artifacts, and what is known before and after. Each command "
        f"has its own --help; without one, `{BUILD}` is meant.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_build(commands)
    _add_fetch(commands)
    _add(commands, "list", "models, outputs, licences", "Print the table of models.", LIST_EXAMPLES)
    _add_audit(commands)
    _add_numerics(commands)
    _add_plan(commands)
    _add_verify(commands)
    return parser


def _add(
    commands: Commands, name: str, text: str, description: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(parser=parser)  # whose usage is shown if options do not go together
    return parser


def _add_build(commands: Commands) -> None:
    parser = _add(
        commands,
        BUILD,
        "compile; the default",
        "Compile a depth model for one or more fixed shapes, check the graph against the eager "
        "model, and write one artifact a shape. Prints their folders.",
        BUILD_EXAMPLES,
    )
    parser.add_argument(
        "--model", choices=list(MODELS), help="default: the first that has weights here"
    )
    parser.add_argument(
        "--target", default="auto", choices=CHOICES, help="what shall run it; default auto"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what matrix products are computed in; default f16 on CUDA, else f32. "
        "openvino has bf16 and int8, torchscript and pt2 bf16 and f16, tensorrt f16",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER",
        help=f"photos that int8 is fitted to, like those it will see; default {PHOTOS}/",
    )
    parser.add_argument(
        "--sizes",
        type=_size_or_usual,
        nargs="+",
        default=[(518, 518)],
        metavar="HxW",
        help="input shapes, height first, multiples of 14; default 518x518. `usual`: the model's "
        "own, three shapes for V2 and seven for Depth Anything 3",
    )
    parser.add_argument("--batch", type=positive, default=1, help="images a call; default 1")
    parser.add_argument(
        "--views",
        type=positive,
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
        "--device", default="auto", choices=DEVICES, help="where parity runs; default auto"
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
        choices=PIXELS,
        help="what the graph takes: normalised float32, RGB 0..255 as float32 or as uint8 (a "
        "quarter of the bytes to the chip, rounds the resized photo); default rgb8 for V2 on CUDA, "
        "else normalised",
    )
    parser.add_argument(
        "--resize",
        choices=RESIZE_IN,
        default=RESIZE_IN[0],
        help="what V2's photos are resized in: float64, as upstream does (default), or float32, in "
        "half the time and off by at most 4e-5 on photos",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="REWRITE",
        help="exact rewrites to leave out (docs/inferentia.md lists them)",
    )
    parser.add_argument("--list", action="store_true", help="the same as the command `list`")
    add_neuron_options(parser)


def _add_fetch(commands: Commands) -> None:
    parser = _add(
        commands,
        "fetch",
        "official weights to checkpoints/",
        "Fetch a model's official weights, check them and write down what they are, unless they "
        "are here. Prints their path; their licence goes to stderr.",
        FETCH_EXAMPLES,
    )
    parser.add_argument("--model", choices=list(MODELS), help="default vits")


def _add_audit(commands: Commands) -> None:
    parser = _add(
        commands,
        "audit",
        "which operators Inferentia runs",
        "Trace the form that would be compiled for Inf1 and say which of its operators the chip "
        "runs, in how many parts, and what may still go wrong. Exit 1 if anything would fall to "
        "the CPU. Weights play no part. Takes seconds; about a minute for vitl.",
        AUDIT_EXAMPLES,
    )
    _add_model(parser)
    parser.add_argument(
        "--size",
        type=size,
        nargs="+",
        default=[(518, 518)],
        metavar="HxW",
        help="height first, multiples of 14; default 518x518",
    )
    _add_batch(parser)
    parser.add_argument(
        "--views", type=positive, default=1, help="photos of a scene at once; default 1"
    )
    parser.add_argument(
        "--form",
        default=FORMS[0],
        choices=FORMS,
        help="asked: what is compiled first; hybrid: the last attempt, resizes on the CPU; eager: "
        f"the model as it is; default {FORMS[0]}",
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="REWRITE", help="leave out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_numerics(commands: Commands) -> None:
    parser = _add(
        commands,
        "numerics",
        "what Inferentia's casts do to the answer, emulated",
        "Emulate neuron-cc's cast modes on photos and compare with float32. An emulation of the "
        "documented roundings, not of the chip. Recommends the fastest mode within the tolerance; "
        "exit 1 if there is none.",
        NUMERICS_EXAMPLES,
    )
    _add_model(parser)
    _add_size(parser)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help=f"folder; default {PHOTOS}/")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to use")
    weights.add_argument("--seeded-weights", action="store_true", help="random weights")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    parser.add_argument(
        "--views",
        type=positive,
        nargs="+",
        metavar="N",
        help="photos of a scene, any-view models only; default 1 and 3",
    )
    parser.add_argument(
        "--mean", type=above_zero, metavar="SHARE", help="mean error allowed, of range"
    )
    parser.add_argument("--pearson", type=above_zero, metavar="R", help="least correlation allowed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_plan(commands: Commands) -> None:
    parser = _add(
        commands,
        "plan",
        "instances and dollars for a rate, estimated",
        "Estimate what a model needs on Inf1: operations, memory, time, instances and dollars for "
        "a rate of images; with --platforms, on other instances too. Estimates from published "
        "numbers, not measurements.",
        PLAN_EXAMPLES,
    )
    _add_model(parser)
    _add_size(parser)
    _add_batch(parser)
    parser.add_argument(
        "--views", type=positive, default=1, help="photos of a scene at once; default 1"
    )
    parser.add_argument(
        "--platforms",
        action="store_true",
        help="compare Inf1 with Inf2, CPU and GPU instances; each figure says where it is from",
    )
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="JSON of prices, in place of compile/data's"
    )
    parser.add_argument(
        "--host-ms",
        type=above_zero,
        default=HOST_MS,
        metavar="MS",
        help="processor time that reading, decoding and writing take an image, which --platforms "
        f"counts in; default {HOST_MS}, `benchmarks fleet` for 640x480 as png16",
    )
    parser.add_argument(
        "--rate", type=above_zero, default=100.0, metavar="IMAGES_S", help="default 100"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_verify(commands: Commands) -> None:
    parser = _add(
        commands,
        "verify",
        "an artifact against the model, on this machine",
        "Compare an artifact with the eager model on this machine and write the report into its "
        "manifest. For graphs for Inferentia, which are compiled where no chip is: run it on the "
        "instance that will serve them.",
        VERIFY_EXAMPLES,
    )
    parser.add_argument("artifact", type=Path, help="folder of the artifact")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights it was made of")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="default auto")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="vits", choices=list(MODELS), help="default vits")


def _add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=size,
        default=(518, 518),
        metavar="HxW",
        help="height first, multiples of 14; default 518x518",
    )


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=positive, default=1, help="images a call; default 1")


def size(text: str) -> tuple[int, int]:
    """Argument type: ``HxW``, (height, width), multiples of 14."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: give HEIGHTxWIDTH, such as 518x686")
    height, width = int(match[1]), int(match[2])
    nearest = tuple(max(PATCH, round(side / PATCH) * PATCH) for side in (height, width))
    if nearest != (height, width):
        raise argparse.ArgumentTypeError(
            f"{text}: sides must be multiples of {PATCH}; nearest is {nearest[0]}x{nearest[1]}"
        )
    return height, width


def _size_or_usual(text: str) -> Union[str, tuple[int, int]]:
    return text if text == USUAL else size(text)
