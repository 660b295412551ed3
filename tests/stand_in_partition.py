"""How the stand-in for torch-neuron splits a graph: what the chip takes, in parts, and what not.

A module and a rule in; the same function out, whose parts for the chip are modules of their own.
It models what is documented and logged of torch-neuron: runs of operators, a least size, the
largest part alone above a share, and parts that fail and fall back to the CPU.
"""

import operator
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.split_module import split_module

from compile.numerics import traced as layers_of

OF_MODULES = {
    nn.Linear: "aten::linear",
    nn.Conv2d: "aten::_convolution",
    nn.ConvTranspose2d: "aten::_convolution",
    nn.LayerNorm: "aten::layer_norm",
    nn.GELU: "aten::gelu",
    nn.ReLU: "aten::relu",
    nn.PixelShuffle: "aten::pixel_shuffle",
}
OF_FUNCTIONS = {
    F.interpolate: "aten::upsample_bilinear2d",
    operator.getitem: None,  # unpacks a tuple, or a slice, which goes where its input goes
    operator.add: "aten::add",
    operator.mul: "aten::mul",
}


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> Optional[str]:
    """The operator that a node becomes; None if it computes nothing."""
    if node.op == "call_module":
        classes = type(modules[str(node.target)]).__mro__  # ours are made of torch's
        return next((OF_MODULES[one] for one in classes if one in OF_MODULES), None)
    if node.op == "call_method":
        return f"aten::{node.target}"
    if node.op == "call_function":
        known = OF_FUNCTIONS.get(node.target, "")
        return f"aten::{node.target.__name__}" if known == "" else known  # type: ignore[union-attr]
    return None


def split(
    form: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    on_chip: Callable[[str], bool],
    compiles: Callable[[Collection[str]], bool],
    least: int,
    alone_above: float,
    compiled: Callable[[nn.Module, tuple[torch.Tensor, ...]], nn.Module],
) -> tuple[nn.Module, int]:
    """A form whose parts for the chip are ``compiled``; and how many there are.

    Args:
        on_chip: whether an operator is wanted on the chip.
        compiles: whether the compiler takes a part of these operators.
        least: smaller parts stay on the CPU.
        alone_above: once a part has a larger share of all operators, it alone is compiled.
    """
    traced = layers_of(form)
    modules = dict(traced.named_modules())
    part_of: dict[str, int] = {}
    kinds: dict[int, list[str]] = {}
    chip: dict[int, bool] = {}
    part = 0
    for node in traced.graph.nodes:
        kind = kind_of(node, modules)
        if kind is not None and chip.setdefault(part, on_chip(kind)) != on_chip(kind):
            part += 1
            chip[part] = on_chip(kind)
        part_of[node.name] = part
        kinds.setdefault(part, []).extend([kind] if kind else [])
    total = sum(map(len, kinds.values()))
    taken = {p for p, on in chip.items() if on and len(kinds[p]) >= least}
    largest = max(taken, key=lambda p: len(kinds[p]), default=None)
    if largest is not None and len(kinds[largest]) > alone_above * total:
        taken = {largest}
    taken = {p for p in taken if compiles(Counter(kinds[p]))}
    whole = split_module(traced, form, lambda node: part_of[node.name])
    seen: dict[str, tuple[Any, ...]] = {}
    names = [f"submod_{p}" for p in sorted(taken)]
    hooks = [
        getattr(whole, name).register_forward_pre_hook(
            lambda _, given, name=name: seen.setdefault(name, given) and None
        )
        for name in names
    ]
    whole(*inputs)
    for hook in hooks:
        hook.remove()
    for name in names:
        setattr(whole, name, compiled(getattr(whole, name), seen[name]))
    return whole, len(names)
