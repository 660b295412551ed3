"""Depth to files that say what they hold.

A prediction in; files on disk out, each written under a temporary name and renamed. The encoders
are pure functions from arrays to bytes.
"""

import dataclasses
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
from PIL import Image

from exports.png import png_bytes
from runtime.artifact.manifest import OutputSpec
from runtime.files import write_whole
from runtime.optional import require
from runtime.photo.postprocess import limits_of
from runtime.predict.predictor import Prediction

SIDECAR = ".json"
FORMATS = ("png", "png16", "npz", "exr", "pfm", "tiff")
MILLIMETRES = 1000.0
MAX_UINT16 = 65535
TIFF_DESCRIPTION = 270
ROWS = 32  # painted, or stored in 16 bits, at a time: keeps them in the processor's cache

# Why a map is no depth, as its files say it; and what is written over its pictures then.
SEEDED = "made with random weights: the numbers mean nothing"
SIMULATED = "simulated: no graph ran, the map is made up"
STAMPS = {SEEDED: "RANDOM WEIGHTS: NOT DEPTH", SIMULATED: "SIMULATED: NOT DEPTH"}

# ColorBrewer's 11-class Spectral (Cynthia Brewer, Apache-2.0), reversed: violet far, red near.
SPECTRAL_R = "5e4fa2 3288bd 66c2a5 abdda4 e6f598 ffffbf fee08b fdae61 f46d43 d53e4f 9e0142"
OPENCV_MAPS = {
    "inferno": cv2.COLORMAP_INFERNO,
    "magma": cv2.COLORMAP_MAGMA,
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
}
COLORMAPS = ("Spectral_r", *OPENCV_MAPS, "gray")


@dataclasses.dataclass(frozen=True)
class Encoding16:
    """How a 16-bit PNG holds depth: ``value = offset + scale * stored``.

    ``invalid`` is the stored value that stands for "no depth", None where there is none.
    """

    scale: float
    offset: float
    unit: str
    invalid: Optional[int]
    out_of_range: int


def nearness(
    depth: np.ndarray, output: OutputSpec, limits: Optional[tuple[float, float]] = None
) -> np.ndarray:
    """Scale a map to 0 (farthest) .. 1 (nearest): float32 (H, W), zeros if it is constant.

    ``limits``: the least and greatest value of the map that ``depth`` is a part of.
    """
    low, high = limits or limits_of(depth)
    if high == low:
        return np.zeros_like(depth)
    scaled = (depth - low) / (high - low)
    return scaled if output.larger_is_nearer else 1.0 - scaled


def colorize(
    depth: np.ndarray,
    output: OutputSpec,
    colormap: str = "Spectral_r",
    limits: Optional[tuple[float, float]] = None,
) -> np.ndarray:
    """Paint a map for people: uint8 (H, W, 3) RGB, near is the warm or bright end.

    ``limits``: what ``limits_of`` says of the map, where it is known already.
    """
    limits = limits or limits_of(depth)
    colors = np.ascontiguousarray(_lookup_table(colormap)[:, None])
    painted = np.empty((*depth.shape, 3), np.uint8)
    for start in range(0, len(depth), ROWS):
        rows = slice(start, start + ROWS)
        index = (nearness(depth[rows], output, limits) * 255).astype(np.uint8)
        painted[rows] = cv2.applyColorMap(index, colors)
    return painted


