"""A prediction to files that say what they hold.

Pure: a prediction and options in; suffixes and bytes out, one file after the other, the description
last. ``write`` puts them on disk; batches put them into a storage.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from exports.colour import COLORMAPS, paint
from exports.depth16 import to_uint16
from exports.exr import encode_exr
from exports.npz import encode_npz
from exports.pfm import encode_pfm
from exports.photo_points import points_glb, points_of, points_ply, refuse_relative
from exports.png import encode_png
from exports.tiff import encode_tiff
from runtime.errors import InputError
from runtime.predict.found import Prediction
from runtime.scene.focal import PhotoCamera

SIDECAR = ".json"
SUFFIXES = {  # of the files of each format, added to the photo's whole name
    "png": ".color.png",
    "png16": ".depth16.png",
    "npz": ".npz",
    "exr": ".exr",
    "pfm": ".pfm",
    "tiff": ".tiff",
    "ply": ".ply",
    "glb": ".glb",
}
POINT_FORMATS = {"ply": points_ply, "glb": points_glb}  # clouds of what is in metres
FORMATS = tuple(name for name in SUFFIXES if name not in POINT_FORMATS)
PHOTO_FORMATS = tuple(SUFFIXES)
SIDE_BY_SIDE = ".side_by_side.png"


@dataclass(frozen=True)
class FileOptions:
    """Which files a photo gets, and how its picture is painted.

    Args:
        formats: of ``PHOTO_FORMATS``.
        colormap: of ``COLORMAPS``.
        side_by_side: also photo | picture.
    Raises:
        InputError: an unknown format or colour map.
    """

    formats: tuple[str, ...] = ("png", "png16", "npz")
    colormap: str = "Spectral_r"
    side_by_side: bool = False

    def __post_init__(self) -> None:
        if not self.formats or any(name not in SUFFIXES for name in self.formats):
            raise InputError(f"formats {self.formats}: give some of {', '.join(SUFFIXES)}")
        if self.colormap not in COLORMAPS:
            raise InputError(f"colormap={self.colormap!r}: use one of {', '.join(COLORMAPS)}")

    @property
    def has_points(self) -> bool:
        """Whether depth must be in metres, and a camera known."""
        return any(name in POINT_FORMATS for name in self.formats)

    @property
    def shows_photo(self) -> bool:
        """Whether files hold the photo's own pixels."""
        return self.side_by_side or self.has_points


def depth_files(
    found: Prediction,
    photo: str,
    options: Optional[FileOptions],
    rgb: Optional[np.ndarray] = None,
    seconds: Optional[Mapping[str, float]] = None,
    base: str = "",
    others: Optional[Mapping[str, str]] = None,
    more: Optional[Mapping[str, Any]] = None,
    camera: Optional[PhotoCamera] = None,
) -> Iterator[tuple[str, bytes]]:
    """Encode a map in the formats asked for, one after the other, and its description last.

    Args:
        photo: the photo's name, which the files' names begin with.
        options: None: the description alone.
        rgb: the photo, uint8 (H, W, 3), for ``side_by_side`` and points.
        seconds: of each stage, for the description; None leaves times out, so that the same photo
            gives the same bytes.
        base: what the files' names begin with instead of the photo's name.
        others: what else goes with the photo: what it is -> its name.
        more: what the description says beside the map's own facts, as of ``others``.
        camera: of the photo, for points.
    Yields:
        each file's suffix, to be added to ``base`` or the photo's whole name, and its bytes.
    Raises:
        InputError: points, and depth is not in metres.
    """
    facts, names, said = found.facts(), dict(others or {}), dict(more or {})
    base = base or photo
    if options is not None:
        yield from _maps(found, base, options, rgb, facts, names, said, camera)
    text = description(found, photo, names, seconds, said)
    yield SIDECAR, text.encode("utf-8", "backslashreplace")


def _maps(
    found: Prediction,
    base: str,
    options: FileOptions,
    rgb: Optional[np.ndarray],
    facts: Mapping[str, Any],
    names: dict[str, str],
    more: dict[str, Any],
    camera: Optional[PhotoCamera],
) -> Iterator[tuple[str, bytes]]:
    """All files but the description; what that says of them goes into ``names`` and ``more``."""
    painted = points = None
    if options.has_points:
        refuse_relative(found.output.kind)
        if rgb is None or camera is None:
            raise InputError("points need the photo's pixels and its camera; give rgb and camera")
        points = points_of(found, rgb, camera)
    if options.side_by_side or "png" in options.formats:
        painted = paint(found, options.colormap)
        more["colormap"] = colormap_facts(options.colormap)
    for name in options.formats:
        names[name] = base + SUFFIXES[name]
        if name == "png":
            assert painted is not None
            data = encode_png(painted, facts)
        elif name == "png16":
            stored, encoding = to_uint16(found.depth, found.output, found.value_range)
            more["png16"] = dataclasses.asdict(encoding)
            data = encode_png(stored, {**facts, "png16": more["png16"]})
        elif name in POINT_FORMATS:
            assert points is not None
            more["points"] = points.facts()
            data = b"".join(POINT_FORMATS[name](found, points))
        else:
            data = encode_float(found, name, facts)
        yield SUFFIXES[name], data
    if options.side_by_side:
        assert painted is not None and rgb is not None
        names["side_by_side"] = base + SIDE_BY_SIDE
        yield SIDE_BY_SIDE, encode_png(np.concatenate((rgb, painted), axis=1), facts)


def encode_float(found: Prediction, name: str, facts: Mapping[str, Any]) -> bytes:
    """The exact map in one of the formats that hold float32: npz, exr, pfm, tiff."""
    if name == "npz":
        return encode_npz({found.output.kind: found.depth}, facts)
    if name == "exr":
        return encode_exr(found.depth, facts)
    return encode_pfm(found.depth) if name == "pfm" else encode_tiff(found.depth, facts)


def colormap_facts(colormap: str) -> dict[str, str]:
    """What a picture's description says of its colours."""
    return {"name": colormap, "near_is": "the last colour"}


def description(
    found: Prediction,
    photo: str,
    files: Mapping[str, str],
    seconds: Optional[Mapping[str, float]],
    more: Mapping[str, Any],
) -> str:
    """The JSON that goes with a map's files."""
    facts = {
        **found.facts(),
        "photo": photo,
        "files": files,
        "preprocessing": found.preprocessing(),
        "seconds": {stage: round(took, 4) for stage, took in (seconds or {}).items()},
        **more,
    }
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
