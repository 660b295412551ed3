"""The soak: what is lost is counted as lost, and in small nothing is."""

import argparse
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import soak, soak_clients
from benchmarks.soak_clients import Callers, tell_slowly
from benchmarks.soak_jobs import digests
from runtime.errors import DeviceError
from runtime.storage import Folder

ROOT = Path(__file__).parent.parent


class Answers(BaseHTTPRequestHandler):
    """A service that answers as a list says, and in the end with 503."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.server.answers.pop(0) if self.server.answers else (503, b"busy")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(soak_clients, "PAUSE_S", 0.001)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_wrong_lost_and_repeated_requests_are_told_apart(service):
    service.answers = [(503, b"not yet"), (200, b"depth")]
    callers = Callers(service.server_port, b"photo")
    service.answers = [(200, b"depth"), (200, b"another"), (400, b"no photo")]
    service.answers += [(503, b"busy"), (502, b"its worker ended"), (200, b"depth")]
    assert [callers.ask() for _ in range(5)] == [True, False, False, True, False]
    assert callers.seen == {
        **{"right": 2, "wrong": 2, "again": 2 + soak_clients.TRIES, "lost": 1},
        **{"damaged": 0, "damaged_otherwise": 0},
    }


def test_a_damaged_photo_is_sent_again_if_its_worker_was_lost(service):
    service.answers = [(200, b"depth")]
    callers = Callers(service.server_port, b"photo")
    service.answers = [(502, b"its worker ended"), (400, b"cut"), (500, b"?"), (200, b"depth")]
    for size in (1, 2, 3, 4):
        callers.send_damaged(size)
    assert callers.seen == {
        **{"damaged": 1, "damaged_otherwise": 2, "again": 1 + soak_clients.TRIES, "lost": 1},
        **{"right": 0, "wrong": 0},
    }


def test_a_service_that_never_answers_is_said(service, monkeypatch):
    monkeypatch.setattr(soak_clients, "READY_TRIES", 3)
    service.answers = []
    with pytest.raises(DeviceError, match="answers 503 to a good photo"):
        Callers(service.server_port, b"photo")


def test_a_slow_client_ends_with_the_time(service, monkeypatch):
    monkeypatch.setattr(soak_clients, "DRIP_S", 0.01)
    begun, told = time.monotonic(), Counter()
    tell_slowly(service.server_port, begun + 0.3, told)
    assert time.monotonic() - begun < 2 and not told


def test_the_jobs_own_files_are_no_results(tmp_path):
    for name in ("a.npz", "sub/b.npz", "_job/records"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert sorted(digests(Folder(tmp_path))) == ["a.npz", "sub/b.npz"]


def test_under_faults_nothing_is_lost():
    args = argparse.Namespace(minutes=0.4, kill_every=5.0, input=ROOT / "input_images")
    found = soak.measure(args)
    service, jobs = found["service"], found["jobs"]
    assert service["right"] > 50 and service["right_at_the_end"]
    assert service["workers_killed"] > 0 and service["slow_clients"]
    assert (service["wrong"], service["lost"], service["damaged_otherwise"]) == (0, 0, 0)
    assert service["damaged"] > 0
    assert jobs["jobs"] >= 2 and jobs["kills"] and jobs["full_disks"] and jobs["right"]
    assert jobs["lost"] == 0
    assert f"| requests, answered right | {service['right']:,} |" in soak.table(found)
