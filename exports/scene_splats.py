"""Gaussian splats to the PLY file that splat viewers read.

A ``Scene`` with splats and options in; one file out, in the prediction's world: splats of a model
that found metres are brought to metres. Needs no torch.
Source: ``utils/export/gs.py`` and ``utils/gsply_helpers.py`` of Depth Anything 3.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from exports.ply import encode_ply
from exports.scene import Frame, Scene, as_array
from runtime.errors import InputError
from runtime.scene.gaussians import Gaussians

FILE = "gs_ply/0000.ply"
BORDER = 8 / 256  # of each side, left out
LEAST_OPACITY = 1e-6  # so that its logarithm is a number
LEAST_SCALE = 1e-12  # the same
MCMC_REST = 45  # harmonics above degree 0 of a file of degree 3
FARTHEST = 0.95  # quantile that ``shift_and_scale`` brings to distance 1
VIEWS = 12  # about so many are kept if no interval is given
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class GsPlyOptions:
    """Which splats are written, and how. Names are upstream's.

    Args:
        gs_views_interval: every how many views; None: such that about 12 are.
        prune_by_depth_percent: of each view, splats deeper than this quantile are left out.
        prune_border_gs: leave those near the edges of views out.
        shift_and_scale: centre them, and bring most within distance 1.
        save_sh_dc_only: no colours that depend on the direction.
        inv_opacity: opacity as its logit, which viewers expect; False: as it is.
        match_3dgs_mcmc_dc_only: the properties of 3DGS-MCMC: no normals, 45 zeros.
    Raises:
        InputError: numbers out of their range.
    """

    gs_views_interval: Optional[int] = 1
    prune_by_depth_percent: float = 0.9
    prune_border_gs: bool = True
    shift_and_scale: bool = False
    save_sh_dc_only: bool = True
    inv_opacity: bool = True
    match_3dgs_mcmc_dc_only: bool = False

    def __post_init__(self) -> None:
        if self.gs_views_interval is not None and self.gs_views_interval < 1:
            raise InputError(f"gs_views_interval={self.gs_views_interval}: use 1 or more, or None")
        if not 0 < self.prune_by_depth_percent <= 1:
            raise InputError(
                f"prune_by_depth_percent={self.prune_by_depth_percent}: use 0 to 1, above 0"
            )


def encode(scene: Scene, options: GsPlyOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``gs_ply/0000.ply``.

    Raises:
        InputError: splats of several scenes, or not one for each pixel.
    """
    splats = in_world(scene)
    kept = np.flatnonzero(kept_splats(scene, options))
    frame = frame_of(scene, options)
    scale = float(np.cbrt(np.linalg.det(frame.matrix[:3, :3])))
    names = properties(splats.harmonics.shape[-1], options)
    dtype = np.dtype([(name, "<f4") for name in names])

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(kept), BLOCK_ROWS):
            own = kept[start : start + BLOCK_ROWS]
            table = rows(splats, own, frame, scale, options)
            yield np.ascontiguousarray(table, "<f4").view(dtype)[:, 0]

    meaning = {
        **scene.meaning(frame),
        "opacity": "logit" if options.inv_opacity else "0 to 1",
        "scale": "natural logarithm",
        "rot": "w x y z",
        "f_dc, f_rest": "spherical harmonics of 3D Gaussian Splatting",
    }
    yield FILE, encode_ply(blocks(), dtype, len(kept), meaning)


def check(scene: Scene, options: Optional[GsPlyOptions] = None) -> None:
    """Refuse splats that are not one for each pixel of one scene.

    Raises:
        InputError: they are not.
    """
    shape = scene.gaussians().means.shape
    if shape[0] != 1:
        raise InputError(f"gs_ply: splats of {shape[0]} scenes; write one at a time")
    pixels = scene.views * scene.size_hw[0] * scene.size_hw[1]
    if shape[1] != pixels:
        raise InputError(f"gs_ply: {shape[1]} splats for {pixels} pixels; need one each")


