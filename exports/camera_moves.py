"""The moves that camera paths are made of: from one camera to the next, and around one.

Camera-to-world (4, 4) and intrinsics (3, 3) in; many of both, float64, out.
Source: ``utils/camera_trj_helpers.py`` of Depth Anything 3; its path between two cameras turns
about a pivot, as pixelSplat's (Charatan et al., 2024) does.
"""

import numpy as np

TAU = 2 * np.pi
PARALLEL = 1e-4  # cosines that differ by less from 1 are of parallel looks
SAMPLES, RATE = 8, 24  # of each pair; frames a second
LEAST_FRAMES, MOST_FRAMES, THEN_FRAMES = 2 * RATE, 18 * RATE, 10 * RATE
FIXED = {  # OpenCV's Gaussians of small windows
    1: [1],
    3: [0.25, 0.5, 0.25],
    5: [0.0625, 0.25, 0.375, 0.25, 0.0625],
    7: [0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125],
    9: [x / 256 for x in (4, 13, 30, 51, 60, 51, 30, 13, 4)],
}
WANDER_PX = 24.0  # how far a camera wanders, in pixels at distance 1
WOBBLE_SAMPLES, WOBBLE_STEP = 30, 3

Frames = tuple[np.ndarray, np.ndarray]  # camera-to-world (F, 4, 4), intrinsics (F, 3, 3)


