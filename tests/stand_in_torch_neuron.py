"""A stand-in for torch-neuron: the documented signature and behaviour, and nothing of the chip.

``install`` puts it where ``import torch_neuron`` and ``torch.neuron`` find it. What it "compiles"
is a TorchScript graph with one ``neuron::forward_v2`` node for each part; called, that node gives
the form's own answer if the stand-in plays a machine with a chip, else numbers of the right shape
that mean nothing, as the real one does.
"""

import enum
import subprocess
import sys
import types
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import nn

from compile.audit import operator_list

VERSION = "1.13.1.0 (stand-in)"
DOCUMENTED = {
    "compiler_args",
    "compiler_timeout",
    "compiler_workdir",
    "subgraph_builder_function",
    "minimum_segment_size",
    "single_fusion_ratio_threshold",
    "fallback",
    "dynamic_batch_size",
    "optimizations",
    "separate_weights",
}
OF_JIT_TRACE = {"check_trace", "strict"}
CAST_WORDS = {
    "all", "none", "fp32-cast-all", "fp32-cast-all-fp16", "fp32-cast-matmult",
    "fp32-cast-matmult-bf16", "fp32-cast-matmult-fp16", "fast-relayout", "no-fast-relayout",
}  # fmt: skip


class Optimization(enum.Enum):
    """As documented."""

    FLOAT32_TO_FLOAT16 = 1


@dataclass
class StandIn:
    """What it was told to be, and what it was asked for.

    refused: operator kinds that neuron-cc shall fail on although they are on the list.
    refused_words: arguments that neuron-cc shall not understand.
    too_large: more operators than this in a part, and neuron-cc fails.
    parts: how many parts come back from one trace.
    leftover: whether an operator stays on the CPU beside them.
    """

    has_chip: bool = False
    refused: frozenset = frozenset()
    refused_words: frozenset = frozenset()
    too_large: Optional[int] = None
    times_out: bool = False
    parts: int = 1
    leftover: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)


STATE = StandIn()
COMPILED: dict[int, tuple[Any, int]] = {}  # the graph, and how many inputs it takes

_library = torch.library.Library("neuron", "DEF")
_library.define("forward_v2(Tensor[] inputs, int key) -> Tensor[]")


def _forward(inputs: list[torch.Tensor], key: int) -> list[torch.Tensor]:
    graph, count = COMPILED[key]
    found = graph(*inputs[:count])
    found = [found] if torch.is_tensor(found) else list(found)
    return found if STATE.has_chip else [torch.rand_like(tensor) for tensor in found]


_library.impl("forward_v2", _forward, "CPU")


class _Part(nn.Module):
    """A compiled part: one node. ``several`` tells a tuple from a tensor."""

    def __init__(self, key: int, several: bool) -> None:
        super().__init__()
        self.key, self.several = key, several

    def forward(self, *inputs: torch.Tensor) -> Any:
        out = torch.ops.neuron.forward_v2(list(inputs), self.key)
        return tuple(out) if self.several else out[0]


class _Whole(nn.Module):
    """What comes back from a trace: one part or several, and perhaps an operator beside them."""

    def __init__(self, part: _Part, parts: int, leftover: bool) -> None:
        super().__init__()
        self.part, self.parts, self.leftover = part, parts, leftover

    def forward(self, *inputs: torch.Tensor) -> Any:
        out = self.part(*inputs)
        for _ in range(self.parts - 1):
            out = self.part(*inputs, out)  # it reads the one before, else it would be dropped
        return torch.relu(out) if self.leftover else out


def trace(func: nn.Module, example_inputs: Any, **options: Any) -> torch.jit.ScriptModule:
    """``torch.neuron.trace`` as documented: a ScriptModule, or an error of the documented kind."""
    unknown = set(options) - DOCUMENTED - OF_JIT_TRACE
    if unknown:
        raise TypeError(f"trace() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    STATE.calls.append(options)
    inputs = (example_inputs,) if torch.is_tensor(example_inputs) else tuple(example_inputs)
    arguments = options.get("compiler_args") or []
    assert all(isinstance(word, str) for word in arguments)
    if STATE.times_out:
        raise subprocess.TimeoutExpired("neuron-cc", options.get("compiler_timeout") or 0)
    graph = torch.jit.trace(func, inputs, check_trace=False)
    kinds = [n.kind() for n in graph.inlined_graph.nodes() if not n.kind().startswith("prim::")]
    for kind in kinds:
        if kind not in operator_list()["supported"] and not options.get("fallback", True):
            raise AttributeError(f"neuron does not support the operator {kind}")
    failed = (
        STATE.refused & set(kinds)
        or STATE.refused_words & set(arguments)
        or (STATE.too_large is not None and len(kinds) > STATE.too_large)
    )
    if failed:
        raise subprocess.SubprocessError("neuron-cc failed with the following command line call")
    key = len(COMPILED)
    COMPILED[key] = graph, len(inputs)
    several = not torch.is_tensor(graph(*inputs))
    whole = _Whole(_Part(key, several), STATE.parts, STATE.leftover)
    return torch.jit.trace(whole, inputs, check_trace=False)


def install(monkeypatch, **behaviour: Any) -> StandIn:
    """Make it importable for one test; returns its state."""
    for name, value in vars(StandIn(**behaviour)).items():
        setattr(STATE, name, value)
    package = types.ModuleType("torch_neuron")
    package.__version__ = VERSION
    package.__spec__ = types.SimpleNamespace(name="torch_neuron")
    package.Optimization = Optimization
    monkeypatch.setitem(sys.modules, "torch_neuron", package)
    monkeypatch.setattr(torch, "neuron", types.SimpleNamespace(trace=trace), raising=False)
    return STATE
