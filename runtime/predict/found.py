"""What was found, and what it is: the one description that files, answers and records print.

Depth or a scene, with where it came from, in; facts as plain JSON values out. No disk, no device.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.artifact.manifest import KINDS, InputSpec, OutputSpec, WeightsSpec
from runtime.errors import InputError
from runtime.photo.postprocess import resize_to_photo, value_range
from runtime.scene.fit import Fit, fit_points
from runtime.scene.known_points import KnownPoints

# Why a map is no depth
SEEDED = "made with random weights: the numbers mean nothing"
SIMULATED = "simulated: no graph ran, the map is made up"
RELATIVE = "depth"  # the kind of depth whose unit nobody knows
CAMERA_CONVENTION = "OpenCV: x right, y down, z forward; extrinsics are world-to-camera"
RESIZE_WORDS = {
    "cubic": "cubic in float64",
    "cubic32": "cubic in float32",
    "bytes": "by area, or cubic where a side grows, on 8 bits,",
}


@dataclass(frozen=True)
class ArtifactName:
    """Which artifact: the name of its folder, and its manifest's sha256."""

    name: str
    digest: str


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from: the model, the artifact that ran, and whose weights they are.

    ``artifact`` is None if the eager model ran; ``simulated`` if nothing ran at all.
    """

    model: str
    weights: WeightsSpec
    artifact: Optional[ArtifactName] = None
    simulated: bool = False

    @property
    def licence(self) -> str:
        """The weights' licence."""
        return self.weights.licence

    @property
    def warning(self) -> Optional[str]:
        """Why the numbers mean nothing, ``SEEDED`` or ``SIMULATED``; None if they do."""
        if self.simulated:
            return SIMULATED
        return SEEDED if self.weights.seeded else None

    @classmethod
    def of_dict(cls, fields: dict[str, Any]) -> "Provenance":
        """What ``dataclasses.asdict`` made of one, as files keep it.

        Raises:
            KeyError, TypeError: it is none.
        """
        artifact = fields["artifact"]
        return cls(
            fields["model"],
            WeightsSpec(**fields["weights"]),
            None if artifact is None else ArtifactName(**artifact),
            fields["simulated"],
        )

    def facts(self) -> dict[str, Any]:
        """The same as JSON values; ``warning`` is there only if there is one."""
        facts: dict[str, Any] = {
            "model": self.model,
            "artifact": None if self.artifact is None else dataclasses.asdict(self.artifact),
            "weights": dataclasses.asdict(self.weights),
            "licence": self.licence,
        }
        if self.warning is not None:
            facts["warning"] = self.warning
        return facts


def provenance_of(artifact: Artifact, simulated: bool = False) -> Provenance:
    """Where the answers of an artifact come from."""
    manifest = artifact.manifest
    return Provenance(
        model=manifest.model,
        weights=manifest.weights,
        artifact=ArtifactName(manifest.name, artifact.digest),
        simulated=simulated,
    )


@dataclass(frozen=True)
class Prediction:
    """Depth of one photo, and what it is.

    Args:
        depth: float32 (H, W).
        output: what the numbers of ``depth`` mean.
        provenance: where they come from.
        input: what the network took.
        photo_hw: size of the upright photo in pixels.
        focal_px: that metres were found by, in pixels of the photo; None if it took none.
        grid: ``photo`` if depth is on the photo's own pixels, ``model`` if on the network's.
        decoded_hw: how large the photo was decoded; None if that was its own size.
        metres_by: the fit to known points that made relative depth metres; None if there was none.
    """

    depth: np.ndarray
    output: OutputSpec
    provenance: Provenance
    input: InputSpec
    photo_hw: tuple[int, int]
    focal_px: Optional[float] = None
    grid: str = "photo"
    decoded_hw: Optional[tuple[int, int]] = None
    metres_by: Optional[Fit] = None

    @functools.cached_property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value of depth."""
        return value_range(self.depth)

    def facts(self) -> dict[str, Any]:
        """What the map is and where it came from, as JSON values."""
        return {
            **_kind_facts(self.output.kind),
            "max_depth_m": self.output.max_depth_m,
            "focal_px": self.focal_px,
            "min": self.value_range[0],
            "max": self.value_range[1],
            "size": _size(self.depth.shape),
            "grid": self.grid,
            **({} if self.metres_by is None else {"metres_by": self._fit_facts(self.metres_by)}),
            **self.provenance.facts(),
        }

    def in_metres(self, points: KnownPoints) -> "Prediction":
        """The same in metres, by a scale and a shift fitted to points whose distance is known.

        Args:
            points: in pixels of the photo, whatever pixels ``depth`` is on.
        Returns:
            a prediction of kind ``depth_m``, finite; ``metres_by`` says how well the points agree.
        Raises:
            InputError: as for ``fit_points``.
        """
        on_photo = self.grid == "photo"
        values = self.depth if on_photo else resize_to_photo(self.depth, self.photo_hw)
        fit = fit_points(values, self.output.kind, points)
        metres, output = fit.metres(self.depth), OutputSpec("depth_m")
        return dataclasses.replace(self, depth=metres, output=output, metres_by=fit)

    def _fit_facts(self, fit: Fit) -> dict[str, Any]:
        """The fit, and which share of the map it can say nothing of."""
        far = float(np.mean(self.depth >= np.float32(fit.far_m)))
        return {**fit.facts(), "share_at_far_m": far, "share_at_0": float(np.mean(self.depth == 0))}

    def preprocessing(self) -> dict[str, Any]:
        """How the photo became the network's input, as JSON values."""
        spec, (height, width) = self.input, self.photo_hw
        facts: dict[str, Any] = {
            "network_size": _size(spec.size_hw),
            "resize": f"{RESIZE_WORDS[spec.resize]} to exactly the network's size; depth back "
            "bilinearly, corners aligned",
            # 1: aspect ratio kept; 1.1: the network saw the photo 10 % wider than it is
            "aspect_stretch": (spec.size_hw[1] / spec.size_hw[0]) / (width / height),
            "mean": spec.mean,
            "std": spec.std,
            "pixel_grid": "the photo's own, after its EXIF orientation",
        }
        if self.decoded_hw is not None:
            facts["decoded_size"] = _size(self.decoded_hw)
        return facts


