"""``.pt2``: exported by torch.export, for CPU and CUDA; inductor compiles it where it is served.

The file is one that ``torch.export.load`` takes, too. It holds what our own reader wants and no
more: no stack traces, which name this machine's folders, no example inputs, which are pickled.
"""

import importlib
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from compile.targets.source import Built, GraphSource
from compile.targets.torchscript import PRECISIONS as PRECISIONS
from compile.targets.torchscript import REWRITES as REWRITES
from compile.targets.torchscript import TOLERANCES as TOLERANCES
from compile.targets.torchscript import form_of
from runtime.engines import pt2_file as layout
from runtime.engines import too_old
from runtime.engines.pt2 import load_as_it_is
from runtime.engines.pt2_graph import OPERATORS, PLAIN_GRAPH, PLAIN_MODULE, PLAIN_PROGRAM
from runtime.errors import CompileError, InputError

load_for_parity = load_as_it_is  # to which what inductor makes is held in turn
ASSERTION = "torch.ops.aten._assert_tensor_metadata.default"  # computes nothing
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the date of all entries
KINDS = {getattr(torch, name): number for number, name in layout.DTYPES.items()}


def build(source: GraphSource, folder: Path) -> Built:
    """Export and save; the same bytes for the same model.

    Raises:
        InputError: torch is too old.
        CompileError: the form has an operator that our reader does not know.
    """
    form, rewrites = form_of(source)
    export: Any = importlib.import_module("torch.export")  # which torch 1.13 has not
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = export.export(form, source.example(), strict=False)
    program, weights = plain_program(exported)
    file = source.file_name(".pt2")
    write_archive(folder / file, program, weights)
    return Built(file, source.precision, rewrites)


def check_precision_here(precision: str, device: str = "auto") -> None:
    """Refuse a torch without torch.export, as far as it is needed.

    Raises:
        InputError: it is too old.
    """
    old = too_old("pt2")
    if old:
        raise InputError(f"{old}; use --target torchscript")


def versions() -> dict[str, str]:
    """What made the graph."""
    return {"torch": torch.__version__}


def plain_program(exported: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An exported program as torch writes it, less what computes nothing; and its weights.

    Raises:
        CompileError: an operator that our reader does not know.
    """
    from torch._export.serde.serialize import serialize

    program = json.loads(serialize(exported).exported_program)
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    nodes = [_plain_node(node) for node in graph["nodes"] if node["target"] != ASSERTION]
    unknown = sorted({node["target"] for node in nodes} - OPERATORS)
    if unknown:
        raise CompileError(f"pt2: the operators {', '.join(unknown)} are not in OPERATORS")
    used = {name for node in nodes for name in _names(node["inputs"])} | _names(graph["outputs"])
    tensors = {**exported.constants, **exported.state_dict}
    inputs, specs, weights = [], [], {}
    for argument, spec in zip(graph["inputs"], signature["input_specs"]):
        ((kind, facts),) = spec.items()
        if kind != "user_input":
            if argument["as_tensor"]["name"] not in used:
                continue
            name = facts.get("parameter_name") or facts.get("buffer_name")
            name = name or facts["tensor_constant_name"]
            weights[name] = tensors[name].detach().cpu()
            spec = {"buffer": {"arg": facts["arg"], "buffer_name": name, "persistent": True}}
        inputs.append(argument)
        specs.append(spec)
    made = {name for node in nodes for name in _names(node["outputs"])} | _names(inputs)
    values = {
        name: {**meta, "requires_grad": False}
        for name, meta in sorted(graph["tensor_values"].items())
        if name in made
    }
    (calls, *_) = module["module_call_graph"]
    return {
        **PLAIN_PROGRAM,
        **{name: program[name] for name in ("opset_version", "schema_version", "torch_version")},
        "graph_module": {
            **PLAIN_MODULE,
            "graph": {
                **PLAIN_GRAPH,
                "inputs": inputs,
                "outputs": graph["outputs"],
                "nodes": nodes,
                "tensor_values": values,
            },
            "signature": {"input_specs": specs, "output_specs": signature["output_specs"]},
            "module_call_graph": [calls],
        },
    }, weights


def _plain_node(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "metadata": {}, "name": None}


def _names(value: Any) -> set[str]:
    """Names of tensors in arguments."""
    found: set[str] = set()
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            for kind, inner in one.items():
                if kind == "as_tensor":
                    found.add(inner["name"])
                elif kind == "as_tensors":
                    found.update(tensor["name"] for tensor in inner)
                elif kind == "arg":
                    left.append(inner)
    return found


def write_archive(file: Path, program: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Write the zip: stored entries in a fixed order, tensors that are one written once."""
    places: dict[Any, str] = {}
    config, held = {}, []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def write(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(layout.ROOT + name, LONG_AGO)
            entry.create_system, entry.external_attr = 3, 0o600 << 16
            with archive.open(entry, "w", force_zip64=len(data) > 1 << 31) as out:
                out.write(data)

        write("archive_format", layout.FIXED["archive_format"])
        for name, weight in weights.items():
            dense = layout.is_dense(tuple(weight.shape), weight.stride())
            tensor = weight if dense else weight.contiguous()
            held.append(tensor)  # whose address is not given to another
            key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            if key not in places:
                places[key] = layout.WEIGHT.format(len(places))
                write(layout.WEIGHTS + places[key], _raw(tensor))
            config[name] = {
                "path_name": places[key],
                "is_param": False,
                "use_pickle": False,
                "tensor_meta": _meta(tensor),
            }
        write(layout.CONFIG, json.dumps({"config": config}).encode())
        write(layout.MODEL, json.dumps(program).encode())
        for name, data in layout.FIXED.items():
            if name != "archive_format":
                write(name, data)


def _raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a dense tensor as they lie."""
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    return bytes(tensor.permute(order).contiguous().flatten().view(torch.uint8).numpy().data)


def _meta(tensor: torch.Tensor) -> dict[str, Any]:
    return {
        "dtype": KINDS[tensor.dtype],
        "sizes": [{"as_int": size} for size in tensor.shape],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": step} for step in tensor.stride()],
        "storage_offset": {"as_int": 0},
        "layout": layout.STRIDED,
    }
