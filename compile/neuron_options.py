"""The words that concern the Neuron compilers: a command line to ``NeuronOptions``. No torch."""

import argparse

from compile.targets.options import ATTEMPTS, CASTS, DEFAULT_CASTS, OPTLEVELS, NeuronOptions
from runtime.command_line import positive


def add_neuron_options(parser: argparse.ArgumentParser) -> None:
    """What can be told to the Neuron compilers."""
    _add_words(parser.add_argument_group("target neuron; neuronx has the first five"))


def _add_words(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--casts",
        default=DEFAULT_CASTS,
        choices=CASTS,
        help=f"how float32 is rounded, see docs/numerics.md; default {DEFAULT_CASTS}",
    )
    group.add_argument(
        "--no-retries", action="store_true", help="do not try other forms when the compiler fails"
    )
    group.add_argument(
        "-O",
        "--optlevel",
        type=int,
        choices=OPTLEVELS,
        help="the compiler's level of optimisation; default: the compiler's own, 2 for hybrid",
    )
    group.add_argument(
        "--attempts",
        nargs="+",
        choices=list(ATTEMPTS),
        default=[],
        metavar="NAME",
        help=f"try only these, in this order: {', '.join(ATTEMPTS)}",
    )
    group.add_argument(
        "--fresh",
        action="store_true",
        help="forget what an earlier compile, cut short, has done; default goes on from it",
    )
    group.add_argument("--timeout", type=positive, metavar="SECONDS", help="of the compiler")
    group.add_argument(
        "--pipeline-cores",
        type=positive,
        default=1,
        metavar="N",
        help="cores one model is spread over; default 1",
    )
    group.add_argument(
        "--saturate-infinity", action="store_true", help="infinity becomes the largest float"
    )
    group.add_argument("--fast-loading", action="store_true", help="uncompressed graph")
    group.add_argument("--float16-io", action="store_true", help="float16 to and from the chip")
    group.add_argument(
        "--cpu-operators",
        action="store_true",
        help="accept operators on the CPU; default refuses, but for hybrid",
    )
    group.add_argument(
        "--subgraphs", type=positive, default=1, metavar="N", help="most parts accepted; default 1"
    )
    group.add_argument(
        "--minimum-segment-size",
        type=positive,
        metavar="N",
        help="smaller parts stay on the CPU; default 2, and 1 for hybrid",
    )
    group.add_argument(
        "--separate-weights",
        choices=("auto", "yes", "no"),
        default="auto",
        help="weights beside the graph; default: by size",
    )


def neuron_options_of(args: argparse.Namespace) -> NeuronOptions:
    """What was said, checked.

    Raises:
        InputError: a value that no compiler takes.
    """
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
        attempts=tuple(ATTEMPTS[word] for word in args.attempts),
        optlevel=args.optlevel,
        fresh=args.fresh,
    )
