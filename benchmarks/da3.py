"""Depth Anything 3 on a CPU: our network and our graphs against the PyPI package's own network.

Same weights (seeded), same image, same interpreter and torch, interleaved rounds. The package is
installed beside, without what it does not need for this, and runs in a process of its own because
it has the same name as our room.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.document import markdown_table
from benchmarks.options import VIEW_HW, add_model, add_rounds
from benchmarks.peers import install
from benchmarks.peers.process import Peer
from benchmarks.rounds import interleave
from compile.job import CompileJob, compile_model
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from runtime.engines import available
from runtime.predict.scenes import SceneEngine

log = logging.getLogger(__name__)

ABOUT = "Depth Anything 3 against the PyPI package's own network"
DESCRIPTION = (
    "One view at 280x504 through the package depth-anything-3, our eager network and our graphs, "
    "in interleaved rounds. Installs the package beside, once (torch 2 only)."
)
EXAMPLE = "--rounds 5 --doc"

PEER = "depth-anything-3==0.1.1"
NEEDS = ("omegaconf==2.3.0", "addict==2.4.0", "einops==0.8.1")
TARGETS = ("torchscript", "openvino")
CALLS = 3  # of each side, a round
UPSTREAM = "PyPI depth-anything-3, eager"


def start(model: DepthAnything3, image: np.ndarray, scratch: Path) -> Peer:
    """The package's network in its own process.

    Raises:
        MissingDependency: the package cannot be installed.
        DepthError: it does not start.
    """
    folder = install("da3", ["--no-deps", PEER], NEEDS)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    save_file(state, str(scratch / "weights.safetensors"))
    np.save(scratch / "image.npy", image)
    words = [model.model_name, str(scratch / "weights.safetensors"), str(scratch / "image.npy")]
    return Peer(Path(sys.executable), "da3.py", words, scratch / "depth.npy", folder)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "da3-small", ["da3-small", "da3-base", "da3-large"])
    add_rounds(parser)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the package's network, our eager one and our graphs in turns."""
    model = DepthAnything3(args.model)
    fill_seeded(model)
    image = np.random.RandomState(0).randn(1, 1, 3, *VIEW_HW).astype(np.float32)
    tensor = torch.from_numpy(image)
    found: dict[str, np.ndarray] = {}
    with (
        tempfile.TemporaryDirectory(prefix="da3-") as folder,
        start(model, image, Path(folder)) as peer,
    ):
        sides: dict[str, tuple[int, Any]] = {UPSTREAM: (CALLS, lambda: peer.run(CALLS))}
        sides["ours, eager"] = (CALLS, lambda: found.update(eager=_eager(model, tensor)))
        for target in filter(available, TARGETS):
            job = CompileJob(
                model=args.model,
                target=target,
                sizes_hw=(VIEW_HW,),
                output=Path(folder),
                seeded="always",
            )
            (artifact,) = compile_model(job)
            engine = SceneEngine(artifact, "cpu")
            sides[f"ours, {target}"] = (
                CALLS,
                lambda run=engine, key=target: found.update({key: _scene(run, image[0])}),
            )
        seconds, others, rounds_run = interleave(sides, args.rounds)
        expected = peer.depth()[0, 0]
    return {
        "model": args.model,
        "size_hw": list(VIEW_HW),
        "rounds": args.rounds,
        "rounds_run": rounds_run,
        "others_share": others,
        "peer": {"package": PEER, **peer.facts},
        "seconds_an_image": seconds,
        "off": {
            side: float(np.abs(depth - expected).max() / np.ptp(expected))
            for side, depth in found.items()
        },
    }


def _eager(model: DepthAnything3, image: torch.Tensor) -> np.ndarray:
    for _ in range(CALLS):
        depth = model(image)["depth"]
    return depth[0, 0].numpy()


def _scene(engine: SceneEngine, images: np.ndarray) -> np.ndarray:
    for _ in range(CALLS):
        depth = engine(images).depth
    return depth[0]


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    seconds, rows = numbers["seconds_an_image"], []
    base = seconds[UPSTREAM]
    for name, took in seconds.items():
        ratios = [other / ours for other, ours in zip(base, took)]
        cells = [name, f"{statistics.median(took) * 1000:,.0f}", "1", ""]
        if name != UPSTREAM:
            cells[2] = f"**{statistics.median(base) / statistics.median(took):.2f}**"
            cells[3] = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(cells)
    header = ["side", "ms a view", "times the package", "single rounds"]
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['model']}`, one view at {height}x{width}, float32, seeded weights, medians of "
        f"{numbers['rounds']} interleaved rounds of {CALLS} calls after a warm-up; "
        f"{numbers['rounds_run']} rounds were run; in those that count, other processes took at "
        f"most {max(numbers['others_share']):.0%} of the processor. The package ran on torch "
        f"{numbers['peer']['torch']} with {numbers['peer']['threads']} threads, and decodes rays "
        "in every call, as our eager network does; our graphs decode them when asked. Depth "
        f"differs by at most {max(numbers['off'].values()):.1e} of its range."
    )
