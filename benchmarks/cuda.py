"""Our graphs on a GPU beside what else runs these networks there, and beside the GPU's own limit.

One process, interleaved rounds, the same image, seeded weights. The limit is the time that the
network's matrix products would take at the rate of one large bfloat16 product, measured in the same
run. Beside what is measured stands what is expected of an H100-class GPU. ``device="cpu"`` runs the
same steps at the speed of a processor: for tests and ``--dry-run``, not for numbers.
"""

import argparse
import gc
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from benchmarks.cuda_sides import (
    DTYPES,
    HOST,
    OURS,
    PhotoCase,
    Sides,
    add_eager,
    add_host_sides,
    add_onnxruntime,
    add_ours,
    add_searched,
    add_transformers,
    compile_ahead,
    low_precisions,
    wait,
)
from benchmarks.document import markdown_table
from benchmarks.limit import traced
from benchmarks.options import SQUARE_HW, add_number, add_rounds
from benchmarks.rounds import interleave
from compile.checkpoint import load_model
from compile.job import CompileJob, compile_model
from compile.parity import compare, parity_inputs
from compile.registry import MODELS, find_model
from depth_anything_3.model import DepthAnything3Net
from runtime.artifact.manifest import InputSpec
from runtime.command_line import positive
from runtime.engines.where import exact_float32
from runtime.errors import DepthError, InputError
from runtime.predict.scenes import SceneEngine

log = logging.getLogger(__name__)

ABOUT = "our graphs on a CUDA device, beside torch.compile, ONNX Runtime and transformers"
DESCRIPTION = (
    "Graphs of all targets that run on a CUDA device, in float32, bfloat16 and float16, against "
    "the eager network, torch.compile with max-autotune, ONNX Runtime and, where it is installed, "
    "transformers' network, in interleaved rounds, and all against the device's own rate of "
    "products and what is expected of an H100-class GPU. Needs a CUDA device; about ten minutes."
)
EXAMPLE = "--models vits --batches 1 32 --doc"

PRODUCT = {"cuda": 8192, "cpu": 256}  # rows of the product that stands for the limit
PRODUCTS = 10  # a measurement of it
IMAGES = {"cuda": 64, "cpu": 2}  # of each side, a round; two calls at least
PREPARING = 0.85  # share of the minutes; the rest is for the rounds
TIMES_PEER = 1.3  # as fast as the best peer of the same run, at least
HEADER = ["side", "ms a call", "images/s", "times best peer", "of the limit", "1 - correlation"]
PLAN = (("vits", 1), ("vits", 32), ("vitl", 16), ("da3-small", 1))


@dataclass(frozen=True)
class Expected:
    """What a case should reach on an H100-class GPU in 16 bits, on the device."""

    words: str
    figure: str  # of ``figures``
    bound: float

    def met(self, figures: Mapping[str, float]) -> bool:
        """Whether figures reach it."""
        found = figures[self.figure]
        return found <= self.bound if self.figure == "ms" else found >= self.bound


EXPECTED = {
    ("vits", 1): Expected("2.0 ms at most", "ms", 2.0),
    ("vits", 32): Expected("3,000 images/s at least", "rate", 3000),
    ("vitl", 16): Expected("45 % of the limit at least", "share", 0.45),
}


@dataclass(frozen=True)
class CudaJob:
    """What to measure. Batches are of V2; Depth Anything 3 takes one view.

    ``mode`` is torch.compile's, None to leave it out; ``minutes`` bound what is prepared, the most
    important first.
    """

    cases: tuple[tuple[str, int], ...] = PLAN
    precisions: tuple[str, ...] = ("f32", "bf16", "f16")
    size_hw: tuple[int, int] = SQUARE_HW
    rounds: int = 5
    device: str = "cuda"
    mode: Optional[str] = "max-autotune"
    wait_s: float = 10.0  # for a quiet processor, before a round
    minutes: float = 10.0


