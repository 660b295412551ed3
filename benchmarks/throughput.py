"""Images a second of one process's engines, arranged in different ways over the same threads.

One engine with all threads, an engine a thread, and larger batches, as ``serve.batch --workers``
and ``python -m compile --batch`` arrange them; beside them OpenVINO's own streams on the same
graph. Tensors are ready; nothing is decoded or written.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import markdown_table
from benchmarks.options import SQUARE_HW, add_models, add_number, add_precisions, add_rounds
from benchmarks.rounds import interleave, times_as_fast
from compile.job import CompileJob, compile_model
from runtime.artifact.folder import Artifact
from runtime.engines import load_engine
from runtime.engines.openvino import compiled, import_openvino

ABOUT = "images/s of engines side by side, of batches, and of OpenVINO's streams"
DESCRIPTION = (
    "The same threads given to one engine, to an engine each, to batches, and to OpenVINO's own "
    "streams, in interleaved rounds. Compiles for openvino with seeded weights."
)
EXAMPLE = "--models vits --precisions bf16 --doc"
PAGE = "performance-network.md"

TARGET = "openvino"
STREAMS = "OpenVINO's streams"
BATCHES = (1, 4)
CALLS = 8  # of one image each, a round; a larger batch has fewer


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_models(parser, "demo", "vits")
    add_precisions(parser, "f32", "bf16")
    add_number(parser, "--threads", 2, "in all")
    add_rounds(parser, 3)


def measure(args: argparse.Namespace, size_hw: tuple[int, int] = SQUARE_HW) -> dict[str, Any]:
    """Time every arrangement of every model and precision, in turns."""
    cases = []
    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch:
        for model in args.models:
            for precision in args.precisions:
                graphs = [
                    _compiled(model, size_hw, precision, batch, Path(scratch)) for batch in BATCHES
                ]
                sides = _sides(graphs, precision, args.threads)
                seconds, others, rounds_run = interleave(sides, args.rounds)
                case = {"model": model, "precision": precision, "seconds_an_image": seconds}
                cases.append({**case, "others_share": others, "rounds_run": rounds_run})
    facts = {"size_hw": list(size_hw), "threads": args.threads, "rounds": args.rounds}
    return {**facts, "cases": cases}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = []
    for case in numbers["cases"]:
        seconds = case["seconds_an_image"]
        first = next(iter(seconds.values()))
        for name, took in seconds.items():
            ratios = times_as_fast(first, took)
            rows.append(
                [
                    f"`{case['model']}` {case['precision']}, {name}",
                    f"{1 / statistics.median(took):.2f}",
                    f"**{statistics.median(first) / statistics.median(took):.2f}**",
                    f"{min(ratios):.2f} to {max(ratios):.2f}",
                ]
            )
    header = ["engines", "images/s", "times one engine", "single rounds"]
    height, width = numbers["size_hw"]
    others = max(share for case in numbers["cases"] for share in case["others_share"])
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"At {height}x{width}, seeded weights, {numbers['threads']} threads in all, medians of "
        f"{numbers['rounds']} interleaved rounds of {CALLS} images after a warm-up; in those that "
        f"count, other processes took at most {others:.0%} of the processor."
    )


def _compiled(
    model: str, size_hw: tuple[int, int], precision: str, batch: int, folder: Path
) -> Artifact:
    job = CompileJob(
        model=model,
        target=TARGET,
        sizes_hw=(size_hw,),
        batch=batch,
        output=folder,
        seeded="always",
        precision=precision,
    )
    (artifact,) = compile_model(job)
    return artifact


def _sides(
    graphs: Sequence[Artifact], precision: str, threads: int
) -> dict[str, tuple[int, Callable[[], None]]]:
    single = graphs[0]
    sides = {}
    for count, artifact in ((1, single), (threads, single), *((1, one) for one in graphs[1:])):
        batch = artifact.manifest.input.batch
        engines = "1 engine" if count == 1 else f"{count} engines"
        each = threads // count
        name = f"{engines} of {each} thread{'s' if each > 1 else ''}, batch {batch}"
        sides[name] = (CALLS, _engines(artifact, count, each))
    sides[STREAMS] = (CALLS, _streams(single, precision, threads))
    return sides


def _engines(artifact: Artifact, count: int, threads: int) -> Callable[[], None]:
    """Engines side by side, each called by a thread of its own."""
    engines = [load_engine(artifact.path, artifact.manifest, "cpu", threads) for _ in range(count)]
    image = _image(artifact)
    calls = CALLS // artifact.manifest.input.batch // count
    pool = ThreadPoolExecutor(count)

    def run_one(engine: Any) -> None:
        for _ in range(calls):
            engine({"image": image})

    return lambda: list(pool.map(run_one, engines)) and None


def _streams(artifact: Artifact, precision: str, threads: int) -> Callable[[], None]:
    """What OpenVINO makes of the same graph when asked for throughput."""
    file = artifact.path / artifact.manifest.stages[0].graph
    graph = compiled(file, precision, threads, "THROUGHPUT")
    queue = import_openvino().AsyncInferQueue(graph)
    image = _image(artifact)

    def run() -> None:
        for _ in range(CALLS):
            queue.start_async({0: image})
        queue.wait_all()

    return run


def _image(artifact: Artifact) -> np.ndarray:
    return np.zeros(artifact.manifest.input.shape, np.float32)
