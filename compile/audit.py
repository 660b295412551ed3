"""What Inferentia (Inf1) will make of a graph, said before money is spent.

A traced graph in, a report out. It knows the operator list of torch-neuron and the limits of the
chip as documented and reported; it does not run the compiler, and a listed operator can still be
refused for its arguments.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from compile.trace import Graph, Operator

PATCH = 14  # pixels
LIST = Path(__file__).parent / "data" / "neuron_operators.json"

CONSTANTS_LIMIT = 1_900_000_000  # above it torch-neuron needs separate_weights
# Share of the operators above which torch-neuron compiles the largest part alone, by default:
# its ``single_fusion_ratio_threshold``.
FUSION_THRESHOLD = 0.6
CORE_BYTES = 2 * 2**30  # device memory of a core, weights and buffers together
# Attention scores a layer at which neuron-cc is known to stop with "too many instructions"
# (aws-neuron-sdk issue 495: RoBERTa-base, 16 x 514 tokens, 12 heads).
SCORES_REFUSED = 16 * 12 * 514 * 514
SCORES_HIGH = 0.75  # of those: nobody has reported success from here on

SUPPORTED, CONDITION_MET, UNCONFIRMED, OUTSIDE = "listed", "condition met", "unconfirmed", "outside"


@dataclass(frozen=True)
class KindRow:
    """All operators of one kind: ``state`` is the worst among them, ``outside`` how many are so."""

    kind: str
    count: int
    state: str
    note: str = ""
    outside: int = 0


@dataclass(frozen=True)
class Audit:
    """The report. ``device_parts`` are sizes in operators of what would run on the chip.

    ``crossing_bytes``: all that one call moves between host and chip, ``largest_crossing_bytes``
    the largest tensor of it; ``device_gflop`` is the work of each part.
    """

    model: str
    shape: tuple[int, ...]
    torch: str
    rows: tuple[KindRow, ...]
    device_parts: tuple[int, ...]
    cpu_parts: tuple[int, ...]
    constant_bytes: int
    peak_bytes: int
    largest_crossing_bytes: int
    crossing_bytes: int
    device_gflop: tuple[float, ...]
    scores: int
    gflop: float
    before_resize: Optional[int] = None  # operators before the first resize that the chip lacks

    @property
    def operators(self) -> int:
        """Number of operators."""
        return sum(row.count for row in self.rows)

    @property
    def placed(self) -> float:
        """Share of the operators that are on the list: 0 to 1."""
        return 1 - sum(self.on_cpu.values()) / self.operators

    @property
    def passes(self) -> bool:
        """True if nothing would fall to the CPU."""
        return self.placed == 1 and len(self.device_parts) == 1

    @property
    def on_cpu(self) -> dict[str, int]:
        """Operators that would run on the CPU, by kind."""
        return {row.kind: row.outside for row in self.rows if row.outside}

    @property
    def largest_alone(self) -> Optional[tuple[int, float]]:
        """What torch-neuron compiles if told nothing: the largest part, once it has most operators.

        Returns:
            its operators, and the GFLOP left to the CPU; None if it compiles all parts.
        """
        largest = max(self.device_parts, default=0)
        if len(self.device_parts) < 2 or largest <= FUSION_THRESHOLD * self.operators:
            return None
        return largest, self.gflop - self.device_gflop[self.device_parts.index(largest)]

    def warnings(self) -> list[str]:
        """What may still go wrong, in sentences."""
        found = []
        for row in self.rows:
            if row.state == UNCONFIRMED:
                found.append(f"{row.kind} x{row.count}: {row.note}")
        if self.constant_bytes > CONSTANTS_LIMIT:
            found.append("constants over 1.9 GB: separate_weights will be used")
        if self.constant_bytes + self.peak_bytes > CORE_BYTES:
            found.append(
                "weights and buffers in float32 exceed a core's 2 GB; the default casts halve "
                "them. Where that is too much still: a pipeline of cores (--pipeline-cores), Inf2 "
                "(--target neuronx) or CUDA"
            )
        share = self.scores / SCORES_REFUSED
        if share >= 1:
            found.append(
                f"{self.scores / 1e6:.1f} M attention scores a layer: neuron-cc refused "
                f"{SCORES_REFUSED / 1e6:.1f} M (too many instructions); use a smaller size or batch"
            )
        elif share >= SCORES_HIGH:
            found.append(
                f"{self.scores / 1e6:.1f} M attention scores a layer, {share:.0%} of what "
                "neuron-cc is known to refuse: may fail with too many instructions"
            )
        return found


@lru_cache(maxsize=1)
def operator_list() -> dict[str, Any]:
    """The operator list of the last torch-neuron, with its source."""
    return json.loads(LIST.read_text(encoding="utf-8"))


def audit_graph(graph: Graph, model: str, torch_version: str) -> Audit:
    """Audit a traced graph."""
    states: dict[str, tuple[str, str]] = {}
    outside: Counter[str] = Counter()
    order = (SUPPORTED, CONDITION_MET, UNCONFIRMED, OUTSIDE)
    for operator in graph.operators:
        found = judge(operator)
        outside[operator.kind] += found[0] == OUTSIDE
        known = states.get(operator.kind, (SUPPORTED, ""))
        states[operator.kind] = max(known, found, key=lambda state: order.index(state[0]))
    counts = Counter(operator.kind for operator in graph.operators)
    rows = tuple(
        KindRow(kind, count, *states[kind], outside[kind])
        for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    parts = _partitions(graph)
    crossing = _crossings(graph)
    scores = [o.outputs[0] for o in graph.operators if o.kind == "aten::softmax"]
    return Audit(
        model=model,
        shape=graph.inputs[0].shape,
        torch=torch_version,
        rows=rows,
        device_parts=tuple(len(part) for chip, part in parts if chip),
        cpu_parts=tuple(len(part) for chip, part in parts if not chip),
        constant_bytes=graph.constant_bytes,
        peak_bytes=graph.peak_bytes(),
        largest_crossing_bytes=max(crossing, default=0),
        crossing_bytes=sum(crossing),
        device_gflop=tuple(sum(o.flops for o in part) / 1e9 for chip, part in parts if chip),
        scores=max((tensor.bytes // 4 for tensor in scores), default=0),
        gflop=graph.flops / 1e9,
        before_resize=next(
            (
                at
                for at, operator in enumerate(graph.operators)
                if operator.kind == "aten::upsample_bilinear2d" and judge(operator)[0] == OUTSIDE
            ),
            None,
        ),
    )


def judge(operator: Operator) -> tuple[str, str]:
    """State of one operator, and why."""
    known = operator_list()
    if operator.kind not in known["supported"]:
        note = known["unsupported_seen"].get(operator.kind, "absent from the operator list")
        return OUTSIDE, note
    if operator.kind == "aten::_convolution" and operator.settings.get("transposed"):
        weight = operator.tensors[1]
        kernel = list(weight.shape[2:]) if weight else []
        if operator.settings.get("stride") == kernel:
            return CONDITION_MET, "transposed, kernel = stride: compiles since SDK 1.18"
        return UNCONFIRMED, "transposed with kernel other than stride: no report of success"
    if operator.kind == "aten::upsample_bilinear2d":
        if operator.settings.get("align_corners"):
            # withoutbg/depth-anything-v2, inf1_compile.md (2025): the whole graph was refused
            return OUTSIDE, "listed, but align_corners=True was refused in the one public report"
        return CONDITION_MET, "align_corners=False compiles in AWS's samples"
    if operator.kind in ("aten::argmax", "aten::argmin", "aten::max", "aten::min"):
        return UNCONFIRMED, known["limited"].get(operator.kind, "")
    return SUPPORTED, ""


def _partitions(graph: Graph) -> list[tuple[bool, list[Operator]]]:
    """Runs of operators, and whether each is on the chip.

    A prediction: torch-neuron also groups by data flow, so it may find fewer parts, never more.
    """
    parts: list[tuple[bool, list[Operator]]] = []
    for operator in graph.operators:
        on_chip = judge(operator)[0] != OUTSIDE
        if not parts or parts[-1][0] != on_chip:
            parts.append((on_chip, []))
        parts[-1][1].append(operator)
    return parts


def _crossings(graph: Graph) -> list[int]:
    """Bytes of each tensor that goes from host to chip or back, in float32; once a direction."""
    chip_made = {tensor.name: False for tensor in graph.inputs}
    crossed = {}
    for operator in graph.operators:
        on_chip = judge(operator)[0] != OUTSIDE
        for tensor in operator.tensors:
            if tensor is not None and chip_made.get(tensor.name, on_chip) != on_chip:
                crossed[tensor.name] = tensor.bytes
        chip_made.update({tensor.name: on_chip for tensor in operator.outputs})
    crossed.update({t.name: t.bytes for t in graph.outputs if chip_made[t.name]})
    return list(crossed.values())


def within_limits(audit: Audit, share: float = 1.0) -> bool:
    """Whether a graph passes without a note on its size, at this share of its pixels.

    Scores grow with the square of the pixels, buffers at least as the pixels do.
    """
    scores = audit.scores * share**2
    held = audit.constant_bytes + audit.peak_bytes * share
    return scores < SCORES_HIGH * SCORES_REFUSED and held <= CORE_BYTES


def smaller_size(audits: Sequence[Audit], size_hw: tuple[int, int]) -> str:
    """What to say of a size whose graphs do not all pass: the next smaller one of its shape.

    Returns:
        a sentence; empty if all of them pass.
    """
    if all(map(within_limits, audits)):
        return ""
    height, width = size_hw
    for smaller in range(height - PATCH, 0, -PATCH):
        across = max(PATCH, round(width * smaller / height / PATCH) * PATCH)
        share = smaller * across / (height * width)
        if all(within_limits(audit, share) for audit in audits):
            return f"next smaller size that passes (predicted): --size {smaller}x{across}"
    return "no smaller size passes: the weights alone fill a core"


def as_json(audits: Sequence[Audit]) -> str:
    """The reports for programs."""
    facts = [
        {
            **{k: v for k, v in vars(audit).items() if k != "rows"},
            "rows": [vars(row) for row in audit.rows],
            "on_cpu": audit.on_cpu,
            "placed": audit.placed,
            "passes": audit.passes,
            "warnings": audit.warnings(),
        }
        for audit in audits
    ]
    return json.dumps(facts, indent=2)


def as_text(audit: Audit, pinned_torch: Optional[str] = None) -> str:
    """The report for people; ``pinned_torch`` is what the compile machine has, if this differs."""
    parts = ", ".join(str(size) for size in audit.device_parts) or "none"
    lines = [
        f"{audit.model} on {'x'.join(map(str, audit.shape))}: {audit.placed:.1%} of "
        f"{audit.operators} operators on the list of torch-neuron "
        f"{operator_list()['torch_neuron_version']}",
        "",
        f"  {'operator':28} {'count':>5}  state",
    ]
    for row in audit.rows:
        note = f" ({row.note})" if row.note else ""
        lines.append(f"  {row.kind:28} {row.count:5}  {row.state}{note}")
    lines += [
        "",
        f"  subgraphs on the chip   {len(audit.device_parts)}, of {parts} operators",
        f"  parts on the CPU        {len(audit.cpu_parts)}, so {len(audit.cpu_parts)} round trips",
        f"  constants               {audit.constant_bytes / 1e6:,.0f} MB of the "
        f"{CONSTANTS_LIMIT / 1e6:,.0f} MB that one protobuf holds",
        f"  weights + buffers       {(audit.constant_bytes + audit.peak_bytes) / 1e6:,.0f} MB of "
        f"{CORE_BYTES / 1e6:,.0f} MB a core, in float32",
        f"  across the host         {audit.crossing_bytes / 1e6:.2f} MB a call, the largest tensor "
        f"{audit.largest_crossing_bytes / 1e6:.2f} MB",
        f"  attention scores        {audit.scores / 1e6:.1f} M a layer, "
        f"{audit.scores / SCORES_REFUSED:.0%} of what neuron-cc is known to refuse",
        f"  work                    {audit.gflop:.1f} GFLOP",
    ]
    if audit.largest_alone is not None:
        size, left = audit.largest_alone
        lines.append(
            f"  left to its defaults    torch-neuron compiles the largest part alone: {size} of "
            f"{audit.operators} operators, {size / audit.operators:.2%}; the CPU has {left:.1f} "
            "GFLOP to do"
        )
    if audit.before_resize is not None:
        lines.append(
            f"  before the first resize {audit.before_resize} of {audit.operators} operators, "
            f"{audit.before_resize / audit.operators:.2%}"
        )
    lines += [f"  note: {warning}" for warning in audit.warnings()]
    if pinned_torch and not audit.torch.startswith(pinned_torch):
        lines.append(f"  note: traced by torch {audit.torch}; torch-neuron has {pinned_torch}")
    verdict = "one subgraph, nothing on the CPU" if audit.passes else "would NOT run whole"
    return "\n".join([*lines, "", f"  {verdict} (predicted: the compiler itself did not run)"])
