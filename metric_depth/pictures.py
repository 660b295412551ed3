"""Pictures for the report: photo, truth and prediction side by side, point pairs marked.

Arrays in, uint8 (H, W, 3) RGB out; no disk.
"""

from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np

from exports.colour import colorize
from metric_depth.metrics import align_disparity, right_pairs
from metric_depth.samples import Sample
from runtime.artifact.manifest import OutputSpec

PANEL = 320  # pixels of a panel's longer side
GAP = 4
COLUMNS = 6  # views of a scene that are shown
MARKED = 10  # pairs drawn on a photo; more of them hide it
UNKNOWN = (128, 128, 128)
RIGHT, WRONG, OUTLINE = (60, 220, 120), (255, 70, 60), (20, 20, 20)
# Extremes left to the ends of the colours, in percent: one near pixel must not darken the rest.
TAILS = (1.0, 99.0)

# 256 RGB colours, farthest first: the ones that the main job paints with.
PALETTE = colorize(np.arange(256, dtype=np.float32)[None], OutputSpec("disparity"))[0]


def strip(sample: Sample, disparity: np.ndarray) -> np.ndarray:
    """Photo with pairs | truth, where there is one | prediction.

    Truth and prediction share one colour scale: the prediction is fitted to the truth first.

    Args:
        disparity: float (H, W), predicted, larger is nearer.
    Raises:
        InputError: too few pixels count to fit a prediction to the truth.
    """
    panels = [mark_pairs(sample.rgb, sample.pairs, right_pairs(disparity, sample.pairs))]
    if sample.depth_m is None or sample.scored is None:
        limits = color_limits(disparity)
    else:
        unknown = np.isnan(sample.depth_m)
        truth = np.zeros(unknown.shape)
        np.divide(1.0, sample.depth_m, out=truth, where=~unknown)
        limits = color_limits(truth[sample.scored])
        panels.append(_truth_panel(truth, unknown, limits))
        disparity = align_disparity(disparity, truth, sample.scored)
    panels.append(fit(paint(disparity, limits)))
    bar = np.full((panels[0].shape[0], GAP, 3), UNKNOWN, np.uint8)
    joined = [part for panel in panels for part in (bar, panel)][1:]
    return np.concatenate(joined, axis=1)


def paint(disparity: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Colours of a map between two values: violet at the lower and beyond, red at the upper."""
    low, high = limits
    scaled = (disparity - low) / (high - low) if high > low else np.zeros(disparity.shape)
    return PALETTE[(np.clip(scaled, 0, 1) * 255).astype(np.uint8)]


def fit(pixels: np.ndarray) -> np.ndarray:
    """Shrink or enlarge a picture to a panel, its aspect ratio kept."""
    shrinks = max(pixels.shape[:2]) > PANEL
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, _panel_wh(pixels), interpolation=way)


def mark_pairs(rgb: np.ndarray, pairs: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A photo's panel with its first pairs: a disc is the nearer point, a ring the farther.

    Right pairs are joined by a green line, wrong ones by a red line with a cross.
    """
    panel = fit(rgb)
    scale = np.array(panel.shape[:2]) / rgb.shape[:2]
    for points, is_right in zip((pairs[:MARKED] * scale).astype(int), right):
        (near, far), color = points[:, ::-1].tolist(), RIGHT if is_right else WRONG
        for ink, more in ((OUTLINE, 2), (color, 0)):
            cv2.line(panel, near, far, ink, 1 + more, cv2.LINE_AA)
            cv2.circle(panel, near, 4 + more // 2, ink, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(panel, far, 4, ink, 1 + more, cv2.LINE_AA)
            if not is_right:
                middle = ((near[0] + far[0]) // 2, (near[1] + far[1]) // 2)
                cv2.drawMarker(panel, middle, ink, cv2.MARKER_TILTED_CROSS, 10, 2 + more)
    return panel


def _panel_wh(pixels: np.ndarray) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = PANEL / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def color_limits(values: np.ndarray) -> tuple[float, float]:
    """The values at the two ends of the colours, ``TAILS`` left out."""
    low, high = np.percentile(values, TAILS)
    return float(low), float(high)


def _truth_panel(truth: np.ndarray, unknown: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Truth in colours, grey where it is not known; points of a laser are grown to be seen."""
    sparse = unknown.mean() > 0.5
    grow = max(1, 2 * (max(truth.shape) // PANEL) + 1) if sparse else 1
    nearest = cv2.dilate(np.where(unknown, -1.0, truth), np.ones((grow, grow), np.uint8))
    painted = paint(nearest, limits)
    painted[nearest < 0] = UNKNOWN
    return cv2.resize(painted, _panel_wh(truth), interpolation=cv2.INTER_NEAREST)


def scene_strip(
    photos: Sequence[np.ndarray], truths: Optional[Sequence[np.ndarray]], depth: np.ndarray
) -> np.ndarray:
    """Photos, true depth where it is known, and found depth: a column a view, ``COLUMNS`` at most.

    Args:
        photos: N uint8 (h, w, 3).
        truths: N float (h, w), NaN where not known.
        depth: float (N, h, w), found, in the truth's unit.
    """
    rows = [np.concatenate([_thumb(photo) for photo in photos[:COLUMNS]], axis=1)]
    found = [1 / np.maximum(one, 1e-9) for one in depth[:COLUMNS]]
    limits = color_limits(np.stack(found))
    if truths is not None:
        shown = [np.where(np.isnan(one), 0, 1 / one) for one in truths[:COLUMNS]]
        known = np.concatenate([one[one > 0] for one in shown])
        limits = color_limits(known) if len(known) else limits
        painted = []
        for one in shown:
            panel = paint(one, limits)
            panel[one == 0] = UNKNOWN
            painted.append(_thumb(panel))
        rows.append(np.concatenate(painted, axis=1))
    rows.append(np.concatenate([_thumb(paint(one, limits)) for one in found], axis=1))
    return np.concatenate(rows, axis=0)


def _thumb(pixels: np.ndarray) -> np.ndarray:
    """A small panel with a bar at its right and below."""
    width, height = _panel_wh(pixels)
    small = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    colour = (UNKNOWN[0],) * 3
    return cv2.copyMakeBorder(small, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=colour)
