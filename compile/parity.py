"""The compiled graph against the eager float32 model, on three fixed inputs.

Two functions of an array in, a report out; past the tolerance it fails.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.errors import CompileError
from runtime.manifest import InputSpec, ParityCase, ParityReport
from runtime.photo import read_photo
from runtime.preprocess import photo_to_tensor

PHOTO = Path(__file__).parent / "data" / "chelsea.jpg"  # CC0, see input_images/ORIGIN.md

Run = Callable[[np.ndarray], np.ndarray]


def parity_inputs(spec: InputSpec) -> dict[str, np.ndarray]:
    """Three float32 (batch, 3, H, W) inputs: a photo, waves, noise; batch items all differ."""
    height, width = spec.size_hw
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.cos(2 * np.pi * (f * x + g * y)) for f, g in ((3, 1), (7, 5), (1, 11))]
    noise = np.random.RandomState(0).standard_normal((3, height, width))
    photo = photo_to_tensor(read_photo(PHOTO), spec.size_hw, spec.mean, spec.std)[0]
    images = {"photo": photo, "waves": np.stack(waves), "noise": noise}
    return {
        name: np.stack(
            [np.roll(image, item * spec.patch_size, axis=2) for item in range(spec.batch)]
        ).astype(np.float32)
        for name, image in images.items()
    }


def compare(name: str, found: np.ndarray, expected: np.ndarray) -> ParityCase:
    """Measure how far one array is from another of the same shape.

    Returns:
        max_abs: largest difference, in the output's unit; max_rel_range: the same over the
        expected range; mean_rel: mean difference over mean magnitude; pearson: correlation.
        Infinity stands for what cannot be measured, such as a NaN in either array.
    """
    if found.shape != expected.shape:
        raise CompileError(f"parity, {name}: {found.shape} returned, expected {expected.shape}")
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return ParityCase(name, math.inf, math.inf, math.inf, 0.0)
    difference, span, size = np.abs(a - b), float(np.ptp(b)), float(np.abs(b).mean())
    spread = float(a.std() * b.std())
    exact = not difference.any()
    pearson = float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else float(exact)
    return ParityCase(
        name,
        max_abs=float(difference.max()),
        max_rel_range=float(difference.max()) / span if span else (0.0 if exact else math.inf),
        mean_rel=float(difference.mean()) / size if size else (0.0 if exact else math.inf),
        pearson=pearson,
    )


def check_parity(
    graph: Run, eager: Run, spec: InputSpec, reference: str, tolerance: float
) -> ParityReport:
    """Run both on every input and report.

    Args:
        graph, eager: float32 (batch, 3, H, W) -> float32 (batch, H, W).
        reference: what the eager side is, in words.
        tolerance: largest difference allowed, relative to the eager output's range.
    Raises:
        CompileError: past the tolerance; the text says on which input and by how much.
    """
    cases = tuple(
        compare(name, graph(image), eager(image)) for name, image in parity_inputs(spec).items()
    )
    worst = max(cases, key=lambda case: case.max_rel_range)
    if not worst.max_rel_range <= tolerance:
        raise CompileError(
            f"the graph does not equal the model: on '{worst.input}' it is off by "
            f"{worst.max_rel_range:.2e} of the range, tolerance {tolerance:.0e}; no artifact made"
        )
    return ParityReport("passed", reference, tolerance, cases)