@dataclass
class ScenePrediction:
    """Depth Anything 3's answer for N views.

    ``kind`` says what depth holds: ``depth`` is relative (up to scale, larger is farther),
    ``depth_m`` metres. All views of a scene share one scale, unless ``groups`` says otherwise.
    """

    depth: np.ndarray  # float32 (N, H, W), on the grid of processed_images
    kind: str = "depth"
    conf: Optional[np.ndarray] = None  # float32 (N, H, W), above 1
    sky: Optional[np.ndarray] = None  # bool (N, H, W), True where sky
    extrinsics: Optional[np.ndarray] = None  # (N, 3, 4), OpenCV world-to-camera
    intrinsics: Optional[np.ndarray] = None  # (N, 3, 3), pixels of processed_images
    processed_images: Optional[np.ndarray] = None  # uint8 (N, H, W, 3), RGB
    gaussians: Any = None
    aux: dict[str, np.ndarray] = field(default_factory=dict)
    scale_factor: Optional[float] = None  # by which a nested model scaled its depth
    # Views that went through the network together; later groups were brought into the first one's
    # scale and axes by the views they share with earlier ones. Groups that share none have scales
    # of their own. Empty: all went together.
    groups: tuple[tuple[int, ...], ...] = ()
    provenance: Optional[Provenance] = None  # None: a network without known weights
    input: Optional[InputSpec] = None  # what the network took of each view

    @property
    def is_metric(self) -> int:
        """1 if depth is in metres, else 0."""
        return int(self.kind == "depth_m")

    @property
    def unit(self) -> str:
        """``metre`` or ``relative``."""
        return KINDS[self.kind][0]

    def facts(self) -> dict[str, Any]:
        """What the scene is and where it came from, as JSON values; its arrays are not in it."""
        return {
            **_kind_facts(self.kind),
            "views": len(self.depth),
            "size": _size(self.depth.shape[1:]),
            "grid": "model",
            "cameras": CAMERA_CONVENTION,
            "groups": [list(group) for group in self.groups],
            **(self.provenance.facts() if self.provenance else {}),
        }

    def photo(self, index: int, photo_hw: tuple[int, int]) -> Prediction:
        """One view's depth on its photo's own pixels.

        Args:
            photo_hw: size of the upright photo, all of which is in the view.
        Raises:
            InputError: this scene does not say where it comes from.
        """
        if self.provenance is None or self.input is None:
            raise InputError("scene: no provenance, so its files could not say what they hold")
        return Prediction(
            depth=resize_to_photo(self.depth[index], photo_hw),
            output=OutputSpec(self.kind),
            provenance=self.provenance,
            input=self.input,
            photo_hw=photo_hw,
        )


def _kind_facts(kind: str) -> dict[str, Any]:
    unit, larger_is_nearer = KINDS[kind]
    return {"kind": kind, "unit": unit, "larger_is_nearer": larger_is_nearer}


def _size(size_hw: Sequence[int]) -> dict[str, int]:
    return {"height": size_hw[0], "width": size_hw[1]}
