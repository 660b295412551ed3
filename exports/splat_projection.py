"""Gaussian splats as one camera sees them: ellipses on its picture, sorted from near to far.

Splats and a camera in; places, shapes, colours and opacities on the picture out. Blocks of splats
are projected one after the other, so that beside what is drawn memory does not grow with them.
Source: the projection of gsplat 1.5.2 (Ye et al., 2024), after 3D Gaussian Splatting (Kerbl et al.,
2023) and EWA splatting (Zwicker et al., 2001).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from runtime.errors import InputError
from runtime.scene.gaussians import harmonic_basis

NEAR, FAR = 0.01, 1e10  # depths that are drawn
BLUR = 0.3  # square pixels, added to both axes of every ellipse
LEAST_ALPHA = 1 / 255  # what covers less is not seen
REACH = 3.33  # standard deviations, at most, that an ellipse is drawn to
MARGIN = 0.3  # of the picture's width and height, beyond which slopes are held
BLOCK = 1 << 15  # splats


@dataclass(frozen=True, eq=False)
class Splats:
    """G splats of one scene as a picture is drawn of them.

    Args:
        means: (G, 3); scales: (G, 3), standard deviations; quaternions: (G, 4), w x y z of any
            length; opacities: (G,), 0 to 1; harmonics: (G, 3, M), M = 1, 4, 9 or 16.
    Raises:
        InputError: other shapes.
    """

    means: np.ndarray
    scales: np.ndarray
    quaternions: np.ndarray
    opacities: np.ndarray
    harmonics: np.ndarray

    def __post_init__(self) -> None:
        count, known = len(self.means), (1, 4, 9, 16)
        shapes = {"means": (3,), "scales": (3,), "quaternions": (4,), "opacities": ()}
        for name, shape in shapes.items():
            given = getattr(self, name).shape
            if given != (count, *shape):
                raise InputError(f"splats: {name} are {given}, expected {(count, *shape)}")
        given = self.harmonics.shape
        if given[:-1] != (count, 3) or given[-1] not in known:
            raise InputError(f"splats: harmonics are {given}, expected ({count}, 3, 1, 4, 9 or 16)")

    def __len__(self) -> int:
        return len(self.means)

    def drawable(self, own: slice = slice(None)) -> np.ndarray:
        """Which of some splats a camera may see: those that are finite, turned and not too thin."""
        seen = self.opacities[own] >= np.float32(LEAST_ALPHA)  # not a number: false
        for part in (self.means, self.scales, self.quaternions):
            seen &= np.isfinite(part[own]).all(axis=1)
        return np.asarray(seen & self.quaternions[own].any(axis=1))  # no length: turned nowhere


@dataclass(frozen=True, eq=False)
class Drawn:
    """The D splats that are on a picture, from near to far.

    Args:
        indices: (D,), which of all; depths: float32 (D,), along the axis the camera looks along.
        centres: float64 (D, 2), x y in pixels, 0.5 0.5 in the middle of the first.
        conics: float64 (D, 3), xx xy yy of the inverse covariance on the picture.
        reach: float64 (D, 2), pixels right and down that the ellipse extends from its centre.
        colours: float32 (D, 3); opacities: float32 (D,).
    """

    indices: np.ndarray
    depths: np.ndarray
    centres: np.ndarray
    conics: np.ndarray
    reach: np.ndarray
    colours: np.ndarray
    opacities: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


def project(
    splats: Splats,
    viewmat: np.ndarray,
    intrinsics: np.ndarray,
    size_hw: tuple[int, int],
    threads: int = 1,
) -> Drawn:
    """See splats through a camera.

    Args:
        viewmat: (4, 4), world-to-camera; intrinsics: (3, 3), pixels.
        size_hw: of the picture.
    """
    view, lens = np.asarray(viewmat, np.float64), np.asarray(intrinsics, np.float64)

    def block(start: int) -> tuple[np.ndarray, ...]:
        return _project_block(splats, slice(start, start + BLOCK), view, lens, size_hw)

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(block, range(0, max(len(splats), 1), BLOCK)))
    parts = [np.concatenate(part) for part in zip(*blocks)]
    order = rising(parts[1].view(np.uint32))  # positive float32 sort as their bits do
    return Drawn(*(part[order] for part in parts))


def rising(keys: np.ndarray) -> np.ndarray:
    """The stable order of uint32 (K,), 16 bits at a time: numpy counts those, and compares more."""
    order = np.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    upper = (keys >> 16).astype(np.uint16)
    if upper.any():
        order = order[np.argsort(upper[order], kind="stable")]
    return np.asarray(order)


def _project_block(
    splats: Splats, own: slice, view: np.ndarray, lens: np.ndarray, size_hw: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    rotation, shift = view[:3, :3], view[:3, 3]
    means = splats.means[own].astype(np.float64)
    opacities = splats.opacities[own]
    with np.errstate(invalid="ignore"):
        depth = means @ rotation[2] + shift[2]
        seen = (depth >= NEAR) & (depth <= FAR) & splats.drawable(own)
    at = np.flatnonzero(seen)
    x, y, z = rotation @ means[at].T + shift[:, None]
    focal, centre = lens[[0, 1], [0, 1]], lens[:2, 2]
    covariance = _on_picture(
        _covariances(splats, at + own.start), rotation, (x, y, z), focal, centre, size_hw
    )
    xx, xy, yy = covariance
    determinant = xx * yy - xy * xy
    with np.errstate(all="ignore"):
        opacity = opacities[at].astype(np.float64)
        spread = np.minimum(REACH, np.sqrt(2 * np.log(255 * opacity)))
        places = np.stack((focal[0] * x / z + centre[0], focal[1] * y / z + centre[1]), axis=1)
        reach = np.sqrt(np.stack((xx, yy), axis=1)) * spread[:, None]
        box = np.ceil(reach)
        height, width = size_hw
        kept = (determinant > 0) & ((box > 0).any(axis=1)) & np.isfinite(places).all(axis=1)
        kept &= (places + box > 0).all(axis=1) & (places - box < (width, height)).all(axis=1)
        kept &= np.isfinite(determinant)
    at, places, reach = at[kept], places[kept], reach[kept]
    conics = np.stack((yy[kept], -xy[kept], xx[kept]), axis=1) / determinant[kept, None]
    eye = -rotation.T @ shift
    colours = _colours(splats.harmonics[own][at], means[at] - eye)
    return (
        at + own.start,
        z[kept].astype(np.float32),
        places,
        conics,
        reach,
        colours,
        opacities[at].astype(np.float32),
    )


def finite(harmonics: np.ndarray) -> np.ndarray:
    """Harmonics as they are drawn, float32: what is no number is no colour."""
    return np.nan_to_num(harmonics.astype(np.float32), copy=False, posinf=0, neginf=0)


def _covariances(splats: Splats, at: np.ndarray) -> list[np.ndarray]:
    """In the world: xx xy xz yy yz zz, each (K,)."""
    w, x, y, z = splats.quaternions[at].astype(np.float64).T
    double = 2 / (w * w + x * x + y * y + z * z)
    rows = (
        (1 - double * (y * y + z * z), double * (x * y - w * z), double * (x * z + w * y)),
        (double * (x * y + w * z), 1 - double * (x * x + z * z), double * (y * z - w * x)),
        (double * (x * z - w * y), double * (y * z + w * x), 1 - double * (x * x + y * y)),
    )
    squares = (splats.scales[at].astype(np.float64) ** 2).T
    return [
        sum(rows[i][k] * rows[j][k] * squares[k] for k in range(3))
        for i in range(3)
        for j in range(i, 3)
    ]


def _on_picture(
    world: list[np.ndarray],
    rotation: np.ndarray,
    place: tuple[np.ndarray, ...],
    focal: np.ndarray,
    centre: np.ndarray,
    size_hw: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariances in square pixels, blurred: xx xy yy, each (K,)."""
    xx, xy, xz, yy, yz, zz = world
    z = place[2]
    lines = []  # d pixel / d world, of both axes: three (K,) each
    for axis, side in ((0, size_hw[1]), (1, size_hw[0])):
        margin = MARGIN * 0.5 * side / focal[axis]
        low = -(centre[axis] / focal[axis] + margin)
        high = (side - centre[axis]) / focal[axis] + margin
        slope = np.clip(place[axis] / z, low, high)
        per_depth = focal[axis] / z
        lines.append([per_depth * (rotation[axis, i] - slope * rotation[2, i]) for i in range(3)])
    found = []
    for (a, b, c), (d, e, f) in ((lines[0],) * 2, lines, (lines[1],) * 2):
        found.append(
            a * (xx * d + xy * e + xz * f)
            + b * (xy * d + yy * e + yz * f)
            + c * (xz * d + yz * e + zz * f)
        )
    return found[0] + BLUR, found[1], found[2] + BLUR


def _colours(harmonics: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """What splats look like from one side: (K, 3, M), (K, 3) of any length -> float32 (K, 3)."""
    degree = int(np.sqrt(harmonics.shape[-1])) - 1
    length = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    basis = harmonic_basis(direction / length, degree).astype(np.float32)
    colours = np.einsum("kcm,km->kc", finite(harmonics), basis) + np.float32(0.5)
    return np.maximum(colours, 0)
