"""Depth Anything 3 on a CPU: our network and our graphs against the PyPI package's own network.

Same weights (seeded), same photos, same number of threads, interleaved rounds. The package is
installed beside, without what it does not need for this, and runs in a process of its own because
it has the same name as our room; so do our graphs, because the order in which graphs are loaded
into a process changes their speed. How far a graph is off is told by stages, by depth and by
cameras.
"""

import argparse
import contextlib
import logging
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.artifacts import made_or_left_out
from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.options import VIEW_HW, add_model, add_number, add_precisions, add_rounds
from benchmarks.peers import install
from benchmarks.peers.process import SCRIPTS, Peer
from benchmarks.photos import make_photos
from benchmarks.rounds import interleave, times_as_fast
from compile.job import CompileJob
from compile.parity import compare
from compile.seeded import fill_seeded
from compile.targets import target_module
from depth_anything_3.api import DepthAnything3
from metric_depth.pose_metrics import focal_error, pair_errors
from runtime.artifact.folder import Artifact
from runtime.command_line import positive
from runtime.engines import available
from runtime.photo.preprocess import normalised
from runtime.predict.scenes import (
    CAMERA_DECODER,
    DEPTH_HEAD,
    ENCODER_GLOBAL,
    ENCODER_LOCAL,
    SceneEngine,
    SceneOutput,
)

log = logging.getLogger(__name__)

ABOUT = "Depth Anything 3 against the PyPI package's own network"
DESCRIPTION = (
    "Scenes of one or more views at 280x504 through the package depth-anything-3, our eager "
    "network and our graphs, in interleaved rounds. Installs the package beside, once (torch 2 "
    "only)."
)
EXAMPLE = "--views 1 4 8 --rounds 3 --doc"
PAGE = "performance-network.md"

