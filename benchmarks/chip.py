"""Calls on Inferentia's cores, simulated: batches, pipelines, and a host that has to feed them.

What a call needs (estimated from the published band) and what the host does a photo (measured here)
in; images a second and milliseconds out. Nothing here ran on a chip.
"""

import argparse
import heapq
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.document import markdown_table
from benchmarks.options import SQUARE_HW, add_model
from benchmarks.photos import FULL_HD_HW, write_photos
from compile.ahead import traced_graphs
from compile.registry import MODELS, find_model
from compile.resources import Needs, needs_of
from runtime.engines.inferentia import INF1, InferentiaInstance
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.preprocess import photo_to_tensor

ABOUT = "batches and pipelines on Inferentia's cores, simulated, with the host measured"
DESCRIPTION = (
    "Measure what the host does a photo (decode, resize, copy), then simulate the cores of Inf1 "
    "instances with it: batches of 1 to 4, one model a core or spread over 2 or 4."
)
EXAMPLE = "--model vits --doc"
PAGE = "inferentia.md"

BATCHES, PIPELINES = (1, 2, 4), (1, 2, 4)
PHOTO_HWS = (FULL_HD_HW, (480, 640))
PHOTOS, PASSES = 6, 5
CALLS = 400  # of a simulation
WARM = 100  # of those, not counted
IN_FLIGHT = 4  # calls a core has asked for at once: the next are fed while one computes
# Device memory to cores: 50 GiB/s a chip, shared by its four [inf1-arch]
MEMORY_BYTES_S = 50 * 2**30
# How much longer a pipeline's longest part takes than an equal share: (pessimistic, optimistic)
IMBALANCE = (1.5, 1.0)


@dataclass(frozen=True)
class Host:
    """Processor milliseconds of one photo."""

    photo_hw: tuple[int, int]
    decode: float
    resize: float
    copy: float

    @property
    def total(self) -> float:
        """Of all that comes before a call."""
        return self.decode + self.resize + self.copy


@dataclass(frozen=True)
class Plan:
    """How a chip is used."""

    batch: int
    pipeline: int


@dataclass(frozen=True)
class Call:
    """Milliseconds of one call: on the host's processors, on the link, on each part of the chip."""

    host_ms: float
    link_ms: float
    part_ms: float
    parts: int

    @property
    def alone_ms(self) -> float:
        """From a photo to its depth, if nobody else asks."""
        return self.host_ms + self.link_ms + self.parts * self.part_ms


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", [name for name, row in MODELS.items() if not row.any_view])


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every machine."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the host's part, then simulate."""
    if find_model(args.model).any_view:
        raise InputError(f"--model {args.model}: scenes are not simulated; `compile plan` adds up")
    ((_, graph),) = traced_graphs(args.model, SQUARE_HW, 1, 1, [])
    needs = needs_of(graph, args.model)
    with tempfile.TemporaryDirectory(prefix="chip-") as name:
        hosts = [_host(args.input, Path(name) / str(size[0]), size) for size in PHOTO_HWS]
    cases = [
        {
            "instance": instance.name,
            "photo_hw": host.photo_hw,
            **asdict(plan),
            "rate": [simulate(needs, plan, instance, host.total, end) for end in (0, 1)],
            "ms": [call_of(needs, plan, host.total, end).alone_ms for end in (0, 1)],
        }
        for instance in INF1[:3]
        for host in hosts
        for plan in (Plan(batch, pipe) for pipe in PIPELINES for batch in BATCHES)
    ]
    return {"needs": asdict(needs), "hosts": [asdict(host) for host in hosts], "cases": cases}


def _host(photos: Path, folder: Path, size_hw: tuple[int, int]) -> Host:
    """The least processor time of some passes, a photo."""
    write_photos(photos, folder, PHOTOS, size_hw)
    files = sorted(folder.iterdir())
    passes = []
    for _ in range(PASSES):
        spent = [0.0, 0.0, 0.0]
        for file in files:
            marks = [time.process_time()]
            photo = read_photo(file)
            marks.append(time.process_time())
            tensor = photo_to_tensor(photo, SQUARE_HW)
            marks.append(time.process_time())
            np.array(tensor)
            marks.append(time.process_time())
            spent = [ms + 1e3 * (b - a) for ms, a, b in zip(spent, marks, marks[1:])]
        passes.append([ms / len(files) for ms in spent])
    decode, resize, copy = (min(stage) for stage in zip(*passes))
    return Host(size_hw, decode, resize, copy)


