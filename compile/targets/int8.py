"""Post-training quantisation of an OpenVINO graph, layer by layer as far as the answer allows.

A float32 graph and calibration images in; the graph with int8 products, and what was left out, out.
Linear layers and the head's convolutions are candidates. Attention scores, the patch embedding, the
head's ends and its resizes are not. No files.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from compile.parity import compare
from runtime.artifact.manifest import ParityCase
from runtime.errors import CompileError
from runtime.optional import require, version_of

log = logging.getLogger(__name__)

MIN_PEARSON = 0.999  # of every calibration image with the float32 graph
MAX_OFF = 5e-2  # largest difference, of the float32 output's range
LINEAR = re.compile(r"/(qkv|proj|fc1|fc2|w12|w3)/MatMul$")
CONVOLUTION = re.compile(r"/(resConfUnit\d/conv\d|entries\.\d|output_conv1)/Conv(/WithoutBiases)?$")
QUANTISED = ("MatMul", "Convolution")

RANKED_ON = 2  # images, the worst, on which each layer's share of the error is measured

# Runs a graph as it will be run, on some of the calibration images; one answer at a time.
Run = Callable[[Any, Sequence[int]], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Worst:
    """Over several images: the least correlation, and the largest difference over its range."""

    pearson: float
    max_rel_range: float

    @classmethod
    def of(cls, cases: Sequence[ParityCase]) -> "Worst":
        """Both need not be of the same image."""
        return cls(min(c.pearson for c in cases), max(c.max_rel_range for c in cases))

    def __str__(self) -> str:
        return f"pearson {self.pearson:.5f}, off by {self.max_rel_range:.1e} of the range"

    @property
    def share(self) -> float:
        """The larger of both as a share of what is allowed."""
        return max((1 - self.pearson) / (1 - MIN_PEARSON), self.max_rel_range / MAX_OFF)

    @property
    def near_enough(self) -> bool:
        """True if both are within their bounds."""
        return self.share <= 1


@dataclass(frozen=True)
class Quantised:
    """The graph, how near it is on the worst calibration image, and what is not int8 in it."""

    graph: Any
    layers: int
    left_out: tuple[str, ...]
    worst: Worst

    def facts(self, images: int) -> dict[str, str]:
        """For the manifest."""
        return {
            "int8_layers": str(self.layers),
            "left_out": " ".join(self.left_out) or "nothing",
            "calibration": f"{images} images, {self.worst}",
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
        images: as the graph takes them, float32 or uint8 (B, 3, H, W); asked for one at a time.
        expected: what the float32 graph makes of them, (B, H, W).
        run: gives what a graph makes of the images of these indices.
    Raises:
        CompileError: too far off with half of the candidates left out.
        MissingDependency: nncf is not installed.
    """

    def compared(graph: Any, which: Sequence[int]) -> list[ParityCase]:
        found = zip(which, run(graph, which))
        return [compare(f"image {index}", depth, expected[index]) for index, depth in found]

    everything = range(len(images))
    graph = read()
    names = candidates(graph)
    graph = _quantised(graph, names, images)
    cases = compared(graph, everything)
    worst = Worst.of(cases)
    left: list[str] = []
    if not worst.near_enough:
        hardest = sorted(everything, key=lambda index: Worst.of([cases[index]]).share)[-RANKED_ON:]
        log.info("int8: %s; looking for the layers that hurt", worst)
        ranked = _ranked(graph, names, lambda other: Worst.of(compared(other, hardest)))
        while not worst.near_enough:
            if len(left) >= min(len(ranked), len(names) // 2):
                raise CompileError(
                    f"int8 has {worst} even with {len(left)} layers left out; use --precision bf16"
                )
            left.append(ranked[len(left)])
            _bypass(graph, left[-1])
            if Worst.of(compared(graph, hardest)).near_enough:
                graph = _quantised(read(), [name for name in names if name not in left], images)
                worst = Worst.of(compared(graph, everything))
    return Quantised(graph, len(names) - len(left), tuple(left), worst)


def _ranked(graph: Any, names: Sequence[str], measure: Callable[[Any], Worst]) -> list[str]:
    """The layers whose float input helps most, first."""
    head = [name for name in names if CONVOLUTION.search(name)]
    gains = {}
    with _bypassed(graph, head):
        looked_at = head if measure(graph).near_enough else names
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
            nncf.Dataset(images),  # which reads them one by one
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=others, validate=False),
        )
