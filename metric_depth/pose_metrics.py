"""Scores of camera poses against the truth: angles between pairs of cameras, and areas over them.

World-to-camera matrices in, numbers out; float64 inside. Only how the cameras of a scene stand to
each other counts, so neither the world's axes nor its origin nor its scale matters. No disk.
Source: the evaluation of Depth Anything 3 (Lin et al., 2025), which is that of VGGT (Wang et al.,
2025).
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import homogeneous, inverse

ANGLES_DEG = (3, 5, 15, 30)
NO_BASELINE = 1e-6  # of the scene's longest: nearer cameras stand in one place


class PairErrors(NamedTuple):
    """Errors of each pair of a scene's cameras: float64 (P,), P = N (N - 1) / 2, in degrees.

    ``rotation_deg`` is 0 to 180. ``translation_deg`` is 0 to 180, and NaN where the true cameras
    stand in one place.
    """

    rotation_deg: np.ndarray
    translation_deg: np.ndarray


def pair_errors(found: np.ndarray, true: np.ndarray) -> PairErrors:
    """How far every pair of cameras is from how it truly stands.

    Of cameras i and j, E_i inv(E_j) = [R | t] takes what j sees to what i sees. The error of the
    rotation is the angle of R_true^T R_found; that of the translation the angle between t_found and
    t_true, whose length does not count. Found cameras in one place, where the true ones are not,
    have no direction: 90 degrees.

    Args:
        found, true: (N, 3 or 4, 4), world-to-camera, the same cameras in the same order.
    Raises:
        InputError: different counts, or poses that are not finite.
    """
    found, true = homogeneous(found), homogeneous(true)
    if found.shape != true.shape:
        raise InputError(f"{len(found)} found and {len(true)} true cameras; give one for each")
    if not (np.isfinite(found).all() and np.isfinite(true).all()):
        raise InputError("cameras: some numbers are not finite; nothing to score")
    first, second = np.triu_indices(len(true), 1)
    rotations, translations = [], []
    for poses in (found, true):
        between = poses[first] @ inverse(poses)[second]
        rotations.append(between[:, :3, :3])
        translations.append(between[:, :3, 3])
    off = np.swapaxes(rotations[1], 1, 2) @ rotations[0]
    return PairErrors(_turn_deg(off), _between_deg(*translations))


def area_under_curve(errors_deg: np.ndarray, limit_deg: int) -> Optional[float]:
    """The area under the curve of accuracy over the allowed error, as a share: 0 to 1.

    The mean over k = 1 .. limit of the share of errors below k degrees (of the last, up to k), as
    VGGT and Depth Anything 3 count it. An error below one degree counts as none.

    Args:
        errors_deg: float (P,), none negative.
    Returns:
        None if there is no error to count.
    """
    if not len(errors_deg):
        return None
    counts, _ = np.histogram(errors_deg, bins=np.arange(limit_deg + 1))
    return float(np.mean(np.cumsum(counts)) / len(errors_deg))


def pose_scores(
    found: np.ndarray, true: np.ndarray, angles_deg: Sequence[int] = ANGLES_DEG
) -> dict[str, Optional[float]]:
    """The scores of one scene's cameras; arguments and errors as for ``pair_errors``.

    Returns:
        ``auc_3`` .. ``auc_30``, areas of each pair's larger error, which is the smaller of both
        accuracies; ``rotation_auc_*`` and ``translation_auc_*``, each alone; ``rotation_deg`` and
        ``translation_deg``, medians. A translation's sign does not count in areas, as upstream: 170
        degrees are 10. It does in ``translation_deg``. Pairs whose true cameras stand in one place
        count by their rotation alone. None: there is no such pair.
    """
    rotation, translation = pair_errors(found, true)
    unsigned = np.minimum(translation, 180 - translation)
    apart = ~np.isnan(translation)
    scores: dict[str, Optional[float]] = {}
    for name, errors in (
        ("auc", np.fmax(rotation, unsigned)),
        ("rotation_auc", rotation),
        ("translation_auc", unsigned[apart]),
    ):
        scores.update({f"{name}_{angle}": area_under_curve(errors, angle) for angle in angles_deg})
    return {
        **scores,
        "rotation_deg": _median(rotation),
        "translation_deg": _median(translation[apart]),
    }


def focal_error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean of |f_found / f_true - 1| over cameras, both axes: intrinsics (N, 3, 3) of one grid."""
    axes = [0, 1]
    return float(np.mean(np.abs(found[:, axes, axes] / true[:, axes, axes] - 1)))


def _turn_deg(rotations: np.ndarray) -> np.ndarray:
    """Angles of rotations: (P, 3, 3) -> (P,). Exact for small ones, where the cosine is flat."""
    twice = rotations - np.swapaxes(rotations, 1, 2)
    sine = np.sqrt((twice**2).sum((1, 2)) / 8)  # each entry of the axis is there twice
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arctan2(sine, cosine))


def _between_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles between directions: (P, 3) twice -> (P,); NaN where the true one has no length."""
    lengths = np.linalg.norm(true, axis=1)
    away = np.linalg.norm(np.cross(found, true), axis=1)
    angles = np.degrees(np.arctan2(away, (found * true).sum(1)))
    longest = np.linalg.norm(found, axis=1).max(initial=0.0)
    angles[np.linalg.norm(found, axis=1) <= NO_BASELINE * longest] = 90.0
    angles[lengths <= NO_BASELINE * lengths.max(initial=0.0)] = np.nan
    return angles


def _median(values: np.ndarray) -> Optional[float]:
    return float(np.median(values)) if len(values) else None
