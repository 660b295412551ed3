"""Compiled graphs against the eager float32 model, on three fixed inputs.

Engines and a model in, a report out; past the tolerance it fails.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compile.stages import Stage, any_view_network
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.nested import NestedDepthAnything3Net
from runtime.artifact.manifest import InputSpec, Manifest, ParityCase, ParityReport
from runtime.engines import Engine
from runtime.errors import CompileError
from runtime.photo.decode import read_photo
from runtime.photo.preprocess import MEAN, STD, as_bytes, photo_to_tensor
from runtime.predict.scenes import CAMERA_ENCODER, METRIC
from runtime.scene.query import SceneQuery

PHOTO = Path(__file__).parent / "data" / "chelsea.jpg"  # CC0, see input_images/ORIGIN.md

FIRST = SceneQuery(ref_view_strategy="first")  # the order in which chained graphs leave the views

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def parity_inputs(spec: InputSpec) -> dict[str, np.ndarray]:
    """Three (batch, 3, H, W) inputs as the graph takes them: a photo, waves, noise.

    The items of a batch all differ.
    """
    height, width = spec.size_hw
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.cos(2 * np.pi * (f * x + g * y)) for f, g in ((3, 1), (7, 5), (1, 11))]
    noise = np.random.RandomState(0).standard_normal((3, height, width))
    photo = photo_to_tensor(read_photo(PHOTO), spec.size_hw)[0]
    images = {"photo": photo, "waves": np.stack(waves), "noise": noise}
    return {
        name: graph_input(
            np.stack(
                [np.roll(image, item * spec.patch_size, axis=2) for item in range(spec.batch)]
            ),
            spec,
        )
        for name, image in images.items()
    }


def graph_input(normalised: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Turn normalised images into what a graph takes: (B, 3, H, W) both."""
    if (spec.mean, spec.std) == (MEAN, STD):
        return normalised.astype(np.float32)
    pixels = (_column(STD) * normalised + _column(MEAN) - _column(spec.mean)) / _column(spec.std)
    return as_bytes(pixels) if spec.dtype == "uint8" else pixels.astype(np.float32)


def network_input(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The inverse: what the eager model must see where the graph sees this; float32."""
    if (spec.mean, spec.std) == (MEAN, STD):
        return image
    pixels = _column(spec.std) * image.astype(np.float64) + _column(spec.mean)
    return ((pixels - _column(MEAN)) / _column(STD)).astype(np.float32)


def _column(values: tuple[float, float, float]) -> np.ndarray:
    return np.array(values).reshape(3, 1, 1)


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
        return ParityCase(
            input=name, max_abs=math.inf, max_rel_range=math.inf, mean_rel=math.inf, pearson=0.0
        )
    difference, span, size = np.abs(a - b), float(np.ptp(b)), float(np.abs(b).mean())
    spread = float(a.std() * b.std())
    exact = not difference.any()
    pearson = float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else float(exact)
    return ParityCase(
        input=name,
        max_abs=float(difference.max()),
        max_rel_range=float(difference.max()) / span if span else (0.0 if exact else math.inf),
        mean_rel=float(difference.mean()) / size if size else (0.0 if exact else math.inf),
        pearson=pearson,
    )


def eager(model: nn.Module) -> Run:
    """The model as a function of normalised images (B, 3, H, W) to its outputs by name."""

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            given = torch.from_numpy(image)
            if isinstance(model, DepthAnything3Net):
                depth, sky, _ = model.depth_and_sky(given)
                return {"depth": depth.numpy(), "sky": sky.numpy()}
            depth = model(given).numpy()
            return {"disparity": depth, "depth_m": depth}

    return run


def check_parity(
    graph: Engine, model: Run, manifest: Manifest, reference: str, tolerance: float
) -> ParityReport:
    """Run both on every input and report.

    Args:
        graph: the artifact's one graph.
        model: the same from normalised float32 images.
        reference: what the eager side is, in words.
        tolerance: largest difference allowed, relative to the eager output's range.
    Raises:
        CompileError: past the tolerance; the text says on which input and by how much.
    """
    spec, outputs = manifest.input, manifest.stages[0].outputs
    cases = []
    for name, image in parity_inputs(spec).items():
        found, expected = graph({spec.name: image}), model(network_input(image, spec))
        for output in outputs:
            label = name if len(outputs) == 1 else f"{name}: {output.name}"
            cases.append(compare(label, found[output.name], expected[output.name]))
    return _report(cases, reference, tolerance)


def check_stages(
    stages: Sequence[Stage],
    engines: Sequence[Engine],
    model: nn.Module,
    manifest: Manifest,
    reference: str,
    tolerance: float,
) -> ParityReport:
    """Each stage against the eager one, on what the eager stages before it give; and the whole.

    Args:
        stages, engines: in the order in which they run.
        model: the eager one.
        manifest: of the artifact.
        reference, tolerance: as for ``check_parity``.
    Raises:
        CompileError: past the tolerance.
    """
    views, network = manifest.views, any_view_network(model)
    assert network is not None
    spec = dataclasses.replace(manifest.input, batch=views)
    eager_stages = network.stages(1, views, spec.size_hw)
    tokens = eager_stages.camera_tokens.detach().numpy()
    cases = []
    for name, images in parity_inputs(spec).items():
        known = {spec.name: images, "camera_tokens": tokens}
        chained = dict(known)
        for stage, engine in zip(stages, engines):
            given = {tensor.name: known[tensor.name] for tensor in stage.inputs}
            if stage.name == METRIC:
                assert isinstance(model, NestedDepthAnything3Net)
                expected = eager(model.da3_metric)(images)
            else:
                with torch.no_grad():
                    made = eager_stages(stage.name, given)
                expected = {t.name: made[t.name].numpy() for t in stage.outputs}
            found = engine(given)
            for tensor in stage.outputs:
                label = f"{name}: {stage.name} {tensor.name}"
                cases.append(compare(label, found[tensor.name], expected[tensor.name]))
            # One needs cameras that the others do not; of the other's maps the host makes metres
            if stage.name not in (CAMERA_ENCODER, METRIC):
                chained.update(engine({t.name: chained[t.name] for t in stage.inputs}))
                known.update(expected)
        with torch.no_grad():
            whole = network(torch.from_numpy(images)[None], FIRST)
        for output in ("depth", "depth_conf", "ray", "ray_conf"):
            expected_map = whole[output][0].numpy()
            cases.append(compare(f"{name}: whole {output}", chained[output], expected_map))
    return _report(cases, reference, tolerance)


def _report(cases: Sequence[ParityCase], reference: str, tolerance: float) -> ParityReport:
    worst = max(cases, key=lambda case: case.max_rel_range)
    if not worst.max_rel_range <= tolerance:
        raise CompileError(
            f"the graph does not equal the model: on '{worst.input}' it is off by "
            f"{worst.max_rel_range:.2e} of the range, tolerance {tolerance:.0e}"
        )
    return ParityReport("passed", reference, tolerance, tuple(cases))
