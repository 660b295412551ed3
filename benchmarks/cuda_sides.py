"""What takes turns on a GPU: our graphs by their targets, and what else runs the same networks.

A model and a batch in, runs by name out. Inputs and outputs stay on the device, except where a name
says host to host. ``device="cpu"`` takes the same steps on a processor.
"""

import copy
import importlib.util
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import numpy as np
import torch
from torch import nn

from compile.deploy import HAS_FUSED_ATTENTION
from compile.low_precision import lower
from compile.parity import compare
from compile.registry import find_model
from compile.stages import Stage, stages_of
from compile.targets import onnx, pt2, tensorrt, torchscript
from compile.targets.source import Built, GraphSource
from compile.trace import trace
from depth_anything_v2.config import ENCODERS
from layers.vit import VITS
from runtime.artifact.folder import describe_files
from runtime.artifact.manifest import InputSpec, Manifest, ParityReport, StageSpec, WeightsSpec
from runtime.engines import available
from runtime.engines import pt2 as pt2_engine
from runtime.engines import tensorrt as tensorrt_engine
from runtime.engines.cuda import DeviceCall
from runtime.engines.inductor import AUTOTUNE, SWITCH, program_of
from runtime.engines.onnxruntime import import_onnxruntime

log = logging.getLogger(__name__)

OURS = "ours, "  # what the names of our sides begin with
HOST = "host to host"
DTYPES = {"f32": torch.float32, **torchscript.DTYPES}
Run = Callable[[], None]


