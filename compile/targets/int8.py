"""Post-training quantisation of an OpenVINO graph, layer by layer as far as the answer allows.

A float32 graph and calibration images in; the graph with int8 products, and what was left out, out.
Linear layers and the head's convolutions are candidates. Attention scores, the patch embedding, the
head's ends and its resizes are not. No files.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from runtime.errors import CompileError
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

LEAST_PEARSON = 0.999  # of every calibration image with the float32 graph
MOST_OFF = 5e-2  # largest difference, of the float32 output's range
LINEAR = re.compile(r"/(qkv|proj|fc1|fc2|w12|w3)/MatMul$")
CONVOLUTION = re.compile(r"/(resConfUnit\d/conv\d|entries\.\d|output_conv1)/Conv(/WithoutBiases)?$")
QUANTISED = ("MatMul", "Convolution")

RANKED_ON = 2  # images, the worst, on which each layer's share of the error is measured

# Runs a graph as it will be run, on some of the calibration images.
Run = Callable[[Any, Sequence[int]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Quantised:
    """The graph, how near it is on the worst calibration image, and what is not int8 in it."""

    graph: Any
    layers: int
    left_out: tuple[str, ...]
    error: "Error"

    def facts(self, images: int) -> dict[str, str]:
        """For the manifest."""
        return {
            "int8_layers": str(self.layers),
            "left_out": " ".join(self.left_out) or "nothing",
            "calibration": f"{images} images, {self.error}",
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

    How much a layer hurts is measured on the images that are farthest off: the quantised graph with
    this layer's input left alone. The head is looked at first; where leaving out all of it would
    help, the linear layers are not.

    Args:
        read: a fresh float32 graph, each time.
        images: as the graph takes them, float32 or uint8 (B, 3, H, W).
        expected: what the float32 graph makes of them, (B, H, W).
        run: gives what a graph makes of the images of these indices.
    Raises:
        CompileError: too far off with half of the candidates left out.
        MissingDependency: nncf is not installed.
    """

    def errors(graph: Any, which: Sequence[int]) -> list[Error]:
        return [error(a, expected[index]) for a, index in zip(run(graph, which), which)]

    everything = range(len(images))
    graph = read()
    names = candidates(graph)
    graph = _quantised(graph, names, images)
    found = errors(graph, everything)
    left: list[str] = []
    if not near_enough(worst(found)):
        hardest = sorted(everything, key=lambda index: found[index].share)[-RANKED_ON:]
        log.info("int8: %s; looking for the layers that hurt", worst(found))
        ranked = _ranked(graph, names, lambda other: worst(errors(other, hardest)))
        while not near_enough(worst(found)):
            if len(left) >= min(len(ranked), len(names) // 2):
                raise CompileError(
                    f"int8 has {worst(found)} even with {len(left)} layers left out; use "
                    "--precision bf16"
                )
            left.append(ranked[len(left)])
            _bypass(graph, left[-1])
            if near_enough(worst(errors(graph, hardest))):
                graph = _quantised(read(), [name for name in names if name not in left], images)
                found = errors(graph, everything)
    return Quantised(graph, len(names) - len(left), tuple(left), worst(found))


@dataclass(frozen=True)
class Error:
    """Correlation with the float32 answer, and the largest difference over its range."""

    pearson: float
    max_rel_range: float

    def __str__(self) -> str:
        return f"pearson {self.pearson:.5f}, off by {self.max_rel_range:.1e} of the range"

    @property
    def share(self) -> float:
        """The larger of both as a share of what is allowed."""
        return max((1 - self.pearson) / (1 - LEAST_PEARSON), self.max_rel_range / MOST_OFF)


def error(found: np.ndarray, expected: np.ndarray) -> Error:
    """How far an answer is off; arrays of one shape."""
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    return Error(float(np.corrcoef(a, b)[0, 1]), float(np.abs(a - b).max() / np.ptp(b)))


def worst(errors: Sequence[Error]) -> Error:
    """The least correlation and the largest difference."""
    return Error(min(e.pearson for e in errors), max(e.max_rel_range for e in errors))


def near_enough(found: Error) -> bool:
    """True if both measures are within their bounds."""
    return found.share <= 1


def _ranked(graph: Any, names: Sequence[str], measure: Callable[[Any], Error]) -> list[str]:
    """The layers whose float input helps most, first."""
    head = [name for name in names if CONVOLUTION.search(name)]
    gains = {}
    with _bypassed(graph, head):
        looked_at = head if near_enough(measure(graph)) else names
    for name in tqdm(looked_at, desc="int8", unit=" layers", disable=None):
        with _bypassed(graph, [name]):
            gains[name] = measure(graph).share
    return sorted(looked_at, key=lambda name: gains[name])


@contextlib.contextmanager
def _bypassed(graph: Any, names: Sequence[str]) -> Iterator[None]:
    """Feed layers what their quantisers are fed, for as long as this lasts."""
    undo = [pair for name in names for pair in _bypass(graph, name)]
    try:
        yield
    finally:
        for port, source in undo:
            port.replace_source_output(source)


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
