"""Inferentia (Inf1): traced by ``torch.neuron.trace``, which runs the neuron-cc compiler.

Needs no Inferentia chip to compile, but without one the graph's answers are arbitrary, so its
parity is checked on an Inf1 instance (``python -m compile verify``). What AWS does not document,
whether neuron-cc takes a form, is met by trying: see ``attempts``.
"""

import contextlib
import logging
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn
from torch.jit._script import ScriptModule

from compile.audit import CONSTANTS_LIMIT
from compile.deploy import COMMON, MATRIX, DeploymentFormV2
from compile.numerics import FP32_CAST, MODES
from compile.targets.options import NeuronOptions
from compile.targets.source import Built, GraphSource
from runtime.errors import CompileError, first_line
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

PRECISIONS = ("f32",)  # of the form that is compiled; the casts say how the chip rounds it
# docs/numerics.md has what the casts lead one to expect
TOLERANCES = {"f32": 5e-2, "bf16": 5e-2, "f16": 5e-2}
REWRITES = (*COMMON, *MATRIX)
INSTALL = (
    "torch_neuron is not installed. Compiling for Inferentia needs an x86-64 Linux machine with "
    "Python 3.9, torch 1.13.1 (torch-neuron 1.13.1.2.11.13.0) and neuron-cc[tensorflow] "
    "1.24.0.0 from AWS's own pip repository; a c5.4xlarge is enough, no Inferentia chip is needed. "
    "docs/inferentia.md has every command. On this machine use --target openvino, onnx or "
    "torchscript."
)


@dataclass(frozen=True)
class Attempt:
    """One way to ask the compiler."""

    name: str
    rewrites: tuple[str, ...]
    compiler_args: tuple[str, ...]
    stages: bool = False


@dataclass(frozen=True)
class Placement:
    """Where a compiled graph runs: parts on the chip, and what was left for the CPU."""

    subgraphs: int
    on_cpu: dict[str, int]


def build(source: GraphSource, folder: Path) -> Built:
    """Compile, in the first form that neuron-cc takes, and save.

    Raises:
        MissingDependency: torch-neuron is not installed.
        CompileError: no form was taken, the compiler took too long, or the graph came back in
            more parts than allowed; what each attempt left behind is named.
    """
    require("torch_neuron", "neuron", INSTALL)
    failures = []
    for number, attempt in enumerate(attempts(source), start=1):
        workdir = source.make_workdir(str(number))
        log.info("attempt %d, %s: neuron-cc %s", number, attempt.name, attempt.compiler_args)
        try:
            graph, options = compile_form(source, attempt, workdir)
            placement = check_placement(graph, source.neuron, attempt.stages)
        except subprocess.TimeoutExpired as error:
            raise CompileError(
                f"neuron-cc took more than {error.timeout:.0f} s (log in {workdir}); give it "
                "longer with --timeout, or a smaller size"
            ) from error
        except Exception as error:  # neuron-cc and TensorFlow raise a dozen kinds; all mean "no"
            reason = first_line(error)
            log.debug("attempt %d", number, exc_info=True)
            log.warning("attempt %d, %s: %s (log in %s)", number, attempt.name, reason, workdir)
            failures.append(f"{attempt.name}: {reason} ({workdir})")
            continue
        discard(workdir)
        file = source.file_name(".pt")
        graph.save(str(folder / file))
        facts = {
            "attempt": attempt.name,
            "casts": source.neuron.casts,
            "pipeline_cores": str(source.neuron.pipeline_cores),
            "subgraphs": str(placement.subgraphs),
            "on_cpu": ", ".join(f"{k} x{n}" for k, n in placement.on_cpu.items()) or "nothing",
            # all but a path of this machine: the same compile gives the same manifest
            **{n: _plain(value) for n, value in options.items() if n != "compiler_workdir"},
        }
        return Built(file, precision_of(source.neuron.casts), attempt.rewrites, facts)
    raise CompileError(
        f"neuron-cc took none of {len(failures)} forms of {source.name}: " + "; ".join(failures)
    )


def attempts(source: GraphSource) -> list[Attempt]:
    """Ways to ask, the best first; the order is part of the documentation.

    1. Constant matrices for resizes, pixel shuffle for transposed convolutions: nothing but
       operators that vision transformers have been compiled with.
    2. The same with the older spelling of the casts, where the newer takes two words.
    3. The framework's own transposed convolution.
    4. No transposes through the matrix engine.
    5. Encoder and head as a subgraph each.
    6. The framework's own resize; last, as the one public report says that it is refused.
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
    return ways if source.neuron.retries else ways[:1]


def compiler_args(options: NeuronOptions) -> tuple[str, ...]:
    """neuron-cc's arguments."""
    return ("--fast-math", *MODES[options.casts].words, *_other_args(options))


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
    if options.saturate_infinity:
        found.append("--enable-saturate-infinity")
    if options.fast_loading:
        found.append("--enable-fast-loading-neuron-binaries")
    return tuple(found)


