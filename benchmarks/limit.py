"""What this processor can do at most, and the least time that a network needs there.

Matrix products of the network's own sizes and one large square are timed in a process with current
torch (oneDNN and MKL), in float32, bfloat16 and int8. A network's multiplications and additions are
counted from its traced graph; at the best rate that was measured they take the least time. Softmax,
norms and all that is not a product are left out of it, so nobody reaches it.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from benchmarks.peers import environment
from benchmarks.peers.process import Peer
from compile.deploy import COMMON, deployment_form
from compile.trace import Graph, trace

NEEDS = ("torch==2.13.0", "numpy==2.4.6")
SQUARE = (2048, 2048, 2048)
SHAPES = 3  # of the network, those that it spends most on
REPEATS = 5

Product = tuple[int, int, int]  # rows, inner, columns


def traced(model: nn.Module, size_hw: tuple[int, int]) -> Graph:
    """The graph that is compiled for one image."""
    shape = (1, 3, *size_hw)
    return trace(deployment_form(model, shape, COMMON), torch.zeros(shape))


def largest_products(graph: Graph) -> list[Product]:
    """The shapes of linear layers that take most of the network's operations, most first."""
    spent: Counter[Product] = Counter()
    for operator in graph.operators:
        if operator.kind == "aten::linear":
            left, right = (tensor.shape for tensor in operator.tensors[:2] if tensor is not None)
            spent[math.prod(left[:-1]), left[-1], right[0]] += operator.flops
    return [shape for shape, _ in spent.most_common(SHAPES)]


def products_peer(shapes: Iterable[Product], threads: int) -> Peer:
    """The process that measures; ``run(REPEATS)`` says the rates of now.

    Raises:
        MissingDependency: its environment cannot be made.
    """
    words = ["x".join(map(str, shape)) for shape in shapes]
    python = environment("products", NEEDS)
    return Peer(python, "products.py", [str(threads), *words], None)


def best_rates(said: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Operations a second by shape and precision: the best of all that the process said."""
    best: dict[str, dict[str, float]] = {}
    for answer in said:
        for shape, rates in answer["rates"].items():
            known = best.setdefault(shape, {})
            known.update({name: max(rate, known.get(name, 0.0)) for name, rate in rates.items()})
    return best


def least_seconds(flops: float, rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """The least time by precision: all operations at the best rate of any shape."""
    precisions = next(iter(rates.values()))
    return {name: flops / max(shape[name] for shape in rates.values()) for name in precisions}


def sentence(gflop: float, rates: dict[str, dict[str, float]], least: dict[str, float]) -> str:
    """The limit for people."""
    each = "; ".join(
        f"{name} {max(shape[name] for shape in rates.values()) / 1e9:,.0f} GFLOP/s "
        f"({', '.join(f'{shape[name] / 1e9:,.0f}' for shape in rates.values())}), "
        f"hence {least[name] * 1e3:,.0f} ms"
        for name in least
    )
    shapes = ", ".join("{} rows by {} to {}".format(*text.split("x")) for text in rates)
    return (
        f"The limit: {gflop:,.1f} GFLOP an image at the best rate of a matrix product in the same "
        f"run ({shapes}; torch 2 with MKL and oneDNN): {each}."
    )
