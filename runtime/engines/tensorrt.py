"""TensorRT on a CUDA device: engines that are built here from an artifact's ONNX graph.

An engine is executable code for one GPU and one version of TensorRT, so it is never part of an
artifact: it is built where it runs, held to what the artifact expects of it, and kept by
``made_here``, which hands out nobody else's. Written against TensorRT 10's documented interface and
run on a stand-in for it; never yet on a GPU.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import numpy as np

from runtime.artifact.manifest import Manifest, StageSpec
from runtime.engines import Engine
from runtime.engines.failures import failures_named
from runtime.engines.inductor import off_by, program_facts
from runtime.engines.made_here import made_here
from runtime.engines.torchscript import engine_of, shared_graph
from runtime.engines.where import torch_device
from runtime.errors import ArtifactError, CompileError, InputError
from runtime.optional import require

log = logging.getLogger(__name__)

INSTALL = (
    "tensorrt is not installed; it is NVIDIA's own package for machines with a CUDA GPU: run pip "
    "install tensorrt, or compile with --target pt2 or torchscript"
)
SUFFIX = ".engine"


def expected_file(graph: Path) -> Path:
    """Beside a graph: noise by the names of its inputs, and what the model gives for it."""
    return graph.with_suffix(".npz")


def load(
    folder: Path, manifest: Manifest, stage: StageSpec, device: str, threads: Optional[int]
) -> Engine:
    """Load a graph's engine, built first if there is none for this GPU and this TensorRT.

    Raises:
        ArtifactError: TensorRT cannot read the graph.
        CompileError: it builds none, or one that does not equal the model.
        DeviceError: the GPU failed.
        InputError: there is no GPU here, or it was not asked for.
        MissingDependency: tensorrt is not installed.
    """
    trt, torch = require("tensorrt", "", INSTALL), require("torch", "torch")
    if torch_device(device).type != "cuda":
        raise InputError(f"{manifest.name}: target tensorrt runs on cuda only")
    if threads is not None:
        torch.set_num_threads(threads)
    with failures_named(folder):
        context = graph_on(trt, torch, folder, manifest, stage)
        return engine_of(torch, context, folder, manifest, stage, "cuda")


def graph_on(
    trt: ModuleType, torch: ModuleType, folder: Path, manifest: Manifest, stage: StageSpec
) -> "Context":
    """A graph from tensors on the device to a tuple of them; raises as ``load``."""
    file = folder / stage.graph
    by = f"tensorrt {trt.__version__}"
    facts = program_facts(torch, by, folder, manifest, stage, "cuda")

    def make(program: Path) -> None:
        log.info("%s: TensorRT builds %s for this GPU, once", manifest.name, stage.name)
        program.write_bytes(built(trt, file))
        _check(torch, Context(torch, Loaded(trt, program), stage), file, manifest, stage)

    program = made_here(folder, facts, SUFFIX, make)
    loaded = shared_graph(torch, program, "cuda", lambda: Loaded(trt, program))
    return Context(torch, loaded, stage)


def built(trt: ModuleType, file: Path) -> bytes:
    """The engine of an ONNX graph, in the types that the graph itself states.

    Raises:
        ArtifactError: TensorRT cannot read the graph.
        CompileError: it cannot build an engine of it.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(file)):
        said = str(parser.get_error(0)) if parser.num_errors else "it does not say why"
        raise ArtifactError(f"{file}: TensorRT {trt.__version__} cannot read it: {said}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise CompileError(
            f"{file}: TensorRT {trt.__version__} builds no engine of it; its lines above say why"
        )
    return bytes(made)


class Loaded:
    """An engine on the device, with what it lives by. To make one executes the file.

    Raises:
        CompileError: TensorRT refuses it.
    """

    def __init__(self, trt: ModuleType, program: Path) -> None:
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self.engine = self._runtime.deserialize_cuda_engine(program.read_bytes())
        if self.engine is None:
            raise CompileError(f"{program}: TensorRT cannot load the engine that it built here")


class Context:
    """One of an engine's contexts, from tensors on the device to a tuple of them.

    It runs on the current stream, so that it can be recorded. One call at a time.
    """

    def __init__(self, torch: ModuleType, loaded: Loaded, stage: StageSpec) -> None:
        self._torch, self._stage = torch, stage
        self._loaded, self._context = loaded, loaded.engine.create_execution_context()

    def __call__(self, *tensors: Any) -> tuple[Any, ...]:
        """Run once."""
        torch, stage = self._torch, self._stage
        made = tuple(
            torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device="cuda")
            for spec in stage.outputs
        )
        for spec, tensor in zip((*stage.inputs, *stage.outputs), (*tensors, *made)):
            if not self._context.set_tensor_address(spec.name, tensor.data_ptr()):
                raise CompileError(f"{stage.graph}: its engine has no tensor {spec.name!r}")
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("CUDA error: TensorRT did not begin a call")
        return made


def _check(
    torch: ModuleType, context: Context, file: Path, manifest: Manifest, stage: StageSpec
) -> None:
    """Hold a new engine to what the artifact expects of it.

    Raises:
        ArtifactError: what it expects is missing or damaged.
        CompileError: the engine is past the tolerance.
    """
    try:
        with np.load(expected_file(file), allow_pickle=False) as known:
            given = [torch.from_numpy(known[spec.name]).to("cuda") for spec in stage.inputs]
            expected = [torch.from_numpy(known[spec.name]) for spec in stage.outputs]
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{expected_file(file)}: cannot be read ({error}); rebuild the artifact"
        ) from error
    with torch.inference_mode():
        found = [tensor.cpu() for tensor in context(*given)]
    off, limit = max(map(off_by, found, expected)), manifest.parity.tolerance_rel_range
    if not off <= limit:
        raise CompileError(
            f"{manifest.name}: TensorRT's engine of {stage.name} is off by {off:.1e} of the range, "
            f"tolerance {limit:.0e}; use --precision f32, or --target pt2"
        )
