"""A frame that two windows have seen, as one: neither a doubled surface nor a jump.

Maps and cameras of one frame, twice, in one scale and one frame of axes in; once out. numpy only.
"""

import numpy as np

from runtime.scene.cameras import (
    homogeneous,
    inverse,
    quaternion_from_rotation,
    rotation_from_quaternion,
)

BLENDS = 0.05  # by which two depths of a pixel may differ, and are one surface


def blended_depth(
    one: np.ndarray, other: np.ndarray, one_conf: np.ndarray, other_conf: np.ndarray, part: float
) -> np.ndarray:
    """Depth of two windows in one scale: float32 of their shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.asarray(one, np.float64)), np.log(np.asarray(other, np.float64))
        mixed = np.exp((1 - part) * logs[0] + part * logs[1])
        same = np.abs(logs[0] - logs[1]) < BLENDS
    surer = np.where(one_conf > other_conf, one, other)
    return np.where(same, mixed, surer).astype(np.float32)


def blended_camera(one: np.ndarray, other: np.ndarray, part: float) -> np.ndarray:
    """Two world-to-camera poses (3 or 4, 4): centre linear, turn by the shortest arc: (3, 4)."""
    first, second = inverse(homogeneous(one)), inverse(homogeneous(other))
    p, q = (quaternion_from_rotation(pose[:3, :3]) for pose in (first, second))
    q = -q if p @ q < 0 else q
    angle = np.arccos(np.clip(p @ q, -1, 1))
    weights = (1 - part, part)
    if angle > 1e-6:
        weights = (np.sin((1 - part) * angle), np.sin(part * angle))
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_quaternion(weights[0] * p + weights[1] * q)
    pose[:3, 3] = (1 - part) * first[:3, 3] + part * second[:3, 3]
    return inverse(pose)[:3]


def mixed_conf(one: np.ndarray, other: np.ndarray, part: float) -> np.ndarray:
    """Confidence, ``part`` of it of the later window: float32 of their shape."""
    return np.asarray((1 - part) * one + part * other, np.float32)


def blended_intrinsics(one: np.ndarray, other: np.ndarray, part: float) -> np.ndarray:
    """(3, 3) twice to one: the geometric mean of focal lengths, the mean of all else."""
    found = np.asarray((1 - part) * one + part * other)
    for at in range(2):
        found[at, at] = one[at, at] ** (1 - part) * other[at, at] ** part
    return found
