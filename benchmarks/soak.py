"""The service and batch jobs under faults, for as long as one likes: what is lost, what grows.

The service answers clients in closed loops while workers are killed, clients trickle their requests
and others send damaged photos. Beside it, batch jobs over S3 are killed while the storage fails now
and then, and others run into a full disk. Every answer and every result is compared with those of
an undisturbed run, byte for byte. The graph is small, so that requests are what is measured.
"""

import argparse
import logging
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from benchmarks.document import markdown_table
from benchmarks.load import our_service
from benchmarks.options import add_number
from benchmarks.soak_clients import Callers, Killer, Memory, tell_slowly
from benchmarks.soak_jobs import run_jobs
from compile.job import CompileJob, compile_model
from runtime.artifact.folder import Artifact
from runtime.command_line import above_zero
from runtime.photo.find import find_photos

log = logging.getLogger(__name__)

ABOUT = "the service and batch jobs under faults: workers killed, slow clients, S3 that fails"
DESCRIPTION = (
    "Ask the service on loopback without a pause while its workers are killed, clients are slow "
    "and photos damaged; run batch jobs beside it that are killed, over an S3 that fails, onto a "
    "disk that is full. Ends with what was lost and how memory went. Needs moto (extra dev)."
)
EXAMPLE = "--minutes 20 --doc"
PAGE = "performance-service.md"

SIZE_HW = (56, 56)
CALLERS, SLOW, WORKERS = 3, 2, 2
READ_TIMEOUT_S = 4  # of the service: a slow client is told off in that time
LOOKS = 6  # at the memory, spread over the whole


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_number(parser, "--minutes", 20, "in all", above_zero, "M")
    add_number(parser, "--kill-every", 15, "seconds between two killed workers", above_zero, "S")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run both for the same time, side by side.

    Raises:
        MissingDependency: moto is not installed.
    """
    photos = find_photos(args.input)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        scratch = Path(folder)
        job = CompileJob("demo", "openvino", (SIZE_HW,), output=scratch / "artifacts")
        (artifact,) = compile_model(job)
        seconds = 60 * args.minutes
        with ThreadPoolExecutor(1) as beside:
            jobs = beside.submit(run_jobs, artifact.path, photos, scratch, seconds)
            service = disturb_service(artifact, photos[-1], seconds, args.kill_every)
    return {"minutes": args.minutes, "service": service, "jobs": jobs.result()}


def disturb_service(
    artifact: Artifact, photo: Path, seconds: float, kill_every: float
) -> dict[str, Any]:
    """Ask the service all the time while things happen to it."""
    settings = {"DEPTH_WORKERS": str(WORKERS), "DEPTH_READ_TIMEOUT_S": str(READ_TIMEOUT_S)}
    with our_service(artifact.path, **settings) as (port, pid):
        callers = Callers(port, photo.read_bytes())
        until = time.monotonic() + seconds
        killer, memory = Killer(pid, kill_every), Memory(pid)
        told: Counter[str] = Counter()
        threads = [
            *(threading.Thread(target=callers.ask_until, args=(until,)) for _ in range(CALLERS)),
            threading.Thread(target=callers.send_damaged_until, args=(until,)),
            *(threading.Thread(target=tell_slowly, args=(port, until, told)) for _ in range(SLOW)),
            threading.Thread(target=killer.run_until, args=(until,)),
        ]
        for thread in threads:
            thread.start()
        for look in range(LOOKS):
            _sleep_to(until - seconds + seconds * (look + 0.5) / LOOKS)
            memory.look()
            log.info("%d of %d: %s", look + 1, LOOKS, callers.seen)
        for thread in threads:
            thread.join()
        last = callers.ask()  # when it is over, it answers as at the beginning
    return {
        **callers.seen,
        "slow_clients": dict(told),
        "workers_killed": killer.killed,
        "memory_mib": memory.seen,
        "right_at_the_end": last,
    }


def _sleep_to(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    service, jobs = numbers["service"], numbers["jobs"]
    rows = [
        ["requests, answered right", f"{service['right']:,}"],
        ["requests, answered wrong", f"{service['wrong']:,}"],
        ["requests lost: no right answer after five tries", f"{service['lost']:,}"],
        ["tries again: the worker was killed, or was not there yet", f"{service['again']:,}"],
        ["damaged photos, each refused with 400", f"{service['damaged']:,}"],
        ["damaged photos, another answer", f"{service['damaged_otherwise']:,}"],
        ["slow clients, told 408 or cut off", f"{sum(service['slow_clients'].values()):,}"],
        ["workers killed", f"{service['workers_killed']:,}"],
        ["batch jobs", f"{jobs['jobs']:,}"],
        ["their results, byte for byte as undisturbed", f"{jobs['right']:,}"],
        ["their results missing or different", f"{jobs['lost']:,}"],
        ["batch jobs killed", f"{jobs['kills']:,}"],
        ["requests to S3 that failed", f"{jobs['s3_faults']:,}"],
        ["jobs that met a full disk, and went on when there was room", f"{jobs['full_disks']:,}"],
    ]
    header = ["MiB held", *(f"{100 * (look + 0.5) / LOOKS:.0f} %" for look in range(LOOKS))]
    memory = [[name, *(_mib(one) for one in seen)] for name, seen in service["memory_mib"].items()]
    during = f"in {numbers['minutes']:g} minutes"
    return (
        f"{markdown_table([during, ''], rows)}\n\n"
        f"{markdown_table(header, memory)}\n\n"
        f"`demo` at {SIZE_HW[0]}x{SIZE_HW[1]}, {CALLERS} clients in closed loops on {WORKERS} "
        f"workers, of which the younger one is killed. A file-size limit of the process stands in "
        "for the full disk."
    )


def _mib(value: Optional[float]) -> str:
    return "" if value is None else f"{value:,.0f}"
