"""Pictures of splats through cameras: by gsplat where CUDA and the package are, else by ours.

Splats and cameras in, a picture a camera out, in order, a few at a time.
gsplat (Ye et al., 2024) compiles itself for CUDA when it is first used.
"""

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from exports.rasteriser import Picture, cores, rasterise
from exports.splat_projection import Splats, finite, project
from runtime.errors import InputError
from runtime.optional import require

AUTO, GSPLAT, CPU = RENDERERS = ("auto", "gsplat", "cpu")
DEVICE = "cuda"  # where gsplat draws
CHUNK = 4  # pictures that gsplat draws at a time

log = logging.getLogger(__name__)


def pictures(
    splats: Splats,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    size_hw: tuple[int, int],
    background: tuple[float, float, float] = (0, 0, 0),
    renderer: str = AUTO,
    chunk_size: int = CHUNK,
) -> Iterator[Picture]:
    """Draw splats.

    Args:
        extrinsics: (F, 4, 4), world-to-camera; intrinsics: (F, 3, 3), pixels of ``size_hw``.
        background: colour of light that no splat stopped.
        renderer: of ``RENDERERS``; auto: gsplat if it is there and works, else the processor.
        chunk_size: pictures that gsplat draws at a time.
    Raises:
        InputError: another renderer, or gsplat is asked for and there is no GPU for it.
        MissingDependency: gsplat is asked for, and not installed.
    """
    check_renderer(renderer)
    drawn = 0
    by_gsplat = renderer == GSPLAT or (renderer == AUTO and has_gsplat())
    if by_gsplat and splats.drawable().any():  # it divides by the number of splats
        drawing = _by_gsplat(splats, extrinsics, intrinsics, size_hw, background, chunk_size)
        while drawn < len(extrinsics):
            try:
                picture = next(drawing)
            except Exception as error:
                if renderer == GSPLAT or drawn:
                    raise
                log.warning("gsplat does not work here (%s): drawing on the processor", error)
                break
            drawn += 1
            yield picture
    for viewmat, lens in zip(extrinsics[drawn:], intrinsics[drawn:]):
        seen = project(splats, viewmat, lens, size_hw, cores())
        yield rasterise(seen, size_hw, background)


def check_renderer(renderer: str) -> None:
    """Refuse what cannot draw here.

    Raises:
        InputError, MissingDependency: as ``pictures``.
    """
    if renderer not in RENDERERS:
        raise InputError(f"renderer={renderer!r}: use one of {', '.join(RENDERERS)}")
    if renderer == GSPLAT:
        require("gsplat", "gs")
        if not has_gsplat():
            raise InputError("renderer='gsplat': torch sees no CUDA GPU here; use auto or cpu")


def has_gsplat() -> bool:
    """Whether the package and a GPU for it are here."""
    if importlib.util.find_spec("gsplat") is None or importlib.util.find_spec("torch") is None:
        return False
    return bool(require("torch", "gs").cuda.is_available())


def _by_gsplat(
    splats: Splats,
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    size_hw: tuple[int, int],
    background: tuple[float, float, float],
    chunk_size: int,
) -> Iterator[Picture]:
    torch, gsplat = require("torch", "gs"), require("gsplat", "gs")
    if importlib.import_module("gsplat.cuda._backend")._C is None:
        raise InputError("gsplat finds no CUDA compiler (nvcc): install CUDA's toolkit, or use cpu")

    def on_gpu(values: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(DEVICE)

    kept = splats.drawable()  # what is no number it draws as a wall
    given = {
        "means": on_gpu(splats.means[kept]),
        "quats": on_gpu(splats.quaternions[kept]),
        "scales": on_gpu(splats.scales[kept]),
        "opacities": on_gpu(splats.opacities[kept]),
        "colors": on_gpu(finite(splats.harmonics[kept]).transpose(0, 2, 1)),
    }
    for start in range(0, len(extrinsics), chunk_size):
        own = slice(start, start + chunk_size)
        views = on_gpu(extrinsics[own])
        with torch.no_grad():
            colours, alpha, _ = gsplat.rasterization(
                **given,
                viewmats=views,
                Ks=on_gpu(intrinsics[own]),
                backgrounds=on_gpu(np.tile([*background], (len(views), 1))),
                render_mode="RGB+D",
                width=size_hw[1],
                height=size_hw[0],
                packed=False,
                sh_degree=int(np.sqrt(splats.harmonics.shape[-1])) - 1,
            )
        for drawn, covered in zip(colours.cpu().numpy(), alpha.cpu().numpy()):
            yield Picture(drawn[..., :3].copy(), drawn[..., 3].copy(), covered[..., 0].copy())
