"""Cameras as matrices and as nine numbers.

Extrinsics are OpenCV world-to-camera (x right, y down, z forward), intrinsics are in pixels.
Arrays in, float64 arrays out; leading axes are free. No device, no model.
Source: the pose encoding of VGGT (Wang et al., 2025), which Depth Anything 3 shares.
"""

import numpy as np

from runtime.errors import InputError

MIN_CAMERA_DISTANCE = 0.1  # least median distance that poses are divided by
MIN_TANGENT = 1e-6  # least tangent of half a field of view


def homogeneous(pose: np.ndarray) -> np.ndarray:
    """Make (..., 3, 4) or (..., 4, 4) matrices (..., 4, 4).

    Raises:
        InputError: another shape.
    """
    pose = np.asarray(pose, np.float64)
    if pose.shape[-2:] == (4, 4):
        return pose
    if pose.shape[-2:] != (3, 4):
        raise InputError(f"pose is {pose.shape}, expected (..., 3, 4) or (..., 4, 4)")
    bottom = np.broadcast_to([[0.0, 0.0, 0.0, 1.0]], (*pose.shape[:-2], 1, 4))
    return np.concatenate((pose, bottom), axis=-2)


def inverse(pose: np.ndarray) -> np.ndarray:
    """Turn world-to-camera into camera-to-world, or back: rigid (..., 3 or 4, 4) -> the same."""
    pose = np.asarray(pose, np.float64)
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    top = np.concatenate((rotation, -rotation @ pose[..., :3, 3:]), axis=-1)
    return np.concatenate((top, pose[..., 3:, :]), axis=-2)


def rotation_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Quaternions x y z w of any length above 0 to rotations: (..., 4) -> (..., 3, 3)."""
    quaternion = np.asarray(quaternion, np.float64)
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    vector, w = quaternion[..., :3], quaternion[..., 3]
    outer = vector[..., :, None] * vector[..., None, :]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*x.shape, 3, 3)
    diagonal = (w * w - (vector**2).sum(-1))[..., None, None] * np.eye(3)
    return diagonal + 2 * outer + 2 * w[..., None, None] * cross


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotations to unit quaternions x y z w, w not negative: (..., 3, 3) -> (..., 4).

    The quaternion is the row of 4 q q^T that its largest entry stands in, which is well away from
    zero; the matrix follows from the rotation by sums.
    """
    r = np.asarray(rotation, np.float64)
    a, b, c = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    xy, xz, yz = (r[..., i, j] + r[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    xw, yw, zw = (r[..., i, j] - r[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    rows = [
        (1 + a - b - c, xy, xz, xw),
        (xy, 1 - a + b - c, yz, yw),
        (xz, yz, 1 - a - b + c, zw),
        (xw, yw, zw, 1 + a + b + c),
    ]
    products = np.stack([np.stack(row, -1) for row in rows], -2)  # (..., 4, 4)
    largest = np.diagonal(products, axis1=-2, axis2=-1).argmax(-1)
    quaternion = np.take_along_axis(products, largest[..., None, None], -2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def encode_pose(
    extrinsics: np.ndarray, intrinsics: np.ndarray, size_hw: tuple[int, int]
) -> np.ndarray:
    """Cameras to pose encodings.

    Args:
        extrinsics: (..., 3 or 4, 4), world-to-camera.
        intrinsics: (..., 3, 3), pixels of an image of ``size_hw``.
    Returns:
        (..., 9): camera-to-world translation, quaternion x y z w, vertical and horizontal field of
        view in radians.
    """
    camera = inverse(extrinsics)
    intrinsics = np.asarray(intrinsics, np.float64)
    fields = [
        2 * np.arctan(side / 2 / intrinsics[..., axis, axis])
        for side, axis in ((size_hw[0], 1), (size_hw[1], 0))
    ]
    quaternion = quaternion_from_rotation(camera[..., :3, :3])
    return np.concatenate((camera[..., :3, 3], quaternion, np.stack(fields, -1)), axis=-1)


def decode_pose(encoding: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pose encodings to cameras.

    Args:
        encoding: (..., 9), as ``encode_pose`` makes them; the quaternion may have any length.
    Returns:
        extrinsics (..., 3, 4), world-to-camera, and intrinsics (..., 3, 3) in pixels, with the
        principal point at the image's centre.
    """
    encoding = np.asarray(encoding, np.float64)
    rotation = rotation_from_quaternion(encoding[..., 3:7])
    camera = np.concatenate((rotation, encoding[..., :3, None]), axis=-1)
    intrinsics = np.zeros((*encoding.shape[:-1], 3, 3))
    for axis, side, field in ((0, size_hw[1], 8), (1, size_hw[0], 7)):
        tangent = np.maximum(np.tan(encoding[..., field] / 2), MIN_TANGENT)
        intrinsics[..., axis, axis] = side / 2 / tangent
        intrinsics[..., axis, 2] = side / 2
    intrinsics[..., 2, 2] = 1
    return inverse(camera), intrinsics


def normalise_extrinsics(extrinsics: np.ndarray) -> np.ndarray:
    """Put the first camera at the origin and the median camera at distance 1.

    Args:
        extrinsics: (N, 3 or 4, 4), world-to-camera.
    Returns:
        (N, 4, 4). The lower of two medians counts, and no distance below ``MIN_CAMERA_DISTANCE``.
    """
    poses = homogeneous(extrinsics)
    poses = poses @ inverse(poses[:1])
    distances = np.sort(np.linalg.norm(inverse(poses)[:, :3, 3], axis=-1))
    median = max(distances[(len(distances) - 1) // 2], MIN_CAMERA_DISTANCE)
    poses[:, :3, 3] /= median
    return poses
