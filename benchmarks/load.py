"""The service under load: from half its capacity to four times, beside LitServe and a plain Flask
application under gunicorn with the same artifact, in one run.

"Bare" is the same work without a service: decode, predict, encode, in a loop. Everything runs on
this machine, clients too, so they share the processor with what they measure.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clients import Load, Request, closed_loop, fixed_rate, percentile
from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.options import add_artifact, add_number, add_rounds
from benchmarks.peers import install
from runtime.artifact.folder import read_artifact
from runtime.command_line import above_zero, positive
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos
from runtime.predict.predictor import Predictor

log = logging.getLogger(__name__)

ABOUT = "the service from half its capacity to four times, beside LitServe and plain Flask"
DESCRIPTION = (
    "Start the service on loopback, load it with closed loops and then with requests at a rate, "
    "from half of what it can do to four times, and do the same to LitServe and to a plain Flask "
    "application under gunicorn with the same artifact. LitServe is installed beside, once."
)
EXAMPLE = "--artifact artifacts/vits-518x518-b1-openvino"
PAGE = "performance-service.md"

PEER = "litserve==0.2.16"
BOUNDARY = "photo-boundary"
START_S = 120.0
OURS, LITSERVE, FLASK, BARE = "this service", "LitServe", "Flask, gunicorn", "bare loop"
ONE_AT_A_TIME = "this service, one call at a time"
CLIENTS = (1, 4, 16, 64)  # in closed loops
OFFERED = (0.5, 1, 2, 4)  # times the capacity
GOOD_S = 5.0  # an answer that took longer is of no use


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifact(parser)
    add_number(parser, "--seconds", 10, "a round", above_zero, "S")
    parser.add_argument(
        "--clients",
        type=positive,
        nargs="+",
        default=list(CLIENTS),
        metavar="N",
        help=f"in closed loops; default {' '.join(map(str, CLIENTS))}",
    )
    parser.add_argument("--closed", action="store_true", help="closed loops alone")
    add_rounds(parser, 3)
    parser.add_argument("--alone", action="store_true", help="without its peers")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Closed loops in turns, then requests at rising rates to each side."""
    artifact, seconds, rounds = args.artifact, args.seconds, args.rounds
    photo = find_photos(args.input)[-1]
    body = photo.read_bytes()
    predictor = Predictor([read_artifact(artifact)], "cpu")
    predictor.warm_up()
    sides: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        ours, _ = stack.enter_context(our_service(artifact))
        sides[OURS] = request_for(ours, "/v1/depth", body)
        streams = _info(ours)["streams"]
        if streams["at_once"] > 1:
            port, _ = stack.enter_context(our_service(artifact, DEPTH_STREAMS="one"))
            sides[ONE_AT_A_TIME] = request_for(port, "/v1/depth", body)
        if not args.alone:
            port = stack.enter_context(litserve(artifact))
            sides[LITSERVE] = request_for(port, "/predict", body)
            port = stack.enter_context(plain_flask(artifact))
            sides[FLASK] = request_for(port, "/predict", body)
        closed: dict[int, dict[str, list[Load]]] = {
            clients: {name: [] for name in sides} for clients in args.clients
        }
        bare: list[float] = []
        for number in range(rounds + 1):
            bare.append(_bare_rate(predictor, body, seconds))
            for clients, loads in closed.items():
                for name, request in sides.items():
                    loads[name].append(closed_loop(request, clients, seconds))
                rates = ", ".join(f"{name} {some[-1].rate:.2f}" for name, some in loads.items())
                log.info("%s: %d clients: %s images/s", number or "warm-up", clients, rates)
        capacity = max(
            statistics.median(load.rate for load in loads[OURS][1:]) for loads in closed.values()
        )
        offered: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for times in () if args.closed else OFFERED:
            for name, request in sides.items():
                log.info("%s: %.1f requests/s for %.0f s", name, times * capacity, seconds)
                load = fixed_rate(request, times * capacity, seconds)
                offered[name].append({"times": times, **_fates(load, seconds)})
                offered[name][-1]["next_s"] = request.send().seconds
    return {
        "artifact": artifact.name,
        "photo": photo.name,
        "streams": streams,
        "seconds": seconds,
        "rounds": rounds,
        "capacity": capacity,
        "bare_rate": bare[1:],
        "closed": {
            clients: {name: [_closed(load) for load in some[1:]] for name, some in loads.items()}
            for clients, loads in closed.items()
        },
        "offered": offered,
    }


def _closed(load: Load) -> dict[str, float]:
    return {
        "rate": load.rate,
        "p50_s": percentile(load.of(200), 0.5),
        "p99_s": percentile(load.of(200), 0.99),
        "other": len(load.seen) - len(load.of(200)),
    }


def _fates(load: Load, seconds: float) -> dict[str, float]:
    """What became of requests that were sent in so many seconds."""
    refused = load.of(429)
    return {
        "sent": len(load.seen),
        "answered": len(load.of(200)),
        "good_rate": sum(took <= GOOD_S for took in load.of(200)) / seconds,
        "p50_s": percentile(load.of(200), 0.5),
        "p99_s": percentile(load.of(200), 0.99),
        "refused": len(refused),
        "refused_p50_s": percentile(refused, 0.5),
        "refused_p99_s": percentile(refused, 0.99),
        "lost": len(load.of(None)),
        "failed": len(load.seen) - len(load.of(200, 429, None)),
    }


