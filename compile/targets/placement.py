"""Where a graph that torch-neuron gave back runs: what is on the chip, and what was left behind.

A ScriptModule in; counts, or a refusal, out.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby

from torch.jit._script import ScriptModule

from compile.targets.options import NeuronOptions
from runtime.errors import CompileError

ON_CHIP = "neuron::forward"  # begins the kind of a compiled part
LEAST_ON_CHIP = 0.5  # of the operators; below it AWS warns too


@dataclass(frozen=True)
class Placement:
    """Where a compiled graph runs: parts on the chip, and what was left for the CPU.

    ``cpu_parts`` are runs of operators on the CPU, each a trip from the chip and back.
    """

    subgraphs: int
    on_cpu: dict[str, int]
    cpu_parts: int

    def facts(self, operators: int) -> dict[str, str]:
        """For the manifest.

        Args:
            operators: of the form that was compiled.
        """
        left = sum(self.on_cpu.values())
        return {
            "subgraphs": str(self.subgraphs),
            "on_cpu": ", ".join(f"{kind} x{n}" for kind, n in self.on_cpu.items()) or "nothing",
            "operators_on_chip": str(max(0, operators - left)),
            "operators_on_cpu": str(left),
            "round_trips": str(self.cpu_parts),
        }


def placement_of(graph: ScriptModule) -> Placement:
    """Count the compiled parts of a graph and the operators that stayed behind."""
    kinds = [node.kind() for node in graph.inlined_graph.nodes()]
    computing = [kind for kind in kinds if kind.startswith((ON_CHIP, "aten::"))]
    left = Counter(kind for kind in computing if kind.startswith("aten::"))
    return Placement(
        subgraphs=len(computing) - sum(left.values()),
        on_cpu=dict(sorted(left.items())),
        cpu_parts=sum(on_cpu for on_cpu, _ in groupby(computing, lambda k: k.startswith("aten::"))),
    )


def check_placement(
    graph: ScriptModule, options: NeuronOptions, stages: bool, off_chip: Collection[str] = ()
) -> Placement:
    """Refuse a graph that does not run on the chip as it should.

    Args:
        stages: encoder and head are a part each.
        off_chip: operators that were kept off it; if there are any, nothing is refused but a graph
            without a part on the chip.
    Raises:
        CompileError: nothing on the chip, operators on the CPU, or more parts than allowed.
    """
    placement = placement_of(graph)
    allowed = max(options.subgraphs, 2 if stages else 1)
    left = ", ".join(f"{kind} x{count}" for kind, count in placement.on_cpu.items())
    if placement.subgraphs == 0:
        raise CompileError("nothing was placed on the chip")
    if off_chip:
        return placement
    if left and not options.cpu_operators:
        raise CompileError(f"left on the CPU: {left}; allow it with --cpu-operators")
    if placement.subgraphs > allowed:
        raise CompileError(
            f"{placement.subgraphs} subgraphs, {allowed} allowed: each further one costs two "
            "copies through the host; allow them with --subgraphs"
        )
    return placement
