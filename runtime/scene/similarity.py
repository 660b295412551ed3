"""Fit one camera path onto another by rotation, translation and scale.

World-to-camera matrices in; a similarity, and moved cameras, out. float64 throughout.
Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
(1991); a robust fit by RANSAC as Depth Anything 3 has it.
"""

from dataclasses import dataclass

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import homogeneous, inverse

RANSAC_FROM_VIEWS = 10
RANSAC_TRIALS = 10
RANSAC_SEED = 42


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)
    scale: float

    def move_points(self, points: np.ndarray) -> np.ndarray:
        """Move points: (N, 3) -> (N, 3)."""
        return self.scale * (points @ self.rotation.T) + self.translation

    def move_points_back(self, points: np.ndarray) -> np.ndarray:
        """Undo ``move_points``: (N, 3) -> (N, 3)."""
        return ((points - self.translation) @ self.rotation) / self.scale

    def inverse(self) -> "Similarity":
        """What undoes it."""
        back = -(self.translation @ self.rotation) / self.scale
        return Similarity(self.rotation.T, back, 1 / self.scale)

    def after(self, first: "Similarity") -> "Similarity":
        """One of both: what ``first`` does, and then this."""
        moved = self.move_points(first.translation[None])[0]
        return Similarity(self.rotation @ first.rotation, moved, self.scale * first.scale)

    def move_cameras(self, extrinsics: np.ndarray) -> np.ndarray:
        """Move cameras: world-to-camera (N, 3 or 4, 4) -> (N, 4, 4)."""
        cameras = inverse(homogeneous(extrinsics))
        cameras[:, :3, 3] = self.move_points(cameras[:, :3, 3])
        cameras[:, :3, :3] = self.rotation @ cameras[:, :3, :3]
        return inverse(cameras)


IDENTITY = Similarity(np.eye(3), np.zeros(3), 1.0)


def first_camera_onto(reference: np.ndarray, estimate: np.ndarray) -> Similarity:
    """What brings the first of estimated cameras onto that of reference cameras, without scale.

    Args:
        reference, estimate: world-to-camera (N, 3 or 4, 4).
    """
    moved = inverse(homogeneous(reference[0])) @ homogeneous(estimate[0])
    return Similarity(moved[:3, :3], moved[:3, 3], 1.0)


def align_cameras(reference: np.ndarray, estimate: np.ndarray, robust: bool = False) -> Similarity:
    """The similarity that brings estimated cameras onto reference cameras.

    Args:
        reference, estimate: world-to-camera (N, 3 or 4, 4), the same cameras in the same order.
        robust: leave outliers out, by RANSAC with fixed draws.
    Raises:
        InputError: different counts, or camera centres that all coincide in one of the paths.

    From three centres on that are not on a line it is Umeyama's fit of the centres. Fewer, or
    centres on a line, leave the rotation open: there it is the mean of the cameras' own.
    """
    reference, estimate = (inverse(homogeneous(pose)) for pose in (reference, estimate))
    if len(reference) != len(estimate):
        raise InputError(f"{len(reference)} reference and {len(estimate)} estimated cameras")
    if not robust:
        return _fit(reference, estimate)
    return _fit_robustly(reference, estimate)


def _fit(reference: np.ndarray, estimate: np.ndarray) -> Similarity:
    """Of camera-to-world (N, 4, 4)."""
    to, of = reference[:, :3, 3], estimate[:, :3, 3]
    to_mean, of_mean = to.mean(0), of.mean(0)
    spread = ((of - of_mean) ** 2).sum(1).mean()
    covariance = (to - to_mean).T @ (of - of_mean) / len(of)
    u, d, v = np.linalg.svd(covariance)
    if d[0] <= np.finfo(np.float64).eps:
        raise InputError(
            "cameras: all centres of a path coincide, so its scale is unknown; give views from "
            "different places, or align_to_input_ext_scale=False"
        )
    sign = np.ones(3)
    if d[1] <= max(np.finfo(np.float64).eps, 1e-9 * d[0]):  # on a line
        u, _, v = np.linalg.svd(
            (reference[:, :3, :3] @ np.swapaxes(estimate[:, :3, :3], 1, 2)).sum(0)
        )
        sign[2] = np.sign(np.linalg.det(u) * np.linalg.det(v))
        rotation = (u * sign) @ v
        scale = float(np.sqrt(((to - to_mean) ** 2).sum(1).mean() / spread))
    else:
        if np.linalg.det(u) * np.linalg.det(v) < 0:
            sign[2] = -1
        rotation = (u * sign) @ v
        scale = float((d * sign).sum() / spread)
    return Similarity(rotation, to_mean - scale * rotation @ of_mean, scale)


def _fit_robustly(reference: np.ndarray, estimate: np.ndarray) -> Similarity:
    count = len(reference)
    draws = np.random.default_rng(RANSAC_SEED)
    sample_size = max(3, (count + 1) // 2)
    best = _fit(reference, estimate)
    centres = reference[:, :3, 3]
    moved = best.move_points(estimate[:, :3, 3])
    gaps = np.linalg.norm(centres[None] - moved[:, None], axis=2).min(1)
    threshold = np.median(gaps)

    score, inliers = (-1, np.inf), None
    for _ in range(RANSAC_TRIALS):
        sample = draws.choice(np.arange(count), size=sample_size, replace=False)
        try:
            trial = _fit(reference[sample], estimate[sample])
        except InputError:
            continue
        errors = np.linalg.norm(trial.move_points(estimate[:, :3, 3]) - centres, axis=1)
        near = errors <= threshold
        found = (int(near.sum()), float(errors[near].mean()) if near.any() else np.inf)
        if found[0] > score[0] or (found[0] == score[0] and found[1] < score[1]):
            score, best, inliers = found, trial, near
    if inliers is not None and inliers.sum() >= 3:
        return _fit(reference[inliers], estimate[inliers])
    return best
