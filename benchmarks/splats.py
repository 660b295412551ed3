"""Seconds and memory of a picture of splats on the processor, and beside gsplat where that is.

Scenes are made up: a wavy wall, as photos of one give it, of splats that cover about so many pixels
each. Where CUDA and gsplat are, it draws the same, and both pictures are compared.
"""

import argparse
import time
import tracemalloc
from statistics import median
from typing import Any, Optional

import numpy as np

from benchmarks.document import markdown_table
from benchmarks.options import add_number, add_rounds, add_size
from exports.rasteriser import Picture, cores, rasterise
from exports.splat_pictures import GSPLAT, has_gsplat, pictures
from exports.splat_projection import Splats, project
from runtime.optional import version_of

ABOUT = "a picture of 200,000 Gaussian splats on the processor, and by gsplat where it is"
DESCRIPTION = "Made-up scenes of splats to pictures: seconds, memory, and gsplat's where it is."
EXAMPLE = "--splats 200000 --size 378x504"
PAGE = "splats.md"

FOCAL = 0.8  # of the picture's width
WIDTHS_PX = (0.5, 1.0, 3.0, 10.0)  # standard deviations of splats
SEVERAL = 5  # times as many splats, of one pixel each
BYTES = 255


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_number(parser, "--splats", 200_000, "in a scene")
    add_size(parser, (378, 504))
    add_rounds(parser, 5)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each part of a picture, its memory, and gsplat's picture."""
    cases = [(args.splats, width) for width in WIDTHS_PX] + [(SEVERAL * args.splats, 1.0)]
    return {
        "size_hw": list(args.size),
        "cores": cores(),
        "gsplat": version_of("gsplat") if has_gsplat() else None,
        "cases": [_case(count, width, tuple(args.size), args.rounds) for count, width in cases],
    }


def section(args: argparse.Namespace, slug: str) -> str:
    """One, whatever torch there is: none runs."""
    return "splats"


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    header = ["splats", "of pixels", "covered", "projection s", "blending s", "together s", "MiB"]
    if numbers["gsplat"]:
        header += ["gsplat s", "PSNR dB"]
    rows = []
    for case in numbers["cases"]:
        row = [f"{case['splats']:,}", f"{case['width_px']:g}", f"{case['covered']:.0%}"]
        row += [f"{case[part]:.2f}" for part in ("project_s", "blend_s", "together_s")]
        row.append(f"{case['mib']:.0f}")
        if numbers["gsplat"]:
            row += [f"{case['gsplat_s']:.4f}", f"{case['psnr_db']:.0f}"]
        rows.append(row)
    height, width = numbers["size_hw"]
    beside = f"gsplat: {numbers['gsplat'] or 'not there'}"
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Pictures of {width} x {height}, median seconds, on {numbers['cores']} cores; "
        "*of pixels*: standard deviation of a splat; *MiB*: what drawing adds to the splats. "
        f"{beside}."
    )


def wall(count: int, width_px: float, size_hw: tuple[int, int]) -> tuple[Splats, np.ndarray]:
    """A wavy wall that fills a picture, and the camera's intrinsics."""
    random = np.random.RandomState(0)
    height, width = size_hw
    focal = FOCAL * width
    u, v = random.uniform(0, width, count), random.uniform(0, height, count)
    z = 3 + 0.5 * np.sin(u / 40) + 0.3 * np.cos(v / 30) + random.normal(0, 0.01, count)
    parts = (
        np.stack(((u - width / 2) / focal * z, (v - height / 2) / focal * z, z), axis=1),
        (width_px * z / focal)[:, None] * np.exp(random.normal(0, 0.3, (count, 3))),
        random.standard_normal((count, 4)),
        random.uniform(0.1, 0.95, count),
        random.standard_normal((count, 3, 9)) * ([0.8] + [0.1] * 8),
    )
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Splats(*(part.astype(np.float32) for part in parts)), lens


def _case(count: int, width_px: float, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    splats, lens = wall(count, width_px, size)
    pose = np.eye(4)
    pose[:3, 3] = 0.05, 0.02, 0.1
    parts: dict[str, list[float]] = {"project_s": [], "blend_s": [], "together_s": []}
    picture: Optional[Picture] = None

    def draw() -> None:
        nonlocal picture
        start = time.perf_counter()
        seen = project(splats, pose, lens, size, cores())
        middle = time.perf_counter()
        picture = rasterise(seen, size)
        end = time.perf_counter()
        for name, seconds in zip(parts, (middle - start, end - middle, end - start)):
            parts[name].append(seconds)

    draw()  # warm
    for some in parts.values():
        some.clear()
    for _ in range(rounds):
        draw()
    found = {name: median(some) for name, some in parts.items()}
    tracemalloc.start()
    draw()
    mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert picture is not None
    covered = float(picture.alpha.mean())
    result = {"splats": count, "width_px": width_px, "covered": covered, "mib": mib, **found}
    if has_gsplat():
        result.update(_beside(splats, pose, lens, size, rounds, picture))
    return result


def _beside(
    splats: Splats,
    pose: np.ndarray,
    lens: np.ndarray,
    size: tuple[int, int],
    rounds: int,
    ours: Picture,
) -> dict[str, float]:
    """gsplat's seconds a picture, its first left out, and how alike the colours are."""
    poses, lenses = (np.repeat(one[None], rounds + 1, axis=0) for one in (pose, lens))
    drawing = pictures(splats, poses, lenses, size, renderer=GSPLAT, chunk_size=1)
    theirs, times = next(drawing), []
    for _ in range(rounds):
        start = time.perf_counter()
        next(drawing)
        times.append(time.perf_counter() - start)
    off = float(np.mean((np.clip(theirs.rgb, 0, 1) - np.clip(ours.rgb, 0, 1)) ** 2))
    return {"gsplat_s": median(times), "psnr_db": -10 * float(np.log10(max(off, 1e-12)))}
