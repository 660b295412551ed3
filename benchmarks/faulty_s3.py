"""S3 behind a network that fails: 503s, resets, answers that break off or come late.

Which request fails is drawn once, from a seed, so a run can be repeated.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional
from urllib.parse import urlsplit

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>less</Message></Error>"
LATE_S = 0.4
FAULTS = ("503", "reset", "broken off", "late")


class FaultyS3:
    """An S3 endpoint of which a share of the requests goes wrong."""

    def __init__(self, behind: tuple[str, int], share: float) -> None:
        self.behind, self.share = behind, share
        self.seen: Counter[str] = Counter()
        self._chance, self._lock = random.Random(11), threading.Lock()

    def fault(self) -> str:
        """What becomes of the next request."""
        with self._lock:
            found = self._chance.choice(FAULTS) if self._chance.random() < self.share else "none"
            self.seen[found] += 1
            return found


@contextmanager
def faulty_s3(sound: str, share: float) -> Iterator[tuple[str, FaultyS3]]:
    """Stand between clients and an S3 endpoint, on loopback.

    Args:
        sound: address of the endpoint that does not fail.
        share: of the requests, that go wrong.
    Yields:
        the address that fails, and what happened so far.
    """
    address = urlsplit(sound)
    faulty = FaultyS3((str(address.hostname), int(address.port or 80)), share)
    handler = type("Handler", (_Handler,), {"faulty": faulty})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faulty
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has been killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultyS3

    def _pass_on(self) -> None:
        fault = self.faulty.fault()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "reset":
            return self._reset()
        if fault == "503":
            return self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
        if fault == "late":
            time.sleep(LATE_S)
        connection = http.client.HTTPConnection(*self.faulty.behind, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        cut = len(found) // 2 if fault == "broken off" else None
        self._answer(answer.status, dict(answer.getheaders()), found, cut)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, cut: Optional[int] = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self._reset()

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # closing sends RST, not FIN
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