def stamp(pixels: np.ndarray, text: str) -> None:
    """Write over the top of a picture, uint8 (H, W, 3), in place, as wide as most of it."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    scale = 0.8 * pixels.shape[1] / width
    at = (int(0.1 * pixels.shape[1]), int(1.5 * scale * height))
    for color, weight in (((0, 0, 0), 6), ((255, 255, 255), 2)):
        thickness = max(1, round(scale * weight))
        cv2.putText(
            pixels, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA
        )


def _lookup_table(colormap: str) -> np.ndarray:
    """256 RGB colours, farthest first."""
    ramp = np.arange(256, dtype=np.uint8)
    if colormap == "gray":
        return np.stack([ramp] * 3, axis=1)
    if colormap in OPENCV_MAPS:
        return cv2.applyColorMap(ramp[:, None], OPENCV_MAPS[colormap])[:, 0, ::-1]
    anchors = np.array([list(bytes.fromhex(color)) for color in SPECTRAL_R.split()])
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def to_uint16(
    depth: np.ndarray, output: OutputSpec, limits: Optional[tuple[float, float]] = None
) -> tuple[np.ndarray, Encoding16]:
    """Store a map in 16 bits.

    Metres become millimetres, 0 where there is no depth or more than 65.535 m of it. Relative maps
    are stretched from their minimum (0) to their maximum (65535).

    Args:
        depth: float32 (H, W), finite.
        limits: what ``limits_of`` says of the map, where it is known already.
    Returns:
        uint16 (H, W), and how to read it.
    """
    low, high = limits or limits_of(depth)
    metric, beyond = output.unit == "metre", 0
    stored = np.zeros(depth.shape, np.uint16)
    for start in range(0, len(depth), ROWS):
        rows = slice(start, start + ROWS)
        if metric:
            millimetres = np.round(depth[rows] * MILLIMETRES)
            outside = (millimetres > MAX_UINT16) | (millimetres < 0)
            beyond += int((millimetres > MAX_UINT16).sum())
            stored[rows] = np.where(outside, 0, millimetres).astype(np.uint16)
        elif high > low:
            scaled = (depth[rows] - low) / (high - low)
            stored[rows] = np.round(scaled * MAX_UINT16).astype(np.uint16)
    if metric:
        return stored, Encoding16(1 / MILLIMETRES, 0.0, "metre", 0, beyond)
    return stored, Encoding16((high - low) / MAX_UINT16, low, "relative", None, 0)


RESIZE_WORDS = {
    "cubic": "cubic in float64",
    "bytes": "by area, or cubic where a side grows, on 8 bits,",
}


def warning_of(prediction: Prediction) -> Optional[str]:
    """Why a map is no depth, one of ``STAMPS``; None if it is."""
    if prediction.simulated:
        return SIMULATED
    return SEEDED if prediction.artifact.manifest.weights.seeded else None


def describe(prediction: Prediction) -> dict[str, Any]:
    """What a map is and where it came from: the part that every file of it shares."""
    manifest, output = prediction.artifact.manifest, prediction.output
    facts: dict[str, Any] = {
        "kind": output.kind,
        "unit": output.unit,
        "larger_is_nearer": output.larger_is_nearer,
        "max_depth_m": output.max_depth_m,
        "focal_px": prediction.focal_px,
        "min": prediction.limits[0],
        "max": prediction.limits[1],
        "size": {"height": prediction.depth.shape[0], "width": prediction.depth.shape[1]},
        "grid": prediction.grid,
        "model": manifest.model,
        "artifact": {"name": manifest.name, "digest": prediction.artifact.digest},
        "weights": dataclasses.asdict(manifest.weights),
        "licence": manifest.weights.licence,
    }
    warning = warning_of(prediction)
    if warning is not None:
        facts["warning"] = warning
    return facts


def sidecar(prediction: Prediction, photo: str, files: dict[str, str], **more: Any) -> str:
    """The JSON that goes with a map's files."""
    spec = prediction.artifact.manifest.input
    height, width = prediction.depth.shape
    facts = describe(prediction)
    facts.update(
        photo=photo,
        files=files,
        preprocessing={
            "network_size": {"height": spec.size_hw[0], "width": spec.size_hw[1]},
            "resize": f"{RESIZE_WORDS[spec.resize]} to exactly the network's size; depth back "
            "bilinearly, corners aligned",
            # 1: aspect ratio kept; 1.1: the network saw the photo 10 % wider than it is
            "aspect_stretch": (spec.size_hw[1] / spec.size_hw[0]) / (width / height),
            "mean": spec.mean,
            "std": spec.std,
            "pixel_grid": "the photo's own, after its EXIF orientation",
        },
        seconds={stage: round(took, 4) for stage, took in prediction.seconds.items()},
        **more,
    )
    if prediction.decoded_hw is not None:
        size = dict(zip(("height", "width"), prediction.decoded_hw))
        facts["preprocessing"]["decoded_size"] = size
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def encode_png(pixels: np.ndarray, facts: dict[str, Any]) -> bytes:
    """PNG of uint8 (H, W, 3) or uint16 (H, W), with its description in a text chunk."""
    return png_bytes(pixels, {"Description": json.dumps(facts)})


