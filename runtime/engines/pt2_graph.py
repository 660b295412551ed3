"""A checked program of a ``.pt2`` as a torch module: its nodes, one by one, out of a short list.

Plain JSON values and weights in; a ``torch.fx.GraphModule`` from tensors to a tuple of them out.
Names out of the file become no code: torch names the nodes itself. Every tensor must have the sizes
that the file states, and none may be out of proportion to what goes in and comes out.
"""

import json
import math
import operator
from types import ModuleType
from typing import Any

from runtime.artifact.manifest import StageSpec
from runtime.engines.pt2_file import DTYPES, Refused, exact, shown, tensor_facts

# What our graphs consist of. None of these reads a file or calls anything.
_NAMES = """
    add.Tensor cat.default chunk.default conv2d.default conv_transpose2d.input exp.default
    flatten.using_ints gelu.default layer_norm.default linear.default matmul.default
    mul.Tensor neg.default permute.default relu.default reshape.default
    scaled_dot_product_attention.default select.int sigmoid.default silu.default
    slice.Tensor softmax.int squeeze.dim sum.dim_IntList to.dtype transpose.int unbind.int
    unsqueeze.default upsample_bilinear2d.vec
"""
OPERATORS = frozenset(f"torch.ops.aten.{name}" for name in _NAMES.split())
PARTS = ("unbind", "chunk")  # those that return as many tensors as they are told to
LARGEST = 64  # times what goes in and comes out, in float32: no tensor of ours is half of it
NODES = 100_000


# What is the same in every program of one shape: nothing symbolic, nothing guarded, no objects
PLAIN_PROGRAM = {"range_constraints": {}, "guards_code": [], "verifiers": ["TRAINING"]}
PLAIN_MODULE: dict[str, Any] = {"metadata": {}, "treespec_namedtuple_fields": {}}
PLAIN_GRAPH = {
    "sym_int_values": {},
    "sym_bool_values": {},
    "sym_float_values": {},
    "custom_obj_values": {},
    "is_single_tensor_return": False,
}
VERSIONS = ("opset_version", "schema_version", "torch_version")
MODULE_FIELDS = ("graph", "signature", "module_call_graph")
GRAPH_FIELDS = ("inputs", "outputs", "nodes", "tensor_values")
NODE_FIELDS = ("target", "inputs", "outputs", "metadata", "is_hop_single_tensor_return", "name")
TREES = ("builtins.tuple", "builtins.dict", None)  # of arguments and results
FAILURES = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, OverflowError)


def build_module(torch: ModuleType, program: Any, weights: dict[str, Any], stage: StageSpec) -> Any:
    """The module of a program, its weights as buffers; takes and returns what the stage says.

    Raises:
        Refused: anything that no program of ours has.
    """
    (module,) = _with_plain(program, PLAIN_PROGRAM, "graph_module", *VERSIONS)[:1]
    graph, signature, calls = _with_plain(module, PLAIN_MODULE, *MODULE_FIELDS)
    _check_calls(calls)
    inputs, outputs, nodes, values = _with_plain(graph, PLAIN_GRAPH, *GRAPH_FIELDS)
    specs, results = exact(signature, "input_specs", "output_specs")
    for one in (inputs, outputs, nodes, specs, results):
        if not isinstance(one, list) or len(one) > NODES:
            raise Refused(f"{shown(one)} where a list is expected")
    if not isinstance(values, dict) or len(inputs) != len(specs):
        raise Refused("inputs, or what is said of them, are missing")
    if results != [{"user_output": {"arg": one}} for one in outputs]:
        raise Refused("its outputs are not what its signature says")
    building = _Building(torch, values, weights, _limit(stage, weights))
    with torch.no_grad():
        building.take(inputs, specs, stage)
        for node in nodes:
            building.add(node)
        return building.finish(outputs, stage)


