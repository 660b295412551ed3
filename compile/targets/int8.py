"""Post-training quantisation of an OpenVINO graph, layer by layer as far as the answer allows.

A float32 graph and calibration images in; the graph with int8 products, and what was left out, out.
Linear layers and the head's convolutions are candidates. Attention scores, the patch embedding, the
head's ends and its resizes are not. No files.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import CompileError
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

LEAST_PEARSON = 0.999  # of every calibration image with the float32 graph
MOST_OFF = 5e-2  # largest difference, of the float32 output's range
LINEAR = re.compile(r"/(qkv|proj|fc1|fc2|w12|w3)/MatMul$")
CONVOLUTION = re.compile(r"/(resConfUnit\d/conv\d|entries\.\d|output_conv1)/Conv(/WithoutBiases)?$")
QUANTISED = ("MatMul", "Convolution")

# Runs a graph as it will be run, on every calibration image.
Run = Callable[[Any], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Quantised:
    """The graph, how near it is on the worst calibration image, and what is not int8 in it."""

    graph: Any
    layers: int
    left_out: tuple[str, ...]
    pearson: float
    max_rel_range: float

    def facts(self, images: int) -> dict[str, str]:
        """For the manifest."""
        return {
            "int8_layers": str(self.layers),
            "left_out": " ".join(self.left_out) or "nothing",
            "calibration": f"{images} images, pearson {self.pearson:.5f}, off by at most "
            f"{self.max_rel_range:.1e} of the range",
            "nncf": version_of("nncf"),
        }


def candidates(graph: Any) -> list[str]:
    """Names of the products that may become int8, in the order in which they run."""
    return [
        operator.get_friendly_name()
        for operator in graph.get_ordered_ops()
        if operator.get_type_name() in QUANTISED
        and any(kind.search(operator.get_friendly_name()) for kind in (LINEAR, CONVOLUTION))
    ]


def quantise(
    read: Callable[[], Any], images: Sequence[np.ndarray], expected: Sequence[np.ndarray], run: Run
) -> Quantised:
    """Quantise all candidates; while the answer is too far off, leave out what hurts most.

    How much a layer hurts is measured: the quantised graph with this layer's input left alone.

    Args:
        read: a fresh float32 graph, each time.
        images: as the graph takes them, float32 or uint8 (B, 3, H, W).
        expected: what the float32 graph makes of them, (B, H, W).
        run: gives what a graph makes of them.
    Raises:
        CompileError: too far off with half of the candidates left out.
        MissingDependency: nncf is not installed.
    """

    def measure(graph: Any) -> tuple[float, float]:
        return worst(run(graph), expected)

    graph = read()
    names = candidates(graph)
    graph = _quantised(graph, names, images)
    error = measure(graph)
    left: list[str] = []
    if not near_enough(error):
        log.info("int8: pearson %.5f, off by %.1e; measuring %d layers", *error, len(names))
        ranked = _ranked(graph, names, measure)
        while not near_enough(error):
            if len(left) >= len(names) // 2:
                raise CompileError(
                    f"int8 is off by {error[1]:.1e} of the range (pearson {error[0]:.4f}) even "
                    f"with {len(left)} layers left out; use --precision bf16"
                )
            left.append(ranked[len(left)])
            if _bypass(graph, left[-1]):
                error = measure(graph)
            if near_enough(error):
                graph = _quantised(read(), [n for n in names if n not in left], images)
                error = measure(graph)
    return Quantised(graph, len(names) - len(left), tuple(left), *error)


def near_enough(error: tuple[float, float]) -> bool:
    """True if both measures of ``worst`` are within their bounds."""
    return error[0] >= LEAST_PEARSON and error[1] <= MOST_OFF


def worst(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> tuple[float, float]:
    """Least correlation and largest difference over the range, of pairs of one shape each."""
    pearsons, offs = [], []
    for a, b in zip(found, expected):
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        pearsons.append(float(np.corrcoef(a, b)[0, 1]))
        offs.append(float(np.abs(a - b).max() / np.ptp(b)))
    return min(pearsons), max(offs)


def _ranked(
    graph: Any, names: Sequence[str], measure: Callable[[Any], tuple[float, float]]
) -> list[str]:
    """The layers whose float input helps most, first."""
    gains = {}
    for name in names:
        undo = _bypass(graph, name)
        pearson, off = measure(graph)
        gains[name] = max((1 - pearson) / (1 - LEAST_PEARSON), off / MOST_OFF)
        for port, source in undo:
            port.replace_source_output(source)
    return sorted(names, key=lambda name: gains[name])


def _bypass(graph: Any, name: str) -> list[tuple[Any, Any]]:
    """Feed a layer what its quantiser is fed; returns what undoes that."""
    undo = []
    for operator in graph.get_ops():
        if operator.get_friendly_name() == name:
            source = operator.input_value(0)
            quantiser = source.get_node()
            if quantiser.get_type_name() == "FakeQuantize":
                undo.append((operator.input(0), source))
                operator.input(0).replace_source_output(quantiser.input_value(0))
    return undo


def _quantised(graph: Any, names: Sequence[str], images: Sequence[np.ndarray]) -> Any:
    """NNCF's post-training quantisation with smooth quantisation, of these products only."""
    nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    others = [
        operator.get_friendly_name()
        for operator in graph.get_ordered_ops()
        if operator.get_type_name() != "Constant" and operator.get_friendly_name() not in set(names)
    ]
    with contextlib.redirect_stdout(sys.stderr):  # its progress; ours goes to people and pipes
        return nncf.quantize(
            graph,
            nncf.Dataset(list(images)),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=others, validate=False),
        )
