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
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
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
    export_ahead,
    low_precisions,
    wait_for,
)
from benchmarks.cuda_table import table as table
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
PAGE = "performance-gpu.md"

PRODUCT = {"cuda": 8192, "cpu": 256}  # rows of the product that stands for the limit
PRODUCTS = 10  # a measurement of it
IMAGES = {"cuda": 64, "cpu": 2}  # of each side, a round; two calls at least
PREPARING = 0.85  # share of the minutes; the rest is for the rounds
MODES = ("max-autotune", "reduce-overhead", "default")
PLAN = (("vits", 1), ("vits", 32), ("vitl", 16), ("da3-small", 1))


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
    mode: Optional[str] = MODES[0]
    wait_s: float = 2.0  # for a quiet processor, before a round
    minutes: float = 10.0


DRY_RUN = CudaJob((("demo", 1), ("demo", 2)), size_hw=(28, 28), rounds=1, device="cpu", mode=None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="default: the plan")
    parser.add_argument("--batches", type=positive, nargs="+", metavar="B", help="default: its own")
    add_rounds(parser, CudaJob.rounds)
    add_number(parser, "--minutes", CudaJob.minutes, "to prepare and to measure", float)
    parser.add_argument("--mode", choices=MODES, default=MODES[0], help="of torch.compile's peers")
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
    cases = []
    for name in args.models or dict.fromkeys(name for name, _ in PLAN):
        of_plan = [batch for known, batch in PLAN if known == name]
        cases += [(name, batch) for batch in args.batches or of_plan or (1, 8, 32)]
    asked = {"rounds": args.rounds, "minutes": args.minutes, "mode": args.mode}
    return time_models(CudaJob(tuple(cases), **asked))


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
    with tempfile.TemporaryDirectory(prefix="cuda-") as scratch, torch.no_grad():
        cases = _measured(job, Path(scratch))
    return {
        "device": torch.cuda.get_device_name() if job.device == "cuda" else "the processor",
        "cuda": torch.version.cuda,
        "product_rate": rate,
        "size_hw": list(job.size_hw),
        "rounds": job.rounds,
        "cases": cases,
    }


def _measured(job: CudaJob, scratch: Path) -> list[dict[str, Any]]:
    """Prepare all cases, while inductor compiles in processes of its own; then time each."""
    end, last = time.monotonic() + 60 * PREPARING * job.minutes, job.precisions[-1]
    folders = [scratch / str(index) for index in range(len(job.cases))]
    photos = [_photo_case(job, *case, folder) for case, folder in zip(job.cases, folders)]
    with ThreadPoolExecutor(len(photos)) as pool:
        compiling, sides = [], []
        for one in filter(None, photos):
            exported = export_ahead(one, last)
            if exported is not None:
                compiling.append(pool.submit(compile_ahead, one, *exported))
        for index, (name, batch) in enumerate(job.cases):
            now = time.monotonic()
            until = now + max(0.0, end - now) / (len(job.cases) - index)
            log.info("%s, batch %d: %.0f s to prepare it", name, batch, until - now)
            sides.append(_prepared(job, name, photos[index], scratch, until))
        log.info("inductor has compiled %d of %d", sum(c.done() for c in compiling), len(compiling))
        wait(compiling)
    for case in filter(None, photos):
        case.until = math.inf
        add_ours(case, "pt2", last)
        case.until = end
        add_searched(case, last)
    _forget(job.device)
    return [
        _timed(job, *case, photo, of_case) for case, photo, of_case in zip(job.cases, photos, sides)
    ]


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


def _prepared(
    job: CudaJob, name: str, photo: Optional[PhotoCase], scratch: Path, until: float
) -> Sides:
    if photo is None:
        return _scene_sides(job, name, scratch, until)
    photo.until = until
    return _photo_sides(job, photo)


def _timed(
    job: CudaJob, name: str, batch: int, photo: Optional[PhotoCase], sides: Sides
) -> dict[str, Any]:
    seconds, _, _ = interleave(sides.runs, job.rounds, job.wait_s)
    return {
        "model": name,
        "batch": batch,
        "gflop_an_image": traced(photo.model, job.size_hw).flops / 1e9 if photo else 0,
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
        wait_for(device)
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            left @ right
        wait_for(device)
        times.append((time.perf_counter() - start) / PRODUCTS)
    return 2 * size**3 / min(times[1:])


def _photo_sides(job: CudaJob, case: PhotoCase) -> Sides:
    """Sides for V2, the most important first: our 16 bits, then peers, then the rest."""
    case.prepare()
    *others, last = job.precisions
    add_ours(case, "torchscript", last)
    peers = low_precisions([last])
    for precision in peers:
        add_eager(case, precision, None)
        if job.mode is not None:
            add_eager(case, precision, job.mode)
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