@dataclass
class Sides:
    """What takes turns: a run of some calls for each name, and what it found on the same image."""

    batch: int
    images: int
    runs: dict[str, tuple[int, Run]] = field(default_factory=dict)
    pearson: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # side -> why

    def add(self, name: str, call: Callable[[], Any]) -> None:
        """A side whose one call takes a batch and waits until it is done."""
        calls = max(2, self.images // self.batch)

        def run() -> None:
            for _ in range(calls):
                call()

        self.runs[name] = (calls * self.batch, run)


@dataclass
class PhotoCase:
    """A model of V2 in one batch, with all that its sides are made of.

    Args:
        until: time.monotonic() after which no further side is prepared.
    """

    name: str
    model: nn.Module
    spec: InputSpec
    image: torch.Tensor  # float32 (B, 3, H, W), on the host
    device: str
    sides: Sides
    scratch: Path
    until: float
    expected: np.ndarray = field(default_factory=lambda: np.empty(0))
    compiles: bool = True  # inductor can compile it here
    traced: dict[str, Any] = field(default_factory=dict)  # by precision
    built: dict[str, tuple[Manifest, Path]] = field(default_factory=dict)  # by target, precision

    def prepare(self) -> None:
        """Find what every side should find: the eager network in float32."""
        self.on_device = self.image.to(self.device)
        network = copy.deepcopy(self.model).to(self.device)
        with torch.no_grad():
            self.expected = network(self.on_device).cpu().numpy()

    def attempt(self, side: str, prepare: Callable[[str], None]) -> None:
        """Prepare a side; one that cannot be had here, or in time, is left out and says why."""
        if time.monotonic() > self.until:
            self.sides.left_out[side] = "no time left to prepare it"
            return
        start = time.monotonic()
        try:
            prepare(side)
        except Exception as error:  # each package has its own
            said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.sides.left_out[side] = said
            log.warning("%s is left out: %s", side, said)
            return
        log.info("%s: prepared in %.0f s", side, time.monotonic() - start)

    def found(self, side: str, depth: torch.Tensor) -> None:
        """Note how near a side's depth is to what is expected."""
        found = depth.float().cpu().numpy().reshape(self.expected.shape)
        self.sides.pearson[side] = compare(side, found, self.expected).pearson

    def source(self, precision: str) -> GraphSource:
        """What our targets build from; of a copy, since a form is moved and shares its weights."""
        return GraphSource(
            name=self.name, stage=self._stage(), input=self.spec, precision=precision
        )

    def _stage(self) -> Stage:
        model = copy.deepcopy(self.model)
        (stage,) = stages_of(model, self.spec, find_model(self.name).output)
        return stage


def export_ahead(case: PhotoCase, precision: str) -> Optional[tuple[Manifest, Path]]:
    """The pt2 graph for inductor, if it is to compile one; torch exports in one thread alone."""
    if case.device == "cuda" and available("pt2"):
        return _built(case, pt2, "pt2", precision)
    return None


def compile_ahead(case: PhotoCase, manifest: Manifest, folder: Path) -> None:
    """Have inductor make its program, in a process of its own: several cases' at once."""
    case.compiles = bool(program_of(torch, folder, manifest, manifest.stages[0], case.device))


def add_searched(case: PhotoCase, precision: str) -> None:
    """Our pt2 graph by inductor's longer search for kernels."""
    if case.device == "cuda":
        with mock.patch.dict(os.environ, {SWITCH: AUTOTUNE}):
            add_ours(case, "pt2", precision, f", {AUTOTUNE}")


def add_ours(case: PhotoCase, target: str, precision: str, how: str = "") -> None:
    """Our graph for a target and a precision; ``how``: more for its name."""

    def prepare(side: str) -> None:
        graph, stage, name = _GRAPHS[target](case, precision, side)
        host, again = calls(graph, stage, case.device)
        case.found(name, host(case.image)[0])
        case.sides.add(name, again)

    case.attempt(f"{OURS}{target} {precision}{how}", prepare)


def add_host_sides(case: PhotoCase, precision: str) -> None:
    """From host to host by TorchScript: one engine alone, and two that take turns."""

    def prepare(side: str) -> None:
        graph, stage, _ = _torchscript(case, precision, side)
        run, other = (calls(graph, stage, case.device)[0] for _ in "12")
        sides = case.sides
        sides.add(side, lambda: run(case.image))
        pool, rounds = ThreadPoolExecutor(2, "engine"), max(1, sides.images // sides.batch // 2)

        def several(call: Callable[..., Any]) -> None:
            with torch.inference_mode():
                for _ in range(rounds):
                    call(case.image)

        images = 2 * rounds * sides.batch
        both = (images, lambda: list(pool.map(several, (run, other))) and None)
        sides.runs[f"{side}, two engines"] = both

    case.attempt(f"{OURS}torchscript {precision}, {HOST}", prepare)


def add_eager(case: PhotoCase, precision: str, mode: Optional[str]) -> None:
    """The eager network with torch's fused attention; ``mode`` of torch.compile, None without."""

    def prepare(side: str) -> None:
        network = copy.deepcopy(case.model).to(case.device, DTYPES[precision])
        case.found(side, add_network(case, side, network, precision, mode))

    how = "as it is" if mode is None else f"torch.compile {mode}"
    case.attempt(f"eager network, {how}, {precision}", prepare)


def add_transformers(case: PhotoCase, precision: str, mode: Optional[str]) -> None:
    """The same network as transformers has it, where that is installed; weights of its own."""

    def prepare(side: str) -> None:
        network = transformers_network(case.name)
        network = network.to(case.device, DTYPES[precision])
        add_network(case, side, network, precision, mode)

    how = "as it is" if mode is None else f"torch.compile {mode}"
    side = f"transformers, sdpa, {how}, {precision}"
    if importlib.util.find_spec("transformers") is None:
        case.sides.left_out[side] = "transformers is not installed"
    else:
        case.attempt(side, prepare)


def add_network(
    case: PhotoCase, side: str, network: nn.Module, precision: str, mode: Optional[str]
) -> torch.Tensor:
    """A network as torch runs it; returns what it finds."""
    run: Any = network.eval()
    if mode is not None:
        run = torch.compile(run, mode=mode, dynamic=False)
    image = case.on_device.to(DTYPES[precision])
    found = [run(image) for _ in range(3)][-1]
    depth: torch.Tensor = getattr(found, "predicted_depth", found).clone()

    def call() -> None:
        run(image)
        wait_for(case.device)

    case.sides.add(side, call)
    return depth


def add_onnxruntime(case: PhotoCase, precision: str) -> None:
    """ONNX Runtime on the device, on our graph in this precision."""

    def prepare(side: str) -> None:
        runtime = import_onnxruntime()
        provider = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}[case.device]
        if provider not in runtime.get_available_providers():
            raise ImportError(f"this ONNX Runtime has no {provider}")
        source, file = case.source(precision), case.scratch / f"peer-{precision}.onnx"
        form = source.form(source.rewrites(onnx.REWRITES))
        form = form if precision == "f32" else lower(form, DTYPES[precision])
        onnx.export_form(form.to(case.device), source, file, (case.on_device,))
        session = runtime.InferenceSession(str(file), providers=[provider])
        (given,), (made,), image = source.stage.inputs, source.stage.outputs, case.on_device
        depth = torch.empty(made.shape, device=case.device)
        binding = session.io_binding()
        for bind, spec, tensor in (
            (binding.bind_input, given, image),
            (binding.bind_output, made, depth),
        ):
            bind(spec.name, case.device, 0, np.float32, spec.shape, tensor.data_ptr())

        def call() -> torch.Tensor:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            assert image.data_ptr() and depth.data_ptr()  # it knows their addresses only
            return depth

        case.found(side, call())
        case.sides.add(side, call)

    case.attempt(f"ONNX Runtime, our graph, {precision}", prepare)


def calls(graph: Any, stage: StageSpec, device: str) -> tuple[Callable[..., Any], Run]:
    """An engine's call from host to host, and the same on what is on the device already."""
    if device == "cuda":
        call = DeviceCall(torch, graph, stage, stage.name)
        return call, call.again
    example = torch.zeros(stage.inputs[0].shape)

    def run(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = graph(image)
        return found if isinstance(found, tuple) else (found,)

    return run, lambda: run(example) and None


def _torchscript(case: PhotoCase, precision: str, side: str) -> tuple[Any, StageSpec, str]:
    if precision not in case.traced:
        source = case.source(precision)
        form, _ = torchscript.form_of(source)
        graph = trace(form.to(case.device), case.on_device).module
        case.traced[precision] = graph, source.stage.described("")
    return (*case.traced[precision], side)


def _pt2(case: PhotoCase, precision: str, side: str) -> tuple[Any, StageSpec, str]:
    """By inductor, where it can compile it; the name says whether it did."""
    pt2.check_precision_here(precision)
    manifest, folder = _built(case, pt2, "pt2", precision)
    (stage,) = manifest.stages
    wanted = case.device == "cuda" and case.compiles
    graph, compiled = pt2_engine.graph_on(torch, folder, manifest, stage, case.device, wanted)
    if case.device == "cuda" and not compiled:
        case.sides.left_out[f"{side}, by inductor"] = "it could not compile here: see the log"
    return graph, stage, side if compiled else f"{side}, as it is"


def _tensorrt(case: PhotoCase, precision: str, side: str) -> tuple[Any, StageSpec, str]:
    if not available("tensorrt"):
        raise ImportError("tensorrt is not installed")
    manifest, folder = _built(case, tensorrt, "tensorrt", precision)
    (stage,) = manifest.stages
    trt = importlib.import_module("tensorrt")
    return tensorrt_engine.graph_on(trt, torch, folder, manifest, stage), stage, side


_GRAPHS = {"torchscript": _torchscript, "pt2": _pt2, "tensorrt": _tensorrt}


def _built(case: PhotoCase, module: Any, target: str, precision: str) -> tuple[Manifest, Path]:
    """A graph as an artifact has it, its parity taken from the correlation in the table."""
    name = f"{target}-{precision}"
    if name not in case.built:
        case.built[name] = _build(case, module, target, precision, case.scratch / name)
    return case.built[name]


def _build(
    case: PhotoCase, module: Any, target: str, precision: str, folder: Path
) -> tuple[Manifest, Path]:
    source = case.source(precision)
    folder.mkdir(parents=True)
    built: Built = module.build(source, folder)
    row = find_model(case.name)
    return Manifest(
        model=row.name,
        family=row.family,
        target=target,
        precision=precision,
        stages=(source.stage.described(built.graph),),
        input=case.spec,
        output=row.output,
        weights=WeightsSpec("seeded", "0" * 64, "none: random numbers"),
        rewrites=built.rewrites,
        compiler=built.compiler,
        versions=module.versions(),
        parity=ParityReport("pending device", "none yet", module.TOLERANCES[precision]),
        files=describe_files(folder),
    ), folder


def transformers_network(name: str) -> nn.Module:
    """The network of V2 as transformers has it."""
    transformers: Any = importlib.import_module("transformers")
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
    network: nn.Module = transformers.DepthAnythingForDepthEstimation(config).eval()
    return network


def wait_for(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def low_precisions(precisions: Sequence[str]) -> list[str]:
    """Those in which peers run, too: 16 bits, where this torch's networks have them."""
    return [one for one in precisions if one != "f32" and HAS_FUSED_ATTENTION]
