"""Gaussian splats in the world, from what the network says of every pixel.

Depth, cameras and raw parameters in; centres, sizes, orientations, colours and opacities out.
numpy only. Source: ``model/gs_adapter.py`` of Depth Anything 3; spherical harmonics in the order
and signs of 3D Gaussian Splatting (Kerbl et al., 2023).
"""

from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import (
    homogeneous,
    inverse,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from runtime.scene.similarity import Similarity, align_cameras

DEGREE = 2
COEFFICIENTS = (DEGREE + 1) ** 2
# Degrees above 0 are damped, so that colour depends little on the direction one looks from.
DAMPING = np.array([1.0] + [0.1 * 0.25**1] * 3 + [0.1 * 0.25**2] * 5)
MIN_SPREAD, MAX_SPREAD = 1e-5, 30.0
PIXEL_SHARE = 0.1
MAX_POSE_SCALE = 3.0
BLOCK = 1 << 17  # splats that are moved at a time


@dataclass(frozen=True)
class Gaussians:
    """G splats of a batch of scenes, in world space, view by view and row by row. float32.

    ``rotations`` hold what upstream returns: the network's quaternion x y z w reordered to w x y z
    and then read as x y z w, turned into the world, as x y z w. ``opacities`` are in [0, 1].
    """

    means: np.ndarray  # (B, G, 3)
    scales: np.ndarray  # (B, G, 3)
    rotations: np.ndarray  # (B, G, 4)
    harmonics: np.ndarray  # (B, G, 3, 9)
    opacities: np.ndarray  # (B, G)


PARTS = tuple(Gaussians.__dataclass_fields__)


def gaussians_of_scenes(
    scenes: int,
    raw: np.ndarray,
    opacity: np.ndarray,
    depth: np.ndarray,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    given: Optional[np.ndarray] = None,
) -> Gaussians:
    """Place the splats of several scenes, whose views come one after the other.

    Args:
        scenes: how many they are; all have the same number of views.
        raw, opacity, depth, extrinsics, intrinsics: as for ``gaussians_of_scene``, of all views.
        given: (..., 3 or 4, 4), the known cameras of all views, which set the scale.
    """
    views = len(raw) // scenes
    given = None if given is None else given.reshape(-1, *given.shape[-2:])
    placed = []
    for start in range(0, len(raw), views):
        own = slice(start, start + views)
        scale = pose_scale(None if given is None else given[own], extrinsics[own])
        placed.append(
            gaussians_of_scene(
                raw[own], opacity[own], depth[own], extrinsics[own], intrinsics[own], scale
            )
        )
    if scenes == 1:
        return placed[0]
    return Gaussians(*(np.concatenate([getattr(one, part) for one in placed]) for part in PARTS))


def gaussians_of_scene(
    raw: np.ndarray,
    opacity: np.ndarray,
    depth: np.ndarray,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    scale: float = 1.0,
) -> Gaussians:
    """Place the splats of one scene.

    Args:
        raw: float (N, H, W, 37): offset in pixels (x, y), sizes (3), quaternion (4), harmonics
            (3 x 9), depth offset.
        opacity: float (N, H, W), in [0, 1].
        depth: float (N, H, W), along unit rays.
        extrinsics: (N, 3 or 4, 4), world-to-camera, as the network finds them.
        intrinsics: (N, 3, 3), pixels.
        scale: factor on all distances; see ``pose_scale``.
    Returns:
        a batch of one.
    """
    views, height, width, _ = raw.shape
    cameras = inverse(homogeneous(extrinsics))
    unproject = np.linalg.inv(np.asarray(intrinsics, np.float64))
    pixels = height * width
    shapes = ((3,), (3,), (4,), (3, COEFFICIENTS), ())
    parts = [np.empty((1, views * pixels, *shape), np.float32) for shape in shapes]
    for view in range(views):  # one at a time: float64 takes eight times what stays
        own = slice(view * pixels, (view + 1) * pixels)
        placed = _of_view(
            raw[view], opacity[view], depth[view], cameras[view], unproject[view], scale
        )
        for whole, part in zip(parts, placed):
            whole[0, own] = part.reshape(pixels, *part.shape[2:])
    return Gaussians(*parts)


def _of_view(
    raw: np.ndarray,
    opacity: np.ndarray,
    depth: np.ndarray,
    camera: np.ndarray,
    unproject: np.ndarray,
    scale: float,
) -> tuple[np.ndarray, ...]:
    """The parts of ``Gaussians`` of one view, each (H, W, ...)."""
    height, width, _ = raw.shape
    raw = np.asarray(raw, np.float64)
    offset, size, quaternion, colour, further = np.split(raw, (2, 5, 9, 36), axis=-1)
    distance = (np.asarray(depth, np.float64) + further[..., 0]) * scale

    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    pixel = np.stack((x, y, np.ones_like(x)), -1) + np.pad(offset, ((0, 0), (0, 0), (0, 1)))
    ray = pixel @ unproject.T
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    means = camera[:3, 3] * scale + ray @ camera[:3, :3].T * distance[..., None]

    per_pixel = PIXEL_SHARE * unproject[:2, :2].sum()  # widths at distance 1, x plus y
    spread = MIN_SPREAD + (MAX_SPREAD - MIN_SPREAD) / (1 + np.exp(-size))
    scales = spread * distance[..., None] * per_pixel

    local = rotation_from_quaternion(quaternion[..., [3, 0, 1, 2]])
    rotations = quaternion_from_rotation(camera[:3, :3] @ local)

    harmonics = colour.reshape(height, width, 3, COEFFICIENTS) * DAMPING
    return means, scales, rotations, rotate_harmonics(harmonics, camera[:3, :3]), opacity


def pose_scale(given: Optional[np.ndarray], found: np.ndarray) -> float:
    """How much longer given cameras' path is than the one found: between 1/3 and 3.

    1 where no cameras were given, or fewer than three, or all stand in one place.
    """
    if given is None or len(given) < 3:
        return 1.0
    try:
        scale = align_cameras(given, found).scale
    except InputError:
        return 1.0
    return float(np.clip(scale, 1 / MAX_POSE_SCALE, MAX_POSE_SCALE))


def move_gaussians(splats: Gaussians, by: Similarity) -> Gaussians:
    """Move splats into another frame, as they are drawn: rotations are read as w x y z there.

    Colours turn along, since they depend on the direction in the world; opacities stay.
    """
    parts = [np.empty(getattr(splats, name).shape, np.float32) for name in PARTS]
    for start in range(0, splats.means.shape[1], BLOCK):
        own = slice(start, start + BLOCK)
        block = Gaussians(*(getattr(splats, name)[:, own] for name in PARTS))
        for whole, part in zip(parts, _moved(block, by)):
            whole[:, own] = part
    return Gaussians(*parts)


def _moved(splats: Gaussians, by: Similarity) -> tuple[np.ndarray, ...]:
    w, x, y, z = np.moveaxis(splats.rotations.astype(np.float64), -1, 0)
    turned = by.rotation @ rotation_from_quaternion(np.stack((x, y, z, w), axis=-1))
    x, y, z, w = np.moveaxis(quaternion_from_rotation(turned), -1, 0)
    return (
        by.move_points(splats.means.astype(np.float64)),
        splats.scales * by.scale,
        np.stack((w, x, y, z), axis=-1),
        rotate_harmonics(splats.harmonics, by.rotation),
        splats.opacities,
    )


def harmonic_basis(direction: np.ndarray, degree: int = DEGREE) -> np.ndarray:
    """Real spherical harmonics of degree 0 to 2, or to 0 to 3: unit vectors (K, 3) -> (K, M)."""
    x, y, z = np.asarray(direction, np.float64).T
    c1, c2 = np.sqrt(3 / (4 * np.pi)), np.sqrt(15 / (4 * np.pi))
    found = [np.full_like(x, np.sqrt(1 / (4 * np.pi)))]
    if degree > 0:
        found += [-c1 * y, c1 * z, -c1 * x]
    if degree > 1:
        found += [
            c2 * x * y,
            -c2 * y * z,
            c2 / np.sqrt(12) * (2 * z * z - x * x - y * y),
            -c2 * x * z,
            c2 / 2 * (x * x - y * y),
        ]
    if degree > 2:
        found += _third_harmonics(x, y, z)
    return np.stack(found, axis=1)


def _third_harmonics(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
    c, s = x * x - y * y, 2 * x * y
    outer, inner = np.sqrt(35 / (32 * np.pi)), np.sqrt(21 / (32 * np.pi))
    middle, pole = np.sqrt(105 / (16 * np.pi)), np.sqrt(7 / (16 * np.pi))
    return [
        -outer * (x * s + y * c),
        middle * z * s,
        -inner * y * (5 * z * z - 1),
        pole * z * (5 * z * z - 3),
        -inner * x * (5 * z * z - 1),
        middle * z * c,
        -outer * (x * c - y * s),
    ]


def rotate_harmonics(coefficients: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn functions on the sphere: (..., 9), rotation (3, 3) -> (..., 9).

    The turned function is the old one seen from the old direction, R^T d. Its coefficients are the
    solution of a linear system over a few directions, which is exact as each degree is closed
    under rotation.
    """
    sample = np.random.RandomState(0).standard_normal((32, 3))
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    turn = np.linalg.pinv(harmonic_basis(sample)) @ harmonic_basis(sample @ rotation)
    return np.asarray(coefficients) @ turn.T
