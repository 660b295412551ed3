"""Post-training quantisation of an OpenVINO graph: its linear layers, and queries with keys.

A float32 graph and what it is fitted to in; the graph with int8 products, and how near it came on
images that it was not fitted to, out. Scales are symmetric. What stays out: the product of
attention weights with values, which int8 spoils; the patch embedding and the head's convolutions,
whose rounding no sum averages out and which are a small part of the time. No files.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.artifact.manifest import ParityCase
from runtime.errors import CompileError
from runtime.optional import require, version_of

MIN_PEARSON = 0.999  # of every image that was held out, with the float32 graph
MAX_OFF = 5e-2  # largest difference, of the float32 output's range
LAYERS = re.compile(r"/(qkv|proj|fc1|fc2|w12|w3)/MatMul$|/attn/MatMul$")


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

    def check(self) -> None:
        """Refuse a graph that is too far off.

        Raises:
            CompileError: one of both is past its bound.
        """
        if not (self.pearson >= MIN_PEARSON and self.max_rel_range <= MAX_OFF):
            raise CompileError(
                f"int8 is too far off on crops of the photos that it was not fitted to: {self}; "
                f"allowed are {MIN_PEARSON} and {MAX_OFF:.0e}. Fit it to more photos like those it "
                "will see (--calibration FOLDER), or use --precision bf16"
            )


def facts(graph: Any, images: int, crops: int, worst: Worst) -> dict[str, str]:
    """For the manifest."""
    return {
        "int8_layers": str(len(layers(graph))),
        "calibration": f"{images} images",
        "held_out": f"{crops} crops, {worst}",
        "nncf": version_of("nncf"),
    }


def layers(graph: Any) -> list[str]:
    """Names of the products that become int8, in the order in which they run."""
    return [
        operator.get_friendly_name()
        for operator in graph.get_ordered_ops()
        if operator.get_type_name() == "MatMul" and LAYERS.search(operator.get_friendly_name())
    ]


def quantise(graph: Any, inputs: Sequence[dict[str, np.ndarray]]) -> Any:
    """Quantise ``layers`` by NNCF, with smooth quantisation.

    Args:
        graph: float32.
        inputs: as the graph takes them, by name; asked for one at a time.
    Raises:
        MissingDependency: nncf is not installed.
    """
    nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    names = set(layers(graph))
    others = [
        operator.get_friendly_name()
        for operator in graph.get_ordered_ops()
        if operator.get_type_name() != "Constant" and operator.get_friendly_name() not in names
    ]
    with contextlib.redirect_stdout(sys.stderr):  # its progress; ours goes to people and pipes
        return nncf.quantize(
            graph,
            nncf.Dataset(inputs),  # which reads them one by one
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=others, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True  # it takes half of the time and changes nothing here
            ),
        )