PEER = "depth-anything-3==0.1.1"
NEEDS = ("omegaconf==2.3.0", "addict==2.4.0", "einops==0.8.1")
TARGETS = ("torchscript", "openvino")
CALLS = 3  # of each side, a round, with one view; one with more
UPSTREAM, EAGER = "PyPI depth-anything-3, eager", "ours, eager"
WEIGHTS = "weights.safetensors"
LOWER = "openvino"  # the target that has the lower precisions on a processor
STAGES = (ENCODER_LOCAL, ENCODER_GLOBAL, DEPTH_HEAD, CAMERA_DECODER)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "da3-small", ["da3-small", "da3-base", "da3-large"])
    parser.add_argument(
        "--views", type=positive, nargs="+", default=[1, 4, 8], metavar="N", help="default 1 4 8"
    )
    add_precisions(parser, "f32", "bf16", "int8")
    add_number(parser, "--threads", 2, "of every side")
    add_rounds(parser, 3)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the package's network, our eager one and our graphs in turns, for each count of views.

    Raises:
        MissingDependency: the package cannot be installed.
        DepthError: a side does not start.
    """
    torch.set_num_threads(args.threads)
    model = DepthAnything3(args.model)
    fill_seeded(model)
    with tempfile.TemporaryDirectory(prefix="da3-") as folder:
        state = {key: value.clone() for key, value in model.state_dict().items()}
        save_file(state, str(Path(folder) / WEIGHTS))
        cases = [_scene(args, model, views, Path(folder)) for views in args.views]
    return {
        "model": args.model,
        "size_hw": list(VIEW_HW),
        "rounds": args.rounds,
        "threads": args.threads,
        "package": PEER,
        "cases": cases,
    }


def _scene(
    args: argparse.Namespace, model: DepthAnything3, views: int, folder: Path
) -> dict[str, Any]:
    """One count of views: times, and how far each of our sides is off."""
    photos = make_photos(args.input, views, VIEW_HW)
    images = np.stack([normalised(rgb) for _, rgb in photos])  # float32 (views, 3, h, w)
    file = folder / "images.npy"
    np.save(file, images)
    calls, threads = CALLS if views == 1 else 1, str(args.threads)
    tensor, eager = torch.from_numpy(images)[None], {}

    def run_eager() -> None:
        for _ in range(calls):
            eager.update(model(tensor))

    left_out: dict[str, str] = {}
    graphs = dict(_graphs(args, views, folder, left_out))
    with contextlib.ExitStack() as stack:

        def start(script: str, path: Path, *words: str) -> Peer:
            depth = folder / f"{script}.npy"
            words = (*words, str(file), threads)
            return stack.enter_context(Peer(Path(sys.executable), script, words, depth, path))

        package = install("da3", ["--no-deps", PEER], NEEDS)
        peers = {UPSTREAM: start("da3.py", package, model.model_name, str(folder / WEIGHTS))}
        for name, artifact in graphs.items():
            peers[name] = start("scene.py", SCRIPTS.parents[1], str(artifact.path))
        sides = {name: (calls, lambda peer=peer: peer.run(calls)) for name, peer in peers.items()}
        seconds, others, rounds_run = interleave({**sides, EAGER: (calls, run_eager)}, args.rounds)
        expected = peers[UPSTREAM].depth()
    truth = {key: eager[key][0].numpy() for key in ("depth", "extrinsics", "intrinsics")}
    off = {EAGER: _depth_off(truth["depth"], expected)}
    for name, artifact in graphs.items():
        output = SceneEngine(artifact, "cpu", args.threads)(images)
        off[name] = {
            **_depth_off(output.depth, expected),
            **_cameras_off(output, truth),
            "stages": _stages_off(artifact),
        }
    return {
        "views": views,
        "calls": calls,
        "rounds_run": rounds_run,
        "others_share": others,
        "peer": peers[UPSTREAM].facts,
        "peak_mib": {name: peer.said[-1]["peak_mib"] for name, peer in peers.items()},
        "seconds_a_scene": seconds,
        "off": off,
        "left_out": left_out,
    }


def _graphs(
    args: argparse.Namespace, views: int, folder: Path, left_out: dict[str, str]
) -> Iterator[tuple[str, Artifact]]:
    """Our artifacts of every target that is here; why one cannot be goes to left_out."""
    for target in filter(available, TARGETS):
        known = target_module(target).PRECISIONS if target == LOWER else ("f32",)
        for precision in (name for name in args.precisions if name in known):
            job = CompileJob(
                model=args.model,
                target=target,
                sizes_hw=(VIEW_HW,),
                views=(views,),
                output=folder,
                seeded="always",
                precision=precision,
                calibration=args.input,
            )
            artifact = made_or_left_out(job, f"{views} views, {target}, {precision}", left_out)
            if artifact is not None:
                yield f"ours, {target}, {precision}", artifact


def _depth_off(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Of all views: shares of the range, and the correlation."""
    case = compare("", found, expected)
    mean = float(np.abs(found - expected).mean() / np.ptp(expected))
    return {"mean": mean, "largest": case.max_rel_range, "pearson": case.pearson}


