"""The sides of ``benchmarks.latency``: who runs the network, in which precision, how it is started.

A job and a folder that describes the network in; ways to start a process each out. Environments,
exports and artifacts are made once, before anything is started.
"""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.artifacts import made_or_left_out
from benchmarks.options import SQUARE_HW
from benchmarks.peers import environment, ggml
from benchmarks.peers.process import SCRIPTS, Peer, variables
from compile.job import CompileJob
from compile.targets import target_module
from runtime.engines import available
from runtime.errors import DepthError

log = logging.getLogger(__name__)

TORCH = "torch==2.13.0"
UPSTREAM = (
    (TORCH, "numpy==2.4.6", "opencv-python-headless==5.0.0.93", "onnx==1.23.2"),
    ("--no-deps", "jkp-depth-anything-v2==0.1.1"),
)
TRANSFORMERS = (TORCH, "numpy==2.4.6", "transformers==5.23.0")
ONNXRUNTIME = ("onnxruntime==1.31.1", "numpy==2.4.6")
OPENVINO = ("openvino==2026.4.1", "numpy==2.4.6")
TORCHAO = "torchao==0.18.0"
COMPARED = ("f32", "bf16", "int8")
CALLS = 3  # of each side, a round
OURS = (("torchscript", ("f32",)), ("onnx", ("f32",)), ("openvino", COMPARED))
EAGER = "jkp-depth-anything-v2, eager"
TORCH_COMPILE, AO = "torch.compile", "torchao"
ALSO = (TORCH_COMPILE, AO)  # sides that take half a minute each to start
CPP = "depth-anything.cpp"


@dataclass(frozen=True)
class Way:
    """A side that can be started as often as one likes; its name may hold ``{facts}`` of it."""

    name: str
    precision: str
    start: Callable[[], Peer]

    @property
    def ours(self) -> bool:
        """Not another's."""
        return self.name.startswith("ours")


def peers(
    scratch: Path,
    size_hw: tuple[int, int],
    threads: int,
    also: Sequence[str],
    left_out: dict[str, str],
) -> Iterator[Way]:
    """Other people's packages; why one cannot be goes to left_out.

    Args:
        scratch: with ``model.json``, ``weights.pth`` and ``image.npy``.
        also: of ``ALSO``.
    Raises:
        MissingDependency: an environment cannot be made.
        DepthError: upstream's network cannot be exported.
    """
    folder, count, image = str(scratch), str(threads), str(scratch / "image.npy")
    upstream = environment("v2-upstream", *UPSTREAM)
    graph = scratch / "upstream.onnx"
    log.info("exporting upstream's network to ONNX")
    words = [str(upstream), str(SCRIPTS / "v2_upstream.py"), "export", folder, count, str(graph)]
    if subprocess.run(words, stdout=sys.stderr, env=variables()).returncode:
        raise DepthError("upstream's network cannot be exported; see the lines above")
    depth = scratch / "depth.npy"

    def way(name: str, precision: str, python: Path, script: str, *words: str) -> Way:
        return Way(name, precision, lambda: Peer(python, script, words, depth))

    yield way(EAGER, "f32", upstream, "v2_upstream.py", "answer", folder, count)
    if TORCH_COMPILE in also:
        for precision in ("f32", "bf16"):
            words = [folder, count, precision]
            yield way(f"{TORCH_COMPILE}, frozen", precision, upstream, "v2_compiled.py", *words)
    if AO in also:
        python = environment("v2-torchao", (*UPSTREAM[0], TORCHAO), UPSTREAM[1])
        yield way(f"{AO}, compiled", "int8", python, "v2_compiled.py", folder, count, "int8")
    if size_hw == SQUARE_HW:
        python = environment("transformers", TRANSFORMERS)
        yield way("transformers, {attention}", "f32", python, "v2_transformers.py", folder, count)
    else:
        left_out["transformers"] = (
            "it interpolates the position embedding otherwise than upstream at sizes not its own"
        )
    python = environment("onnxruntime", ONNXRUNTIME)
    words = [str(graph), image, count]
    yield way("ONNX Runtime, upstream's export", "f32", python, "graph_onnxruntime.py", *words)
    python = environment("openvino", OPENVINO)
    for precision in ("f32", "bf16"):
        words = [str(graph), image, count, precision]
        yield way("OpenVINO, upstream's export", precision, python, "graph_openvino.py", *words)


def cpp(scratch: Path, threads: int, sources: Path, encoder: str) -> Way:
    """depth-anything.cpp, built from sources that are here.

    Raises:
        MissingDependency: it cannot be built, or the weights cannot be converted.
    """
    python = environment("v2-ggml", (*UPSTREAM[0], *ggml.CONVERTS_WITH), UPSTREAM[1])
    library = ggml.built(sources)
    weights = ggml.converted(sources, python, encoder, scratch / "weights.pth", scratch)
    words = [str(library), str(weights), str(scratch / "image.ppm"), str(threads)]
    depth = scratch / "depth.npy"
    return Way(CPP, "f32", lambda: Peer(python, "ggml_depth.py", words, depth))


def ours(
    model: str,
    size_hw: tuple[int, int],
    precisions: Sequence[str],
    scratch: Path,
    threads: int,
    left_out: dict[str, str],
) -> Iterator[Way]:
    """Our artifacts of every target that is here; why one cannot be goes to left_out."""
    image, depth = str(scratch / "image.npy"), scratch / "depth.npy"
    for target, compared in OURS:
        known = target_module(target).PRECISIONS if available(target) else ()
        for precision in (name for name in compared if name in precisions and name in known):
            what = CompileJob(
                model=model,
                target=target,
                sizes_hw=(size_hw,),
                output=scratch / "artifacts",
                seeded="always",
                precision=precision,
            )
            artifact = made_or_left_out(what, f"{target}, {precision}", left_out)
            if artifact is None:
                continue
            words = [str(artifact.path), image, str(threads)]
            yield Way(
                f"ours, {target}",
                precision,
                lambda words=words: Peer(
                    Path(sys.executable), "artifact.py", words, depth, SCRIPTS.parents[1]
                ),
            )
