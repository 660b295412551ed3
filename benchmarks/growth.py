"""How time and memory grow with images, batch, views and model size: small runs, and pictures.

Every point is a process of its own, so that its peak is its own.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.document import DOCS, markdown_table
from benchmarks.limit import traced
from benchmarks.options import VIEW_HW, add_models
from benchmarks.photos import write_photos
from benchmarks.pictures import Panel, draw_bars, draw_lines
from benchmarks.spent import run
from compile.checkpoint import load_model
from compile.job import CompileJob, compile_model
from compile.registry import find_model
from runtime.engines import available

log = logging.getLogger(__name__)

ABOUT = "time and memory against images, batch, views and model size, as pictures"
DESCRIPTION = (
    "Small runs, each in a process of its own. With --doc, draws docs/pictures/growth-*.png."
)
EXAMPLE = "--doc"
PAGE = "performance-memory.md"

PICTURES = DOCS / "pictures"
SIZE_HW = (252, 252)
IMAGES, BATCHES, VIEWS = (1, 16, 32, 64), (1, 4, 8, 16), (1, 4, 8, 16)
TARGET, INSTEAD = "openvino", "torchscript"
CALLS = 5  # of a graph, after a warm-up; the fastest counts
# A graph, called some times: seconds of the fastest call, printed as JSON
CALL = f"""
import json, sys, time
from pathlib import Path
import numpy as np
from runtime.artifact.folder import read_artifact
from runtime.engines import load_engine
artifact = read_artifact(Path(sys.argv[1]))
engine = load_engine(artifact.path, artifact.manifest, "cpu")
spec = artifact.manifest.input
image = {{"image": np.zeros((spec.batch, 3, *spec.size_hw), spec.dtype)}}
engine(image)
taken = []
for _ in range({CALLS}):
    start = time.perf_counter()
    engine(image)
    taken.append(time.perf_counter() - start)
print(json.dumps(min(taken)))
"""
# One pass over some views, eager: its seconds, printed as JSON
SCENE = """
import json, sys, time
import torch
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
name, views, height, width = sys.argv[1], *map(int, sys.argv[2:])
model = DepthAnything3(name)
fill_seeded(model)
model(torch.zeros(1, 1, 3, height, width))
start = time.perf_counter()
model(torch.zeros(1, views, 3, height, width))
print(json.dumps(time.perf_counter() - start))
"""

Point = dict[str, Any]  # what grows, name, seconds, peak_mib


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads; the models are those of the last picture."""
    add_models(parser, "demo", "vits", "vitb", "vitl")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all points.

    Raises:
        DepthError: a run failed.
    """
    target = TARGET if available(TARGET) else INSTEAD
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        scratch = Path(folder)
        return {
            "target": target,
            "models": args.models,
            "images": list(_images(args.input, target, scratch)),
            "batch": list(_batches(target, scratch)),
            "views": list(_views()),
            "size": list(_models(args.models, target, scratch)),
        }


def _compiled(model: str, target: str, batch: int, scratch: Path) -> str:
    job = CompileJob(
        model=model,
        target=target,
        sizes_hw=(SIZE_HW,),
        batch=batch,
        output=scratch / "graphs",
        seeded="always",
    )
    (artifact,) = compile_model(job)
    return str(artifact.path)


def _images(source: Path, target: str, scratch: Path) -> Iterator[Point]:
    artifact = _compiled("demo", target, 1, scratch)
    photos = write_photos(source, scratch / "photos", max(IMAGES))
    for count in IMAGES:
        log.info("%d images", count)
        chosen = scratch / f"photos-{count}"
        chosen.mkdir()
        for photo in photos[:count]:
            (chosen / photo.name).symlink_to(photo)
        words = ["inference.py", "--artifact", artifact, "--input", str(chosen)]
        words += ["--output", str(scratch / f"depth-{count}")]
        spent = run([sys.executable, *words])
        yield _point(count, str(count), spent.seconds, spent.peak_mib)


def _batches(target: str, scratch: Path) -> Iterator[Point]:
    for batch in BATCHES:
        log.info("batch of %d", batch)
        artifact = _compiled("demo", target, batch, scratch)
        spent = run([sys.executable, "-c", CALL, artifact])
        yield _point(batch, str(batch), json.loads(spent.stdout) / batch, spent.peak_mib)


def _views() -> Iterator[Point]:
    for count in VIEWS:
        log.info("%d views", count)
        spent = run([sys.executable, "-c", SCENE, "da3-small", *map(str, (count, *VIEW_HW))])
        yield _point(count, str(count), json.loads(spent.stdout), spent.peak_mib)


def _models(models: Sequence[str], target: str, scratch: Path) -> Iterator[Point]:
    for name in models:
        log.info("%s", name)
        artifact = _compiled(name, target, 1, scratch)
        model, _ = load_model(find_model(name), None)
        gflop = traced(model, SIZE_HW).flops / 1e9
        del model
        spent = run([sys.executable, "-c", CALL, artifact])
        yield _point(gflop, name, json.loads(spent.stdout), spent.peak_mib)


def _point(place: float, name: str, seconds: float, peak_mib: float) -> Point:
    return {"place": place, "name": name, "seconds": seconds, "peak_mib": peak_mib}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown, with the pictures that ``draw`` makes."""
    parts = []
    for name, (title, axis, _, text) in _charts(numbers).items():
        points = numbers[name]
        rows = [
            ["seconds", *(f"{point['seconds']:.3g}" for point in points)],
            ["peak MiB", *(f"{point['peak_mib']:,.0f}" for point in points)],
        ]
        if name == "size":
            rows.insert(0, [axis, *(f"{point['place']:.3g}" for point in points)])
        header = ["model" if name == "size" else axis, *(point["name"] for point in points)]
        picture = f"![{title}](pictures/growth-{name}.png)"
        parts += [f"**{title}.** {text}", picture, markdown_table(header, rows)]
    return "\n\n".join(parts)


