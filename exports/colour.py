"""Depth to a picture for people: near is the warm or bright end.

A map and what it means in; uint8 (H, W, 3) RGB out. What is no depth is stamped as such.
"""

from typing import Optional

import cv2
import numpy as np

from runtime.artifact.manifest import OutputSpec
from runtime.photo.postprocess import value_range
from runtime.predict.found import SEEDED, SIMULATED, Prediction

BAND_ROWS = 32  # painted at a time: keeps them in the processor's cache
STAMPS = {SEEDED: "RANDOM WEIGHTS: NOT DEPTH", SIMULATED: "SIMULATED: NOT DEPTH"}
UNKNOWN_STAMP = "NOT DEPTH"

# ColorBrewer's 11-class Spectral (Cynthia Brewer, Apache-2.0), reversed: violet far, red near.
SPECTRAL_R = "5e4fa2 3288bd 66c2a5 abdda4 e6f598 ffffbf fee08b fdae61 f46d43 d53e4f 9e0142"
OPENCV_MAPS = {
    "inferno": cv2.COLORMAP_INFERNO,
    "magma": cv2.COLORMAP_MAGMA,
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
}
COLORMAPS = ("Spectral_r", *OPENCV_MAPS, "gray")


def paint(found: Prediction, colormap: str = "Spectral_r") -> np.ndarray:
    """The picture of a prediction: uint8 (H, W, 3), stamped if its numbers mean nothing."""
    painted = colorize(found.depth, found.output, colormap, found.value_range)
    stamp_warning(painted, found.provenance.warning)
    return painted


def stamp_warning(pixels: np.ndarray, warning: Optional[str]) -> None:
    """Write over a picture, in place, why it is no depth; nothing if there is no warning."""
    if warning is not None:
        stamp(pixels, STAMPS.get(warning, UNKNOWN_STAMP))


def nearness(
    depth: np.ndarray, output: OutputSpec, limits: Optional[tuple[float, float]] = None
) -> np.ndarray:
    """Scale a map to 0 (farthest) .. 1 (nearest): float32 (H, W), zeros if it is constant.

    ``limits``: the least and greatest value of the map that ``depth`` is a part of.
    """
    low, high = limits or value_range(depth)
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

    ``limits``: what ``value_range`` says of the map, if it is known already.
    """
    limits = limits or value_range(depth)
    colors = np.ascontiguousarray(_lookup_table(colormap)[:, None])
    painted = np.empty((*depth.shape, 3), np.uint8)
    for start in range(0, len(depth), BAND_ROWS):
        rows = slice(start, start + BAND_ROWS)
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


def spectral(reversed_map: bool = True) -> np.ndarray:
    """matplotlib's ``Spectral_r``, or ``Spectral``: uint8 (256, 3) RGB, to the last level.

    Times 255 and cut, so the two tables are not each other backwards.
    """
    return (spectral_shares(reversed_map) * 255).astype(np.uint8)


def spectral_shares(reversed_map: bool = True) -> np.ndarray:
    """The same as float64 (256, 3), 0 to 1.

    Source: ``LinearSegmentedColormap``: the same steps between the palette's colours.
    """
    palette = [list(bytes.fromhex(color)) for color in SPECTRAL_R.split()]
    nodes = np.linspace(0, 1, len(palette))
    if reversed_map:
        nodes = 1 - nodes[::-1]
    else:
        palette.reverse()
    anchors, at, x = np.array(palette) / 255, nodes * 255, np.linspace(0, 1, 256)[1:-1] * 255
    after = np.searchsorted(at, x)
    share = ((x - at[after - 1]) / (at[after] - at[after - 1]))[:, None]
    inner = share * (anchors[after] - anchors[after - 1]) + anchors[after - 1]
    return np.concatenate((anchors[:1], inner, anchors[-1:]))


def _lookup_table(colormap: str) -> np.ndarray:
    """256 RGB colours, farthest first."""
    ramp = np.arange(256, dtype=np.uint8)
    if colormap == "gray":
        return np.stack([ramp] * 3, axis=1)
    if colormap in OPENCV_MAPS:
        return cv2.applyColorMap(ramp[:, None], OPENCV_MAPS[colormap])[:, 0, ::-1]
    return spectral()
