"""Two windows of one scene that share frames: the similarity between them, and how far to trust it.

Depth, confidence and cameras of the shared frames, in either window's own unit and axes, in; a link
out. Scale comes from depth, rotation from the cameras' axes, translation from their centres: depth
maps bend, and points fitted to bent maps turn. numpy only; nothing here raises for odd frames.
"""

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.similarity import Similarity

SURE = 0.1  # share of the median confidence above which a pixel is used
FLAT = 1.1  # greatest over least depth around a pixel that lies on one surface
SKY_CONFIDENCE = 1 + 1e-3  # up to here confidence is at its least: sky, to models without a mask
FEW_SHARE, FEW_PIXELS = 0.02, 200  # used pixels, below which their ratio tells no scale
BASELINE = 0.05  # of centres, over the median depth, from which they tell a scale
AGREES = 0.05  # by which the logarithm of a depth may be off, and count as agreeing
WEAK_SPREAD, WEAK_INLIERS = 0.10, 0.5
BROKEN_INLIERS, BROKEN_TURN_DEG, BROKEN_SCALE = 0.2, 20.0, 20.0
GUESSED, WEAK, BROKEN, ROUGH = "scale_guessed", "weak", "break", "rough_pixels"
ROBUST_SIGMA = 1.4826  # of a normal distribution, over its median deviation


@dataclass(frozen=True, eq=False)
class SharedFrames:
    """Shared frames as one window sees them.

    Args:
        depth, conf: float (m, H, W); conf 1 or more.
        extrinsics: (m, 3 or 4, 4), world-to-camera.
        sky: bool (m, H, W); None: what confidence at its least says.
    """

    depth: np.ndarray
    conf: np.ndarray
    extrinsics: np.ndarray
    sky: Optional[np.ndarray] = None

    def excess(self) -> np.ndarray:
        """Confidence above its least: float64 (m, H, W)."""
        return np.asarray(self.conf, np.float64) - 1

    def is_sky(self) -> np.ndarray:
        """bool (m, H, W)."""
        return np.asarray(self.conf) <= SKY_CONFIDENCE if self.sky is None else self.sky


