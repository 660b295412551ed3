"""Clouds to files: a million points beside trimesh, and what scenes of many views take.

Points and scenes are made up. Both writers are given the same arrays and write the same points.
They take turns, so that whatever else the machine does meets both.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.document import markdown_table
from benchmarks.options import add_size
from benchmarks.peak import peak_mib
from exports.glb import POINTS, Geometry, encode_glb
from exports.ply import POINT, encode_ply
from exports.scene import ScenePhoto, scene_of
from exports.scene_files import asked_formats
from exports.write import write_scene
from runtime.files import write_whole
from runtime.optional import require, version_of
from runtime.predict.found import ScenePrediction

ABOUT = "points to GLB and PLY beside trimesh; scenes of many views to every format"
DESCRIPTION = "A million points to GLB and PLY, ours and trimesh's; time and memory of scenes."
EXAMPLE = "--doc"
PAGE = "exports.md"

FORMATS = ("npz", "glb", "ply", "colmap", "depth_vis")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much."""
    parser.add_argument("--points", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--views", type=int, nargs="*", default=[1, 20, 200], metavar="N")
    add_size(parser, (378, 504))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each writer; seconds and memory of each format."""
    with tempfile.TemporaryDirectory(prefix="exports-") as scratch:
        writers = _writers(args.points, args.rounds, Path(scratch))
        scenes = [
            {"views": views, **_scene(views, args.size, name, Path(scratch))}
            for name in FORMATS
            for views in args.views
        ]
    return {
        "points": args.points,
        "size_hw": list(args.size),
        "trimesh": version_of("trimesh"),
        "writers": writers,
        "scenes": scenes,
    }


def section(args: argparse.Namespace, slug: str) -> str:
    """One, whatever torch there is: none runs."""
    return "exports"


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    writers = [
        [
            name.upper(),
            f"{one['ours_s']:.3f}",
            f"{one['trimesh_s']:.2f}",
            f"{one['trimesh_s'] / one['ours_s']:.0f}x",
        ]
        for name, one in numbers["writers"].items()
    ]
    scenes = [
        [one["format"], str(one["views"]), f"{one['seconds']:.1f}", f"{one['mib']:.0f}"]
        for one in numbers["scenes"]
    ]
    height, width = numbers["size_hw"]
    return "\n\n".join(
        [
            f"{numbers['points']:,} points, median seconds; trimesh {numbers['trimesh']}:",
            markdown_table(["file", "ours", "trimesh", "ratio"], writers),
            f"Scenes of {height}x{width}; memory is what writing adds to the prediction:",
            markdown_table(["format", "views", "seconds", "MiB"], scenes),
        ]
    )


def _writers(count: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    trimesh = require("trimesh", "dev")
    random = np.random.RandomState(0)
    places = random.standard_normal((count, 3)).astype(np.float32)
    colours = random.randint(0, 256, (count, 3)).astype(np.uint8)
    dtype = np.dtype(POINT)

    def ours_glb() -> None:
        shapes = [Geometry(POINTS, places, colours)]
        write_whole(folder / "ours.glb", encode_glb(shapes, {"unit": "metre"}))

    def ours_ply() -> None:
        rows = np.empty(count, dtype)
        for axis, name in enumerate("xyz"):
            rows[name] = places[:, axis]
        for channel, name in enumerate(("red", "green", "blue")):
            rows[name] = colours[:, channel]
        write_whole(folder / "ours.ply", encode_ply([rows], dtype, count, {"unit": "metre"}))

    def theirs(suffix: str) -> Callable[[], Any]:
        def run() -> None:
            cloud = trimesh.PointCloud(places, colors=colours)
            shape = trimesh.Scene([cloud]) if suffix == "glb" else cloud
            shape.export(str(folder / f"theirs.{suffix}"))

        return run

    result = {}
    for suffix, ours in (("glb", ours_glb), ("ply", ours_ply)):
        times: dict[str, list[float]] = {"ours_s": [], "trimesh_s": []}
        for _ in range(rounds):
            for name, run in (("ours_s", ours), ("trimesh_s", theirs(suffix))):
                times[name].append(_seconds(run))
        read = trimesh.load(str(folder / f"ours.{suffix}"))
        cloud = read.geometry["geometry_0"] if suffix == "glb" else read
        if not np.array_equal(np.asarray(cloud.vertices, np.float32), places):
            raise AssertionError(f"{suffix}: trimesh reads other points than were written")
        result[suffix] = {name: median(some) for name, some in times.items()}
    return result


def _scene(views: int, size_hw: tuple[int, int], name: str, folder: Path) -> dict[str, Any]:
    found = made_up(views, size_hw)
    photos = [ScenePhoto(f"{at:04d}.jpg", size_hw, size_hw) for at in range(views)]
    asked = asked_formats([name], {"glb": {"export_depth_vis": False}})
    took = []
    scene = scene_of(found, photos)
    mib = peak_mib(
        lambda: took.append(_seconds(lambda: write_scene(scene, folder / f"{name}{views}", asked)))
    )
    return {"format": name, "seconds": took[0], "mib": mib}


def made_up(views: int, size_hw: tuple[int, int]) -> ScenePrediction:
    """A wavy wall that cameras walk along."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    depth, conf = (np.empty((views, *size_hw), np.float32) for _ in range(2))
    images = np.empty((views, *size_hw, 3), np.uint8)
    poses = np.tile(np.eye(4)[:3], (views, 1, 1))
    for at in range(views):
        depth[at] = 3 + 0.1 * np.sin(columns / 30 + at / 5) + 0.05 * np.cos(rows / 40)
        conf[at] = 1.5 + np.sin(rows / 17 + columns / 23 + at)
        images[at] = ((rows + columns + at)[..., None] % 256).astype(np.uint8)
        poses[at, 0, 3] = -0.05 * at
    k = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    return ScenePrediction(
        depth=depth,
        conf=conf,
        processed_images=images,
        extrinsics=poses,
        intrinsics=np.tile(k, (views, 1, 1)),
    )


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