class _Building:
    """A graph while its nodes are added; each runs at once on tensors without contents.

    Args:
        values: what the file says of every tensor.
        limit: bytes that no tensor may exceed.
    """

    def __init__(
        self, torch: ModuleType, values: dict[str, Any], weights: dict[str, Any], limit: int
    ) -> None:
        self._torch, self._values, self._limit = torch, values, limit
        self._root = torch.nn.Module()
        self._weights: dict[str, tuple[str, Any]] = {}  # name -> name of the buffer, the tensor
        for (name, tensor), buffer in zip(weights.items(), as_buffers(weights)):
            self._root.register_buffer(buffer, tensor)
            self._weights[name] = buffer, tensor
        self._graph = torch.fx.Graph()
        self._nodes: dict[str, tuple[Any, Any]] = {}  # name -> node, its tensor

    def take(self, inputs: list[Any], specs: list[Any], stage: StageSpec) -> None:
        """Weights, and what the stage is given."""
        torch, expected = self._torch, list(stage.inputs)
        for index, (argument, spec) in enumerate(zip(inputs, specs)):
            name = _tensor_name(argument)
            if isinstance(spec, dict) and list(spec) == ["user_input"]:
                if spec != {"user_input": {"arg": argument}} or not expected:
                    raise Refused("it takes other tensors than the manifest says")
                tensor = expected.pop(0)
                dtype = getattr(torch, tensor.dtype)
                made = torch.empty(tensor.shape, dtype=dtype, device="meta")
                self._name(name, self._graph.placeholder(f"input_{index}"), made)
                continue
            weight = self._weights.pop(_weight_of(spec, name), None)
            if weight is None:
                raise Refused(f"the weight {shown(name)} is missing, or taken twice")
            buffer, tensor = weight
            self._name(name, self._graph.get_attr(buffer), tensor.to("meta"))
        if expected or self._weights:
            raise Refused("it takes fewer tensors than the manifest says, or than it holds")

    def add(self, node: Any) -> None:
        """A node, by the operator that it names."""
        target, inputs, outputs, metadata, _, _ = exact(node, *NODE_FIELDS)
        if metadata != {} or not isinstance(inputs, list) or not isinstance(outputs, list):
            raise Refused("a node says more, or less, than ours do")
        if not isinstance(target, str) or target not in OPERATORS:
            raise Refused(f"the operator {shown(target)} is none of ours")
        *_, name, overload = target.split(".")
        call = getattr(getattr(self._torch.ops.aten, name), overload)
        given = {}
        for one in inputs:
            key, value, _ = exact(one, "name", "arg", "kind")
            given[key if isinstance(key, str) else ""] = self._value(value)
        args, kwargs = _by_schema(call, given)
        plain_args, plain_kwargs = _second(args), _second(kwargs)
        if len(outputs) != 1 or not isinstance(outputs[0], dict):
            raise Refused(f"{target} returns something else")
        if name in PARTS and _parts(name, plain_args) > _named_in(outputs[0]):
            raise Refused(f"{target} returns more than it says")  # before a million are made
        try:
            made = call(*plain_args, **plain_kwargs)
        except FAILURES:
            raise Refused(f"{target} does not take what it is given") from None
        result = self._graph.call_function(call, _first(args), _first(kwargs))
        if list(outputs[0]) == ["as_tensor"]:
            self._name(_tensor_name(outputs[0]), result, made)
            return
        names = [_name_of(one) for one in _listed(exact(outputs[0], "as_tensors")[0])]
        if not isinstance(made, (list, tuple)) or len(made) != len(names):
            raise Refused(f"{target} returns something else")
        for index, (name, tensor) in enumerate(zip(names, made)):
            item = self._graph.call_function(operator.getitem, (result, index))
            self._name(name, item, tensor)

    def finish(self, outputs: list[Any], stage: StageSpec) -> Any:
        """The module, once its results are what the stage says."""
        found = [self._known(_tensor_name(one)) for one in outputs]
        for (_, tensor), expected in zip(found, stage.outputs):
            dtype = str(tensor.dtype).partition(".")[2]
            if (tuple(tensor.shape), dtype) != (expected.shape, expected.dtype):
                raise Refused(f"its {expected.name} is not what the manifest says")
        if len(found) != len(stage.outputs) or len(self._nodes) != len(self._values):
            raise Refused("it returns, or describes, other tensors than it makes")
        self._graph.output(tuple(node for node, _ in found))
        return self._torch.fx.GraphModule(self._root, self._graph).eval()

    def _name(self, name: str, node: Any, tensor: Any) -> None:
        """Note a tensor under its name, if it is as large as the file says."""
        if name in self._nodes or name not in self._values:
            raise Refused(f"the tensor {shown(name)} is there twice, or nothing is said of it")
        dtype, sizes, _ = tensor_facts(self._values[name])
        if not isinstance(tensor, self._torch.Tensor) or (
            (str(tensor.dtype), tuple(tensor.shape)) != (f"torch.{dtype}", sizes)
        ):
            raise Refused(f"the tensor {shown(name)} is not as large as it says")
        if tensor.numel() * tensor.element_size() > self._limit:
            raise Refused(f"the tensor {shown(name)} is out of all proportion")
        self._nodes[name] = node, tensor

    def _known(self, name: str) -> tuple[Any, Any]:
        if name not in self._nodes:
            raise Refused(f"the tensor {shown(name)} is used before it is made")
        return self._nodes[name]

    def _value(self, argument: Any) -> Any:
        """An argument as a pair: for the graph, and for the run without contents."""
        if not isinstance(argument, dict) or len(argument) != 1:
            raise Refused(f"{shown(argument)} where an argument is expected")
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return self._known(_name_of(value))
        if kind == "as_tensors":
            pairs = [self._known(_name_of(one)) for one in _listed(value)]
            return [node for node, _ in pairs], [tensor for _, tensor in pairs]
        if kind == "as_none" and value is True:
            return None, None
        if kind == "as_scalar_type" and type(value) is int and value in DTYPES:
            dtype = getattr(self._torch, DTYPES[value])
            return dtype, dtype
        if kind == "as_ints" and all(map(_whole, _listed(value))):
            return list(value), list(value)
        sound = {
            "as_int": _whole(value),
            "as_bool": type(value) is bool,
            "as_float": type(value) is float and math.isfinite(value),
        }
        if not sound.get(kind, False):
            raise Refused(f"the argument {shown(argument)} is none of ours")
        return value, value


