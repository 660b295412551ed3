"""Our graphs on a GPU beside what else runs these networks there, and beside the GPU's own limit.

One process, interleaved rounds, the same image, seeded weights. The limit is the time that the
network's matrix products would take at the rate of one large bfloat16 product, measured in the same
run. ``device="cpu"`` runs the same steps at the speed of a processor: for tests, not for numbers.
"""

import argparse
import copy
import gc
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from benchmarks.document import markdown_table
from benchmarks.limit import traced
from benchmarks.options import SQUARE_HW, add_models, add_rounds
from benchmarks.rounds import interleave
from compile.checkpoint import load_model
from compile.job import CompileJob, compile_model
from compile.parity import compare, parity_inputs
from compile.registry import find_model
from compile.stages import stages_of
from compile.targets import torchscript
from compile.targets.source import GraphSource
from compile.trace import trace
from depth_anything_3.model import DepthAnything3Net
from depth_anything_v2.config import ENCODERS
from layers.vit import VITS
from runtime.artifact.manifest import InputSpec, StageSpec
from runtime.command_line import positive
from runtime.engines.cuda import DeviceCall
from runtime.errors import InputError
from runtime.predict.scenes import SceneEngine

log = logging.getLogger(__name__)

ABOUT = "our graphs on a CUDA device, beside torch.compile and transformers"
DESCRIPTION = (
    "Graphs in float32, bfloat16 and float16 against the eager network under torch.compile and, "
    "where it is installed, transformers' network, in interleaved rounds, and all against the "
    "device's own rate of products. Needs a CUDA device."
)
EXAMPLE = "--models vits --batches 1 32 --doc"

PRODUCT = {"cuda": 8192, "cpu": 256}  # rows of the product that stands for the limit
PRODUCTS = 10  # a measurement of it
IMAGES = {"cuda": 64, "cpu": 2}  # of each side, a round; two calls at least
DTYPES = {"f32": torch.float32, **torchscript.DTYPES}
OURS = "ours, "  # what the names of our sides begin with

Run = Callable[[], None]


@dataclass(frozen=True)
class CudaJob:
    """What to measure. Batches are of V2; Depth Anything 3 takes one view."""

    models: tuple[str, ...] = ("vits", "vitl", "da3-small")
    batches: tuple[int, ...] = (1, 8, 32)
    precisions: tuple[str, ...] = ("f32", "bf16", "f16")
    size_hw: tuple[int, int] = SQUARE_HW
    rounds: int = 5
    device: str = "cuda"
    torch_compile: bool = True
    wait_s: float = 10.0  # for a quiet processor, before a round


