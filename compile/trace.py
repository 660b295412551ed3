"""Deployment form to traced graph, and what the graph consists of.

A module and an example input in; the traced module, its operators with their shapes, and its
constants out. Tracing runs the module once. What is counted from it is counted from what the
compiler will be given.
"""

import math
from dataclasses import dataclass
from typing import Optional, Union

import torch
from torch import nn
from torch.jit._script import ScriptModule

Shape = tuple[int, ...]
BYTES = 4  # the traced graph is float32; what a compiler makes of it is its own affair


@dataclass(frozen=True)
class Tensor:
    """A value in the graph; its name is unique there."""

    name: str
    shape: Shape

    @property
    def bytes(self) -> int:
        """Size in float32."""
        return BYTES * math.prod(self.shape)


@dataclass(frozen=True)
class Operator:
    """A node that computes.

    ``tensors`` are what it reads, computed values and constants alike, None for an absent one (no
    bias); ``settings`` are its plain arguments by name.
    """

    kind: str
    scope: str
    tensors: tuple[Optional[Tensor], ...]
    outputs: tuple[Tensor, ...]
    settings: dict[str, object]

    @property
    def flops(self) -> int:
        """Multiplications and additions of a matrix product or convolution; 0 for all else."""
        if self.kind not in ("aten::linear", "aten::matmul", "aten::_convolution"):
            return 0
        left, right = (tensor.shape for tensor in self.tensors[:2] if tensor is not None)
        made = math.prod(self.outputs[0].shape)
        if self.kind == "aten::_convolution":  # weight: (out, in, kh, kw), or (in, out, kh, kw)
            per = math.prod(right[1:])
            return 2 * per * (math.prod(left) if self.settings.get("transposed") else made)
        return 2 * left[-1] * made


@dataclass(frozen=True)
class Graph:
    """A traced module, seen as a list of operators in the order in which they run."""

    module: ScriptModule
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    constant_bytes: int

    @property
    def flops(self) -> int:
        """Of one call."""
        return sum(operator.flops for operator in self.operators)

    def peak_bytes(self) -> int:
        """Most that lives at once, in float32, if every value has its own memory until last read.

        Views count as copies, so this is an upper bound.
        """
        last = {t.name: at for at, o in enumerate(self.operators) for t in o.tensors if t}
        computed = {t.name: t.bytes for o in self.operators for t in o.outputs}
        computed.update({t.name: t.bytes for t in self.inputs})
        live = sum(t.bytes for t in self.inputs)
        peak = live
        for at, operator in enumerate(self.operators):
            live += sum(t.bytes for t in operator.outputs)
            peak = max(peak, live)
            read = {t.name for t in operator.tensors if t}
            live -= sum(computed.get(name, 0) for name in read if last[name] == at)
        return peak


def trace(form: nn.Module, example: Union[torch.Tensor, tuple[torch.Tensor, ...]]) -> Graph:
    """Trace a module in eval mode with ``torch.jit.trace`` and list its operators.

    What cuDNN is told stands in the graph as constants: that float32 is float32, not TF32, and to
    look for the fastest kernel of a shape.
    """
    told = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
    with torch.no_grad(), told:
        # check_trace: parity checks the graph afterwards, on more than one input
        module = torch.jit.trace(form, example, check_trace=False)  # type: ignore[attr-defined]
    return read_graph(module)


def read_graph(module: ScriptModule) -> Graph:
    """List the operators of a traced module. Their shapes are those of the traced input."""
    graph = module.inlined_graph
    constants: dict[str, Tensor] = {}
    attributes: dict[str, object] = {next(graph.inputs()).debugName(): module}
    sizes: dict[int, int] = {}
    operators = []
    for node in graph.nodes():
        if node.kind() == "prim::GetAttr":
            value = getattr(attributes[node.input().debugName()], node.s("name"))
            attributes[node.output().debugName()] = value
            if torch.is_tensor(value):
                name = node.output().debugName()
                constants[name] = Tensor(name, tuple(value.shape))
                sizes[value.data_ptr()] = value.numel() * value.element_size()
        elif node.kind() == "prim::Constant" and _is_tensor(node.output()):
            name = node.output().debugName()
            value = node.output().toIValue()  # a tensor, or the number it was traced from
            constants[name] = Tensor(name, tuple(value.shape) if torch.is_tensor(value) else ())
        elif not node.kind().startswith("prim::"):
            operators.append(_operator(node, constants))
    given = list(graph.inputs())[1:]
    return Graph(
        module=module,
        operators=tuple(operators),
        inputs=tuple(_tensor(value) for value in given),
        outputs=tuple(_tensor(value) for value in graph.outputs() if _is_tensor(value)),
        constant_bytes=sum(sizes.values()),
    )


def _operator(node, constants: dict[str, Tensor]) -> Operator:  # type: ignore[no-untyped-def]
    tensors: list[Optional[Tensor]] = []
    settings: dict[str, object] = {}
    names = _argument_names(node)
    for name, value in zip(names, node.inputs()):
        kind = value.type().kind()
        if kind == "TensorType":
            tensors.append(constants.get(value.debugName()) or _tensor(value))
        elif kind == "NoneType":
            tensors.append(None)
        elif value.node().kind() == "prim::ListConstruct":
            items = list(value.node().inputs())
            if items and _is_tensor(items[0]):
                tensors += [constants.get(v.debugName()) or _tensor(v) for v in items]
            else:
                settings[name] = [item.toIValue() for item in items]
        else:
            settings[name] = value.toIValue()
    outputs = []
    for value in node.outputs():
        if _is_tensor(value):
            outputs.append(_tensor(value))
        else:  # a list, such as unbind's: its items are what the unpacking node names
            users = [use.user for use in value.uses()]
            outputs += [_tensor(v) for user in users for v in user.outputs() if _is_tensor(v)]
    return Operator(
        kind=node.kind(),
        scope=node.scopeName(),
        tensors=tuple(tensors),
        outputs=tuple(outputs),
        settings=settings,
    )


def _argument_names(node) -> list[str]:  # type: ignore[no-untyped-def]
    """Names of the operator's arguments, from its schema; positions where it has none."""
    count = len(list(node.inputs()))
    try:
        schema = torch._C.parse_schema(node.schema())  # type: ignore[attr-defined]
    except RuntimeError:
        return [str(position) for position in range(count)]
    return [argument.name for argument in schema.arguments][:count]


def _is_tensor(value) -> bool:  # type: ignore[no-untyped-def]
    return value.type().kind() == "TensorType"


def _tensor(value) -> Tensor:  # type: ignore[no-untyped-def]
    sizes = value.type().sizes()
    return Tensor(value.debugName(), tuple(sizes) if sizes is not None else ())
