"""How a scene is lit and photographed: the numbers of light, sky, lens and camera.

Random numbers and a ``Shot`` in; a dictionary of plain arrays out, which ``scenes`` and
``effects`` read.
"""

import numpy as np

from metric_depth.layouts import Shot


def draw_look(rng: np.random.Generator, shot: Shot) -> dict[str, np.ndarray]:
    """Light, sky, lens and what the camera does to the picture: numbers for ``scenes``."""
    elevation, azimuth = rng.uniform(0.15, 1.4), rng.uniform(-3.1, 3.1)
    sun = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
    )
    warm = np.array([1, rng.uniform(0.75, 1), rng.uniform(0.5, 1)])
    if shot.indoor:  # a lamp near the camera's ceiling, or a window
        lamp = shot.position_m + rng.uniform(-1, 1, 3) * (2.5, 0.4, 2.5) + (0, 0.6, 1)
        ambient = rng.uniform(0.08, 0.4)
    else:
        lamp = shot.position_m + 200 * sun
        ambient = rng.uniform(0.1, 0.5)
    horizon = (
        np.array([0.7, 0.8, 0.95]) * rng.uniform(0.5, 1.1) * (warm if rng.uniform() < 0.3 else 1)
    )
    zenith = np.array([0.15, 0.35, 0.8]) * rng.uniform(0.2, 1.0)
    if rng.uniform() < 0.35:  # overcast
        zenith = horizon = np.full(3, rng.uniform(0.4, 1.0))
    return {
        "lamp_m": lamp,
        "lamp_colour": warm * rng.uniform(0.3, 1.6),
        "fill_way": rng.normal(0, 1, 3),
        "fill": np.array(rng.uniform(0, 0.4)),
        "ambient_up": ambient * (zenith / max(zenith.mean(), 1e-3)) ** 0.3,
        "ambient_down": ambient * rng.uniform(0.2, 0.8) * warm**0.5,
        "horizon": horizon,
        "zenith": zenith,
        "clouds": np.array(
            [rng.uniform(0, 1) * (rng.uniform() < 0.6), rng.uniform(0.3, 3), rng.integers(6)]
        ),
        "fog": np.array(shot.fog),
        "focus_m": np.array(shot.focus_m),
        "blur": np.array(shot.blur),
        "exposure": np.array(np.exp(rng.normal(np.log(0.28), 0.35))),
        "contrast": np.array(np.exp(rng.normal(0.12, 0.18))),
        "saturation": np.array(0.0 if rng.uniform() < 0.06 else np.exp(rng.normal(0.2, 0.25))),
        "cast": np.exp(rng.normal(0, 0.07, 3)),
        "vignette": np.array(rng.uniform(0, 0.5) ** 2),
        "softness": np.array(rng.uniform(0, 1.0) ** 2),
        "noise": np.array(0.06 * rng.uniform() ** 4),
        "jpeg": np.array(rng.uniform(0, 1) ** 3 if rng.uniform() < 0.6 else 0.0),
    }