def in_world(scene: Scene) -> Gaussians:
    """The splats of the one scene, without its axis, in the prediction's world and unit.

    Raises:
        InputError: splats of several scenes, or not one for each pixel.
    """
    check(scene)
    found = scene.gaussians()
    splats = Gaussians(*(getattr(found, name)[0] for name in Gaussians.__dataclass_fields__))
    factor = scene.found.scale_factor
    if not scene.found.is_metric or factor is None:
        return splats
    return replace(splats, means=splats.means * factor, scales=splats.scales * factor)


def kept_splats(scene: Scene, options: GsPlyOptions) -> np.ndarray:
    """Which splats are written: bool (G,), in the order of views, rows and columns."""
    height, width = scene.size_hw
    interval = options.gs_views_interval or max(scene.views // VIEWS, 1)
    kept = np.zeros((scene.views, height, width), bool)
    top, left = (int(BORDER * side) if options.prune_border_gs else 0 for side in scene.size_hw)
    for view in range(0, scene.views, interval):
        depth = as_array(scene.found.depth[view]).astype(np.float32)
        inside = kept[view, top : height - top, left : width - left]
        inside[:] = ~np.isnan(depth[top : height - top, left : width - left])
        if options.prune_by_depth_percent < 1:
            numbers = depth[~np.isnan(depth)]
            if len(numbers):
                deepest = np.quantile(numbers, options.prune_by_depth_percent)
                with np.errstate(invalid="ignore"):
                    kept[view] &= depth <= np.float32(deepest)
    return kept.reshape(-1)


def frame_of(scene: Scene, options: GsPlyOptions) -> Frame:
    """Where the file's coordinates are."""
    if not options.shift_and_scale:
        return Frame()
    means = in_world(scene).means[kept_splats(scene, options)].astype(np.float64)
    if not len(means):
        return Frame()
    centre = np.sort(means, axis=0)[(len(means) - 1) // 2]
    reach = float(np.quantile(abs(means - centre), FARTHEST, axis=0).max())
    matrix = np.diag([1 / reach] * 3 + [1.0])
    matrix[:3, 3] = -centre / reach
    return Frame("the splats' own: their median at 0, most within distance 1", matrix=matrix)


def properties(coefficients: int, options: GsPlyOptions) -> list[str]:
    """The names of a splat's numbers, in their order in the file."""
    normals = [] if options.match_3dgs_mcmc_dc_only else ["nx", "ny", "nz"]
    rest = 0 if options.save_sh_dc_only else 3 * (coefficients - 1)
    if options.match_3dgs_mcmc_dc_only:
        rest = MCMC_REST
    return [
        *"xyz",
        *normals,
        *(f"f_dc_{channel}" for channel in range(3)),
        *(f"f_rest_{index}" for index in range(rest)),
        "opacity",
        *(f"scale_{axis}" for axis in range(3)),
        *(f"rot_{part}" for part in range(4)),
    ]


def rows(
    splats: Gaussians, own: np.ndarray, frame: Frame, scale: float, options: GsPlyOptions
) -> np.ndarray:
    """The numbers of some splats: float64 (K, properties)."""
    count = len(own)
    opacity = splats.opacities[own].astype(np.float64)
    if options.inv_opacity:
        opacity = opacity.clip(LEAST_OPACITY, 1 - LEAST_OPACITY)
        opacity = np.log(opacity / (1 - opacity))
    columns = [frame.move(splats.means[own].astype(np.float64))]
    if not options.match_3dgs_mcmc_dc_only:
        columns.append(np.zeros((count, 3)))
    columns.append(splats.harmonics[own][..., 0])
    if options.match_3dgs_mcmc_dc_only:
        columns.append(np.zeros((count, MCMC_REST)))
    elif not options.save_sh_dc_only:
        columns.append(splats.harmonics[own][..., 1:].reshape(count, -1))
    # a splat drawn with a negative size is that of its square: depth below 0 makes such
    sizes = np.log(abs(splats.scales[own].astype(np.float64) * scale).clip(LEAST_SCALE))
    columns += [opacity[:, None], sizes, splats.rotations[own]]
    return np.concatenate(columns, axis=1)