def interpolated(cameras: np.ndarray, intrinsics: np.ndarray) -> Frames:
    """Frames between neighbours, slow at each camera: (N - 1)(n - 1) + 1 of them."""
    pairs = len(cameras) - 1
    samples = SAMPLES
    if pairs and samples * pairs > MOST_FRAMES:
        samples = max(1, THEN_FRAMES // pairs)
    elif pairs and samples * pairs < LEAST_FRAMES:
        samples = max(1, LEAST_FRAMES // pairs)
    if samples <= 2:
        return cameras, intrinsics
    t = (np.cos(np.pi * (np.linspace(0, 1, samples) + 1)) + 1) / 2
    poses, lenses = [], []
    for at in range(pairs):
        own = t[min(at, 1) :]
        poses.append(between(cameras[at], cameras[at + 1], own))
        lenses.append(_mixed(intrinsics[at], intrinsics[at + 1], own))
    return np.concatenate(poses), np.concatenate(lenses)


def between(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Cameras on the way from one to another, which turn about the point both look at.

    Args:
        a, b: camera-to-world (4, 4); t: (T,), 0 to 1.
    Returns:
        float64 (T, 4, 4).
    """
    look_a, look_b = a[:3, 2], b[:3, 2]
    parallel = _are_parallel(look_a, look_b)
    if parallel:
        pivot = (a[:3, 3] + b[:3, 3]) / 2
        look_b = np.array([0.0, 0.0, 1.0])
        if _are_parallel(look_a, look_b):
            look_b = np.array([0.0, 1.0, 0.0])
    else:
        pivot = _nearest_point((a[:3, 3], look_a), (b[:3, 3], look_b))
    up = np.cross(look_a, look_b)
    up /= np.linalg.norm(up)
    frame = np.stack((np.cross(up, look_a), up, look_a), axis=1)
    from_a, from_b = (_about(pose, frame, up, pivot) for pose in (a, b))
    shift = from_a[0] + (from_b[0] - from_a[0]) * t[:, None]
    pan, roll = (_mixed_angle(x, y, t) for x, y in zip(from_a[1:], from_b[1:]))
    result = np.tile(np.eye(4), (len(t), 1, 1))
    result[:, :3, :3] = frame @ _about_y(pan) @ _about_z(roll)
    look = result[:, :3, 2]
    ups = np.broadcast_to(up, look.shape)
    axes = np.stack((np.cross(ups, look), ups, look), axis=-1)  # (T, 3, 3)
    result[:, :3, 3] = pivot - (axes @ shift[:, :, None])[..., 0]
    return result


def _are_parallel(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(abs(abs(a @ b) - 1) < PARALLEL)


def _nearest_point(*lines: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The point nearest to lines, each an origin and a unit direction."""
    left, right = np.zeros((3, 3)), np.zeros(3)
    for origin, direction in lines:
        across = np.outer(direction, direction) - np.eye(3)
        left, right = left + across, right + across @ origin
    return np.linalg.solve(left, right)


def _about(
    pose: np.ndarray, frame: np.ndarray, up: np.ndarray, pivot: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """A camera by its place as seen from the pivot, and by its turns about y and z."""
    look = pose[:3, 2]
    axes = np.stack((np.cross(up, look), up, look), axis=1)
    turn = frame.T @ pose[:3, :3]
    pan, roll = np.arctan2(turn[0, 2], turn[2, 2]), np.arctan2(turn[1, 0], turn[1, 1])
    return axes.T @ (pivot - pose[:3, 3]), float(pan), float(roll)


def _mixed_angle(a: float, b: float, t: np.ndarray) -> np.ndarray:
    a, b = a % TAU, b % TAU
    straight, up, down = abs(b - a), abs(b - a + TAU), abs(b - a - TAU)
    if not (straight < up and straight < down):
        a = a - TAU if up < down else a + TAU
    return a + (b - a) * t


def _about_y(angles: np.ndarray) -> np.ndarray:
    c, s, zero, one = np.cos(angles), np.sin(angles), np.zeros_like(angles), np.ones_like(angles)
    return np.stack((c, zero, s, zero, one, zero, -s, zero, c), -1).reshape(-1, 3, 3)


def _about_z(angles: np.ndarray) -> np.ndarray:
    c, s, zero, one = np.cos(angles), np.sin(angles), np.zeros_like(angles), np.ones_like(angles)
    return np.stack((c, -s, zero, s, c, zero, zero, zero, one), -1).reshape(-1, 3, 3)


def _mixed(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(a + (b - a) * t[:, None, None])


def smoothed(cameras: np.ndarray, window: int) -> np.ndarray:
    """Cameras averaged over neighbouring frames; the result is nearly, not quite, a rotation.

    Args:
        cameras: camera-to-world (F, 4, 4); window: frames, made odd and at most F.
    """
    count = len(cameras)
    window += 1 - window % 2
    window = min(window, count - 1 + count % 2)
    if count >= 3:
        window = max(window, 3)
    if window <= 1:
        return cameras.copy()
    weights, reach = kernel(window), window // 2
    values = np.concatenate((cameras[:, :3, 0], cameras[:, :3, 1], cameras[:, :3, 3]), axis=1)
    padded = np.pad(values, ((reach, reach), (0, 0)), "reflect")
    mean = np.stack([weights @ padded[at : at + window] for at in range(count)])
    right, down, centre = np.split(mean, 3, axis=1)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    result = cameras.copy()
    result[:, :3] = np.stack((right, down, np.cross(right, down), centre), axis=-1)
    return result


def kernel(window: int) -> np.ndarray:
    """OpenCV's Gaussian of an odd window, if nobody says its sigma: float64 (window,)."""
    if window in FIXED:
        return np.array(FIXED[window], np.float64)
    sigma = 0.3 * ((window - 1) / 2 - 1) + 0.8
    weights = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def wander(camera: np.ndarray, intrinsics: np.ndarray, frames: int = 120) -> Frames:
    """Once around, from a camera back to it: frames + 2."""
    theta, radius = np.linspace(0, TAU, frames), WANDER_PX / intrinsics[0, 0]
    offset = -radius * np.stack((np.sin(theta), np.cos(theta) / 3, np.cos(theta) / 3), axis=1)
    offset = np.concatenate((np.zeros((1, 3)), offset, np.zeros((1, 3))))
    return camera @ _shifts(offset), np.tile(intrinsics, (frames + 2, 1, 1))


def dolly_zoom(
    camera: np.ndarray,
    intrinsics: np.ndarray,
    frames: int = 120,
    amplitude: float = 2.0,
    distance: float = 30.0,
) -> Frames:
    """Back and forth, while the lens keeps what is at a distance as large as it is."""
    z = 0.5 * (1 - np.cos(np.pi * np.linspace(0, 2, frames))) * amplitude
    offset = np.zeros((frames, 3))
    offset[:, 2] = -z
    lenses = np.tile(intrinsics, (frames, 1, 1)).astype(np.float64)
    for axis in (0, 1):
        lenses[:, axis, axis] *= distance / (distance + z)
    return camera @ _shifts(offset), lenses


def wobble(cameras: np.ndarray, intrinsics: np.ndarray) -> Frames:
    """From every third camera to the next such, each time in a circle."""
    poses, lenses, apart = [], [], None
    t = np.linspace(0, 1, WOBBLE_SAMPLES)
    for at in range(0, len(cameras) - WOBBLE_STEP, WOBBLE_STEP):
        a, b = cameras[at], cameras[at + WOBBLE_STEP]
        length = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
        apart = length if apart is None else (length + apart) / 2
        circle = np.stack((np.sin(TAU * t), -np.cos(TAU * t), np.zeros_like(t)), axis=1)
        own = slice(min(at, 1), None)
        poses.append((between(a, b, t) @ _shifts(circle * apart / 2))[own])
        lenses.append(_mixed(intrinsics[at], intrinsics[at + WOBBLE_STEP], t)[own])
    return np.concatenate(poses), np.concatenate(lenses)


def _shifts(offsets: np.ndarray) -> np.ndarray:
    result = np.tile(np.eye(4), (len(offsets), 1, 1))
    result[:, :3, 3] = offsets
    return result