@dataclass
class Sides:
    """What takes turns: a run of some calls for each name, and what it found on the same image."""

    batch: int
    images: int
    runs: dict[str, tuple[int, Run]] = field(default_factory=dict)
    pearson: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, call: Callable[[], Any]) -> None:
        """A side whose one call takes a batch and waits until it is done."""
        calls = max(2, self.images // self.batch)

        def run() -> None:
            for _ in range(calls):
                call()

        self.runs[name] = (calls * self.batch, run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    default = CudaJob()
    add_models(parser, *default.models)
    parser.add_argument(
        "--batches",
        type=positive,
        nargs="+",
        default=list(default.batches),
        metavar="B",
        help=" ".join(map(str, default.batches)),
    )
    add_rounds(parser, default.rounds)


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every processor: it is the GPU that counts."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """As ``time_models``."""
    return time_models(CudaJob(tuple(args.models), tuple(args.batches), rounds=args.rounds))


def time_models(job: CudaJob) -> dict[str, Any]:
    """Time every model in every batch.

    Raises:
        InputError: there is no CUDA device.
    """
    if job.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device here: this measures GPUs; end2end and forms measure processors"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    rate = product_rate(job.device)
    log.info("bfloat16 products: %.1f TFLOP/s", rate / 1e12)
    cases = []
    for name in job.models:
        model, _ = load_model(find_model(name), None)
        for batch in (1,) if isinstance(model, DepthAnything3Net) else job.batches:
            log.info("%s, batch %d", name, batch)
            with tempfile.TemporaryDirectory(prefix="cuda-") as scratch, torch.no_grad():
                of_model = _scene_sides if isinstance(model, DepthAnything3Net) else _photo_sides
                sides, flops = of_model(job, name, model, batch, Path(scratch))
                seconds, _, _ = interleave(sides.runs, job.rounds, job.wait_s)
            cases.append(
                {
                    "model": name,
                    "batch": batch,
                    "gflop_an_image": flops / 1e9,
                    "seconds_an_image": seconds,
                    "pearson": sides.pearson,
                }
            )
            del sides
            _forget(job.device)
    return {
        "device": torch.cuda.get_device_name() if job.device == "cuda" else "the processor",
        "cuda": torch.version.cuda,
        "product_rate": rate,
        "size_hw": list(job.size_hw),
        "rounds": job.rounds,
        "cases": cases,
    }


def product_rate(device: str) -> float:
    """Operations a second of one large bfloat16 matrix product on random numbers."""
    size = PRODUCT[device]
    left, right = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(4):  # the first warms up
        _wait(device)
        start = time.perf_counter()
        for _ in range(PRODUCTS):
            left @ right
        _wait(device)
        times.append((time.perf_counter() - start) / PRODUCTS)
    return 2 * size**3 / min(times[1:])


def _photo_sides(
    job: CudaJob, name: str, model: nn.Module, batch: int, scratch: Path
) -> tuple[Sides, int]:
    """Sides for V2: inputs and outputs stay on the device, except where it says host to host."""
    spec = InputSpec(job.size_hw, batch)
    image = torch.from_numpy(parity_inputs(spec)["photo"])
    sides, flops = Sides(batch, IMAGES[job.device]), traced(model, job.size_hw).flops
    device_image = image.to(job.device)
    expected = copy.deepcopy(model).to(job.device)(device_image).cpu().numpy()
    calls = {}
    for precision in job.precisions:
        # of a copy, since a form shares its model's weights, and they are moved
        (stage,) = stages_of(copy.deepcopy(model), spec, find_model(name).output)
        form, _ = torchscript.form_of(
            GraphSource(name=name, stage=stage, input=spec, precision=precision)
        )
        graph = trace(form.to(job.device), device_image).module
        side = f"{OURS}{precision}"
        (host, again), (second, _) = (_calls(graph, stage.described(""), job.device) for _ in "12")
        sides.pearson[side] = compare(side, host(image)[0].numpy(), expected).pearson
        sides.add(side, again)
        calls[precision] = (host, second)
    last = job.precisions[-1]
    _add_host_sides(sides, f"{OURS}{last}, host to host", calls[last], image)
    for precision in job.precisions[1:]:
        peer = copy.deepcopy(model).to(job.device, DTYPES[precision])
        side = f"our eager network, {_how(job)}, {precision}"
        found = _add_peer(sides, side, peer, device_image.to(DTYPES[precision]), job)
        sides.pearson[side] = compare(side, found.float().cpu().numpy(), expected).pearson
        other = transformers_network(name, job.size_hw)
        if other is not None:
            side = f"transformers, sdpa, {_how(job)}, {precision}"
            other = other.to(job.device, DTYPES[precision])
            _add_peer(sides, side, other, device_image.to(DTYPES[precision]), job)
    return sides, flops


def _scene_sides(
    job: CudaJob, name: str, network: nn.Module, batch: int, scratch: Path
) -> tuple[Sides, int]:
    """Sides for Depth Anything 3: one view, arrays in and depth out, host to host."""
    assert isinstance(network, DepthAnything3Net)
    spec = InputSpec(job.size_hw, batch, resize="bytes")
    image = parity_inputs(spec)["photo"]
    sides = Sides(batch, IMAGES[job.device])
    network = network.to(job.device)

    def eager(dtype: torch.dtype) -> np.ndarray:
        network.dtype = dtype
        return network(torch.from_numpy(image)[None].to(job.device))["depth"][0].cpu().numpy()

    expected = eager(torch.float32)
    for precision in job.precisions:
        what = CompileJob(
            model=name,
            target="torchscript",
            sizes_hw=(job.size_hw,),
            output=scratch,
            seeded="always",
            device=job.device,
            precision=precision,
        )
        (artifact,) = compile_model(what)
        engine = SceneEngine(artifact, job.device)
        side = f"{OURS}{precision}, host to host"
        sides.pearson[side] = compare(side, engine(image).depth, expected).pearson
        sides.add(side, lambda engine=engine: engine(image))
    for precision in job.precisions[1:]:
        if job.device == "cuda" or precision != "f16":  # no float16 under autocast on processors
            dtype = DTYPES[precision]
            side = f"our eager network, autocast, {precision}, host to host"
            sides.pearson[side] = compare(side, eager(dtype), expected).pearson
            sides.add(side, lambda dtype=dtype: eager(dtype))
    return sides, 0


def _calls(graph: Any, stage: StageSpec, device: str) -> tuple[Callable[..., Any], Run]:
    """An engine's call from host to host, and the same on what is on the device already."""
    if device == "cuda":
        call = DeviceCall(torch, graph, stage, stage.name)
        return call, call.again
    example = torch.zeros(stage.inputs[0].shape)
    return (lambda image: (graph(image),)), lambda: graph(example)


def _add_host_sides(
    sides: Sides, name: str, calls: tuple[Callable[..., Any], ...], image: torch.Tensor
) -> None:
    """One engine alone, and two that take turns at the copies and the computing."""
    sides.add(name, lambda: calls[0](image))
    pool = ThreadPoolExecutor(len(calls), "engine")

    def run(call: Callable[..., Any]) -> None:
        with torch.inference_mode():
            for _ in range(max(1, sides.images // sides.batch // len(calls))):
                call(image)

    images = max(1, sides.images // sides.batch // len(calls)) * len(calls) * sides.batch
    sides.runs[f"{name}, two engines"] = (images, lambda: list(pool.map(run, calls)) and None)


def _add_peer(
    sides: Sides, name: str, network: nn.Module, image: torch.Tensor, job: CudaJob
) -> torch.Tensor:
    """A network as torch runs it; returns what it finds."""
    run: Any = network.eval()
    if job.torch_compile:
        run = torch.compile(network, mode="reduce-overhead")
    found = [run(image) for _ in range(3)][-1]
    found = getattr(found, "predicted_depth", found).clone()

    def call() -> None:
        run(image)
        _wait(job.device)

    sides.add(name, call)
    return found


def transformers_network(name: str, size_hw: tuple[int, int]) -> Optional[nn.Module]:
    """The network of V2 as transformers has it, with weights of its own; None if not installed."""
    try:
        import transformers
    except ModuleNotFoundError:
        return None
    encoder = find_model(name).encoder
    vit, head = VITS[encoder], ENCODERS[encoder]
    backbone = transformers.Dinov2Config(
        hidden_size=vit.dim,
        num_hidden_layers=vit.depth,
        num_attention_heads=vit.num_heads,
        image_size=518,
        patch_size=14,
        out_features=[f"stage{tap + 1}" for tap in head.taps],
        apply_layernorm=True,
        reshape_hidden_states=False,
        attn_implementation="sdpa",
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=vit.dim,
        neck_hidden_sizes=list(head.out_channels),
        fusion_hidden_size=head.features,
        head_hidden_size=32,
        patch_size=14,
    )
    return transformers.DepthAnythingForDepthEstimation(config).eval()


def _how(job: CudaJob) -> str:
    return "torch.compile" if job.torch_compile else "as it is"


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _forget(device: str) -> None:
    """Give back what the last case took."""
    gc.collect()
    if hasattr(torch, "compiler"):
        torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = []
    for case in numbers["cases"]:
        took = {side: statistics.median(s) for side, s in case["seconds_an_image"].items()}
        # like with like: 16 bits with 16 bits, host to host with host to host
        for side, seconds in took.items():
            rival = [
                s for other, s in took.items()
                if not other.startswith(OURS) and ("host" in other) == ("host" in side)
            ]  # fmt: skip
            mine = side.startswith(OURS) and "f32" not in side and rival
            least = case["gflop_an_image"] * 1e9 / numbers["product_rate"]
            pearson = case["pearson"].get(side)
            rows.append(
                [
                    f"`{case['model']}` x {case['batch']}, {side}",
                    f"{seconds * case['batch'] * 1000:,.2f}",
                    f"{1 / seconds:,.0f}",
                    f"**{min(rival) / seconds:.2f}**" if mine else "",
                    f"{least / seconds:.0%}" if least else "",
                    "" if pearson is None else f"{max(0.0, 1 - pearson):.0e}",
                ]
            )
    header = ["side", "ms a call", "images/s", "times best peer", "of the limit", "1 - correlation"]
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"{numbers['device']}, CUDA {numbers['cuda']}; {height}x{width}, seeded weights, medians "
        f"of {numbers['rounds']} interleaved rounds after a warm-up. The limit is the time of the "
        "network's products at the rate of one large bfloat16 product, "
        f"{numbers['product_rate'] / 1e12:,.1f} TFLOP/s in the same run. Correlation is with the "
        "eager network in float32 without TF32."
    )
