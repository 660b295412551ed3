"""Our own PLY files of splats, read back: of a server that found them.

A file of ``gs_ply`` in; splats, one for each pixel, out. Nothing in a file is run, and no more of
it is believed than its size allows.
"""

from pathlib import Path
from typing import Any, Optional

import numpy as np

from exports.scene_splats import FILE, GsPlyOptions, properties
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.gaussians import Gaussians

# A file that leaves no splat out, and no colour
WHOLE = {
    "gs_views_interval": 1,
    "prune_by_depth_percent": 1,
    "prune_border_gs": False,
    "save_sh_dc_only": False,
}
MAX_HEADER, START, END = 1 << 16, b"ply\nformat binary_little_endian 1.0\n", b"\nend_header\n"
FLOAT, COEFFICIENTS = "property float ", (1, 4, 9, 16)

__all__ = ["FILE", "WHOLE", "read_splats"]


def read_splats(file: Path, found: ScenePrediction) -> Gaussians:
    """The splats of a scene, in the network's own unit, as ``ScenePrediction.gaussians`` has them.

    Args:
        file: written with ``WHOLE``.
        found: the scene: its depth says which pixels have a splat, its scale what the unit is.
    Raises:
        InputError: no such file, or splats of another scene.
    """
    table, coefficients = _table(file)
    there = ~np.isnan(found.depth).reshape(-1)
    if len(table) != there.sum():
        raise InputError(f"{file.name}: {len(table)} splats for {there.sum()} pixels")
    factor = 1.0 if not found.is_metric else found.scale_factor or 1.0
    harmonics = np.stack([table[:, 6:9], *_further(table, coefficients)], axis=-1)
    sizes = 9 + 3 * (coefficients - 1)
    logit = table[:, sizes].astype(np.float64)
    parts = (
        table[:, 0:3] / factor,
        np.exp(table[:, sizes + 1 : sizes + 4].astype(np.float64)) / factor,
        table[:, sizes + 4 : sizes + 8],
        harmonics,
        1 / (1 + np.exp(-logit)),
    )
    return Gaussians(*(_on_pixels(part, there) for part in parts))


def _table(file: Path) -> tuple[np.ndarray, int]:
    """Rows of float32 (G, properties), and how many harmonics a colour has."""
    with file.open("rb") as opened:
        head = opened.read(MAX_HEADER)
    length = head.find(END) + len(END)
    if not head.startswith(START) or length < len(END):
        raise InputError(f"{file.name}: no PLY file of splats")
    lines = head[:length].decode("ascii", "replace").split("\n")
    kept = [line for line in lines if line.startswith("property ")]
    names = [line[len(FLOAT) :] if line.startswith(FLOAT) else line for line in kept]
    counts = [line.split()[-1] for line in lines if line.startswith("element ")]
    coefficients = _coefficients(names)
    if coefficients is None or len(counts) != 1 or not counts[0].isdecimal():
        raise InputError(f"{file.name}: not the properties of our splats")
    shape = (int(counts[0]), len(names))
    if file.stat().st_size != length + 4 * shape[0] * shape[1]:
        raise InputError(f"{file.name}: cut off, or too long")
    if not shape[0]:
        return np.empty(shape, np.float32), coefficients
    table: Any = np.memmap(file, "<f4", "r", length, shape)
    return table, coefficients


def _coefficients(names: list[str]) -> Optional[int]:
    options = GsPlyOptions(save_sh_dc_only=False)
    return next((one for one in COEFFICIENTS if properties(one, options) == names), None)


def _further(table: np.ndarray, coefficients: int) -> list[np.ndarray]:
    """Harmonics above degree 0, each (G, 3)."""
    rest = table[:, 9 : 9 + 3 * (coefficients - 1)].reshape(len(table), 3, -1)
    return [rest[..., index] for index in range(rest.shape[-1])]


def _on_pixels(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """float32 (1, pixels, ...); 0, so nothing that is seen, if a pixel has no splat."""
    whole = np.zeros((1, len(there), *values.shape[1:]), np.float32)
    whole[0, there] = values
    return whole
