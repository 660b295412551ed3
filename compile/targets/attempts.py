"""In which ways a form is put to neuron-cc, and in which order.

A graph's source in; attempts out: rewrites, the compiler's arguments, what is kept off the chip.
Nothing is compiled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from compile.audit import audit_graph
from compile.deploy import COMMON, MATRIX
from compile.numerics import FP32_CAST, MODES
from compile.targets.options import ATTEMPTS, HYBRID, NeuronOptions
from compile.targets.source import GraphSource
from compile.trace import trace
from runtime.errors import CompileError

REWRITES = (*COMMON, *MATRIX)
# What the one public run on Inf1 kept off the chip, and at which level it compiled
# (withoutbg/depth-anything-v2, inf1_compile.md, 2025).
OFF_CHIP = ("aten::upsample_bicubic2d", "aten::upsample_bilinear2d")
HYBRID_OPTLEVEL = 2


@dataclass(frozen=True)
class Attempt:
    """One way to ask the compiler.

    ``stages``: encoder and head each for itself. ``off_chip``: operators that run on the CPU; if
    there are any, others may stay there too, and all parts that come back are accepted.
    """

    name: str
    rewrites: tuple[str, ...]
    compiler_args: tuple[str, ...]
    stages: bool = False
    off_chip: tuple[str, ...] = ()


def attempts(source: GraphSource) -> list[Attempt]:
    """Ways to ask, the best first; the order is part of the documentation.

    1. Constant matrices for resizes, pixel shuffle for transposed convolutions: nothing but
       operators that vision transformers have been compiled with.
    2. The same with the older spelling of the casts, where the newer takes two words.
    3. The framework's own transposed convolution.
    4. No transposes through the matrix engine.
    5. Encoder and head as a subgraph each.
    6. The framework's own resize; late, as the one public report says that it is refused.
    7. The framework's own resize, left to the CPU: the one way that is known to come back.

    Raises:
        CompileError: attempts were chosen, and none of them is one for this graph.
    """
    arguments = compiler_args(source.neuron)
    exact = replace_relayout(arguments)
    matrix = source.rewrites(REWRITES)
    shuffle, native = (
        tuple(name for name in matrix if name not in left)
        for left in (("shuffle-upsample",), MATRIX)
    )
    older = older_spelling(source.neuron)
    ways = [Attempt("as asked", matrix, arguments)]
    if older is not None:
        ways.append(Attempt("--fp32-cast", matrix, older))
    if shuffle != matrix:
        ways.append(Attempt("native transposed convolution", shuffle, arguments))
    if exact != arguments:
        ways.append(Attempt("no-fast-relayout", matrix, exact))
    if source.stage.splits:
        ways.append(Attempt("encoder and head apart", matrix, arguments, stages=True))
    if native not in (matrix, shuffle):
        ways.append(Attempt("native resize", native, arguments))
    ways.append(Attempt(HYBRID, native, hybrid_args(source.neuron), off_chip=OFF_CHIP))
    return _chosen(ways, source)


def _chosen(ways: list[Attempt], source: GraphSource) -> list[Attempt]:
    wanted = source.neuron.attempts
    if wanted:
        known = {way.name: way for way in ways}
        ways = [known[name] for name in wanted if name in known]
        if not ways:
            raise CompileError(
                f"--attempts {', '.join(map(word_of, wanted))}: none of them is one for "
                f"{source.name}; it has {', '.join(map(word_of, known))}"
            )
    return ways if source.neuron.retries else ways[:1]


def word_of(name: str) -> str:
    """What an attempt is called on the command line."""
    return next(word for word, known in ATTEMPTS.items() if known == name)


def compiler_args(options: NeuronOptions) -> tuple[str, ...]:
    """neuron-cc's arguments."""
    return ("--fast-math", *MODES[options.casts].words, *_other_args(options))


def hybrid_args(options: NeuronOptions) -> tuple[str, ...]:
    """neuron-cc's arguments for ``hybrid``: those of the public run, and what was asked beside.

    Its parts cannot be a pipeline: only the first operator of one may take what comes from a host.
    """
    asked = compiler_args(options)
    plain = ("--fast-math", "all")  # neuron-cc's default, left unsaid in the public run
    casts = asked[: len(asked) - len(_other_args(options))]
    level = HYBRID_OPTLEVEL if options.optlevel is None else options.optlevel
    return (
        "--neuroncore-pipeline-cores",
        "1",
        "-O",
        str(level),
        *(() if casts == plain else casts),
        *_switches(options),
    )


def older_spelling(options: NeuronOptions) -> Optional[tuple[str, ...]]:
    """The same casts by ``--fp32-cast``, where two words after ``--fast-math`` are needed.

    AWS documents both spellings; that two words reach neuron-cc from a list is not confirmed.
    """
    words = MODES[options.casts].words
    if len(words) < 2:
        return None
    cast = words[0].replace("fp32-cast-", "")
    if cast not in FP32_CAST:
        return None
    return ("--fp32-cast", cast, "--fast-math", *words[1:], *_other_args(options))


def replace_relayout(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The same arguments with transposes moved byte by byte."""
    if "no-fast-relayout" in arguments or "none" in arguments:
        return arguments
    casts = [word for word in arguments if word.startswith("fp32-cast") or word == "all"]
    at = arguments.index(casts[-1]) + 1
    return (*arguments[:at], "no-fast-relayout", *arguments[at:])


def _other_args(options: NeuronOptions) -> tuple[str, ...]:
    found: list[str] = []
    if options.pipeline_cores > 1:
        found += ["--neuroncore-pipeline-cores", str(options.pipeline_cores)]
    if options.optlevel is not None:
        found += ["-O", str(options.optlevel)]
    return (*found, *_switches(options))


def _switches(options: NeuronOptions) -> tuple[str, ...]:
    found = []
    if options.saturate_infinity:
        found.append("--enable-saturate-infinity")
    if options.fast_loading:
        found.append("--enable-fast-loading-neuron-binaries")
    return tuple(found)


def cost_of_hybrid(source: GraphSource, attempt: Attempt) -> str:
    """What ``hybrid`` costs, predicted from its graph, in one line."""
    graph = trace(source.form(attempt.rewrites), source.example())
    report = audit_graph(graph, source.name, "")
    left = ", ".join(f"{kind} x{count}" for kind, count in report.on_cpu.items()) or "none known"
    return (
        f"hybrid: {sum(report.on_cpu.values())} of {report.operators} operators on the CPU ({left})"
        f", {len(report.device_parts)} parts on the chip, {len(report.cpu_parts)} round trips and "
        f"{report.crossing_bytes / 1e6:.1f} MB across the host a call (predicted)"
    )