def trace_options(
    options: NeuronOptions, attempt: Attempt, form: nn.Module, workdir: Path
) -> dict[str, Any]:
    """Keyword arguments of ``torch.neuron.trace``."""
    constants = sum(t.numel() * t.element_size() for t in form.state_dict().values())
    separate = options.separate_weights
    chosen: dict[str, Any] = {
        "compiler_args": list(attempt.compiler_args),
        "compiler_workdir": str(workdir),
        "fallback": options.cpu_operators,
        "minimum_segment_size": options.minimum_segment_size,
        "dynamic_batch_size": False,
        "separate_weights": constants > CONSTANTS_LIMIT if separate is None else separate,
    }
    if options.timeout_s is not None:
        chosen["compiler_timeout"] = options.timeout_s
    if options.cpu_operators or options.subgraphs > 1:
        chosen["single_fusion_ratio_threshold"] = 1.0  # compile every part, not only the largest
    if options.float16_io:
        optimization = require("torch_neuron", "neuron", INSTALL).Optimization
        chosen["optimizations"] = [optimization.FLOAT32_TO_FLOAT16]
    return chosen


def compile_form(
    source: GraphSource, attempt: Attempt, workdir: Path
) -> tuple[ScriptModule, dict[str, Any]]:
    """One call of the compiler, or one a stage; returns the graph and the options it was given."""
    form = source.form(attempt.rewrites)
    options = trace_options(source.neuron, attempt, form, workdir)
    trace: Callable[..., ScriptModule] = torch.neuron.trace  # type: ignore[attr-defined]
    with torch.no_grad():
        if not attempt.stages:
            return trace(form, source.example(), **options), options
        assert isinstance(form, DeploymentFormV2)
        maps = form.encode(*source.example())
        places = [{"compiler_workdir": str(workdir / stage)} for stage in ("encoder", "head")]
        encoder = trace(Encoder(form), source.example(), **{**options, **places[0]})
        head = trace(Head(form), maps, **{**options, **places[1]})
        return torch.jit.script(Stages(encoder, head)), options  # type: ignore[attr-defined]


class Encoder(nn.Module):
    """The first stage: image to four maps."""

    def __init__(self, form: DeploymentFormV2) -> None:
        super().__init__()
        self.form = form

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float (B, 3, H, W) -> four float (B, C, h, w)."""
        return self.form.encode(image)


class Head(nn.Module):
    """The second stage: four maps to depth."""

    def __init__(self, form: DeploymentFormV2) -> None:
        super().__init__()
        self.form = form

    def forward(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
    ) -> torch.Tensor:
        """Four float (B, C, h, w) -> float (B, H, W)."""
        return self.form.decode(a, b, c, d)


class Stages(nn.Module):
    """Two compiled stages, one after the other."""

    def __init__(self, encoder: ScriptModule, head: ScriptModule) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """As the form: (B, 3, H, W) -> float (B, H, W)."""
        a, b, c, d = self.encoder(image)
        return self.head(a, b, c, d)


def placement_of(graph: ScriptModule) -> Placement:
    """Count the compiled parts of a graph and the operators that stayed behind."""
    kinds = Counter(node.kind() for node in graph.inlined_graph.nodes())
    return Placement(
        sum(count for kind, count in kinds.items() if kind.startswith("neuron::forward")),
        {kind: count for kind, count in sorted(kinds.items()) if kind.startswith("aten::")},
    )


def check_placement(graph: ScriptModule, options: NeuronOptions, stages: bool) -> Placement:
    """Refuse a graph that does not run on the chip as it should.

    Raises:
        CompileError: nothing on the chip, operators on the CPU, or more parts than allowed.
    """
    placement = placement_of(graph)
    allowed = max(options.subgraphs, 2 if stages else 1)
    left = ", ".join(f"{kind} x{count}" for kind, count in placement.on_cpu.items())
    if placement.subgraphs == 0:
        raise CompileError("nothing was placed on the chip")
    if left and not options.cpu_operators:
        raise CompileError(f"left on the CPU: {left}; allow it with --cpu-operators")
    if placement.subgraphs > allowed:
        raise CompileError(
            f"{placement.subgraphs} subgraphs, {allowed} allowed: each further one costs two "
            "copies through the host; allow them with --subgraphs"
        )
    return placement


def device_present() -> bool:
    """True on a machine with an Inferentia chip."""
    return Path("/dev/neuron0").exists()


def versions() -> dict[str, str]:
    """What made the graph."""
    torch_neuron = require("torch_neuron", "neuron", INSTALL)
    return {
        "torch": torch.__version__,
        "torch_neuron": torch_neuron.__version__,
        "neuron-cc": version_of("neuron-cc"),
    }


def precision_of(casts: str) -> str:
    """What the matrix products are computed in."""
    return "f16" if "fp16" in casts else "bf16"


def discard(workdir: Path) -> None:
    """Remove a compiler's folder, and the one around it once that is empty."""
    shutil.rmtree(workdir, ignore_errors=True)
    with contextlib.suppress(OSError):
        workdir.parent.rmdir()


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
