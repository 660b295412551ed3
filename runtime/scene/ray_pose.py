"""Cameras from ray maps: what a network says every pixel's ray is, turned into pinhole cameras.

Rays and their confidence in; rotation, centre, focal lengths and principal point out. numpy only.
Source: Depth Anything 3 (Lin et al., 2025), its ray-based pose: a homography between the image
plane and the rays' directions, found by RANSAC, split into rotation and intrinsics.
"""

from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import inverse

GROUPS, GROUP = 100, 8  # trials, and rays in each
CANDIDATES = 0.3  # share of the rays, the most confident ones, that trials draw from
INLIER = 0.2  # on the plane at distance 1
FLAT = 1e-4  # rays with a smaller z point nowhere on that plane


@dataclass(frozen=True)
class RayCameras:
    """Pinhole cameras for an image plane 2 wide and 2 high."""

    rotation: np.ndarray  # float64 (N, 3, 3), camera-to-world
    centre: np.ndarray  # float64 (N, 3)
    focal: np.ndarray  # float64 (N, 2), horizontal and vertical
    principal: np.ndarray  # float64 (N, 2), from the upper left corner

    def extrinsics(self) -> np.ndarray:
        """World-to-camera: float64 (N, 3, 4)."""
        return inverse(np.concatenate((self.rotation, self.centre[..., None]), axis=-1))

    def intrinsics(self, size_hw: tuple[int, int]) -> np.ndarray:
        """In pixels of an image of this size: float64 (N, 3, 3)."""
        half = np.array([size_hw[1], size_hw[0]]) / 2
        result = np.zeros((len(self.focal), 3, 3))
        result[:, [0, 1], [0, 1]] = self.focal * half
        result[:, :2, 2] = self.principal * half
        result[:, 2, 2] = 1
        return result


def draw_groups(candidates: int) -> np.ndarray:
    """The ranks that the trials use: int64 (100, 8), the same on every machine.

    They are what torch's ``randperm`` gives after ``manual_seed(0)``: a Fisher-Yates shuffle driven
    by the Mersenne twister, of which the first eight places are kept.
    """
    twister = np.random.RandomState(0)
    groups = np.empty((GROUPS, GROUP), np.int64)
    for group in groups:
        # a whole permutation is drawn although eight places of it are used
        words = twister.randint(0, 1 << 32, size=candidates - 1, dtype=np.uint32)
        ranks: dict[int, int] = {}
        for place in range(GROUP):
            word = int(words[place]) if place < len(words) else 0
            other = place + word % (candidates - place)
            group[place] = ranks.get(other, other)
            ranks[other] = ranks.get(place, place)
    return groups


def cameras_from_rays(
    rays: np.ndarray, confidence: np.ndarray, groups: Optional[np.ndarray] = None
) -> RayCameras:
    """Find the camera of every view.

    Args:
        rays: float (N, h, w, 6), direction and origin in the world, of pixel centres.
        confidence: float (N, h, w), positive.
        groups: int (trials, 8), ranks among the most confident rays; None draws them.
    Raises:
        InputError: fewer than 8 rays a view, or other shapes.
    """
    rays, confidence = np.asarray(rays, np.float64), np.asarray(confidence, np.float64)
    if rays.ndim != 4 or rays.shape[-1] != 6 or confidence.shape != rays.shape[:3]:
        raise InputError(
            f"rays {rays.shape} with confidence {confidence.shape}: expected (N, h, w, 6) and "
            "(N, h, w)"
        )
    views, height, width, _ = rays.shape
    if height * width < GROUP:
        raise InputError(f"{height * width} rays a view are too few: {GROUP} at least")
    candidates = max(GROUP, int(height * width * CANDIDATES))
    groups = draw_groups(candidates) if groups is None else groups
    y, x = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    plane = np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3)

    found = []
    for view in range(views):
        direction, origin = np.split(rays[view].reshape(-1, 6), 2, axis=1)
        weight = confidence[view].reshape(-1)
        steep = np.abs(direction[:, 2]) > FLAT
        weight = np.where(steep, weight, 0)
        target = direction[:, :2] / np.where(steep, direction[:, 2], 1)[:, None]
        homography = _homography(plane, target, weight, candidates, groups)
        if np.linalg.det(homography) < 0:
            homography = -homography
        rotation, lower = split_rotation(homography)
        lower = lower / lower[2, 2]
        centre = (origin * weight[:, None]).sum(0) / weight.sum()
        found.append((rotation, centre, 1 / np.diag(lower)[:2], lower[2, :2] + 1))
    return RayCameras(*(np.stack(part) for part in zip(*found)))


def _centres(count: int) -> np.ndarray:
    """Pixel centres on [-1, 1]."""
    return (2 * np.arange(count) + 1) / count - 1


def _homography(
    plane: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    candidates: int,
    groups: np.ndarray,
) -> np.ndarray:
    """The homography (3, 3) from plane points to directions that most confidence agrees with."""
    ranked = np.argsort(-weight, kind="stable")[:candidates]
    samples = ranked[groups]  # (trials, 8)
    trials = _solve(plane[samples], target[samples], weight[samples])
    agreed = np.empty((len(trials), len(plane)), bool)
    for trial, homography in enumerate(trials):
        moved = plane @ homography.T
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.linalg.norm(moved[:, :2] / moved[:, 2:] - target, axis=1)
        agreed[trial] = error < INLIER
    inliers = agreed[(agreed * weight).sum(1).argmax()]
    if inliers.sum() < 4:
        inliers = np.ones_like(inliers)
    return _solve(plane[inliers][None], target[inliers][None], weight[inliers][None])[0]


def _solve(plane: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted least squares, by the smallest singular vector: (T, K, 3), (T, K, 2), (T, K)."""
    point = plane * np.sqrt(weight)[..., None]
    u, v = target[..., :1], target[..., 1:]
    zero = np.zeros_like(point)
    rows = np.concatenate(
        (
            np.concatenate((-point, zero, point * u), axis=-1),
            np.concatenate((zero, -point, point * v), axis=-1),
        ),
        axis=-2,
    )  # (T, 2K, 9)
    # the normal matrix: nine by nine, however many points there are
    _, vectors = np.linalg.eigh(np.swapaxes(rows, -1, -2) @ rows)
    homography = vectors[..., 0].reshape(-1, 3, 3)
    return homography / homography[:, 2:, 2:]


def split_rotation(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split (3, 3) into orthogonal times lower triangular, the diagonal positive."""
    flip = np.eye(3)[::-1]
    q, r = np.linalg.qr(matrix @ flip)
    rotation, lower = q @ flip, flip @ r @ flip
    sign = np.sign(np.diag(lower))
    return rotation * sign, lower * sign[:, None]
