"""Keeps OpenVINO from adding up small constants to a large one.

A graph in; changed in place. Of ``(x + row) + column`` it makes ``x + map`` with a map as large as
x, and holds that a second time in its own layout: 91 MiB for a 336x504 view of ``da3-base``.
"""

import math
from typing import Any, Optional

import numpy as np

from runtime.engines.openvino import import_openvino


def keep_apart(graph: Any) -> None:
    """Put an operator that changes nothing between two such additions, which are computed as one.

    That is the greater of a value and minus infinity.
    """
    operators = import_openvino().opset13
    for second in graph.get_ordered_ops():
        found = _first_of(second)
        if found is None:
            continue
        between = operators.maximum(found.get_source_output(), np.float32(-np.inf))
        found.replace_source_output(between.output(0))


def _first_of(second: Any) -> Optional[Any]:
    """Where an addition of a constant takes another's result, if both make a larger constant."""
    if second.get_type_name() != "Add":
        return None
    added = _constant(second)
    for place in second.inputs():
        first = place.get_source_output().get_node()
        if added is None or first.get_type_name() != "Add":
            continue
        other = _constant(first)
        if other is not None and _grows(added, other):
            return place
    return None


def _constant(addition: Any) -> Optional[tuple[int, ...]]:
    """The shape of the constant that is added; None if there is none."""
    for place in addition.inputs():
        if place.get_source_output().get_node().get_type_name() == "Constant":
            return tuple(place.get_shape())
    return None


def _grows(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    both = np.broadcast_shapes(one, other)
    return math.prod(both) > max(math.prod(one), math.prod(other))
