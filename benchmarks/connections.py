"""The service among clients that only hold on to it: idle ones, slow readers and slow uploads.

Two well-behaved clients go on asking, one for ``/ping`` and one for depth. What they wait, what
they are told, and what the service's memory does, out. All on loopback; it ends by itself.
"""

import argparse
import contextlib
import io
import logging
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Optional

from PIL import Image

from benchmarks.clients import Request, percentile
from benchmarks.document import markdown_table
from benchmarks.load import our_service
from benchmarks.machine import resident_mib
from benchmarks.options import add_artifact, add_number
from benchmarks.soak_clients import children
from runtime.command_line import above_zero
from runtime.photo.find import find_photos

log = logging.getLogger(__name__)

ABOUT = "the service among idle clients, slow readers and slow uploads, at once"
DESCRIPTION = (
    "Open idle connections, ask for large answers and read them slowly, and upload slowly, all at "
    "once on loopback; meanwhile ask for /ping and for depth as a well-behaved client does, and "
    "look at the service's memory. Without nginx (DEPTH_FRONT=none) it shows what then happens."
)
EXAMPLE = "--seconds 30 --doc"
PAGE = "performance-service.md"

HEAD = "POST /v1/depth HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n"
SMALL = 1 << 16  # bytes that a slow reader takes at once, and its system ahead
EVERY_S = 2.0  # between two signs of life of a slow client
PATIENCE_S = 240.0  # for all of them to be where they should be
PING_S, DEPTH_S = 0.25, 1.0  # between two questions of the well-behaved


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_artifact(parser)
    add_number(parser, "--idle", 1100, "connections that say nothing", int)
    add_number(parser, "--readers", 200, "clients that take their answer slowly", int)
    add_number(parser, "--uploads", 200, "clients that send slowly", int)
    add_number(parser, "--side", 2800, "pixels of a reader's square photo: 31 MB of depth", int)
    add_number(parser, "--seconds", 30, "with all of them there", above_zero, "S")
    parser.add_argument("--front", default="auto", choices=("auto", "none"), help="default auto")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Crowd the service, and ask it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    small, large = find_photos(args.input)[-1].read_bytes(), photo_of(args.side)
    phases: dict[str, Any] = {}
    with our_service(args.artifact, DEPTH_FRONT=args.front) as (port, pid):
        depth = Request(port, "/v1/depth?size=model", small, {"Content-Type": "image/jpeg"})
        depth.send()
        phases["nobody else"] = asked(port, pid, depth, args.seconds / 3)
        with Crowd(port) as crowd:
            crowd.open(args.idle)
            crowd.open(args.uploads, HEAD.format(10_000).encode() + b"\r\n", drip=b"x")
            head = HEAD.format(len(large)) + "Accept: application/x-npy\r\n\r\n"
            crowd.read_slowly(args.readers, head.encode() + large)
            held = crowd.alive
            phases["all of them"] = asked(port, pid, depth, args.seconds)
            left = crowd.alive
        phases["after them"] = asked(port, pid, depth, args.seconds / 3)
    return {
        **{name: getattr(args, name) for name in ("idle", "readers", "uploads", "side", "front")},
        "artifact": args.artifact.name,
        "held": held,
        "left": left,
        "phases": phases,
    }


