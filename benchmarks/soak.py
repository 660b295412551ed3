"""The service's memory over many requests: a small graph, so that requests are what is measured."""

import argparse
import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks.clients import Request, Seen
from benchmarks.document import markdown_table
from benchmarks.load import our_service
from benchmarks.machine import resident_mib
from benchmarks.options import add_number
from compile.job import CompileJob, compile_model
from runtime.photo.find import find_photos

log = logging.getLogger(__name__)

ABOUT = "the service's memory over many requests"
DESCRIPTION = (
    "Send requests to the service on loopback, on a small graph, and look at its worker's memory "
    "in between."
)
EXAMPLE = "--requests 10000 --doc"

SIZE = (56, 56)
CLIENTS = 4
LOOKS = 5  # at the memory, after the warm-up


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_number(parser, "--requests", 10000)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Send requests in closed loops and look at the worker's memory between them."""
    photo, requests = find_photos(args.input)[-1], args.requests
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        job = CompileJob(model="demo", target="openvino", sizes_hw=(SIZE,), output=Path(folder))
        (artifact,) = compile_model(job)
        with our_service(artifact.path) as (port, pid):
            headers = {"Content-Type": "application/x-image", "Accept": "application/x-npy"}
            request = Request(port, "/v1/depth", photo.read_bytes(), headers)
            worker = _only_child(pid)
            seen = _send(request, max(1, requests // 10))
            memory = [resident_mib(worker)]
            for look in range(LOOKS):
                seen += _send(request, requests // LOOKS)
                memory.append(resident_mib(worker))
                log.info("%d of %d: %.0f MiB", look + 1, LOOKS, memory[-1])
            same = _only_child(pid) == worker
    return {
        "requests": requests,
        "answered": sum(one.status == 200 for one in seen[-requests:]),
        "memory_mib": memory,
        "same_worker": same,
    }


def _send(request: Request, count: int) -> list[Seen]:
    numbers, seen = iter(range(count)), []
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if next(numbers, None) is None:
                    return
            seen.append(request.send())

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    memory, step = numbers["memory_mib"], numbers["requests"] // LOOKS
    header = ["requests", *(f"{step * look:,}" for look in range(LOOKS + 1))]
    rows = [["MiB of the worker", *(f"{one:,.0f}" for one in memory)]]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"{numbers['answered']:,} of {numbers['requests']:,} requests were answered with depth, by "
        f"{'one and the same' if numbers['same_worker'] else 'more than one'} worker; `demo` at "
        f"{SIZE[0]}x{SIZE[1]}, {CLIENTS} clients in closed loops, counted after a warm-up of a "
        "tenth as many."
    )