def encode_npz(depth: np.ndarray, facts: dict[str, Any]) -> bytes:
    """NPZ of one float32 (H, W) array named after its kind, and ``meta``, its description.

    ``meta`` is JSON text; neither needs pickles to be read. The bytes are those of ``np.savez``,
    which copies the map once more. Stored, not deflated: zlib takes over ten times as long for
    a file a sixth smaller.
    """
    arrays = {facts["kind"]: depth, "meta": np.array(json.dumps(facts))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            array = np.asarray(array, order="C")
            header = np.lib.format.header_data_from_array_1_0(array)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.write(array.reshape(-1).view(np.uint8).data)
    return buffer.getvalue()


def encode_tiff(depth: np.ndarray, facts: dict[str, Any]) -> bytes:
    """TIFF of float32 (H, W), with its description in the usual tag."""
    buffer = io.BytesIO()
    tags = {TIFF_DESCRIPTION: json.dumps(facts)}
    Image.fromarray(depth).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


def encode_exr(depth: np.ndarray, facts: dict[str, Any]) -> bytes:
    """OpenEXR of one float32 channel (H, W) named after its kind, described in ``comments``."""
    openexr = require("OpenEXR", "exr")
    header = {"compression": openexr.ZIP_COMPRESSION, "comments": json.dumps(facts)}
    with tempfile.TemporaryDirectory() as folder:  # the library writes to named files only
        file = Path(folder) / "depth.exr"
        openexr.File(header, {facts["kind"]: np.ascontiguousarray(depth)}).write(str(file))
        return file.read_bytes()


def encode_pfm(depth: np.ndarray) -> bytes:
    """PFM of float32 (H, W). The format has no room for a description."""
    try:
        _, data = cv2.imencode(".pfm", depth)
    except cv2.error as error:
        raise OSError(f"OpenCV cannot write .pfm in this build: {error}") from error
    return data.tobytes()


def encode_prediction(
    prediction: Prediction,
    rgb: np.ndarray,
    name: str,
    formats: tuple[str, ...],
    colormap: str = "Spectral_r",
    side_by_side: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """Encode a map in the formats asked for, one after the other, and the sidecar last.

    Args:
        rgb: the photo, uint8 (H, W, 3), for ``side_by_side``.
        name: the photo's, which the files' begin with.
        formats: of ``FORMATS``.
        colormap: of ``COLORMAPS``.
    Yields:
        each file's suffix, to be added to the photo's whole name, and its bytes.
    """
    depth, output, facts = prediction.depth, prediction.output, describe(prediction)
    encoders: dict[str, tuple[str, Callable[[], bytes]]] = {
        "npz": (".npz", lambda: encode_npz(depth, facts)),
        "exr": (".exr", lambda: encode_exr(depth, facts)),
        "pfm": (".pfm", lambda: encode_pfm(depth)),
        "tiff": (".tiff", lambda: encode_tiff(depth, facts)),
    }
    more: dict[str, Any] = {}
    if "png16" in formats:
        stored, encoding = to_uint16(depth, output, prediction.limits)
        more["png16"] = dataclasses.asdict(encoding)
        png16_facts = {**facts, "png16": more["png16"]}
        encoders["png16"] = (".depth16.png", lambda: encode_png(stored, png16_facts))
    wanted = list(formats)
    if "png" in formats or side_by_side:
        painted = colorize(depth, output, colormap, prediction.limits)
        if "warning" in facts:
            stamp(painted, STAMPS[facts["warning"]])
        more["colormap"] = {"name": colormap, "near_is": "the last colour"}
        encoders["png"] = (".color.png", lambda: encode_png(painted, facts))
        encoders["side_by_side"] = (
            ".side_by_side.png",
            lambda: encode_png(np.concatenate((rgb, painted), axis=1), facts),
        )
        wanted += ["side_by_side"] if side_by_side else []
    for one in wanted:
        suffix, encode = encoders[one]
        yield suffix, encode()
    text = sidecar(prediction, name, {one: name + encoders[one][0] for one in wanted}, **more)
    yield SIDECAR, text.encode("utf-8", "backslashreplace")


def write_prediction(
    prediction: Prediction,
    rgb: np.ndarray,
    base: Path,
    photo: str,
    formats: tuple[str, ...],
    colormap: str = "Spectral_r",
    side_by_side: bool = False,
) -> list[Path]:
    """Write what ``encode_prediction`` makes.

    Args:
        base: path of the files without their last suffix; ends with the photo's name.
    Returns:
        the files written.
    Raises:
        OSError: the disk refuses.
    """
    files = []
    for suffix, data in encode_prediction(prediction, rgb, photo, formats, colormap, side_by_side):
        files.append(base.with_name(base.name + suffix))
        write_whole(files[-1], data)
    return files