def photo_of(side: int) -> bytes:
    """A JPEG that compresses well."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


class Crowd:
    """Clients that hold on to a service; one thread keeps them alive until the block ends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._links: dict[socket.socket, bytes] = {}  # and what each sends now and then
        self._readers: set[socket.socket] = set()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for link in self._links:
            link.close()

    @property
    def alive(self) -> dict[str, int]:
        """How many of each kind the service still keeps."""
        with self._lock:
            there = [link for link in self._links if _is_open(link)]
            uploads = sum(bool(self._links[link]) for link in there)
            readers = sum(link in self._readers for link in there)
        return {"idle": len(there) - uploads - readers, "uploads": uploads, "readers": readers}

    def open(self, count: int, sent: bytes = b"", drip: bytes = b"") -> None:
        """Connect, send once, and then this now and then."""
        for _ in range(count):
            link = _connected(self.port, sent)
            if link is not None:
                with self._lock:
                    self._links[link] = drip

    def read_slowly(self, count: int, sent: bytes) -> None:
        """Ask for so many answers, each until it begins to come, and take little of them."""
        several = [threading.Thread(target=self._read_slowly, args=(count, sent)) for _ in range(4)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()

    def _read_slowly(self, count: int, sent: bytes) -> None:
        until = time.monotonic() + PATIENCE_S
        while len(self._readers) < count and time.monotonic() < until:
            link = _connected(self.port, sent)
            if link is None:
                continue
            if not _first_bytes(link).startswith(b"HTTP/1.1 200"):
                link.close()  # refused for now
                time.sleep(0.2)
                continue
            with self._lock:
                self._links[link] = b""
                self._readers.add(link)

    def _live(self) -> None:
        while not self._over.wait(EVERY_S):
            with self._lock:
                for link, drip in self._links.items():
                    with contextlib.suppress(OSError):
                        if drip:
                            link.send(drip)
                        elif link in self._readers:
                            link.recv(SMALL)
                idle = [one for one, drip in self._links.items() if not drip]
                for link in idle:  # who is sent away comes back
                    if link not in self._readers and not _is_open(link):
                        link.close()
                        del self._links[link]
                        again = _connected(self.port, b"")
                        if again is not None:
                            self._links[again] = b""


def _connected(port: int, sent: bytes) -> Optional[socket.socket]:
    link = socket.socket()
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        link.settimeout(20)
        link.connect(("127.0.0.1", port))
        link.sendall(sent)
        link.settimeout(0.0)
    except OSError:
        link.close()
        return None
    return link


def _first_bytes(link: socket.socket) -> bytes:
    link.settimeout(60)
    try:
        return link.recv(64)
    except OSError:
        return b""
    finally:
        link.setblocking(False)


def _is_open(link: socket.socket) -> bool:
    try:
        return link.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def asked(port: int, pid: int, depth: Request, seconds: float) -> dict[str, Any]:
    """What the well-behaved see in so many seconds, and the most memory meanwhile."""
    ping = Request(port, "/ping", b"", {}, timeout_s=20, method="GET")
    until, most = time.monotonic() + seconds, [0.0]
    seen: dict[str, list[Any]] = {"ping": [], "depth": []}

    def ask(name: str, request: Request, every: float) -> None:
        while time.monotonic() < until:
            seen[name].append(request.send())
            time.sleep(every)

    threads = [
        threading.Thread(target=ask, args=("ping", ping, PING_S)),
        threading.Thread(target=ask, args=("depth", depth, DEPTH_S)),
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most[0] = max(most[0], sum(map(_mib, family(pid))))
        time.sleep(0.2)
    facts: dict[str, Any] = {"mib": most[0]}
    for name, found in seen.items():
        took = sorted(one.seconds for one in found)
        facts[name] = {
            "asked": len(found),
            "answers": dict(Counter(str(one.status) for one in found)),
            "p50_s": percentile(took, 0.5),
            "most_s": took[-1],
        }
    return facts


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for child in children(pid):
            yield from family(child)


def _mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        return resident_mib(pid)
    return 0.0


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows = []
    for phase, facts in numbers["phases"].items():
        cells = [phase]
        for name in ("ping", "depth"):
            one = facts[name]
            answers = ", ".join(f"{n}x {status}" for status, n in sorted(one["answers"].items()))
            cells += [answers, f"{one['p50_s'] * 1000:,.0f}", f"{one['most_s'] * 1000:,.0f}"]
        rows.append([*cells, f"{facts['mib']:,.0f}"])
    header = ["beside", "/ping", "p50 ms", "most ms", "depth", "p50 ms", "most ms", "MiB held"]
    held, left = numbers["held"], numbers["left"]
    kept = ", ".join(f"{held[name]:,} {name} ({left[name]:,} at the end)" for name in held)
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['artifact']}`, front `{numbers['front']}`. Held: {kept}. A reader's answer has "
        f"{4 * numbers['side'] ** 2 / 1e6:.0f} MB. MiB held are those of all "
        "processes of the service. Clients and service share the machine."
    )
