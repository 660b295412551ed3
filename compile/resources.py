"""What a model costs on Inf1: operations, bytes, time, instances, dollars. Estimates, all of them.

A traced graph in, numbers out. Nothing here was measured on a chip: time is operations over the
published peak at the utilisation that published measurements of transformers reach.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from compile.audit import CORE_BYTES
from compile.trace import Graph
from runtime.engines.inferentia import INF1, InferentiaInstance
from runtime.errors import InputError

CORE_FLOPS = 16e12  # matrix engine of a NeuronCore-v1, bf16 or fp16: Neuron SDK, inf1-arch
# Share of the peak that transformers reach at batch 1. 23 %: ViT-B/16-224 in 9.39 ms on one core
# (P. Schmid's benchmark); 17 to 33 %: BERT-base at 128 to 512 tokens (same source); 41 % is AWS's
# best, BERT-base at batch 6. The band leaves out the ends.
UTILISATION = (0.20, 0.35)
SOMETIMES = (" ray_head", " camera_encoder")  # stages that most scenes do not need
HOST_BYTES_S = 1e9  # between host and chip: estimated from aws-neuron-sdk issue 826


@dataclass(frozen=True)
class Needs:
    """One call of one graph, or of the graphs of a scene. Pairs are (pessimistic, optimistic).

    ``cores``: fewest that hold weights and buffers in the 16 bits of the default casts; above 1 a
    pipeline. ``stages`` are the graphs, where there are several.
    """

    model: str
    shape: tuple[int, ...]
    gflop: float
    attention_gflop: float
    weight_mb: float
    activation_mb: float
    crossing_mb: float
    least_ms: float
    compute_ms: tuple[float, float]
    transfer_ms: float
    cores: int = 1
    stages: tuple["Needs", ...] = ()

    @property
    def core_rate(self) -> tuple[float, float]:
        """Images a second of one core.

        Pessimistic: transfer and computation one after the other, and a pipeline of cores as fast
        as one of them; optimistic: overlapped, and no core of a pipeline waits.
        """
        slow = self.compute_ms[0] + self.transfer_ms
        fast = max(self.compute_ms[1], self.transfer_ms)
        batch = self.shape[0]
        return 1e3 * batch / (slow * self.cores), 1e3 * batch / fast


@dataclass(frozen=True)
class FleetPlan:
    """How many of one instance serve a rate, and what an image costs there.

    Pairs are (pessimistic, optimistic).
    """

    instance: InferentiaInstance
    rate: tuple[float, float]
    count: tuple[int, int]
    dollars_h: tuple[float, float]
    dollars_per_million: tuple[float, float]
    ms_of_vcpu_an_image: tuple[float, float]


def needs_of(graph: Graph, model: str) -> Needs:
    """Count and estimate one call."""
    flops = graph.flops
    crossing = sum(tensor.bytes for tensor in (*graph.inputs, *graph.outputs))
    least = flops / CORE_FLOPS
    slow, fast = (1e3 * least / share for share in UTILISATION)
    return Needs(
        model=model,
        shape=graph.inputs[0].shape,
        gflop=flops / 1e9,
        attention_gflop=attention_flops(graph) / 1e9,
        weight_mb=graph.constant_bytes / 1e6,
        activation_mb=graph.peak_bytes() / 1e6,
        crossing_mb=crossing / 1e6,
        least_ms=1e3 * least,
        compute_ms=(slow, fast),
        transfer_ms=1e3 * crossing / HOST_BYTES_S,
        cores=_cores_for(graph.constant_bytes + graph.peak_bytes()),
    )


def _cores_for(bytes_f32: float) -> int:
    return max(1, math.ceil(bytes_f32 / 2 / CORE_BYTES))


def needs_of_scene(graphs: Sequence[tuple[str, Graph]], model: str, views: int) -> Needs:
    """Add up the stages of a scene: one process runs them in turn, and holds all their weights.

    Stages that only some scenes need (ray maps, known cameras) are held but not timed.
    """
    stages = tuple(needs_of(graph, name) for name, graph in graphs)
    timed = [one for one in stages if not one.model.endswith(SOMETIMES)]
    weights = sum(one.weight_mb for one in stages)
    buffers = max(one.activation_mb for one in stages)
    return Needs(
        model=model,
        shape=(views, *stages[0].shape[1:]),
        gflop=sum(one.gflop for one in timed),
        attention_gflop=sum(one.attention_gflop for one in timed),
        weight_mb=weights,
        activation_mb=buffers,
        crossing_mb=sum(one.crossing_mb for one in timed),
        least_ms=sum(one.least_ms for one in timed),
        compute_ms=(
            sum(one.compute_ms[0] for one in timed),
            sum(one.compute_ms[1] for one in timed),
        ),
        transfer_ms=sum(one.transfer_ms for one in timed),
        cores=_cores_for(1e6 * (weights + buffers)),
        stages=stages,
    )


def attention_flops(graph: Graph) -> int:
    """The part that grows with the square of the tokens: scores and weighted sums."""
    return sum(o.flops for o in graph.operators if o.kind == "aten::matmul")


def plans_for(needs: Needs, images_s: float) -> list[FleetPlan]:
    """One plan an Inf1 instance type.

    Raises:
        InputError: a rate that is not positive.
    """
    if not (images_s > 0 and math.isfinite(images_s)):
        raise InputError(f"rate {images_s}: give images a second, above 0")
    return [_plan(needs, images_s, instance) for instance in INF1]


def _plan(needs: Needs, images_s: float, instance: InferentiaInstance) -> FleetPlan:
    assert instance.dollars_h is not None, instance.name
    dollars_h = instance.dollars_h
    slow, fast = (instance.cores * core for core in needs.core_rate)
    counts = (math.ceil(images_s / slow), math.ceil(images_s / fast))
    return FleetPlan(
        instance=instance,
        rate=(slow, fast),
        count=counts,
        dollars_h=(counts[0] * dollars_h, counts[1] * dollars_h),
        dollars_per_million=(_per_million(dollars_h, slow), _per_million(dollars_h, fast)),
        ms_of_vcpu_an_image=(1e3 * instance.vcpus / slow, 1e3 * instance.vcpus / fast),
    )


def _per_million(dollars_h: float, images_s: float) -> float:
    return 1e6 / images_s / 3600 * dollars_h


def as_json(needs: Needs, plans: list[FleetPlan]) -> str:
    """The answer for programs."""
    facts = [
        {**asdict(plan), "instance": {**asdict(plan.instance), "cores": plan.instance.cores}}
        for plan in plans
    ]
    return json.dumps({"estimate": True, "needs": asdict(needs), "plans": facts}, indent=2)


def as_text(needs: Needs, plans: list[FleetPlan], images_s: float) -> str:
    """The answer for people."""
    batch, _, height, width = needs.shape
    low, high = UTILISATION
    slow, fast = needs.core_rate
    lines = [
        f"{needs.model} at {height}x{width}, {'views' if needs.stages else 'batch'} {batch}: "
        "ESTIMATES, not measured on Inf1",
        "",
        f"  work        {needs.gflop:.1f} GFLOP, {needs.attention_gflop:.1f} of them attention",
        f"  memory      {needs.weight_mb:,.0f} MB of weights, up to {needs.activation_mb:,.0f} MB "
        "of buffers, in float32",
        f"  least time  {needs.least_ms:.1f} ms on one core at its peak of "
        f"{CORE_FLOPS / 1e12:.0f} TFLOPS",
        f"  likely      {needs.compute_ms[1]:.0f} to {needs.compute_ms[0]:.0f} ms at {low:.0%} to "
        f"{high:.0%} of it, as published for transformers",
        f"  transfer    {needs.transfer_ms:.1f} ms for {needs.crossing_mb:.1f} MB in and out",
        f"  one core    {slow:.3g} to {fast:.3g} images/s"
        + (f", of a pipeline of at least {needs.cores}" if needs.cores > 1 else ""),
        *_stage_lines(needs),
        "",
        f"for {images_s:,.0f} images/s (pessimistic to optimistic):",
        "",
        f"  {'instance':14} {'images/s':>15} {'how many':>11} {'$/h':>16} {'$/million':>14} "
        f"{'vCPU ms/image':>14}",
    ]
    for plan in plans:
        lines.append(
            f"  {plan.instance.name:14} {_span(plan.rate, 0):>15} {_span(plan.count, 0):>11} "
            f"{_span(plan.dollars_h, 2):>16} {_span(plan.dollars_per_million, 2):>14} "
            f"{_span(plan.ms_of_vcpu_an_image, 0):>14}"
        )
    lines += [
        "",
        "  $: reserved effective rate in AWS's benchmark list; no on-demand or SageMaker price.",
        "  vCPU ms/image: processor time left to decode, resize and encode each image.",
    ]
    return "\n".join(lines)


def _stage_lines(needs: Needs) -> list[str]:
    """A line a stage, where there are several."""
    if not needs.stages:
        return []
    width = max(len(one.model) for one in needs.stages)
    lines = [
        "",
        f"  {'stage':{width}} {'GFLOP':>8} {'MB':>7} {'buffers':>8} {'ms':>11} {'cores':>6}",
    ]
    for one in needs.stages:
        note = "  if asked for" if one.model.endswith(SOMETIMES) else ""
        time = _span((one.compute_ms[1], one.compute_ms[0]), 1)
        lines.append(
            f"  {one.model:{width}} {one.gflop:8,.1f} {one.weight_mb:7,.0f} "
            f"{one.activation_mb:8,.0f} {time:>11} {one.cores:6}{note}"
        )
    if needs.cores > 1:
        most = CORE_BYTES / 1e6
        lines.append(
            f"  {needs.weight_mb + needs.activation_mb:,.0f} MB in float32, half of it in 16 bits, "
            f"and {most:,.0f} MB a core: --pipeline-cores {needs.cores} or more, which is not "
            "confirmed to compile; else Inf2 (--target neuronx) or CUDA"
        )
    return lines


def _span(pair: tuple[float, float], digits: int) -> str:
    first, second = (f"{value:,.{digits}f}" for value in pair)
    return first if first == second else f"{first} - {second}"