def draw(numbers: dict[str, Any], folder: Path = PICTURES) -> None:
    """Write ``growth-images.png`` and the others."""
    for name, (_, axis, time_title, _) in _charts(numbers).items():
        points = numbers[name]
        seconds = [point["seconds"] for point in points]
        small = max(seconds) < 2
        panels = (
            Panel(time_title, "ms" if small else "s", [s * (1e3 if small else 1) for s in seconds]),
            Panel("Peak memory", "MiB", [point["peak_mib"] for point in points]),
        )
        file = folder / f"growth-{name}.png"
        if name == "size":
            names = [f"{point['name']}, {point['place']:.3g} GFLOP" for point in points]
            draw_bars(file, names, panels)
        else:
            draw_lines(file, axis, [point["place"] for point in points], panels)


def _charts(numbers: dict[str, Any]) -> dict[str, tuple[str, str, str, str]]:
    """Of each picture: title, what grows, what its time is, and how it was measured."""
    size, views = "{}x{}".format(*SIZE_HW), "{}x{}".format(*VIEW_HW)
    target = numbers["target"]
    return {
        "images": (
            "The main job against the number of photos",
            "photos",
            "Time of the whole job",
            f"`inference.py` on Full HD JPEG files, `demo` at {size}, {target}; from the start of "
            "Python to its end.",
        ),
        "batch": (
            "A graph against its batch",
            "images a call",
            "Time an image",
            f"`demo` at {size}, {target}: the fastest of {CALLS} calls of the graph.",
        ),
        "views": (
            "Depth Anything 3 against the number of views",
            "views",
            "Time of one pass",
            f"`da3-small`, eager, views of {views}: one pass after a warm-up with one view.",
        ),
        "size": (
            "Models against their operations",
            "GFLOP an image",
            "Time an image",
            f"At {size}, {target}: the fastest of {CALLS} calls of the graph.",
        ),
    }
