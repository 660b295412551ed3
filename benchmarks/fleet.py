"""What the host has to do around each NeuronCore, and where it, not the chip, sets the pace.

Simulated jobs: the model's time on a core is estimated, the host's work is real and measured here.
What a larger machine needs is arithmetic from the two, and called so.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.machine import OthersMeter
from benchmarks.options import SQUARE_HW, add_model, add_number, add_scratch
from benchmarks.photos import FULL_HD_HW, write_list, write_photos
from compile.ahead import traced_graphs
from compile.job import CompileJob, compile_model
from compile.registry import MODELS
from compile.resources import Needs, needs_of
from runtime.artifact.folder import Artifact
from runtime.command_line import above_zero
from runtime.engines.inferentia import INF1
from runtime.errors import DepthError
from serve.batch.job import SIMULATED, BatchJob
from serve.batch.listing import list_inputs
from serve.batch.photos import Photos
from serve.batch.records import Record
from serve.batch.run import Summary, run_job
from serve.batch.simulated import simulated_predictor

log = logging.getLogger(__name__)

ABOUT = "simulated jobs of 1 to 64 NeuronCores: what the host needs"
DESCRIPTION = (
    "Measure the host's work a photo, run simulated batch jobs of 1, 4, 16 and 64 cores' worth of "
    "workers, and say how many vCPUs a core needs."
)
EXAMPLE = "--model vits --seconds 6 --scratch /dev/shm"
PAGE = "scale.md"

CORES = (1, 4, 16, 64)
SIZES_HW = (FULL_HD_HW, (480, 640))
FORMAT_SETS = (("npz", "png16"), ("png16",))
PHOTOS, PASSES = 12, 5
SHARED = 6000  # tiny photos, by one process and by two
WARM_UP_S = 2.0
TINY_HW, TINY_NETWORK_HW = (16, 16), (14, 14)
CORE_MB = 2147  # of device memory


@dataclass(frozen=True)
class Stages:
    """Processor milliseconds that one photo costs, all threads together."""

    load: float
    write: float


@dataclass(frozen=True)
class Attained:
    """Images a second of a job, and the processor milliseconds of all its threads a photo."""

    rate: float
    cost: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads; the scratch folder is best in memory."""
    add_model(parser, "vits", list(MODELS))
    add_number(parser, "--seconds", 8, "a job", above_zero, "S")
    add_scratch(parser)


