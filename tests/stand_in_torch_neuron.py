"""A stand-in for torch-neuron: the documented signature and behaviour, and nothing of the chip.

``install`` puts it where ``import torch_neuron`` and ``torch.neuron`` find it. What it "compiles"
is a TorchScript graph with one ``neuron::forward_v2`` node for each part; called, that node gives
the form's own answer if the stand-in plays a machine with a chip, else numbers of the right shape
that mean nothing, as the real one does.
"""

import enum
import os
import subprocess
import sys
import types
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from stand_in_partition import split
from torch import nn

from compile.audit import FUSION_THRESHOLD, operator_list

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
UNDOCUMENTED = {"op_whitelist", "verbose"}  # seen in the one public run on Inf1
OF_JIT_TRACE = {"check_trace", "strict"}
CAST_WORDS = {
    "all", "none", "fp32-cast-all", "fp32-cast-all-fp16", "fp32-cast-matmult",
    "fp32-cast-matmult-bf16", "fp32-cast-matmult-fp16", "fast-relayout", "no-fast-relayout",
}  # fmt: skip
OPTIONS = {  # of neuron-cc, and how many words follow each
    "--fast-math": None, "--fp32-cast": 1, "-O": 1, "--optlevel": 1, "--verbose": 1,
    "--neuroncore-pipeline-cores": 1, "--enable-saturate-infinity": 0,
    "--enable-fast-loading-neuron-binaries": 0, "--enable-fast-context-switch": 0,
}  # fmt: skip
ALIGNED = "aten::upsample_bilinear2d"  # with aligned corners, as all of ours are: not implemented


class Optimization(enum.Enum):
    """As documented."""

    FLOAT32_TO_FLOAT16 = 1


@dataclass
class StandIn:
    """What it was told to be, and what it was asked for.

    refused: operator kinds that neuron-cc shall fail on although they are on the list.
    refused_words: arguments that neuron-cc shall not understand.
    too_large: more operators than this in a part, and neuron-cc fails.
    slow_above: more operators than this in a part, and neuron-cc takes too long.
    unlisted: operators that ``get_supported_operations`` does not name.
    parts: how many parts come back from one trace.
    leftover: whether an operator stays on the CPU beside them.
    """

    has_chip: bool = False
    refused: frozenset = frozenset()
    refused_words: frozenset = frozenset()
    too_large: Optional[int] = None
    times_out: bool = False
    slow_above: Optional[int] = None
    unlisted: frozenset = frozenset()
    parts: int = 1
    leftover: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)


STATE = StandIn()
COMPILED: dict[int, tuple[Any, int]] = {}  # the graph, and how many inputs it takes
SHARED = os.environ.get("STAND_IN_NEURON")  # a folder: what one process compiles, another can run

_library = torch.library.Library("neuron", "DEF")
_library.define("forward_v2(Tensor[] inputs, int key) -> Tensor[]")