def call_of(needs: Needs, plan: Plan, host_ms: float, end: int) -> Call:
    """One call at one end of the band (0 pessimistic, 1 optimistic).

    Weights are read from device memory, in 16 bits, at a core's share of its bandwidth, while the
    call computes; a pipeline keeps them on the chip.
    """
    compute = plan.batch * needs.compute_ms[end]
    weights = 1e3 * needs.weight_mb * 1e6 / 2 / (MEMORY_BYTES_S / 4)
    piped = compute / plan.pipeline * IMBALANCE[end]
    part = max(compute, weights) if plan.pipeline == 1 else piped
    return Call(plan.batch * host_ms, plan.batch * needs.transfer_ms, part, plan.pipeline)


def simulate(
    needs: Needs, plan: Plan, instance: InferentiaInstance, host_ms: float, end: int
) -> float:
    """Images a second of an instance.

    Every replica always wants the next call. A photo takes a free processor of the host, then its
    chip's link, then the parts of its replica, each of which does one call at a time.
    """
    call = call_of(needs, plan, host_ms, end)
    processors = [0.0] * instance.vcpus
    heapq.heapify(processors)
    links = [0.0] * instance.chips
    replicas = instance.cores // plan.pipeline
    parts = [[0.0] * call.parts for _ in range(replicas)]
    ready = [(0.0, number % replicas) for number in range(IN_FLIGHT * replicas * plan.pipeline)]
    heapq.heapify(ready)
    done = []
    for _ in range(CALLS):
        asked, replica = heapq.heappop(ready)
        at = max(asked, heapq.heappop(processors)) + call.host_ms
        heapq.heappush(processors, at)
        chip = replica * plan.pipeline // 4
        links[chip] = at = max(at, links[chip]) + call.link_ms
        for part, free in enumerate(parts[replica]):
            parts[replica][part] = at = max(at, free) + call.part_ms
        done.append(at)
        heapq.heappush(ready, (at, replica))
    done.sort()
    return 1e3 * plan.batch * (CALLS - WARM) / (done[-1] - done[WARM - 1])


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    hosts = [
        [f"{one['photo_hw'][1]}x{one['photo_hw'][0]}"]
        + [f"{one[name]:.1f}" for name in ("decode", "resize", "copy")]
        for one in numbers["hosts"]
    ]
    header = ["cores a model, batch", "ms alone, 1080p"] + [
        f"{name}, {one['photo_hw'][1]}x{one['photo_hw'][0]}"
        for name in dict.fromkeys(case["instance"] for case in numbers["cases"])
        for one in numbers["hosts"]
    ]
    rows = []
    for pipeline in PIPELINES:
        for batch in BATCHES:
            found = [
                c for c in numbers["cases"] if (c["pipeline"], c["batch"]) == (pipeline, batch)
            ]
            cells = [f"{c['rate'][0]:,.0f} - {c['rate'][1]:,.0f}" for c in found]
            slow, fast = found[0]["ms"]
            rows.append([f"{pipeline}, {batch}", f"{fast:,.0f} - {slow:,.0f}", *cells])
    needs = numbers["needs"]
    return (
        "**The host's part**, processor ms a photo, measured here:\n\n"
        f"{markdown_table(['photo', 'decode', 'resize', 'copy'], hosts)}\n\n"
        f"**The chip's part**, images/s and ms an image, SIMULATED: `{needs['model']}` at 518x518 "
        f"computes {needs['compute_ms'][1]:.0f} to {needs['compute_ms'][0]:.0f} ms a core "
        "(ESTIMATE, published band), copies at 1 GB/s, reads weights at a quarter of 50 GiB/s; a "
        "pipeline's longest part takes up to 1.5 times its share.\n\n"
        f"{markdown_table(header, rows)}"
    )
