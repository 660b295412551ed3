"""What Inferentia's casts do to the answer: an EMULATION of neuron-cc's modes on CPU or CUDA.

A deployment form, a mode and an image in; the map that the mode's roundings lead to out. It models
the documented table of casts (neuron-cc's ``--fast-math``), not the chip: the scalar engine's own
exp, gelu and rsqrt, the order of sums and the roundings inside a layer norm are not documented and
not modelled. So it says what error to expect and predicts no bit.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx._symbolic_trace import Tracer
from torch.fx.graph_module import GraphModule
from torch.fx.node import Node

from compile.deploy import COMMON, MATRIX
from compile.parity import compare
from compile.stages import stages_of
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.artifact.manifest import InputSpec, OutputSpec
from runtime.engines.where import exact_float32
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.preprocess import photo_to_tensor

BF16, FP16 = torch.bfloat16, torch.float16
PRODUCTS = (F.linear, torch.matmul)
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
# On the chip a transpose may go through the matrix engine, which rounds it.
TRANSPOSES = ("transpose", "permute")


@dataclass(frozen=True)
class CastMode:
    """A row of the table: ``words`` are what neuron-cc is given after ``--fast-math``.

    ``products`` is the type of the operands of convolutions and matrix products, ``rest`` of every
    other result (None: float32), ``transposes`` of transposed tensors (None: moved exactly).
    """

    name: str
    words: tuple[str, ...]
    products: torch.dtype
    rest: Optional[torch.dtype]
    transposes: Optional[torch.dtype]


def _mode(
    name: str,
    words: str,
    products: torch.dtype,
    rest: Optional[torch.dtype],
    transposes: Optional[torch.dtype],
) -> CastMode:
    return CastMode(
        name=name,
        words=tuple(words.split()),
        products=products,
        rest=rest,
        transposes=transposes,
    )


# From the fastest to the most careful, in the order in which AWS advises to try them; the fp16
# modes come after, as they can overflow.
MODES = {
    mode.name: mode
    for mode in (
        _mode("all", "all", BF16, BF16, BF16),
        _mode("matmult", "fp32-cast-matmult", BF16, None, FP16),
        _mode("matmult-exact-transpose", "fp32-cast-matmult no-fast-relayout", BF16, None, None),
        _mode("none", "none", BF16, None, None),
        _mode("all-fp16", "fp32-cast-all-fp16", FP16, FP16, FP16),
        _mode("matmult-fp16", "fp32-cast-matmult-fp16", FP16, None, FP16),
        _mode(
            "matmult-fp16-exact-transpose",
            "fp32-cast-matmult-fp16 no-fast-relayout",
            FP16,
            None,
            None,
        ),
    )
}
# The older flag, which wins if both are given: --fp32-cast WORD means this mode.
FP32_CAST = {
    "all": "all",
    "matmult": "matmult",
    "matmult-bf16": "none",
    "all-fp16": "all-fp16",
    "matmult-fp16": "matmult-fp16",
}
# What is asked of a mode: share of the answer's range that it may be off by on average, and the
# least correlation, on the worst photo.
MEAN_TOLERANCE = 0.01
PEARSON_TOLERANCE = 0.999


def rounded_mode(name: str) -> CastMode:
    """The mode of this name.

    Raises:
        InputError: there is none.
    """
    if name not in MODES:
        raise InputError(f"mode {name!r} is unknown; choose from {', '.join(MODES)}")
    return MODES[name]


def rounded(x: torch.Tensor, dtype: Optional[torch.dtype]) -> torch.Tensor:
    """Round to the nearest value of another type, ties to even; None leaves it."""
    return x if dtype is None else x.to(dtype).to(x.dtype)


class LayerTracer(Tracer):
    """Sees every layer with weights as one node, those of ours that are made of torch's too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node."""
        return isinstance(m, WEIGHTED) or super().is_leaf_module(m, module_qualified_name)


def traced(form: nn.Module) -> nn.Module:
    """A form as a graph that can be run node by node; one that is so already is itself."""
    return form if isinstance(form, GraphModule) else GraphModule(form, LayerTracer().trace(form))


class CastEmulation(fx.Interpreter):
    """Runs a deployment form as neuron-cc's cast mode would round it.

    Float32 in and out. Products are of rounded operands, multiplied and summed in float32.
    """

    def __init__(self, form: nn.Module, mode: CastMode) -> None:
        module = copy.deepcopy(traced(form))
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, WEIGHTED):
                    layer.weight.data = rounded(layer.weight.data, mode.products)
            if mode.rest is not None:
                for tensor in (*module.parameters(), *module.buffers()):
                    tensor.data = rounded(tensor.data, mode.rest)
        super().__init__(module)
        self.mode = mode

    def run_node(self, node: Node) -> Any:
        """Run one operator, its operands and its result rounded as the mode says."""
        result = super().run_node(node)
        if node.op == "call_method" and node.target in TRANSPOSES:
            result = rounded(result, self.mode.transposes)
        if self.mode.rest is not None:
            result = _each(result, self.mode.rest)
        return result

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A product of constants or computed values takes rounded operands."""
        if target in PRODUCTS:
            args = (*(rounded(operand, self.mode.products) for operand in args[:2]), *args[2:])
        return super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A linear layer or convolution takes rounded input; its weights are rounded already."""
        if isinstance(self.fetch_attr(target), WEIGHTED):
            args = (rounded(args[0], self.mode.products), *args[1:])
        return super().call_module(target, args, kwargs)