def as_buffers(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights by the names that the module has for them, which say nothing."""
    return {f"weight_{index}": tensor for index, tensor in enumerate(weights.values())}


def _limit(stage: StageSpec, weights: dict[str, Any]) -> int:
    doors = sum(math.prod(tensor.shape) for tensor in (*stage.inputs, *stage.outputs))
    held = sum(weight.numel() * weight.element_size() for weight in weights.values())
    return LARGEST * 4 * doors + held


def _with_plain(value: Any, plain: dict[str, Any], *names: str) -> list[Any]:
    """The named fields of an object whose other fields say nothing."""
    found = exact(value, *names, *plain)
    for name, expected, said in zip(plain, plain.values(), found[len(names) :]):
        if said != expected:
            raise Refused(f"{name} is {shown(said)}, and {shown(expected)} in all programs of ours")
    return found[: len(names)]


def _check_calls(calls: Any) -> None:
    """One module, called with plain tuples; nobody here reads more of it."""
    if not isinstance(calls, list) or len(calls) != 1:
        raise Refused("it calls other modules")
    name, signature = exact(calls[0], "fqn", "signature")
    inputs, outputs, *trees, names = exact(
        signature, "inputs", "outputs", "in_spec", "out_spec", "forward_arg_names"
    )
    if name != "" or inputs != [] or outputs != [] or not isinstance(names, list):
        raise Refused("it calls other modules")
    for tree in trees:
        try:
            version, top = json.loads(tree)
        except (ValueError, TypeError, RecursionError):
            raise Refused(f"{shown(tree)} where a tree is expected") from None
        left = [top]
        while left:
            kind, context, children = exact(left.pop(), "type", "context", "children_spec")
            if kind not in TREES or context not in ("null", "[]", None) or version != 1:
                raise Refused(f"a tree of {shown(kind)}")
            left += _listed(children)


def _weight_of(spec: Any, name: str) -> str:
    """Under what name the weight of an input lies."""
    argument, known, kept = exact(*exact(spec, "buffer"), "arg", "buffer_name", "persistent")
    if kept is not True or argument != {"name": name} or not isinstance(known, str):
        raise Refused(f"{shown(spec)} where a weight is expected")
    return known


def _by_schema(call: Any, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments in the operator's own order; by name from the first that is left out on."""
    args: list[Any] = []
    kwargs, left, gap = {}, dict(given), False
    for argument in call._schema.arguments:
        gap = gap or argument.kwarg_only or argument.name not in left
        if argument.name not in left:
            continue
        value = left.pop(argument.name)
        if gap:
            kwargs[argument.name] = value
        else:
            args.append(value)
    if left:
        raise Refused(f"{call} has no argument {shown(sorted(left)[0])}")
    return args, kwargs


def _parts(name: str, args: list[Any]) -> int:
    """As how many tensors ``unbind(self, dim)`` or ``chunk(self, chunks, dim)`` gives one."""
    number = args[1] if len(args) > 1 else 0
    if not _whole(number):
        return 0  # the call itself fails
    if name == "chunk":
        return int(number)
    shape = getattr(args[0], "shape", ()) if args else ()
    return int(shape[number]) if -len(shape) <= number < len(shape) else 0


def _named_in(output: dict[str, Any]) -> int:
    """How many tensors an output names."""
    return len(_listed(output["as_tensors"])) if list(output) == ["as_tensors"] else 1


def _first(pairs: Any) -> Any:
    """For the graph."""
    if isinstance(pairs, dict):
        return {name: pair[0] for name, pair in pairs.items()}
    return tuple(pair[0] for pair in pairs)


def _second(pairs: Any) -> Any:
    """For the run without contents."""
    if isinstance(pairs, dict):
        return {name: pair[1] for name, pair in pairs.items()}
    return [pair[1] for pair in pairs]


def _tensor_name(argument: Any) -> str:
    return _name_of(*exact(argument, "as_tensor"))


def _name_of(value: Any) -> str:
    (name,) = exact(value, "name")
    if not isinstance(name, str):
        raise Refused(f"{shown(name)} where a name is expected")
    return name


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > NODES:
        raise Refused(f"{shown(value)} where a list is expected")
    return value


def _whole(value: Any) -> bool:
    return type(value) is int and -(1 << 63) <= value < 1 << 63
