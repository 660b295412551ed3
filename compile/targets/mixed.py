"""Which operators of an OpenVINO graph stay float32 where the rest is computed in bfloat16.

A graph in; one with its weights rounded, and its file with those operators marked, out. Chosen by
measurement: what is kept spares a fifth of the error and costs hardly any speed. The sums through
the blocks would spare as much again, at a price.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.openvino import import_openvino

# The fusion blocks' 1x1 convolutions; the last convolution, whose rounding nothing averages out,
# and what it is given.
KEPT = re.compile(r"/fusions\.\d/out_conv/|/output_conv2\.\d/Relu|/output_conv2\.2/Conv")
KEPT_WORDS = "fusions' 1x1s, last convolution and the ReLU before it"
Kept = Callable[[str, str], bool]  # of an operator's name and type
PRODUCTS = ("MatMul", "Convolution", "ConvolutionBackpropData")


def kept(name: str, kind: str) -> bool:
    """True if the operator of this name and type stays float32."""
    return kind not in ("Const", "Constant") and KEPT.search(name) is not None


def nothing(name: str, kind: str) -> bool:
    """False: in int8 graphs no operator stays float32."""
    return False


def round_weights(graph: Any, kept: Kept) -> None:
    """Round, in place, the weights that the engine would round to bfloat16 anyway.

    They stay float32 in the file: of those in 16 bits the engine makes float32 in memory, and keeps
    it, where it gives the pages of a file back.
    """
    openvino = import_openvino()
    operators = openvino.opset13
    for operator in graph.get_ordered_ops():
        kind, name = operator.get_type_name(), operator.get_friendly_name()
        if kind not in PRODUCTS or kept(name, kind):
            continue
        weights = operator.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or weights.get_element_type() != openvino.Type.f32:
            continue
        nearest = operators.constant(rounded(weights.data))
        operator.input(1).replace_source_output(nearest.output(0))


def rounded(values: np.ndarray) -> np.ndarray:
    """Finite float32 to the nearest that bfloat16 can hold, ties to even; float32, same shape."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32)


def mark_kept(file: Path) -> None:
    """Mark what stays float32 in a graph's file, as OpenVINO's own precision attribute."""
    tree = ElementTree.parse(file)
    for layer in tree.getroot().iterfind("layers/layer"):
        if kept(layer.attrib["name"], layer.attrib["type"]):
            info = layer.find("rt_info")
            if info is None:
                info = ElementTree.SubElement(layer, "rt_info")
            ElementTree.SubElement(info, "attribute", name="precise", version="0")
    tree.write(file, encoding="utf-8", xml_declaration=True)