def _forward(inputs: list[torch.Tensor], key: int) -> list[torch.Tensor]:
    if SHARED and key not in COMPILED:
        graph = torch.jit.load(str(Path(SHARED, f"{key}.pt")))
        COMPILED[key] = graph, int(Path(SHARED, f"{key}.txt").read_text())
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
    unknown = set(options) - DOCUMENTED - UNDOCUMENTED - OF_JIT_TRACE
    if unknown:
        raise TypeError(f"trace() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    STATE.calls.append(options)
    inputs = (example_inputs,) if torch.is_tensor(example_inputs) else tuple(example_inputs)
    arguments = options.get("compiler_args") or []
    assert all(isinstance(word, str) for word in arguments)
    _write_log(options, arguments)
    if STATE.times_out:
        raise subprocess.TimeoutExpired("neuron-cc", options.get("compiler_timeout") or 0)
    graph = torch.jit.trace(func, inputs, check_trace=False)
    kinds = [n.kind() for n in graph.inlined_graph.nodes() if not n.kind().startswith("prim::")]
    if options.get("fallback", True):
        return _trace_in_parts(func, inputs, arguments, options, kinds)
    for kind in kinds:
        if kind not in operator_list()["supported"]:
            raise AttributeError(f"neuron does not support the operator {kind}")
    if not _compiles(kinds, arguments, options):
        raise subprocess.SubprocessError("neuron-cc failed with the following command line call")
    part = _compiled(func, inputs)
    return torch.jit.trace(_Whole(part, STATE.parts, STATE.leftover), inputs, check_trace=False)


def _trace_in_parts(
    func: nn.Module, inputs: tuple, arguments: list, options: dict, kinds: list
) -> torch.jit.ScriptModule:
    """With ``fallback``: what is not wanted, not listed or not taken by neuron-cc is on the CPU."""
    wanted = options.get("op_whitelist", set(operator_list()["supported"]))
    listed = wanted & set(operator_list()["supported"])
    if listed >= set(kinds) and _compiles(kinds, arguments, options):
        part = _compiled(func, inputs)
        whole: nn.Module = _Whole(part, STATE.parts, STATE.leftover)
    else:
        whole, count = split(
            func,
            inputs,
            lambda kind: kind in listed,
            lambda part_kinds: _compiles(part_kinds, arguments, options),
            options.get("minimum_segment_size", 2),
            options.get("single_fusion_ratio_threshold", FUSION_THRESHOLD),
            _compiled,
        )
        if not count:
            raise RuntimeError(
                "No operations were successfully partitioned and compiled to neuron for this model"
            )
    return torch.jit.trace(whole, inputs, check_trace=False)


def _compiles(kinds: Any, arguments: list, options: dict) -> bool:
    """Whether neuron-cc takes a part of these operators (a list, or a count of each)."""
    size = sum(kinds.values()) if isinstance(kinds, dict) else len(kinds)
    if STATE.slow_above is not None and size > STATE.slow_above:
        raise subprocess.TimeoutExpired("neuron-cc", options.get("compiler_timeout") or 0)
    return not (
        (STATE.refused | {ALIGNED}) & set(kinds)
        or STATE.refused_words & set(arguments)
        or not _understood(arguments)
        or (STATE.too_large is not None and size > STATE.too_large)
    )


def _understood(arguments: list) -> bool:
    """Whether neuron-cc knows every option: ``--opt-level``, for one, it does not."""
    words = list(arguments)
    while words:
        option = words.pop(0)
        if option not in OPTIONS:
            return False
        count = OPTIONS[option]
        if count is None:
            while words and words[0] in CAST_WORDS:
                words.pop(0)
        if option in ("-O", "--optlevel") and not (words and words[0].isdigit()):
            return False
        del words[: count or 0]
    return True


def _write_log(options: dict, arguments: list) -> None:
    """neuron-cc's log, as it lies in its folder."""
    folder = options.get("compiler_workdir")
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        words = " ".join(arguments)
        Path(folder, "log-neuron-cc.txt").write_text(f"neuron-cc compile {words}\nlast line\n")


def _compiled(func: nn.Module, inputs: tuple) -> nn.Module:
    """A part of a graph, compiled."""
    graph = torch.jit.trace(func, inputs, check_trace=False)
    key = uuid.uuid4().int >> 66 if SHARED else len(COMPILED)
    COMPILED[key] = graph, len(inputs)
    if SHARED:
        graph.save(str(Path(SHARED, f"{key}.pt")))
        Path(SHARED, f"{key}.txt").write_text(str(len(inputs)))
    return _Part(key, several=not torch.is_tensor(graph(*inputs)))


def get_supported_operations() -> list[str]:
    """The names on the list."""
    return [name for name in operator_list()["supported"] if name not in STATE.unlisted]


PACKAGE = """
import types
import torch
import stand_in_torch_neuron as stand_in
from stand_in_torch_neuron import VERSION as __version__, Optimization
stand_in.STATE.has_chip = True
torch.neuron = types.SimpleNamespace(
    trace=stand_in.trace, get_supported_operations=stand_in.get_supported_operations
)
"""
DEVICE = """
import pathlib
exists = pathlib.Path.exists
pathlib.Path.exists = lambda path: str(path) == "/dev/neuron0" or exists(path)
"""


def machine(folder: Path) -> dict[str, str]:
    """The environment of processes that believe to be on a machine with the chip."""
    (folder / "compiled").mkdir(parents=True)
    (folder / "torch_neuron.py").write_text(PACKAGE)
    (folder / "sitecustomize.py").write_text(DEVICE)
    tests = Path(__file__).parent
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (folder, tests, tests.parent))),
        "STAND_IN_NEURON": str(folder / "compiled"),
        "OMP_NUM_THREADS": "1",
    }


def install(monkeypatch, **behaviour: Any) -> StandIn:
    """Make it importable for one test; returns its state."""
    for name, value in vars(StandIn(**behaviour)).items():
        setattr(STATE, name, value)
    package = types.ModuleType("torch_neuron")
    package.__version__ = VERSION
    package.__spec__ = types.SimpleNamespace(name="torch_neuron")
    package.Optimization = Optimization
    monkeypatch.setitem(sys.modules, "torch_neuron", package)
    neuron = types.SimpleNamespace(trace=trace, get_supported_operations=get_supported_operations)
    monkeypatch.setattr(torch, "neuron", neuron, raising=False)
    return STATE
