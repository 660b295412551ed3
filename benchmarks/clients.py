"""Clients of a service under test: closed loops and a fixed rate, on loopback, bounded in time.

Each request is one connection's, so that a refused one costs the service what it would in earnest.
"""

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import Optional

ANSWER_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Request:
    """What every client sends."""

    port: int
    path: str
    body: bytes
    headers: dict[str, str]
    timeout_s: float = ANSWER_TIMEOUT_S
    method: str = "POST"

    def send(self) -> "Seen":
        """Send it once; never raises."""
        start = time.monotonic()
        status, _ = self.answer()
        return Seen(start, time.monotonic() - start, status)

    def answer(self) -> tuple[Optional[int], bytes]:
        """Send it once: status and body; no status if nothing came. Never raises."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request(self.method, self.path, self.body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()


@dataclass(frozen=True)
class Seen:
    """One request's fate: when it was sent, how long it took, its status; None: no answer."""

    start: float
    seconds: float
    status: Optional[int]


@dataclass
class Load:
    """All that was seen."""

    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, *statuses: Optional[int]) -> list[float]:
        """Seconds of the requests that ended with one of these, sorted."""
        return sorted(one.seconds for one in self.seen if one.status in statuses)

    @property
    def rate(self) -> float:
        """Answers of 200 a second."""
        return len(self.of(200)) / self.seconds


def closed_loop(request: Request, clients: int, seconds: float) -> Load:
    """Clients that each send the next request when the last is answered."""
    load, start = Load(), time.monotonic()

    def client() -> None:
        while time.monotonic() - start < seconds:
            load.seen.append(request.send())

    _run([threading.Thread(target=client) for _ in range(clients)])
    load.seconds = time.monotonic() - start
    return load


def fixed_rate(request: Request, rate: float, seconds: float) -> Load:
    """Requests at a rate, whether or not earlier ones are answered."""
    load, start = Load(), time.monotonic()
    threads = []
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        threads.append(threading.Thread(target=lambda: load.seen.append(request.send())))
        threads[-1].start()
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - start
    return load


def percentile(values: list[float], share: float) -> float:
    """Of sorted values; 0 of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