@dataclass(frozen=True, eq=False)
class Link:
    """What brings a window into the gauge of the one before, and its quality.

    Args:
        to: the similarity.
        used: share of the shared pixels that told the scale.
        spread: robust deviation of their log depth ratios.
        scales_std: deviation of the log scales of single frames.
        inliers: share of used pixels within 5 % of the common scale.
        turn_deg, shift: greatest residuals of shared cameras; shift over the median depth.
        flags: of ``GUESSED``, ``WEAK``, ``BROKEN``, ``ROUGH``.
    """

    to: Similarity
    used: float = 1.0
    spread: float = 0.0
    scales_std: float = 0.0
    inliers: float = 1.0
    turn_deg: float = 0.0
    shift: float = 0.0
    flags: tuple[str, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether the windows do not agree at all."""
        return BROKEN in self.flags


def link_windows(
    known: SharedFrames,
    new: SharedFrames,
    prior_scale: Optional[float] = None,
    fitted: Optional[Similarity] = None,
) -> Link:
    """The similarity from one window's gauge to that of the window before it.

    Args:
        known, new: the shared frames in the earlier and in the later window, in one order.
        prior_scale: what the models' own units say, if both windows are metric.
        fitted: what another way of fitting says: then only its quality is told.
    """
    ratios, weights, frames, rough = _ratios(known, new)
    used = len(ratios) / max(known.depth.size, 1)
    flags = [ROUGH] if rough else []
    old, fresh = inverse(homogeneous(known.extrinsics)), inverse(homogeneous(new.extrinsics))
    if fitted is not None:
        scale = fitted.scale
    elif len(ratios) < _fewest(known.depth.size):
        flags.append(GUESSED)
        scale = _guessed_scale(known, new, old, fresh, prior_scale, ratios, weights)
    else:
        scale = math.exp(weighted_quantile(ratios, weights, 0.5))
    rotation = mean_rotation(old[:, :3, :3], fresh[:, :3, :3])
    gaps = old[:, :3, 3] - scale * fresh[:, :3, 3] @ rotation.T
    to = Similarity(rotation, gaps.mean(0), scale)
    if fitted is not None:
        to, gaps = fitted, old[:, :3, 3] - scale * fresh[:, :3, 3] @ fitted.rotation.T
    off = np.abs(ratios - math.log(scale))
    inliers = float((off < AGREES).mean()) if len(off) else 0.0
    spread = ROBUST_SIGMA * float(np.median(off)) if len(off) else 0.0
    turn, shift = _residuals(to, old, fresh, gaps, median_depth(known))
    singles = [
        weighted_quantile(ratios[frames == one], weights[frames == one], 0.5)
        for one in np.unique(frames)
    ]
    if GUESSED not in flags and (spread > WEAK_SPREAD or inliers < WEAK_INLIERS):
        flags.append(WEAK)
    unlikely = not 1 / BROKEN_SCALE <= scale <= BROKEN_SCALE and prior_scale is not None
    disagrees = GUESSED not in flags and inliers < BROKEN_INLIERS
    if disagrees or turn > BROKEN_TURN_DEG or unlikely or not math.isfinite(scale):
        flags.append(BROKEN)
    scales_std = float(np.std(singles)) if singles else 0.0
    return Link(to, used, spread, scales_std, inliers, turn, shift, tuple(flags))


def used_pixels(known: SharedFrames, new: SharedFrames, flat: bool = True) -> np.ndarray:
    """Which shared pixels tell a scale: bool (m, H, W)."""
    used = ~(known.is_sky() | new.is_sky())
    for seen in (known, new):
        depth = np.asarray(seen.depth, np.float64)
        used &= np.isfinite(depth) & (depth > 0) & np.isfinite(seen.conf)
    medians = [np.median(np.where(np.isfinite(e), e, 0)) for e in (known.excess(), new.excess())]
    least = SURE * min(medians)
    used &= (known.excess() > least) & (new.excess() > least)
    return used & on_surface(known.depth) & on_surface(new.depth) if flat else used


def on_surface(depth: np.ndarray) -> np.ndarray:
    """Where a pixel and its four neighbours lie on one surface: (m, H, W) -> bool (m, H, W)."""
    padded = np.pad(np.asarray(depth, np.float64), ((0, 0), (1, 1), (1, 1)), "edge")
    middle = padded[:, 1:-1, 1:-1]
    sides = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    greatest, least = middle.copy(), middle.copy()
    for side in sides:
        np.maximum(greatest, side, out=greatest)
        np.minimum(least, side, out=least)
    return np.asarray(greatest < FLAT * least)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The first value, in their order, at which the running sum of weights reaches a share."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = int(np.searchsorted(reached, share * reached[-1]))
    return float(values[order[min(at, len(order) - 1)]])


def mean_rotation(to: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The rotation nearest to all of ``to @ of.T``: (m, 3, 3) twice -> (3, 3)."""
    u, _, v = np.linalg.svd((to @ np.swapaxes(of, 1, 2)).sum(0))
    return np.asarray(u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v)


def median_depth(seen: SharedFrames) -> float:
    """Of what is not sky; 1 if there is nothing."""
    depth = np.asarray(seen.depth)
    ground = ~seen.is_sky() & np.isfinite(depth) & (depth > 0)
    return float(np.median(depth[ground])) if ground.any() else 1.0


def _fewest(pixels: int) -> float:
    """Used pixels that tell a scale; a tenth of very small maps is enough."""
    return max(min(FEW_PIXELS, pixels / 10), FEW_SHARE * pixels)


def _ratios(
    known: SharedFrames, new: SharedFrames
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Log depth ratios of used pixels, their weights and frames, and whether surfaces are rough."""
    used, rough = used_pixels(known, new), False
    fewest = _fewest(used.size)
    if used.sum() < fewest:
        anywhere = used_pixels(known, new, flat=False)  # edges, but better than a guess
        if anywhere.sum() >= fewest:
            used, rough = anywhere, True
    one = np.asarray(known.depth, np.float64)[used]
    other = np.asarray(new.depth, np.float64)[used]
    weights = np.sqrt(known.excess()[used] * new.excess()[used])
    return np.log(one / other), weights, np.nonzero(used)[0], rough


def _guessed_scale(
    known: SharedFrames,
    new: SharedFrames,
    old: np.ndarray,
    fresh: np.ndarray,
    prior: Optional[float],
    ratios: np.ndarray,
    weights: np.ndarray,
) -> float:
    """Without enough pixels: the models' own unit, else the cameras' path, else what pixels say."""
    if prior is not None:
        return prior
    to, of = (np.linalg.norm(c[:, :3, 3] - c[:, :3, 3].mean(0), axis=1) for c in (old, fresh))
    reach = [float(np.sqrt((one**2).mean())) for one in (to, of)]
    depths = [median_depth(known), median_depth(new)]
    if all(length > BASELINE * depth for length, depth in zip(reach, depths)):
        return reach[0] / reach[1]
    return math.exp(weighted_quantile(ratios, weights, 0.5)) if len(ratios) else 1.0


def _residuals(
    to: Similarity, old: np.ndarray, fresh: np.ndarray, gaps: np.ndarray, depth: float
) -> tuple[float, float]:
    """Greatest turn in degrees, and greatest shift over the median depth, of shared cameras."""
    turns = np.swapaxes(old[:, :3, :3], 1, 2) @ to.rotation @ fresh[:, :3, :3]
    sines = np.linalg.norm(turns - np.eye(3), axis=(1, 2)) / math.sqrt(8)
    turn = float(np.degrees(2 * np.arcsin(np.clip(sines, 0, 1))).max())
    return turn, float(np.linalg.norm(gaps - to.translation, axis=1).max()) / depth