def _cameras_off(output: SceneOutput, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Against the eager network's: the most that two turned to each other, and focal lengths."""
    focal = focal_error(output.intrinsics, truth["intrinsics"])
    if len(output.extrinsics) == 1:  # the world of one camera is that camera's
        return {"focal": focal}
    turned = pair_errors(output.extrinsics, truth["extrinsics"]).rotation_deg
    return {"turn_deg": float(turned.max()), "focal": focal}


def _stages_off(artifact: Artifact) -> dict[str, float]:
    """The largest difference of each stage for itself, over its range, as the manifest has it."""
    worst: dict[str, float] = {}
    for case in artifact.manifest.parity.cases:
        stage = case.input.split(": ")[1].split()[0]
        worst[stage] = max(case.max_rel_range, worst.get(stage, 0))
    return worst


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown: a table for each count of views."""
    height, width = numbers["size_hw"]
    parts = [_table(numbers["model"], case) for case in numbers["cases"]]
    peer = numbers["cases"][0]["peer"]
    rounds_run = ", ".join(str(case["rounds_run"]) for case in numbers["cases"])
    share = max(max(case["others_share"]) for case in numbers["cases"])
    parts.append(
        f"Views of {height}x{width}, seeded weights, {numbers['threads']} threads each, medians of "
        f"{numbers['rounds']} interleaved rounds after a warm-up ({CALLS} calls a round with one "
        f"view); {rounds_run} rounds were run; in those that count, other processes took at most "
        f"{share:.0%} of the processor. The package ran on torch {peer['torch']}; it decodes rays "
        "in every call, as our eager network does; our graphs decode them when asked. Depth is "
        "compared with the package's, over its range; cameras with our eager network's: the most "
        "that two of them turned to each other, and the mean error of the focal lengths."
    )
    stages = [line for case in numbers["cases"] for line in _stage_lines(case)]
    if stages:
        parts.append("**Each stage for itself**, its largest difference over its range: ")
        parts[-1] += "; ".join(stages) + "."
    left_out = {key: why for case in numbers["cases"] for key, why in case["left_out"].items()}
    parts += [f"Left out: {name}, since {why}." for name, why in left_out.items()]
    return "\n\n".join(parts)


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """Our graphs beside the package's network."""
    height, width = numbers["size_hw"]
    for case in numbers["cases"]:
        base = case["seconds_a_scene"][UPSTREAM]
        for name, took in case["seconds_a_scene"].items():
            if name.startswith(f"ours, {LOWER}"):
                ratios = times_as_fast(base, took)
                precision = name.rpartition(", ")[2]
                yield Headline(
                    "Scenes through Depth Anything 3",
                    f"`{numbers['model']}`, {height}x{width}, views: {case['views']}, {precision}",
                    f"{statistics.median(took) * 1e3:,.0f} ms",
                    UPSTREAM,
                    statistics.median(ratios),
                )


def _table(model: str, case: dict[str, Any]) -> str:
    seconds, rows = case["seconds_a_scene"], []
    base = seconds[UPSTREAM]
    for name in (UPSTREAM, EAGER, *(name for name in seconds if name not in (UPSTREAM, EAGER))):
        ratios = times_as_fast(base, seconds[name])
        peak, off = case["peak_mib"].get(name), case["off"].get(name)
        row = [name, f"{statistics.median(seconds[name]) * 1000:,.0f}"]
        row += [f"**{statistics.median(ratios):.2f}**", f"{min(ratios):.2f} to {max(ratios):.2f}"]
        row += ["" if peak is None else f"{peak:,.0f}"]
        row += _off_cells(off) if off else [""] * 5
        rows.append(row)
    header = [f"`{model}`, views: {case['views']}", "ms a scene", "times the package"]
    header += ["single rounds", "peak MiB", "depth off, mean", "largest", "correlation"]
    return markdown_table([*header, "turned by", "focal lengths"], rows)


def _off_cells(off: dict[str, Any]) -> list[str]:
    cells = [f"{off['mean']:.1e}", f"{off['largest']:.0e}", f"{off['pearson']:.6f}"]
    if "focal" not in off:
        return [*cells, "", ""]
    turned = f"{off['turn_deg']:.1g}°" if "turn_deg" in off else ""
    return [*cells, turned, f"{off['focal']:.1e}"]


def _stage_lines(case: dict[str, Any]) -> Iterator[str]:
    """Of the graphs in lower precisions."""
    for name, off in case["off"].items():
        stages = off.get("stages", {})
        if stages and not name.endswith("f32"):
            of_each = (f"{stage} {stages[stage]:.1e}" for stage in STAGES if stage in stages)
            yield f"{name}, views: {case['views']}: {', '.join(of_each)}"
