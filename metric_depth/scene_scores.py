"""Scores of a scene's cameras, depth and points against the truth, with and without alignment.

What was found and what is true in, numbers out. No disk, no model.

A network finds a scene in axes and a unit of its own. *Aligned*: moved, turned and scaled onto the
true cameras by Umeyama's fit of their centres, by RANSAC from ten views on. *Unaligned*: the first
camera is put where it truly is, and nothing is scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from exports.points import unproject
from metric_depth.cloud_metrics import cloud_scores, thinned
from metric_depth.metrics import depth_scores
from metric_depth.pose_metrics import focal_error, pose_scores
from metric_depth.scene_samples import THRESHOLD_SHARE, SceneSample, Truth, truth_of_view
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.cameras import homogeneous
from runtime.scene.similarity import (
    RANSAC_FROM_VIEWS,
    Similarity,
    align_cameras,
    first_camera_onto,
)
from runtime.scene.views import View

CAMERAS, DEPTH = "cameras", "depth"  # by what a scene was aligned
CELLS = 2  # a side of a cube that gives one point, of the threshold
DEPTHS = ("abs_rel", "rmse", "delta1")
Scores = dict[str, Optional[float]]


@dataclass(frozen=True)
class SceneScores:
    """What one scene scores.

    Args:
        pose: of ``pose_metrics.pose_scores``, and ``focal`` of ``focal_error``.
        aligned, unaligned: of ``metrics.depth_scores`` and ``cloud_metrics.cloud_scores``; empty
            where no depth is known.
        scale: by which alignment multiplied; aligned_by: ``cameras``, or ``depth`` where they all
            stand in one place.
        threshold: up to which a point is right, in the truth's unit.
    """

    pose: Scores
    aligned: Scores
    unaligned: Scores
    scale: Optional[float]
    aligned_by: Optional[str]
    threshold: Optional[float]


def score_scene(
    found: ScenePrediction, views: Sequence[View], sample: SceneSample, given: bool = False
) -> SceneScores:
    """Score one scene.

    Args:
        found: with cameras; all views in one scale.
        views: how each photo became what the network saw.
        given: whether the network was told the true cameras, which then score nothing.
    Raises:
        InputError: no cameras were found, numbers that are not finite, or no depth that counts.
    """
    if found.extrinsics is None or found.intrinsics is None:
        raise InputError("no cameras were found; judge a model that finds them, as da3-small")
    pose: Scores = {}
    if not given:
        true = np.stack([v.intrinsics_of_view(k) for v, k in zip(views, sample.intrinsics)])
        pose = pose_scores(found.extrinsics, sample.extrinsics)
        pose["focal"] = focal_error(found.intrinsics, true)
    if sample.depth is None:
        return SceneScores(pose, {}, {}, None, None, None)
    truths = [truth_of_view(d, view, sample.max_depth) for d, view in zip(sample.depth, views)]
    known = np.concatenate([truth.depth[np.isfinite(truth.depth)] for truth in truths])
    if not len(known):
        raise InputError("no pixel of this scene has a true depth that counts")
    threshold = sample.threshold or THRESHOLD_SHARE * float(np.median(known))
    to_truth, by = alignment(found, sample, truths)
    as_is = first_camera_onto(sample.extrinsics, found.extrinsics)
    aligned, unaligned = (
        _depth_and_points(found, sample, truths, move, threshold) for move in (to_truth, as_is)
    )
    return SceneScores(pose, aligned, unaligned, to_truth.scale, by, threshold)


def alignment(
    found: ScenePrediction, sample: SceneSample, truths: Sequence[Truth]
) -> tuple[Similarity, str]:
    """What brings a found scene onto the true one, and by what it was fitted.

    Cameras that all stand in one place tell no scale. The ratio of the medians of depth does then,
    about the first camera.
    """
    assert found.extrinsics is not None
    try:
        robust = len(sample.extrinsics) >= RANSAC_FROM_VIEWS
        return align_cameras(sample.extrinsics, found.extrinsics, robust), CAMERAS
    except InputError:
        masks = [np.isfinite(truth.depth) for truth in truths]
        true = np.concatenate([truth.depth[mask] for truth, mask in zip(truths, masks)])
        depth = np.concatenate([depth[mask] for depth, mask in zip(found.depth, masks)])
        median = float(np.median(depth))
        if not median > 0:
            raise InputError("the found depth is mostly not positive") from None
        scale = float(np.median(true)) / median
        return _scaled_about_first(sample.extrinsics, found.extrinsics, scale), DEPTH


def _scaled_about_first(reference: np.ndarray, estimate: np.ndarray, scale: float) -> Similarity:
    """Put the first estimated camera onto its reference, and enlarge the scene around it."""
    onto = first_camera_onto(reference, estimate)
    first = homogeneous(estimate)[0]
    centre = -first[:3, :3].T @ first[:3, 3]
    there = onto.move_points(centre[None])[0]
    return Similarity(onto.rotation, there - scale * onto.rotation @ centre, scale)


def _depth_and_points(
    found: ScenePrediction,
    sample: SceneSample,
    truths: Sequence[Truth],
    move: Similarity,
    threshold: float,
) -> Scores:
    assert found.extrinsics is not None and found.intrinsics is not None
    cell = threshold / CELLS
    depths, trues, points, true_points = [], [], [], []
    for view, truth in enumerate(truths):
        known = np.isfinite(truth.depth)
        depth = found.depth[view][known].astype(np.float64)
        if not np.isfinite(depth).all():
            raise InputError(f"view {view}: the found depth is not finite everywhere")
        pose = homogeneous(found.extrinsics[view])
        there = unproject(_middles(known), depth, found.intrinsics[view], pose)
        points.append(thinned(move.move_points(there), cell))
        pose, lens = sample.extrinsics[view], sample.intrinsics[view]
        measured = unproject(truth.pixels[known], truth.depth[known], lens, pose)
        true_points.append(thinned(measured, cell))
        depths.append(np.maximum(move.scale * depth, 1e-9))
        trues.append(truth.depth[known])
    of_depth = depth_scores(np.concatenate(depths), np.concatenate(trues))
    clouds = [thinned(np.concatenate(some), cell) for some in (points, true_points)]
    return {
        **{name: of_depth[name] for name in DEPTHS},
        **cloud_scores(clouds[0], clouds[1], threshold),
    }


def _middles(mask: np.ndarray) -> np.ndarray:
    """x and y of the middles of pixels where a mask (h, w) is True: float64 (P, 2)."""
    rows, columns = np.nonzero(mask)
    return np.stack((columns, rows), axis=1) + 0.5
