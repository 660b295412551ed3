"""A room that a camera walks round, and windows of it as a network might see them; from nothing.

Depth is exact, along the camera's axis; 0 is sky. World axes: x right, y down, z forward, metres.
Numbers are those of the specification that ``golden/stream_scene.npz`` is of.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from runtime.scene.cameras import homogeneous, inverse
from runtime.scene.links import SharedFrames, on_surface
from runtime.scene.similarity import Similarity

FRAMES, SIZE, OVERLAP = 60, 12, 4
STARTS = (0, 8, 16, 24, 32, 40, 48)
CLOSING = (0, 1, 2, 3, 4, 5, 54, 55, 56, 57, 58, 59)  # frames of the loop's window
HEIGHT, WIDTH, FOCAL = 42, 56, 50.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
ROOM = ((-3, -1, -3), (3, 1.5, 3))
BOXES = (
    ((1.6, 0.3, 1.2), (2.4, 1.5, 2.2)),
    ((-2.5, -0.4, 1.5), (-1.7, 1.5, 2.3)),
    ((-2.8, 0.6, -1.4), (-1.9, 1.5, 0.2)),
    ((-0.6, 0, -2.7), (0.4, 1.5, -2)),
    ((1.9, -0.2, -2.2), (2.6, 1.5, -1.3)),
    ((-0.4, 0.8, 2), (0.7, 1.5, 2.8)),
    ((2.3, 0.9, -0.6), (2.9, 1.5, 0.5)),
)


def similarity(arrays, name, row=None):
    """A stored similarity, or a row of stored ones."""
    parts = [np.asarray(arrays[f"{name}_{part}"], float) for part in "Rts"]
    turn, shift, scale = parts if row is None else (part[row] for part in parts)
    return Similarity(turn, shift, float(scale))


def gap(one, other):
    """How far two similarities are apart, in their largest part."""
    return max(
        abs(one.scale - other.scale),
        np.abs(one.rotation - other.rotation).max(),
        np.abs(one.translation - other.translation).max(),
    )


def rotation(v):
    """A turn by its vector."""
    return cv2.Rodrigues(np.asarray(v, float))[0]


def gauge(seed):
    """A unit and axes of one's own."""
    random = np.random.RandomState(seed)
    scale, turn = math.exp(random.uniform(-0.7, 0.7)), random.uniform(-1, 1, 3)
    return Similarity(rotation(turn), random.uniform(-2, 2, 3), scale)


def cameras(count=FRAMES):
    """World-to-camera (count, 3, 4)."""
    poses = np.stack([np.eye(4)] * count)
    for at, pose in enumerate(poses):
        phi = 2.2 * math.pi * at / (count - 1)
        pose[:3, 3] = 1.1 * math.sin(phi), 0.2 * math.sin(3 * phi), 1.1 * math.cos(phi)
        turn = rotation((0, phi + math.radians(40), 0))
        pose[:3, :3] = turn @ rotation((0.1 * math.sin(2 * phi), 0, 0))
    return inverse(poses)[:, :3]


def exact_depth(world_to_camera):
    """Of each camera: float32 (n, H, W)."""
    poses = inverse(homogeneous(world_to_camera))
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u)], -1)
    ways = np.einsum("nij,hwj->nhwi", poses[:, :3, :3], rays)
    start = poses[:, None, None, :3, 3]
    with np.errstate(divide="ignore"):
        found = _within(start, ways, *ROOM)
        for low, high in BOXES:
            ends = (np.array(low) - start) / ways, (np.array(high) - start) / ways
            near, far = np.minimum(*ends).max(-1), np.maximum(*ends).min(-1)
            hit = (near <= far) & (near > 0)
            found = np.where(hit & ((near < found) | (found == 0)), near, found)
    return found.astype(np.float32)


def _within(start, ways, low, high):
    """Where rays leave the room; 0 through its open upper face."""
    ends = np.where(ways > 0, (np.array(high) - start) / ways, (np.array(low) - start) / ways)
    out = ends.min(-1)
    return np.where((ends.argmin(-1) == 1) & (ways[..., 1] < 0), 0.0, out)


@dataclass(frozen=True, eq=False)
class Window:
    """Frames as a network sees them; ``to_world`` is what brings them back."""

    frames: tuple
    depth: np.ndarray
    conf: np.ndarray
    w2c: np.ndarray
    to_world: Similarity

    def seen(self, rows):
        """Some frames, to be linked."""
        return SharedFrames(self.depth[rows], self.conf[rows], self.w2c[rows])


def window(frames, truth, poses, seed, kind="smooth"):
    """A window of kind 'white', 'smooth' or 'poor' in a gauge of its own."""
    random, count = np.random.RandomState(seed), len(frames)
    depth, own = truth[list(frames)].astype(float), poses[list(frames)].copy()
    sky = depth == 0
    edge = ~on_surface(np.where(sky, 1e3, depth))
    if kind == "white":
        depth = depth * np.exp(0.01 * random.standard_normal(depth.shape))
    else:
        depth = depth * np.exp(_bend(random, count, depth.shape))
        flying = edge & ~sky & (random.uniform(size=depth.shape) < 0.3)
        depth = np.where(flying, depth * random.uniform(0.7, 1.6, depth.shape), depth)
        own = _shaken(own, random, 5.0 if kind == "poor" else 1.0, np.median(depth[~sky]))
    excess = random.gamma(2, 1, depth.shape) * np.where(edge, 0.1, 1)
    excess = np.where(sky, 1e-3 * excess, excess)
    depth = np.where(sky, 60 * np.exp(0.2 * random.standard_normal(depth.shape)), depth)
    to_world = gauge(seed)
    moved = to_world.inverse().move_cameras(own)[:, :3]
    return Window(
        tuple(frames), (depth / to_world.scale).astype(np.float32), 1 + excess, moved, to_world
    )


def _bend(random, count, shape):
    """Log errors of a window's depth: of each frame, along the window, over the image, a pixel."""
    frame = 0.003 * random.standard_normal(count)
    along = 0.01 * random.standard_normal() * (np.arange(count) / (count - 1) - 0.5)
    grid = cv2.resize(0.01 * random.standard_normal((3, 4)), shape[:0:-1])
    return (frame + along)[:, None, None] + grid + 0.005 * random.standard_normal(shape)


def _shaken(poses, random, by, depth):
    found = inverse(homogeneous(poses))
    for pose in found:
        pose[:3, :3] = pose[:3, :3] @ rotation(by * math.radians(0.1) * random.standard_normal(3))
        pose[:3, 3] += by * 0.005 * depth * random.standard_normal(3)
    return inverse(found)[:, :3]


def windows(seed, kind="smooth"):
    """Seven windows and the loop's; truth; cameras."""
    poses = cameras()
    truth = exact_depth(poses)
    runs = [tuple(range(start, start + SIZE)) for start in STARTS]
    found = [
        window(frames, truth, poses, seed + 10 * at, kind)
        for at, frames in enumerate((*runs, CLOSING))
    ]
    return found, truth, poses
