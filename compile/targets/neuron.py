"""Inferentia (Inf1): traced by ``torch.neuron.trace``, which runs the neuron-cc compiler.

Needs no Inferentia chip to compile, but without one the graph's answers are arbitrary, so its
parity is checked on an Inf1 instance (``python -m compile verify``). What AWS does not document,
whether neuron-cc takes a form, is met by trying: see ``attempts``.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.jit._script import ScriptModule

from compile.audit import CONSTANTS_LIMIT, operator_list
from compile.deploy import DeploymentFormV2
from compile.targets.attempts import REWRITES as REWRITES
from compile.targets.attempts import Attempt, attempts, cost_of_hybrid
from compile.targets.journal import Journal
from compile.targets.options import NeuronOptions
from compile.targets.placement import LEAST_ON_CHIP, check_placement
from compile.targets.source import Built, GraphSource
from compile.targets.trying import Taken, first_taken, plain_options
from compile.trace import read_graph
from runtime.errors import first_line
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

PRECISIONS = ("f32",)  # of the form that is compiled; the casts say how the chip rounds it
# docs/numerics.md has what the casts lead one to expect
TOLERANCES = {"f32": 5e-2, "bf16": 5e-2, "f16": 5e-2}
COMPANIONS = (  # of neuron-cc, whose versions decide what it can do
    "neuron-cc", "tensorflow", "numpy", "protobuf", "dmlc-nnvm", "dmlc-topi", "dmlc-tvm",
    "inferentia-hwm",
)  # fmt: skip
INSTALL = (
    "torch_neuron is not installed. Compiling for Inferentia needs an x86-64 Linux machine with "
    "Python 3.9, torch 1.13.1 (torch-neuron 1.13.1.2.11.13.0) and neuron-cc[tensorflow] "
    "1.24.0.0 from AWS's own pip repository; a c5.4xlarge is enough, no Inferentia chip is needed. "
    "docs/inferentia.md has every command. On this machine use --target openvino, onnx or "
    "torchscript."
)


def build(source: GraphSource, folder: Path) -> Built:
    """Compile, in the first form that neuron-cc takes, and save.

    Raises:
        MissingDependency: torch-neuron is not installed.
        CompileError: no form was taken, the compiler took too long, or the graph came back in
            more parts than allowed; what each attempt left behind is named.
    """
    require("torch_neuron", "neuron", INSTALL)
    note_operators(source.journal)
    return first_taken(
        source,
        attempts(source),
        lambda attempt, workdir: compile_form(source, attempt, workdir),
        precision_of(source.neuron.casts),
        folder,
        "neuron-cc",
    )


def note_operators(journal: Journal) -> None:
    """Hold the installed torch-neuron's list of operators against ours, once an artifact."""
    if "operators" in journal.notes:
        return
    ours = {name for name in operator_list()["supported"] if name.startswith("aten::")}
    theirs = {name for name in supported_operators() if name.startswith("aten::")}
    lacking, beyond = sorted(ours - theirs), sorted(theirs - ours)
    journal.notes["operators"] = {"installed": len(theirs), "lacking": lacking, "beyond": beyond}
    log.info(
        "the installed torch-neuron names %d operators; of our list it lacks %s (operators with "
        "conditions are left out of its list); beyond ours it has %s",
        len(theirs),
        ", ".join(lacking) or "none",
        ", ".join(beyond) or "none",
    )


def supported_operators() -> set[str]:
    """The names that the installed torch-neuron gives; ours if it gives none."""
    listed: Any = getattr(torch.neuron, "get_supported_operations", None)  # type: ignore[attr-defined]
    if listed is None:
        log.warning("this torch-neuron has no get_supported_operations(); taking our own list")
        return set(operator_list()["supported"])
    return set(listed())