def section(args: argparse.Namespace, slug: str) -> str:
    """The same on every machine."""
    return str(args.command)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time the host's stages, then jobs of more and more cores, then jobs that have no work."""
    ((_, graph),) = traced_graphs(args.model, SQUARE_HW, 1, 1, [])
    needs = needs_of(graph, args.model)
    others = OthersMeter()
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=args.scratch) as name:
        root = Path(name)
        artifact = _artifact(SQUARE_HW, root)
        hosts = []
        for photo_hw in SIZES_HW:
            folder = root / f"{photo_hw[0]}"
            write_photos(args.input, folder, PHOTOS, photo_hw)
            for formats in FORMAT_SETS:
                stages = _stages(artifact, folder, formats, root)
                jobs = {
                    cores: asdict(
                        _attained(artifact, folder, formats, cores, needs, args.seconds, root)
                    )
                    for cores in CORES
                }
                hosts.append(
                    {"photo_hw": photo_hw, "formats": formats, **asdict(stages), "jobs": jobs}
                )
        tiny = _artifact(TINY_NETWORK_HW, root)
        write_photos(args.input, root / "tiny", PHOTOS, TINY_HW)
        least = _coordination(tiny, root / "tiny", root)
        shards = {count: _shards(tiny, root / "tiny", SHARED, count, root) for count in (1, 2)}
    return {
        "needs": {**asdict(needs), "core_rate": needs.core_rate},
        "hosts": hosts,
        "coordination_ms": least,
        "shards": shards,
        "others_share": others.share(),
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    needs, hosts = numbers["needs"], numbers["hosts"]
    slow, fast = needs["core_rate"]
    costs, jobs = [], []
    for host in hosts:
        name = f"{host['photo_hw'][1]}x{host['photo_hw'][0]}, `{','.join(host['formats'])}`"
        each = cost_ms(host, numbers)
        costs.append(
            [
                name,
                *(f"{ms:.1f}" for ms in (host["load"], host["write"], each)),
                f"{each * slow / 1e3:.1f} - {each * fast / 1e3:.1f}",
            ]
        )
        cells = [
            f"{job['rate']:,.1f} of {cores * fast:,.0f}, {job['cost']:.0f} ms"
            for cores, job in host["jobs"].items()
        ]
        jobs.append([name, *cells])
    height, width = needs["shape"][2:]
    memory = needs["weight_mb"] + needs["activation_mb"]
    stages = ["read, decode, prepare", "finish, encode, write", "and coordination"]
    return "\n\n".join(
        [
            f"**Processor time a photo**, ms, measured. Last column: vCPUs for one NeuronCore that "
            f"does `{needs['model']}` at {height}x{width} {slow:.0f} to {fast:.0f} times a second "
            f"(ESTIMATE, `compile.resources`; its {memory:,.0f} MB of weights and buffers, of "
            f"{CORE_MB:,}, are stated, not allocated).",
            markdown_table(["photos, formats", *stages, "vCPUs a core"], costs),
            "**Jobs**, images/s attained of those the cores could do, and processor ms a photo of "
            f"the whole job. SIMULATED: the optimistic {1e3 / fast:.0f} ms a call. This machine's "
            f"{os.cpu_count()} processors fed all of these cores: the images "
            "are theirs to limit; the ms tell whether more cores cost more coordination.",
            markdown_table(
                ["photos, formats", *("1 core" if n == 1 else f"{n} cores" for n in CORES)], jobs
            ),
            "**Instances**, arithmetic from the above: images/s that the host can feed if its vCPUs"
            " are as fast as this machine's and all are busy; dollars a million of what is less,"
            " that or the chips' optimistic rate. ESTIMATES; dollars as in `compile.resources`.",
            markdown_table(*_instances(numbers)),
            f"**Coordination** (plan, queues, names, records) costs at most "
            f"{numbers['coordination_ms']:.1f} ms a photo: so much a whole job of photos of "
            f"{TINY_HW[1]}x{TINY_HW[0]} takes, files and all. Of these one process does "
            f"{numbers['shards'][1]:,.0f} images/s, from its start to `_SUCCESS`, and two shards "
            f"side by side {numbers['shards'][2]:,.0f}.",
            f"Stages: least of {PASSES} passes over {PHOTOS} photos, one after the other, results "
            "to the scratch folder. Other processes took "
            f"{numbers['others_share']:.0%} of the processors.",
        ]
    )


def cost_ms(host: dict[str, Any], numbers: dict[str, Any]) -> float:
    """Processor time of one photo, all of it."""
    return host["load"] + host["write"] + numbers["coordination_ms"]


def _instances(numbers: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    slow, fast = numbers["needs"]["core_rate"]
    hosts = numbers["hosts"]
    header = ["instance", "vCPUs", "chips: images/s"]
    header += [f"{h['photo_hw'][1]}x{h['photo_hw'][0]}, {','.join(h['formats'])}" for h in hosts]
    rows = []
    for one in INF1:
        cells = []
        for host in hosts:
            fed = 1e3 * one.vcpus / cost_ms(host, numbers)
            dollars = 1e6 / min(fed, one.cores * fast) / 3600 * one.dollars_h
            cells.append(f"{fed:,.0f}, ${dollars:.2f}")
        chips = f"{one.cores * slow:,.0f} - {one.cores * fast:,.0f}"
        rows.append([one.name, str(one.vcpus), chips, *cells])
    return header, rows


def _artifact(size_hw: tuple[int, int], root: Path) -> Artifact:
    """Of the smallest model: the host's work follows from the size alone."""
    job = CompileJob(
        model="demo",
        target="torchscript",
        sizes_hw=(size_hw,),
        output=root / "graphs",
        seeded="fallback",
    )
    (artifact,) = compile_model(job)
    return artifact


def _stages(artifact: Artifact, folder: Path, formats: tuple[str, ...], root: Path) -> Stages:
    """The least of some passes, one photo after the other, each stage for itself."""
    job = BatchJob(str(folder), str(root / "out"), formats=formats)
    photos = Photos(job, "", job.open().output)
    predictor = simulated_predictor([artifact], 0)
    found = []
    for _ in range(PASSES):
        load = write = 0.0
        for item in list_inputs(job):
            start = time.process_time()
            source = photos.load(item, predictor)
            load += time.process_time() - start
            ((depth, took),) = predictor.infer([source.prepared])
            start = time.process_time()
            photos.write(item, source, predictor, depth, took)
            write += time.process_time() - start
        found.append((load, write))
    each = [1e3 * min(times) / PHOTOS for times in zip(*found)]
    log.info("%s %s: %s ms", folder.name, formats, each)
    return Stages(*each)


def _attained(
    artifact: Artifact,
    folder: Path,
    formats: tuple[str, ...],
    cores: int,
    needs: Needs,
    seconds: float,
    root: Path,
) -> Attained:
    """A job, once it runs evenly, at the optimistic time a call."""
    with tempfile.TemporaryDirectory(prefix="job-", dir=root) as name:
        job = _job(_list(Path(name), folder, 5_000), name, formats, cores, 1e3 / needs.core_rate[1])
        stop, ends = threading.Event(), []

        def progress(_: Summary, record: Record) -> None:
            ends.append((time.monotonic(), time.process_time()))
            (Path(job.output) / record.outputs[0]).unlink()  # npz: eight megabytes
            if ends[-1][0] - ends[0][0] > WARM_UP_S + seconds:
                stop.set()

        run_job(job, [artifact], stop, progress)
    counted = [end for end in ends if WARM_UP_S <= end[0] - ends[0][0] <= WARM_UP_S + seconds]
    if len(counted) < 2:
        raise DepthError(f"{len(counted)} photos in {seconds} s; give more --seconds")
    took, worked = (last - first for first, last in zip(counted[0], counted[-1]))
    done = len(counted) - 1
    log.info("%s %s, %d cores: %.1f images/s", folder.name, formats, cores, done / took)
    return Attained(done / took, 1e3 * worked / done)


def _coordination(artifact: Artifact, folder: Path, root: Path) -> float:
    """Processor milliseconds a photo of a job whose photos have next to no work in them."""
    count = 4000
    with tempfile.TemporaryDirectory(prefix="job-", dir=root) as name:
        job = _job(_list(Path(name), folder, count), name, ("png16",), 1, 0)
        start = time.process_time()
        run_job(job, [artifact], threading.Event(), lambda *_: None)
        return 1e3 * (time.process_time() - start) / count


def _shards(artifact: Artifact, folder: Path, count: int, shards: int, root: Path) -> float:
    """Images a second of the real command in so many processes, each with its shard."""
    with tempfile.TemporaryDirectory(prefix="job-", dir=root) as name:
        words = ["run", "--input", _list(Path(name), folder, count), "--output", f"{name}/depth"]
        words += ["--artifact", str(artifact.path), "--formats", "png16", "--engine", SIMULATED]
        command = [sys.executable, "-m", "serve.batch", *words, "--service-ms", "0", "--shard"]
        start = time.monotonic()
        running = [
            subprocess.Popen(
                [*command, f"{index}/{shards}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for index in range(shards)
        ]
        ended = [process.wait() for process in running]
        took = time.monotonic() - start
    if any(ended):
        raise DepthError(f"shards ended with {ended}")
    return count / took


def _job(
    names: str, root: str, formats: tuple[str, ...], cores: int, service_ms: float
) -> BatchJob:
    return BatchJob(
        names,
        f"{root}/depth",
        formats=formats,
        engine=SIMULATED,
        workers=cores,
        service_ms=service_ms,
    )


def _list(root: Path, folder: Path, count: int) -> str:
    return str(write_list(root, sorted(folder.iterdir()), count))
