"""Clients of a service that is being disturbed, and those who disturb it; all end by themselves.

Port or process number in; counts out.
"""

import contextlib
import hashlib
import logging
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Optional

from benchmarks.clients import Request
from benchmarks.machine import resident_mib
from runtime.errors import DeviceError

log = logging.getLogger(__name__)

TRIES, READY_TRIES, PAUSE_S = 5, 60, 0.5
ANSWER_TIMEOUT_S = 30.0
PIECES, DRIP_S = 5, 0.2  # of a slow client, before it pauses; between two of them
NGINX = "nginx"
HEADERS = {"Content-Type": "image/jpeg", "Accept": "application/x-npy"}
TRY_AGAIN = (None, 429, 502, 503)  # says nothing of the photo: no answer, busy, the worker was lost


class Callers:
    """Clients that compare every answer with the first one."""

    def __init__(self, port: int, photo: bytes) -> None:
        self.port, self.photo = port, photo
        self.seen: Counter[str] = Counter(
            right=0, wrong=0, lost=0, again=0, damaged=0, damaged_otherwise=0
        )
        self._lock = threading.Lock()
        for _ in range(READY_TRIES):  # a worker may still be reading the model
            status, self._expected = self._send(photo)
            if status == 200:
                return
            time.sleep(PAUSE_S)
        raise DeviceError(f"the service answers {status} to a good photo")

    def ask(self) -> bool:
        """Send the photo until it is answered; whether the answer was right."""
        answer = self._answer(self.photo)
        if answer is None:
            return False
        right = answer == (200, self._expected)
        self._count("right" if right else "wrong")
        return right

    def ask_until(self, until: float) -> None:
        """Ask without a pause."""
        while time.monotonic() < until:
            self.ask()

    def send_damaged_until(self, until: float) -> None:
        """Send photos that break off, each another one."""
        chance = random.Random(3)
        while time.monotonic() < until:
            self.send_damaged(chance.randrange(1, len(self.photo) // 2))
            time.sleep(PAUSE_S)

    def send_damaged(self, size: int) -> None:
        """Send this many bytes of the photo until they are answered."""
        answer = self._answer(self.photo[:size])
        if answer is None:
            return
        if answer[0] != 400:
            log.warning("%d bytes of a photo were answered with %d", size, answer[0])
        self._count("damaged" if answer[0] == 400 else "damaged_otherwise")

    def _answer(self, body: bytes) -> Optional[tuple[int, str]]:
        for _ in range(TRIES):
            status, digest = self._send(body)
            if status not in TRY_AGAIN:
                return status, digest
            self._count("again")
            time.sleep(PAUSE_S)
        self._count("lost")
        return None

    def _send(self, body: bytes) -> tuple[Optional[int], str]:
        request = Request(self.port, "/v1/depth", body, HEADERS, ANSWER_TIMEOUT_S)
        status, answer = request.answer()
        return status, hashlib.sha256(answer).hexdigest()

    def _count(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1


def tell_slowly(port: int, until: float, told: "Counter[str]") -> None:
    """Send a part of a request slowly, then pause until the service has had enough; repeatedly."""
    head = b"POST /v1/depth HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
    head += b"Content-Length: 9999\r\n\r\n"
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(head)
            for _ in range(PIECES):
                time.sleep(DRIP_S)
                link.sendall(b".")
            link.settimeout(max(0.1, until - time.monotonic()))
            try:
                answer = link.recv(4096)
            except ConnectionResetError:
                answer = b""
            told["408" if b" 408 " in answer[:16] else "cut off"] += 1


class Killer:
    """Kills the younger worker of a service at times: the older one's memory can be followed."""

    def __init__(self, pid: int, every: float) -> None:
        self.pid, self.every, self.killed = pid, every, 0

    def run_until(self, until: float) -> None:
        """Kill one, again and again."""
        while time.monotonic() + self.every < until:
            time.sleep(self.every)
            workers = workers_of(self.pid)
            if len(workers) > 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(workers[-1], signal.SIGKILL)
                    self.killed += 1


class Memory:
    """What a service's first process and its oldest worker hold, over time."""

    def __init__(self, pid: int) -> None:
        self.pid, self.worker = pid, workers_of(pid)[0]
        self.seen: dict[str, list[Optional[float]]] = {"first process": [], "oldest worker": []}

    def look(self) -> None:
        """Write down what they hold now; None of a process that has ended."""
        for name, pid in zip(self.seen, (self.pid, self.worker)):
            there = Path(f"/proc/{pid}").exists()
            self.seen[name].append(resident_mib(pid) if there else None)


def children(pid: int) -> list[int]:
    """Process numbers of a process's children, oldest first."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def workers_of(pid: int) -> list[int]:
    """gunicorn's workers below a service's first process, oldest first."""
    parts = children(pid)
    named = {part: Path(f"/proc/{part}/comm").read_text().strip() for part in parts}
    if NGINX not in named.values():
        return parts
    return [one for part in parts if named[part] != NGINX for one in children(part)]