def trace_options(
    options: NeuronOptions, attempt: Attempt, form: nn.Module, workdir: Path
) -> dict[str, Any]:
    """Keyword arguments of ``torch.neuron.trace``."""
    constants = sum(t.numel() * t.element_size() for t in form.state_dict().values())
    separate = options.separate_weights
    chosen: dict[str, Any] = {
        "compiler_args": list(attempt.compiler_args),
        "compiler_workdir": str(workdir),
        "fallback": options.cpu_operators or bool(attempt.off_chip),
        "minimum_segment_size": options.minimum_segment_size or (1 if attempt.off_chip else 2),
        "dynamic_batch_size": False,
        "separate_weights": constants > CONSTANTS_LIMIT if separate is None else separate,
    }
    if options.timeout_s is not None:
        chosen["compiler_timeout"] = options.timeout_s
    if attempt.off_chip:
        chosen["op_whitelist"] = supported_operators() - set(attempt.off_chip)
    if options.cpu_operators or options.subgraphs > 1 or attempt.off_chip:
        chosen["single_fusion_ratio_threshold"] = 1.0  # compile every part, not only the largest
    if options.float16_io:
        optimization = require("torch_neuron", "neuron", INSTALL).Optimization
        chosen["optimizations"] = [optimization.FLOAT32_TO_FLOAT16]
    return chosen


def compile_form(source: GraphSource, attempt: Attempt, workdir: Path) -> Taken:
    """One call of the compiler, or one a stage: a graph that runs on the chip as it should.

    Raises:
        CompileError: it does not; and whatever the compiler raises.
    """
    neuron = source.neuron
    if attempt.off_chip:
        say = log.info if neuron.cpu_operators else log.warning
        say(
            "%s; --cpu-operators accepts it unasked, --attempts can do without",
            _cost(source, attempt),
        )
    form = source.form(attempt.rewrites)
    options = trace_options(neuron, attempt, form, workdir)
    with torch.no_grad():
        plain = torch.jit.trace(form, source.example(), check_trace=False)  # type: ignore[attr-defined]
        graph = _traced(source, attempt, form, options)
    operators = len(read_graph(plain).operators)
    placement = check_placement(graph, neuron, attempt.stages, attempt.off_chip)
    placed = placement.facts(operators)
    if attempt.off_chip:
        enough = int(placed["operators_on_chip"]) >= LEAST_ON_CHIP * operators
        (log.info if enough else log.warning)(
            "hybrid: %s of %d operators on the chip in %s parts, on the CPU %s, %s round trips%s",
            placed["operators_on_chip"],
            operators,
            *(placed[name] for name in ("subgraphs", "on_cpu", "round_trips")),
            "" if enough else "; most runs on the CPU, where --target openvino may be faster",
        )
    facts = {
        "casts": neuron.casts,
        "pipeline_cores": "1" if attempt.off_chip else str(neuron.pipeline_cores),
        "optlevel": _optlevel(attempt),
        **placed,
        **plain_options(options),
    }
    if attempt.off_chip:
        facts["op_whitelist"] = f"all supported but {', '.join(attempt.off_chip)}"
    return Taken(graph, facts)


def _traced(
    source: GraphSource, attempt: Attempt, form: nn.Module, options: dict[str, Any]
) -> ScriptModule:
    """What torch-neuron makes of a form."""
    trace: Callable[..., ScriptModule] = torch.neuron.trace  # type: ignore[attr-defined]
    if not attempt.stages:
        return trace(form, source.example(), **options)
    assert isinstance(form, DeploymentFormV2)
    maps = form.encode(*source.example())
    workdir = Path(options["compiler_workdir"])
    places = [{"compiler_workdir": str(workdir / stage)} for stage in ("encoder", "head")]
    encoder = trace(Encoder(form), source.example(), **{**options, **places[0]})
    head = trace(Head(form), maps, **{**options, **places[1]})
    return torch.jit.script(Stages(encoder, head))  # type: ignore[attr-defined,no-any-return]


def _cost(source: GraphSource, attempt: Attempt) -> str:
    try:
        return cost_of_hybrid(source, attempt)
    except Exception as error:  # a prediction may fail, and the compile must not for it
        return f"hybrid: resizes on the CPU, their cost is not known ({first_line(error)})"


def _optlevel(attempt: Attempt) -> str:
    """What the compiler was told; ``default`` if nothing."""
    arguments = list(attempt.compiler_args)
    return arguments[arguments.index("-O") + 1] if "-O" in arguments else "default"


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


def device_present() -> bool:
    """True on a machine with an Inferentia chip."""
    return Path("/dev/neuron0").exists()


def versions() -> dict[str, str]:
    """What made the graph."""
    torch_neuron = require("torch_neuron", "neuron", INSTALL)
    return {
        "torch": torch.__version__,
        "torch_neuron": torch_neuron.__version__,
        **{name: version_of(name) for name in COMPANIONS},
    }


def precision_of(casts: str) -> str:
    """What the matrix products are computed in."""
    return "f16" if "fp16" in casts else "bf16"
