"""What an artifact says of itself: frozen specs, and JSON both ways.

JSON text in, a checked ``Manifest`` out, and back. No disk.
"""

import dataclasses
import json
import math
import re
import typing
from dataclasses import dataclass
from typing import Any, Optional

from runtime.errors import ArtifactError, InputError
from runtime.photo.preprocess import MEAN, RGB_MEAN, RGB_STD, STD

SCHEMA_VERSION = 3
PLAIN = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
TARGETS = ("neuron", "neuronx", "torchscript", "pt2", "tensorrt", "onnx", "openvino")
PRECISIONS = ("f32", "bf16", "f16", "int8")
BY_CASTS = ("neuron", "neuronx")  # their precision follows from the casts asked for
DTYPES = ("float32", "uint8")
RESIZES = ("cubic", "cubic32", "bytes")

# kind -> (unit, larger is nearer). "relative" is known up to scale and, for disparity, shift.
KINDS = {
    "disparity": ("relative", True),
    "depth": ("relative", False),
    "depth_m": ("metre", False),
}


@dataclass(frozen=True)
class InputSpec:
    """What the graph takes: (batch, 3, H, W), RGB / 255, minus mean, over std.

    uint8 is RGB as in the photo, so its mean is 0 and its std 1/255. ``resize`` is how a photo gets
    to this size: ``cubic`` in float64, as Depth Anything V2 does, ``cubic32``, the same in float32,
    or on ``bytes``, by area or cubic, as Depth Anything 3 does.
    """

    size_hw: tuple[int, int]
    batch: int = 1
    name: str = "image"
    patch_size: int = 14
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    dtype: str = "float32"
    resize: str = "cubic"

    def __post_init__(self) -> None:
        if self.resize not in RESIZES:
            raise InputError(f"resize={self.resize!r}: use one of {', '.join(RESIZES)}")
        if self.patch_size <= 0 or any(s <= 0 or s % self.patch_size for s in self.size_hw):
            raise InputError(f"size {self.size_hw}: use positive multiples of {self.patch_size}")
        if any(deviation <= 0 for deviation in self.std):
            raise InputError(f"std={self.std}: all must be positive")
        if self.batch < 1:
            raise InputError(f"batch={self.batch}: use 1 or more")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype={self.dtype!r}: use one of {', '.join(DTYPES)}")
        if self.dtype == "uint8" and (self.mean, self.std) != (RGB_MEAN, RGB_STD):
            raise InputError(f"dtype=uint8 holds RGB 0..255: mean {RGB_MEAN}, std {RGB_STD}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the input tensor."""
        return (self.batch, 3, *self.size_hw)


@dataclass(frozen=True)
class OutputSpec:
    """What the graph returns: float32 (batch, H, W), and what the numbers mean.

    ``metric_focal_px``: depth is in metres for a camera of this focal length, in pixels of the
    input; with another focal length metres are depth * focal / metric_focal_px.
    """

    kind: str
    max_depth_m: Optional[float] = None
    metric_focal_px: Optional[float] = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind={self.kind!r}: use one of {', '.join(KINDS)}")
        if self.kind != "depth_m" and self.max_depth_m is not None:
            raise InputError(f"max_depth_m={self.max_depth_m} does not go with {self.kind}")
        if self.max_depth_m is not None and self.max_depth_m <= 0:
            raise InputError(f"max_depth_m={self.max_depth_m}: give metres above 0")
        if self.kind != "depth" and self.metric_focal_px is not None:
            raise InputError(f"metric_focal_px={self.metric_focal_px} does not go with {self.kind}")
        if self.metric_focal_px is not None and self.metric_focal_px <= 0:
            raise InputError(f"metric_focal_px={self.metric_focal_px}: give pixels above 0")

    @property
    def unit(self) -> str:
        """``metre`` or ``relative``."""
        return KINDS[self.kind][0]

    @property
    def larger_is_nearer(self) -> bool:
        """True for disparity, False for depth."""
        return KINDS[self.kind][1]


@dataclass(frozen=True)
class WeightsSpec:
    """Where the weights came from. ``seeded`` weights are random: their depth means nothing."""

    source: str
    sha256: str
    licence: str
    file: Optional[str] = None

    def __post_init__(self) -> None:
        if self.source not in ("checkpoint", "seeded"):
            raise InputError(f"weights source {self.source!r}: use checkpoint or seeded")

    @property
    def seeded(self) -> bool:
        """True if the weights are random numbers."""
        return self.source == "seeded"


@dataclass(frozen=True)
class ParityCase:
    """How far the graph is from the eager model on one input."""

    input: str
    max_abs: float
    max_rel_range: float
    mean_rel: float
    pearson: float


@dataclass(frozen=True)
class ParityReport:
    """The graph against the eager float32 model. ``pending device``: made where it cannot run."""

    status: str
    reference: str
    tolerance_rel_range: float
    cases: tuple[ParityCase, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in ("passed", "pending device"):
            raise InputError(f"parity status {self.status!r}: use 'passed' or 'pending device'")


@dataclass(frozen=True)
class FileSpec:
    """One file of the artifact, beside the manifest."""

    name: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not re.fullmatch(PLAIN, self.name):
            raise InputError(f"file name {self.name!r}: must be a plain name without folders")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a graph takes or returns."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.shape):
            raise InputError(f"tensor {self.name!r}: shape {self.shape}, all must be positive")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype={self.dtype!r}: use one of {', '.join(DTYPES)}")


@dataclass(frozen=True)
class StageSpec:
    """One graph of an artifact: its file, and its tensors in the order in which they are passed."""

    name: str
    graph: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Manifest:
    """All that a runtime must know about a compiled model.

    Most are one graph. An any-view model of Depth Anything 3 is several, in the order in which they
    run, because the host decides between them.
    """

    model: str
    family: str
    target: str
    precision: str
    stages: tuple[StageSpec, ...]
    input: InputSpec
    output: OutputSpec
    weights: WeightsSpec
    rewrites: tuple[str, ...]
    compiler: dict[str, str]
    versions: dict[str, str]
    parity: ParityReport
    files: tuple[FileSpec, ...]
    views: int = 1  # of one scene that the graphs take at once
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not re.fullmatch(PLAIN, self.model):
            raise InputError(f"model {self.model!r}: must be a plain name without folders")
        if self.target not in TARGETS:
            raise InputError(f"target={self.target!r}: use one of {', '.join(TARGETS)}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r}: use one of {', '.join(PRECISIONS)}")
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise InputError(f"files {names}: one is named twice")
        for stage in self.stages:
            if stage.graph not in names:
                raise InputError(f"graph {stage.graph!r} is not among the files")
        stages = [stage.name for stage in self.stages]
        if not stages or len(set(stages)) < len(stages):
            raise InputError(f"stages {stages}: one at least, each name once")

    @property
    def name(self) -> str:
        """Name of the artifact's folder."""
        height, width = self.input.size_hw
        count = f"v{self.views}" if self.views > 1 else f"b{self.input.batch}"
        named = self.precision != "f32" and self.target not in BY_CASTS
        precision = f"-{self.precision}" if named else ""
        return f"{self.model}-{height}x{width}-{count}-{self.target}{precision}"

    def stage(self, name: str) -> StageSpec:
        """The stage of this name.

        Raises:
            ArtifactError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ArtifactError(
            f"{self.name} has no stage {name!r}, only {[stage.name for stage in self.stages]}"
        )


def to_json(manifest: Manifest) -> str:
    """Write a manifest as JSON text, the same bytes for the same manifest."""
    facts = dataclasses.asdict(manifest)
    # Said again in plain words, for readers who do not know our kinds; checked on the way back.
    facts["output"].update(
        unit=manifest.output.unit, larger_is_nearer=manifest.output.larger_is_nearer
    )
    return json.dumps(facts, indent=2, sort_keys=True, allow_nan=False) + "\n"


def from_json(text: str) -> Manifest:
    """Read a manifest and check every field.

    Raises:
        ArtifactError: not JSON, another schema version, or a field that is missing, unknown or
            of the wrong type or value.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"manifest is not JSON: {error}; rebuild with `make compile`") from None
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"manifest has schema version {version!r}, this package reads {SCHEMA_VERSION}; "
            "rebuild the artifact with `make compile`, or install the package that made it"
        )
    output = facts.get("output")
    claims = {}
    if isinstance(output, dict):
        claims = {key: output.pop(key, None) for key in ("unit", "larger_is_nearer")}
    try:
        manifest = _build(Manifest, facts, "manifest")
    except InputError as error:
        raise ArtifactError(f"manifest: {error}; rebuild with `make compile`") from None
    if (claims.get("unit"), claims.get("larger_is_nearer")) != KINDS[manifest.output.kind]:
        raise ArtifactError(
            f"manifest: output claims {claims}, which is not what {manifest.output.kind} means; "
            "rebuild with `make compile`"
        )
    return manifest


def _build(hint: Any, value: Any, where: str) -> Any:
    """Turn parsed JSON into the annotated type, or say which field does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        if not isinstance(value, dict) or set(value) != set(hints):
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise InputError(f"{where} has {found}, expected the fields {sorted(hints)}")
        fields = {key: _build(hints[key], value[key], f"{where}.{key}") for key in hints}
        return typing.cast(Any, hint)(**fields)
    if origin is typing.Union:  # Optional[X]
        return None if value is None else _build(arguments[0], value, where)
    if origin is tuple:
        endless = arguments[-1] is Ellipsis
        if not isinstance(value, list) or not (endless or len(value) == len(arguments)):
            raise InputError(f"{where} is {value!r}, expected a list like {hint}")
        kinds = [arguments[0]] * len(value) if endless else list(arguments)
        return tuple(
            _build(kind, v, f"{where}[{i}]") for i, (kind, v) in enumerate(zip(kinds, value))
        )
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} is {value!r}, expected an object")
        return {key: _build(arguments[1], v, f"{where}.{key}") for key, v in value.items()}
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{where} is too large for a float") from None
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise InputError(f"{where} is {value!r}, expected {hint.__name__}")
    return value