def request_for(port: int, path: str, photo: bytes) -> Request:
    """The same form for both sides; LitServe takes no plain body."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return Request(port, path, body, {"Content-Type": kind, "Accept": "application/x-npy"})


def _info(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=10) as answer:
        return dict(json.load(answer))


def _bare_rate(predictor: Predictor, body: bytes, seconds: float) -> float:
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        np.save(io.BytesIO(), predictor(read_photo(body)).depth)
        count += 1
    return count / (time.monotonic() - start)


@contextlib.contextmanager
def our_service(artifact: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """Start it, with these variables too; its port, and the number of its first process."""
    port = _free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("DEPTH_")}
    environment = {
        **own,
        "MODEL_DIR": str(artifact),
        "DEPTH_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "DEPTH_LOG_LEVEL": "WARNING",
        **settings,
    }
    command = [sys.executable, "-m", "serve"]
    with _running(command, environment, f"http://127.0.0.1:{port}/ping") as pid:
        yield port, pid


@contextlib.contextmanager
def litserve(artifact: Path) -> Iterator[int]:
    """Start LitServe, installed beside once; its port."""
    folder, port = install("litserve", [PEER, "python-multipart==0.0.20"]), _free_port()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(folder)])}
    script = Path(__file__).parent / "peers" / "litserve_depth.py"
    command = [sys.executable, str(script), str(artifact.resolve()), str(port)]
    with _running(command, environment, f"http://127.0.0.1:{port}/health"):
        yield port


@contextlib.contextmanager
def plain_flask(artifact: Path) -> Iterator[int]:
    """Start a Flask application as its tutorials have it, under gunicorn; its port."""
    port = _free_port()
    module = "benchmarks.peers.flask_depth:application()"
    flags = ["--workers", "1", "--threads", "4", "--timeout", "60", "--bind", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "gunicorn", "--log-level", "error", *flags, module]
    environment = {**os.environ, "ARTIFACT": str(artifact.resolve())}
    with _running(command, environment, f"http://127.0.0.1:{port}/ping"):
        yield port


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[int]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise InputError(f"{' '.join(command[:3])} did not start; see the lines above")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end when told to: killed", " ".join(command[:3]))
        with contextlib.suppress(ProcessLookupError):  # LitServe leaves workers behind
            os.killpg(process.pid, signal.SIGKILL)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _closed_row(name: str, sides: dict[str, list[dict[str, float]]], bare: float) -> list[str]:
    """A side beside the bare loop and this service, with as many clients."""

    def median(side: str, key: str) -> float:
        return statistics.median(load[key] for load in sides[side])

    rate = median(name, "rate")
    times = _times(sides, name)
    return [
        name,
        f"{rate:.2f}",
        f"{rate / bare:.2f}",
        "" if name == OURS else f"**{statistics.median(times):.2f}**",
        f"{median(name, 'p50_s') * 1000:,.0f}",
        f"{median(name, 'p99_s') * 1000:,.0f}",
        f"{median(name, 'other'):,.0f}",
    ]


def _times(sides: dict[str, list[dict[str, float]]], name: str) -> list[float]:
    """How many times as many images as another side this service does, in each round."""
    return [ours["rate"] / max(1e-9, load["rate"]) for ours, load in zip(sides[OURS], sides[name])]


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    bare = statistics.median(numbers["bare_rate"])
    rows = [["", BARE, f"{bare:.2f}", "1", "", "", "", ""]]
    for clients, sides in numbers["closed"].items():
        rows += [[str(clients), *_closed_row(name, sides, bare)] for name in sides]
    header = ["clients", "side", "images/s", "of bare", "this service, times", "p50 ms", "p99 ms"]
    closed = markdown_table([*header, "not answered"], rows)
    rows = []
    for name, loads in numbers["offered"].items():
        for o in loads:
            counts = (f"{o[key]:,.0f}" for key in ("sent", "refused", "lost", "failed"))
            seconds = ("p50_s", "p99_s", "refused_p99_s", "next_s")
            took = (f"{o[key] * 1000:,.0f}" for key in seconds)
            rows.append([f"{o['times']:g}x", name, f"**{o['good_rate']:.1f}**", *counts, *took])
    header = "capacity|side|good/s|sent|refused|lost|failed|p50 ms|p99 ms|refused p99 ms|next ms"
    rows.sort(key=lambda row: float(row[0].rstrip("x")))  # sides of one rate together
    offered = f"{markdown_table(header.split('|'), rows)}\n\n" if rows else ""
    return (
        f"{closed}\n\n{offered}"
        f"`{numbers['artifact']}`, a JPEG in, float32 in NumPy's format out. Closed loops, each "
        "client sending when it is answered: medians of "
        f"{numbers['rounds']} interleaved rounds of {numbers['seconds']:.0f} s after a warm-up; "
        "the bare loop decodes, predicts and encodes one photo after the other. This service ran "
        f"{numbers['streams']['at_once']} calls at once ({numbers['streams']['why']})."
        f"{_how_offered(numbers) if rows else ''} Clients and service share the machine."
    )


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """This service beside each other one, with as many clients."""
    for clients, sides in numbers["closed"].items():
        for name in (name for name in (LITSERVE, FLASK) if name in sides):
            rate = statistics.median(load["rate"] for load in sides[OURS])
            yield Headline(
                "Photos over HTTP",
                f"`{numbers['artifact']}`, clients: {clients}",
                f"{rate:.1f} a second",
                name,
                statistics.median(_times(sides, name)),
            )


def _how_offered(numbers: dict[str, Any]) -> str:
    return (
        f" Offered: requests at a rate, from half of this service's {numbers['capacity']:.1f} a "
        f"second to four times that, {numbers['seconds']:.0f} s each, one connection a request. "
        f"Good are answers within {GOOD_S:.0f} s, for each of those seconds; p50 and p99 are those "
        "of all that were answered; next is one request when all are answered or given up."
    )