def _each(value: Any, dtype: torch.dtype) -> Any:
    if torch.is_tensor(value):
        return rounded(value, dtype) if value.is_floating_point() else value
    return tuple(_each(v, dtype) for v in value) if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class ModeError:
    """A mode's error over some images: the worst of each measure.

    ``max`` and ``mean`` are shares of the answer's range; ``abs_rel`` is the mean of |error| over
    the answer, for metric models only.
    """

    mode: str
    max: float
    mean: float
    pearson: float
    abs_rel: Optional[float]

    def within(self, mean: float, pearson: float) -> bool:
        """True if the error is finite and below both tolerances."""
        return self.mean <= mean and self.pearson >= pearson


@torch.no_grad()
def measure(
    form: nn.Module,
    images: Sequence[np.ndarray],
    metric: bool,
    modes: Iterable[str] = MODES,
    device: str = "cpu",
) -> list[ModeError]:
    """Emulate each mode on each image, against the form in float32.

    Args:
        form: a deployment form that takes one image.
        images: float32 (1, 3, H, W) each, as the form takes them; asked for one at a time.
        metric: whether the answer is metres.
        device: cpu or cuda; on CUDA products are kept from TF32, which is no float32.
    Raises:
        InputError: no images, or a mode that does not exist.
    """
    if not images:
        raise InputError("no images to measure on")
    exact_float32(torch)
    form = form.to(device)

    def answers(run: Callable[[torch.Tensor], Any]) -> Iterator[np.ndarray]:
        for image in images:
            found = run(torch.from_numpy(image).to(device))
            yield (found[0] if isinstance(found, tuple) else found).cpu().numpy()  # sky is second

    exact = list(answers(form))
    errors = []
    for mode in map(rounded_mode, modes):
        name, found = mode.name, answers(CastEmulation(form, mode).run)
        errors.append(_worst([_error(name, a, b, metric) for a, b in zip(found, exact)]))
    return errors


class ResizedPhotos(Sequence[np.ndarray]):
    """Photos as a form takes them, float32 (1, 3, H, W); each is read whenever it is asked for."""

    def __init__(self, photos: Sequence[Path], spec: InputSpec) -> None:
        self._photos, self._spec = photos, spec

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: Any) -> Any:
        photo = read_photo(self._photos[index])
        return photo_to_tensor(photo, self._spec.size_hw, resize=self._spec.resize)


def measure_model(
    model: nn.Module,
    size_hw: tuple[int, int],
    photos: Sequence[Path],
    output: OutputSpec,
    modes: Iterable[str] = MODES,
    device: str = "cpu",
) -> list[ModeError]:
    """``measure`` on photos, in the form that the neuron target compiles first.

    Args:
        model: one that takes each photo for itself.
        output: what it puts out; metres, or what becomes metres by a factor, have AbsRel too.
    """
    resize = "cubic" if isinstance(model, DepthAnythingV2) else "bytes"
    spec = InputSpec(size_hw=size_hw, resize=resize)
    (stage,) = stages_of(model, spec, output)
    metric = output.kind == "depth_m" or output.metric_focal_px is not None
    form = stage.make((*COMMON, *MATRIX))
    return measure(form, ResizedPhotos(photos, spec), metric, modes, device)


def _error(name: str, found: np.ndarray, exact: np.ndarray, metric: bool) -> ModeError:
    """Of one image."""
    case, off = compare("photo", found, exact), np.abs(found - exact)
    return ModeError(
        mode=name,
        max=case.max_rel_range,
        mean=float(off.mean() / np.ptp(exact)) if np.isfinite(found).all() else float("inf"),
        pearson=case.pearson,
        abs_rel=float((off / exact).mean()) if metric else None,
    )


def _worst(errors: Sequence[ModeError]) -> ModeError:
    relative = [error.abs_rel for error in errors if error.abs_rel is not None]
    return ModeError(
        mode=errors[0].mode,
        max=max(error.max for error in errors),
        mean=max(error.mean for error in errors),
        pearson=min(error.pearson for error in errors),
        abs_rel=max(relative, default=None),
    )


def recommend(
    errors: Sequence[ModeError],
    mean: float = MEAN_TOLERANCE,
    pearson: float = PEARSON_TOLERANCE,
) -> Optional[ModeError]:
    """The fastest mode within the tolerance; None if there is none."""
    by_name = {error.mode: error for error in errors}
    for name in MODES:
        if name in by_name and by_name[name].within(mean, pearson):
            return by_name[name]
    return None


def table(errors: Sequence[ModeError]) -> str:
    """The errors as Markdown."""
    metric = any(error.abs_rel is not None for error in errors)
    head = ["mode (emulated)", "`--fast-math`", "max", "mean", "1 - correlation"]
    head += ["AbsRel"] if metric else []
    lines = ["| " + " | ".join(head) + " |", "|---|---" + "|---:" * (len(head) - 2) + "|"]
    for error in errors:
        cells = [
            error.mode,
            f"`{' '.join(MODES[error.mode].words)}`",
            f"{error.max:.2%}",
            f"{error.mean:.3%}",
            f"{1 - error.pearson:.1e}",
        ]
        cells += [f"{error.abs_rel:.3%}"] if error.abs_rel is not None else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