DRY_RUN = CudaJob((("demo", 1), ("demo", 2)), size_hw=(28, 28), rounds=1, device="cpu", mode=None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="default: the plan")
    parser.add_argument("--batches", type=positive, nargs="+", metavar="B", help="default: its own")
    add_rounds(parser, CudaJob.rounds)
    add_number(parser, "--minutes", CudaJob.minutes, "to prepare and to measure", float)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="the steps of the plan on the processor, at a tiny shape: shows that they run",
    )


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every processor: it is the GPU that counts."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_models``.

    Raises:
        InputError: a dry run that would stand in the documents.
    """
    if args.dry_run:
        if args.doc:
            raise InputError("--dry-run measures nothing that --doc could write down")
        return time_models(DRY_RUN)
    cases = PLAN
    if args.models or args.batches:
        models = args.models or dict.fromkeys(name for name, _ in PLAN)
        cases = tuple((name, batch) for name in models for batch in args.batches or (1, 8, 32))
    return time_models(CudaJob(cases, rounds=args.rounds, minutes=args.minutes))


def time_models(job: CudaJob) -> dict[str, Any]:
    """Time every case.

    Raises:
        InputError: there is no CUDA device.
    """
    if job.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device here: this measures GPUs, best of the class of an H100, with torch 2.6 "
            "or newer; --dry-run shows its steps, end2end and forms measure processors"
        )
    exact_float32(torch)
    torch.backends.cudnn.benchmark = True
    rate = product_rate(job.device)
    log.info("bfloat16 products: %.1f TFLOP/s", rate / 1e12)
    end, cases = time.monotonic() + 60 * PREPARING * job.minutes, []
    with tempfile.TemporaryDirectory(prefix="cuda-") as scratch, torch.no_grad():
        folders = [Path(scratch) / str(index) for index in range(len(job.cases))]
        made = [_photo_case(job, *case, folder) for case, folder in zip(job.cases, folders)]
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(lambda one: one and compile_ahead(one, job.precisions[-1]), made))
        for index, (name, batch) in enumerate(job.cases):
            now = time.monotonic()
            until = now + max(0.0, end - now) / (len(job.cases) - index)
            log.info("%s, batch %d: %.0f s to prepare it", name, batch, until - now)
            cases.append(_time_case(job, name, batch, made[index], Path(scratch), until))
            made[index] = None
            _forget(job.device)
    return {
        "device": torch.cuda.get_device_name() if job.device == "cuda" else "the processor",
        "cuda": torch.version.cuda,
        "product_rate": rate,
        "size_hw": list(job.size_hw),
        "rounds": job.rounds,
        "cases": cases,
    }


def _photo_case(job: CudaJob, name: str, batch: int, scratch: Path) -> Optional[PhotoCase]:
    """A model of V2 in a batch; None for one of Depth Anything 3."""
    if find_model(name).family != "v2":
        return None
    scratch.mkdir()
    model, _ = load_model(find_model(name), None)
    spec = InputSpec(job.size_hw, batch)
    image = torch.from_numpy(parity_inputs(spec)["photo"])
    sides = Sides(batch, IMAGES[job.device])
    return PhotoCase(name, model, spec, image, job.device, sides, scratch, until=math.inf)


def _time_case(
    job: CudaJob, name: str, batch: int, case: Optional[PhotoCase], scratch: Path, until: float
) -> dict[str, Any]:
    if case is None:
        sides, flops = _scene_sides(job, name, scratch, until), 0
    else:
        case.until = until
        sides, flops = _photo_sides(job, case), traced(case.model, job.size_hw).flops
    seconds, _, _ = interleave(sides.runs, job.rounds, job.wait_s)
    return {
        "model": name,
        "batch": batch,
        "gflop_an_image": flops / 1e9,
        "seconds_an_image": seconds,
        "pearson": sides.pearson,
        "left_out": sides.left_out,
    }


def product_rate(device: str) -> float:
    """Operations a second of one large bfloat16 matrix product on random numbers."""
    size = PRODUCT[device]
    left, right = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(4):  # the first warms up
        wait(device)
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            left @ right
        wait(device)
        times.append((time.perf_counter() - start) / PRODUCTS)
    return 2 * size**3 / min(times[1:])


def _photo_sides(job: CudaJob, case: PhotoCase) -> Sides:
    """Sides for V2, the most important first: our 16 bits, then peers, then the rest."""
    case.prepare()
    *others, last = job.precisions
    add_ours(case, "torchscript", last)
    add_ours(case, "pt2", last)
    peers = low_precisions([last])
    for precision in peers:
        add_eager(case, precision, None)
        if job.mode is not None:
            add_eager(case, precision, job.mode)
    add_searched(case, last)
    add_onnxruntime(case, last)
    add_ours(case, "tensorrt", last)
    for precision in others:
        add_ours(case, "torchscript", precision)
    add_host_sides(case, last)
    for precision in peers:
        add_transformers(case, precision, job.mode)
    return case.sides


def _scene_sides(job: CudaJob, name: str, scratch: Path, until: float) -> Sides:
    """Sides for Depth Anything 3: one view, arrays in and depth out, host to host."""
    network, _ = load_model(find_model(name), None)
    assert isinstance(network, DepthAnything3Net)
    spec = InputSpec(job.size_hw, 1, resize="bytes")
    image = parity_inputs(spec)["photo"]
    sides = Sides(1, IMAGES[job.device])
    network = network.to(job.device)

    def eager(dtype: torch.dtype) -> np.ndarray:
        network.dtype = dtype
        found = network(torch.from_numpy(image)[None].to(job.device))
        return np.asarray(found["depth"][0].cpu().numpy())

    expected = eager(torch.float32)
    for precision in reversed(job.precisions):
        if time.monotonic() > until:
            sides.left_out[f"{OURS}torchscript {precision}, {HOST}"] = "no time left to prepare it"
            continue
        what = CompileJob(
            model=name,
            target="torchscript",
            sizes_hw=(job.size_hw,),
            output=scratch,
            seeded="always",
            device=job.device,
            precision=precision,
        )
        side = f"{OURS}torchscript {precision}, {HOST}"
        try:
            (artifact,) = compile_model(what)
        except DepthError as error:
            sides.left_out[side] = str(error).splitlines()[0]
            continue
        engine = SceneEngine(artifact, job.device)
        sides.pearson[side] = compare(side, engine(image).depth, expected).pearson
        sides.add(side, lambda engine=engine: engine(image))
    for precision in low_precisions(job.precisions):
        if job.device == "cuda" or precision != "f16":  # no float16 under autocast on processors
            dtype = DTYPES[precision]
            side = f"eager network, autocast, {precision}, {HOST}"
            sides.pearson[side] = compare(side, eager(dtype), expected).pearson
            sides.add(side, lambda dtype=dtype: eager(dtype))
    return sides


def _forget(device: str) -> None:
    """Give back what the last case took."""
    gc.collect()
    if hasattr(torch, "compiler"):
        torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def figures(case: Mapping[str, Any], product_rate: float) -> dict[str, dict[str, float]]:
    """What is said of each side: ms a call, images a second, share of the limit, times best peer.

    Like is compared with like: 16 bits with 16 bits, host to host with host to host.
    """
    took = {side: statistics.median(s) for side, s in case["seconds_an_image"].items()}
    least, found = case["gflop_an_image"] * 1e9 / product_rate, {}
    for side, seconds in took.items():
        rivals = [
            s for other, s in took.items()
            if not other.startswith(OURS) and (HOST in other) == (HOST in side)
        ]  # fmt: skip
        found[side] = {
            "ms": seconds * case["batch"] * 1000,
            "rate": 1 / seconds,
            "share": least / seconds,
        }
        if side.startswith(OURS) and "f32" not in side and rivals:
            found[side]["times"] = min(rivals) / seconds
    return found


def best_of_ours(found: Mapping[str, Mapping[str, float]]) -> Optional[str]:
    """Our fastest side in 16 bits on the device; host to host if there is none."""
    ours = [side for side in found if side.startswith(OURS) and "f32" not in side]
    on_device = [side for side in ours if HOST not in side]
    return min(on_device or ours, key=lambda side: found[side]["ms"], default=None)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown: what was expected and found, then every side."""
    dry = numbers["device"] == "the processor"
    expected, sides, missing = [], [], []
    for case in numbers["cases"]:
        name = f"`{case['model']}` x {case['batch']}"
        found = figures(case, numbers["product_rate"])
        verdict = ["", "not measured", "", "", ""]
        if not dry:
            verdict = _verdict((case["model"], case["batch"]), found)
        expected.append([name, *verdict])
        for side, of_side in found.items():
            pearson, times = case["pearson"].get(side), of_side.get("times")
            sides.append(
                [
                    f"{name}, {side}",
                    f"{of_side['ms']:,.2f}",
                    f"{of_side['rate']:,.0f}",
                    f"**{times:.2f}**" if times else "",
                    f"{of_side['share']:.0%}" if of_side["share"] else "",
                    "" if pearson is None else f"{max(0.0, 1 - pearson):.0e}",
                ]
            )
        missing += [f"- {name}, {side}: {why}" for side, why in case.get("left_out", {}).items()]
    height, width = numbers["size_hw"]
    parts = [
        "**Dry run on the processor: the steps, and no speed of anything.**" if dry else "",
        markdown_table(["case", "expected", "best of ours", "", "of the best peer", ""], expected),
        markdown_table(HEADER, sides),
        "Left out:\n\n" + "\n".join(missing) if missing else "",
        f"{numbers['device']}, CUDA {numbers['cuda']}; {height}x{width}, seeded weights, medians "
        "of "
        f"{numbers['rounds']} interleaved rounds after a warm-up. Expected is of an H100-class "
        "GPU. The limit is the time of the network's products at the rate of one large bfloat16 "
        f"product, {numbers['product_rate'] / 1e12:,.1f} TFLOP/s in the same run. Correlation is "
        "with the eager network in float32 without TF32.",
    ]
    return "\n\n".join(filter(None, parts))


def _verdict(case: tuple[str, int], found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a case should reach, what it reached, and whether that is enough."""
    side, wanted = best_of_ours(found), EXPECTED.get(case)
    words = wanted.words if wanted else ""
    if side is None:
        return [words, "none in 16 bits", "", "", ""]
    best = found[side]
    times = best.get("times")
    reached = f"{side[len(OURS) :]}: {best['ms']:,.2f} ms, {best['rate']:,.0f} images/s"
    reached += f", {best['share']:.0%} of the limit" if best["share"] else ""
    return [
        words,
        reached,
        ("yes" if wanted.met(best) else "**no**") if wanted else "",
        f"{times:.2f}, expected {TIMES_PEER}" if times else "no peer ran",
        ("yes" if times >= TIMES_PEER else "**no**") if times else "",
    ]
