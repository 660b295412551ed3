"""What was found and the cameras that were given, brought into one unit and one frame."""

import logging
from dataclasses import replace
from typing import Any, Optional

import numpy as np

from runtime.errors import InputError
from runtime.predict.found import RELATIVE, ScenePrediction
from runtime.scene.gaussians import move_gaussians, pose_scale
from runtime.scene.query import SceneQuery
from runtime.scene.similarity import (
    IDENTITY,
    RANSAC_FROM_VIEWS,
    Similarity,
    align_cameras,
    first_camera_onto,
)

log = logging.getLogger(__name__)


def align_to_given(prediction: ScenePrediction, query: SceneQuery) -> ScenePrediction:
    """Bring what was found and the cameras that were given into one unit.

    With ``align_to_input_ext_scale`` depth is divided into the unit of the given cameras, and they
    come back as they were given. That unit is the giver's: nobody says that it is the metre, so
    depth is of kind ``depth`` then, even if the network found metres. Otherwise the given cameras
    are moved into the network's unit, and depth stays what it was.

    One view, or cameras that all stand in one place, tell no scale: depth then stays what it was,
    and a warning says so. Splats always go where the cameras and depth are.

    Args:
        query: its cameras in pixels of the views; without any, nothing changes.
    """
    given, intrinsics = query.extrinsics, query.intrinsics
    if given is None or intrinsics is None:
        return prediction
    assert prediction.extrinsics is not None
    try:
        fit = align_cameras(prediction.extrinsics, given, robust=len(given) >= RANSAC_FROM_VIEWS)
    except InputError:
        log.warning("the given cameras tell no scale: depth is in the network's own unit")
        kept, to = prediction.extrinsics, IDENTITY
        if query.align_to_input_ext_scale:
            kept, to = given[:, :3], first_camera_onto(given, prediction.extrinsics)
        splats = _moved_splats(prediction, query, to)
        return replace(prediction, intrinsics=intrinsics, extrinsics=kept, gaussians=splats)
    if not query.align_to_input_ext_scale:
        moved, splats = fit.move_cameras(given)[:, :3], _moved_splats(prediction, query, IDENTITY)
        return replace(prediction, intrinsics=intrinsics, extrinsics=moved, gaussians=splats)
    return replace(
        prediction,
        gaussians=_moved_splats(prediction, query, fit.inverse(), RELATIVE),
        depth=(prediction.depth / fit.scale).astype(np.float32),
        kind=RELATIVE,
        extrinsics=given[:, :3],
        intrinsics=intrinsics,
    )


def _moved_splats(
    prediction: ScenePrediction, query: SceneQuery, to: Similarity, kind: Optional[str] = None
) -> Any:
    """Splats of known cameras into another frame than the prediction's.

    They come in the network's own unit, stretched to the given cameras' path; see ``pose_scale``.
    Where depth is in metres, they stay ``scale_factor`` smaller, as upstream has them.

    Args:
        to: from the prediction's frame; kind: of depth afterwards, by default the same.
    """
    if prediction.gaussians is None:
        return None
    factor = prediction.scale_factor or 1.0
    network = np.array(prediction.extrinsics, np.float64)
    network[:, :3, 3] /= factor
    stretched = pose_scale(query.normalised().extrinsics, network)
    smaller = factor if (kind or prediction.kind) != RELATIVE else 1.0
    scale = to.scale * factor / stretched / smaller
    return move_gaussians(
        prediction.gaussians, Similarity(to.rotation, to.translation / smaller, scale)
    )
