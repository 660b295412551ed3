"""Synthetic predictions of the export goldens, made by formula; the same on every machine."""

from pathlib import Path

import numpy as np

from depth_anything_3.specs import Gaussians, Prediction

GOLDEN = Path(__file__).parent / "golden" / "exports"
TAU = 2 * np.pi


def golden(name: str) -> "np.lib.npyio.NpzFile":
    """Golden arrays of one format."""
    return np.load(GOLDEN / f"{name}.npz", allow_pickle=False)


def rotation(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def view(v: int, h: int, w: int) -> dict[str, np.ndarray]:
    """One view: depth, conf, image, sky, intrinsics, extrinsics (4, 4)."""
    random = np.random.RandomState(1000 + v)
    z1, z2 = random.standard_normal((h, w)), random.standard_normal((h, w))
    x, y = (np.arange(w) + 0.5) / w, ((np.arange(h) + 0.5) / h)[:, None]
    depth = 2 + 0.8 * np.sin(TAU * (1.3 * x + 0.4 * v)) * np.cos(TAU * (0.9 * y - 0.2 * v))
    depth = depth + 0.5 * y + 0.01 * z1
    wave = 0.5 + 0.5 * np.sin(TAU * (0.7 * x + 1.1 * y + 0.3 * v))
    conf = 1 + 1.5 * wave**2 + 0.02 * abs(z2)
    channels = [
        np.floor(
            255.999
            * (
                0.5
                + 0.5 * np.sin(TAU * ((1 + c) * 0.5 * x + (3 - c) * 0.4 * y + 0.15 * v + 0.25 * c))
            )
        )
        for c in range(3)
    ]
    image = np.stack(channels, axis=-1).astype(np.uint8)
    bh, bw = h // 8, w // 8
    image[:bh, :bw], image[:bh, w - bw :] = (3, 9, 15), (240, 250, 255)
    image[h - 1, 0], image[h - 1, w - 1] = (16, 0, 0), (239, 255, 255)
    conf[:bh, :bw] = conf[:bh, w - bw :] = 3.0
    turn = rotation("y", 0.15 * v - 0.05) @ rotation("x", 0.07 + 0.1 * v)
    pose = np.eye(4)
    pose[:3, :3] = turn @ rotation("z", 0.03 + 0.05 * v)
    pose[:3, 3] = 0.1 + 0.2 * v, -0.05 + 0.1 * v, 0.3 - 0.15 * v
    k = [[0.9 * w + 1.5 * v, 0, w / 2 + 0.75 * v], [0, 1.1 * h + v, h / 2 - 0.5 * v], [0, 0, 1]]
    return {
        "depth": depth.astype(np.float32),
        "conf": conf.astype(np.float32),
        "processed_images": image,
        "sky": np.broadcast_to(y < 0.2 + 0.08 * v, (h, w)).copy(),
        "intrinsics": np.array(k).astype(np.float32),
        "extrinsics": pose.astype(np.float32),
    }


def scene(n: int, h: int, w: int, whole: bool = False, sky: bool = False, **more) -> Prediction:
    """Views 0 .. n-1 as a prediction; ``whole``: extrinsics (n, 4, 4); ``sky``: with its mask."""
    views = [view(v, h, w) for v in range(n)]
    fields = {name: np.stack([one[name] for one in views]) for name in views[0]}
    if not whole:
        fields["extrinsics"] = fields["extrinsics"][:, :3]
    if not sky:
        del fields["sky"]
    return Prediction(**{**fields, **more})


def holes() -> Prediction:
    """A scene with depth that is none."""
    found = scene(2, 42, 56)
    found.depth[0, 21, :4] = 0, -1, np.nan, np.inf
    found.depth[1, 5:9, 30:40] = 0
    return found


def gaussians(g: int, seed: int, m: int = 9) -> Gaussians:
    """Splats of one scene, with upstream's leading axis."""
    random = np.random.RandomState(seed)
    u, n = random.uniform(size=(g, 3)), random.standard_normal((g, 3))
    q, s = random.standard_normal((g, 4)), random.standard_normal((g, 3, m))
    o = random.uniform(size=g)
    parts = (
        u * (3, 2, 2.5) + (-1.5, -1, 1.2),
        np.exp(-2.6 + 0.5 * n),
        q / np.linalg.norm(q, axis=1, keepdims=True),
        s * np.array([0.8] + [0.15] * (m - 1)),
        0.02 + 0.96 * o,
    )
    return Gaussians(*(part.astype(np.float32)[None] for part in parts))


def features(n: int, h: int, w: int, d: int, seed: int) -> np.ndarray:
    """Features with three strong directions: float32 (n, h, w, d)."""
    noise = np.random.RandomState(seed).standard_normal((n, h, w, d))
    k, t = np.arange(d), np.arange(n)[:, None, None, None]
    x = ((np.arange(w) + 0.5) / w)[None, None, :, None]
    y = ((np.arange(h) + 0.5) / h)[None, :, None, None]
    found = 0.05 * noise + 0.1 * np.cos(k)
    waves = (
        np.sin(TAU * (0.8 * x + 0.1 * t)),
        np.cos(TAU * (0.6 * y + 0.17 * t)),
        4 * (x - 0.5) * (y - 0.5) + 0.3 * t,
    )
    for a, (weight, wave) in enumerate(zip((6, 3, 1.5), waves)):
        direction = np.sqrt(2 / d) * np.cos(np.pi * (k + 0.5) * (a + 1) / d)
        found = found + weight * wave * direction
    return found.astype(np.float32)
