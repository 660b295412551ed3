"""nginx before the service: its configuration, what it says itself, how the two begin and end."""

import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from served import (
    ROOT,
    children,
    connect,
    encoded,
    get,
    name_of,
    needs_nginx,
    post,
    problem,
    serving,
)

from runtime.errors import InputError
from serve.http.listener import open_listener
from serve.http.nginx import (
    PROBLEMS,
    Place,
    bytes_of_an_answer,
    find_nginx,
    places_of,
    render,
)
from serve.http.problems import CODES
from serve.http.settings import MIB, Settings
from serve.http.worker_states import READY, WorkerStates

HEAD = b"POST /v1/depth HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n"
PART = HEAD + b"\r\npart"
TOOLS = ("unshare", "nsenter", "mount")


def place(folder: Path, **more) -> Place:
    facts = {
        "folder": folder,
        "socket": folder / "gunicorn",
        "address": "127.0.0.1:0",
        "files": 4096,
        "room_bytes": 1 << 34,
        "workers": 2,
    }
    return Place(**{**facts, **more})


@pytest.fixture(scope="module")
def photo(make_photo) -> bytes:
    return encoded(make_photo(30, 40, seed=1))


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def family(pid: int) -> "list[int]":
    """A process and all below it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


# -- the configuration ----------------------------------------------------------------------------


@needs_nginx
@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {}),
        ({"log_level": "WARNING"}, {"address": "[::1]:8080"}),
        ({"log_level": "DEBUG", "trusted_proxies": ("10.0.0.0/8", "::1")}, {"files": 100}),
        ({"max_body_mb": 0.5, "read_timeout_s": 0.2, "keep_alive_s": 0.0}, {"room_bytes": 0}),
        ({"connections": 65_000, "threads": 1024, "drain_s": 0.0}, {"files": 1 << 20}),
    ],
)
def test_nginx_takes_its_configuration(settings, more, tmp_path):
    nginx, _ = find_nginx(Settings(), tmp_path)
    with socket.socket() as free:  # nginx tries to listen there
        free.bind(("127.0.0.1", 0))
        address = more.get("address", f"127.0.0.1:{free.getsockname()[1]}")
    here = place(tmp_path, **{**more, "address": address})
    (tmp_path / "nginx.conf").write_text(render(Settings(**settings), here))
    command = [nginx, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", "nginx.conf"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "[warn]" not in done.stderr, done.stderr


def test_limits_are_those_of_the_settings(tmp_path):
    settings = Settings(
        max_body_mb=2,
        read_timeout_s=1.5,
        send_timeout_s=3,
        keep_alive_s=65,
        deadline_s=20,
        threads=8,
    )
    text = render(settings, place(tmp_path))
    for line in (
        "client_max_body_size 2097152;",
        "client_header_timeout 1500ms;",
        "client_body_timeout 1500ms;",
        "send_timeout 3000ms;",
        "keepalive_timeout 65000ms;",
        "proxy_read_timeout 25000ms;",
        "limit_conn client 512;",
        f"server unix:{tmp_path}/gunicorn max_conns=14 max_fails=0;",
    ):
        assert f" {line}\n" in text, line
    assert str(tmp_path / "answers") in text and "/var/" not in text and "/run/" not in text


def test_places_leave_a_third_to_probes_and_files_to_each():
    places, requests = places_of(Settings(), 1 << 20)
    assert (places, requests) == (4 * 1024 + 64, 1024)
    for files in (100, 256, 1024, 4096):
        places, requests = places_of(Settings(), files)
        assert requests * 3 <= places and 2 * (places + 32) <= max(files, 128)


def test_answers_wait_on_the_disk_as_far_as_it_has_room():
    settings = Settings(max_answer_mb=64)
    assert bytes_of_an_answer(settings, 1024, 1 << 40) == 65 * MIB
    assert bytes_of_an_answer(settings, 1024, 1 << 30) == 3 * MIB
    assert bytes_of_an_answer(settings, 1024, 64 * MIB) == 0


def test_what_nginx_says_is_a_problem_that_is_documented(tmp_path):
    text = render(Settings(), place(tmp_path))
    bodies = re.findall(r"return (\d+) '(\{.*\})\n'", text)
    assert len(bodies) == len(PROBLEMS)
    for status, body in bodies:
        facts = json.loads(body)
        assert CODES[facts["code"]] == (int(status), facts["title"]) and facts["detail"]
        assert facts["message"] == f"{facts['title']}: {facts['detail']}"


def test_only_refusals_for_want_of_room_end_slowly(tmp_path):
    """A status or a missing page must not wait."""
    text = render(Settings(), place(tmp_path))
    slow = [
        part.partition(" ")[0]
        for part in text.split("location = /.problem/")[1:]
        if " limit_rate 512;" in part
    ]
    assert slow == ["overloaded", "worker_lost"]


def test_without_nginx_the_reason_is_said(tmp_path, monkeypatch):
    assert find_nginx(Settings(front="none"), tmp_path) == ("", "DEPTH_FRONT=none")
    monkeypatch.setattr("serve.http.nginx.ELSEWHERE", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nginx(Settings(), tmp_path) == ("", "nginx is not installed")
    (tmp_path / "nginx").touch(0o755)
    assert find_nginx(Settings(), Path("/tmp/x"))[0]
    assert "set TMPDIR to a plainer name" in find_nginx(Settings(), tmp_path / "a b")[1]
    assert "set TMPDIR to a shorter one" in find_nginx(Settings(), tmp_path / ("a" * 90))[1]


def test_a_port_that_is_taken_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"PORT={port}: Address already in use; free it"):
            open_listener(Settings(host="127.0.0.1", port=port))


# -- what it says itself --------------------------------------------------------------------------


def answer_to(base: str, sent: bytes) -> "tuple[int, dict[str, str], dict[str, object]]":
    """Status, headers and problem that come back for these bytes."""
    with connect(base) as connection:
        connection.sendall(sent)
        status, headers, body = read_answer(connection)
        return status, headers, json.loads(body)


def read_answer(connection: socket.socket) -> "tuple[int, dict[str, str], bytes]":
    """The next answer's status, headers and body."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, dict(answer.getheaders()), answer.read()


@needs_nginx
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /info HTTP/9.9\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"G{T /info HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"GET /info HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (HEAD.replace(b"1000", b"99999999") + b"\r\n", 413, "too_large"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /.problem/no_room HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"),
    ],
)
def test_nginxs_own_refusals_are_the_services_problems(sent, status, code, tiny_served):
    got, headers, facts = answer_to(tiny_served.base, sent)
    assert (got, facts["code"], facts["status"]) == (status, code, status)
    assert headers["Content-Type"] == "application/problem+json"
    assert facts["request_id"] == headers["X-Request-Id"] and len(headers["X-Request-Id"]) == 32


@needs_nginx
def test_a_request_has_one_line_in_the_log_with_its_id(tiny_served, photo):
    inference = "5cbc4d2f-0ae2-4d3c-a7bd-a3b2b5c6e9fa"
    header = {"X-Amzn-SageMaker-Inference-Id": inference}
    _, headers, _ = post(tiny_served.base, photo, header)
    post(tiny_served.base, b"none", {**header, "X-Request-Id": "mine"})
    assert headers["X-Request-Id"] == inference
    until(lambda: '"mine"' in tiny_served.log)
    lines = [json.loads(line) for line in tiny_served.log.splitlines()]
    (found,) = [line for line in lines if line.get("request_id") == inference]
    assert (found["method"], found["path"], found["status"]) == ("POST", "/v1/depth", 200)
    assert "infer;dur=" in found["stages"] and found["bytes"] > 1000 and found["code"] == ""
    (found,) = [line for line in lines if line.get("request_id") == "mine"]
    assert (found["status"], found["code"]) == (400, "bad_photo")


@needs_nginx
def test_one_client_may_hold_so_many_requests_and_probes_are_none(tiny_artifact, photo):
    limits = {"DEPTH_CLIENT_CONNECTIONS": "3", "DEPTH_TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tiny_artifact.path, **limits) as served, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(served.base)).sendall(PART)
        until(lambda: post(served.base, photo)[0] == 429)
        assert problem(post(served.base, photo))["code"] == "overloaded"
        assert get(served.base, "/ping")[0] == 200
        assert post(served.base, photo, {"X-Forwarded-For": "192.0.2.1"})[0] == 200


@needs_nginx
def test_a_refusal_begins_at_once_and_ends_a_second_later(tiny_artifact, photo):
    """A client may go elsewhere at once; one that asks again and again costs next to nothing."""
    with serving(tiny_artifact.path, DEPTH_CLIENT_CONNECTIONS="1") as served, ExitStack() as stack:
        stack.enter_context(connect(served.base)).sendall(PART)
        until(lambda: post(served.base, photo)[0] == 429)
        connection = http.client.HTTPConnection(served.base.partition("//")[2], timeout=10)
        start = time.monotonic()
        connection.request("POST", "/v1/depth", photo, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        head_s = time.monotonic() - start
        found = json.loads(answer.read())
        assert (answer.status, found["code"]) == (429, "overloaded")
        assert answer.headers["Retry-After"] == "1"
        assert head_s < 0.5 < time.monotonic() - start < 3
        assert "X-Accel-Limit-Rate" not in answer.headers


@needs_nginx
def test_who_finds_no_place_in_any_worker_is_told_that_there_is_too_much_work(tiny_artifact, photo):
    whole = HEAD.replace(b"1000", b"%d" % len(photo)) + b"\r\n" + photo
    with serving(tiny_artifact.path, DEPTH_THREADS="4") as served, ExitStack() as stack:
        (worker,) = served.workers
        os.kill(worker, signal.SIGSTOP)
        stack.callback(os.kill, worker, signal.SIGCONT)
        links = [stack.enter_context(connect(served.base)) for _ in range(5)]
        for link in links:
            link.sendall(whole)
        refused, _, _ = select.select(links, [], [], 10)
        os.kill(worker, signal.SIGCONT)
        assert len(refused) in (1, 2), "three have places"
        for link in refused:
            status, headers, body = read_answer(link)
            assert (status, json.loads(body)["code"]) == (429, "overloaded")
            assert headers["Retry-After"] == "1" and headers["X-Depth-Problem"] == "overloaded"
        assert 200 in [read_answer(link)[0] for link in links if link not in refused]


@needs_nginx
def test_idle_slow_and_deaf_clients_beside_each_other_delay_nobody(make_artifact, photo):
    large = encoded(np.zeros((1200, 1600, 3), np.uint8))  # 7.7 MB of depth
    ask = HEAD.replace(b"1000", b"%d" % len(large)) + b"Accept: application/x-npy\r\n\r\n" + large
    with serving(make_artifact().path, DEPTH_THREADS="8") as served, ExitStack() as stack:
        for sent, count in ((b"", 150), (b"GET /", 30), (PART, 30), (ask, 12)):
            for _ in range(count):
                link = stack.enter_context(connect(served.base))
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                link.sendall(sent)
        for _ in range(3):
            begun = time.monotonic()
            assert get(served.base, "/ping")[0] == 200
            assert time.monotonic() - begun < 2
            until(lambda: post(served.base, photo)[0] == 200, 10)


# -- beginning and ending -------------------------------------------------------------------------


@needs_nginx
@pytest.mark.parametrize("victim", ["nginx", "gunicorn"])
def test_if_either_part_ends_all_ends_with_its_reason(victim, tiny_artifact):
    with serving(tiny_artifact.path, status=1) as served:
        everybody = family(served.pid)
        (pid,) = [
            one for one in children(served.pid) if (name_of(one) == "nginx") == (victim == "nginx")
        ]
        os.kill(pid, signal.SIGKILL)
        assert served.process.wait(25) == 1
        assert f"{victim} ended (killed by SIGKILL): the service ends" in served.log
        until(lambda: not any(name_of(one) for one in everybody), 10)


@needs_nginx
def test_if_the_first_process_is_killed_nobody_is_left(tiny_artifact):
    with serving(tiny_artifact.path, status=-signal.SIGKILL) as served:
        everybody = family(served.pid)
        assert len(everybody) == 6
        served.process.kill()
        served.process.wait()
        until(lambda: not any(name_of(one) for one in everybody), 15)


@pytest.mark.parametrize("front", ["auto", "none"])
def test_sighup_changes_nothing_and_says_so(front, tiny_artifact, photo):
    with serving(tiny_artifact.path, DEPTH_FRONT=front) as served:
        before = family(served.pid)
        served.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP: nothing is read again while the service runs" in served.log)
        assert [get(served.base, "/ping")[0] for _ in range(5)] == [200] * 5
        assert post(served.base, photo)[0] == 200 and family(served.pid) == before


@needs_nginx
def test_sigterm_finishes_what_was_accepted(make_artifact, photo):
    with serving(make_artifact(work=150).path) as served:
        found = []
        thread = threading.Thread(target=lambda: found.append(post(served.base, photo)[0]))
        thread.start()
        until(lambda: b"depth_in_flight 1.0" in get(served.base, "/metrics")[2], 10)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: get(served.base, "/ping")[0] == 503, 0.9)
        assert problem(post(served.base, photo))["code"] == "draining"
        thread.join(25)
    assert found == [200]


@needs_nginx
def test_a_worker_that_loads_gets_no_request(tiny_artifact, photo):
    with serving(tiny_artifact.path, DEPTH_WORKERS="2") as served:
        assert served.log.count('"message": "ready"') == 2, "ping waits for all at first"
        os.kill(served.workers[0], signal.SIGKILL)
        seen = []
        while served.log.count('"message": "ready"') < 3:
            seen.append(post(served.base, photo)[0])
        assert set(seen[1:]) <= {200} and len(seen) > 3, seen
        assert b"depth_workers_ready 2.0" in get(served.base, "/metrics")[2]


def may_mount() -> bool:
    return (
        os.name == "posix"
        and os.geteuid() == 0
        and all(map(shutil.which, TOOLS))
        and not subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode
    )


@pytest.mark.skipif(not may_mount(), reason="needs root, and Linux's unshare, to fill a disk")
@pytest.mark.parametrize("front", ["auto", "none"])
def test_a_worker_is_replaced_while_the_disk_is_full(front, tiny_artifact, photo, monkeypatch):
    folder = "/mnt"
    tmpfs = f'mount -t tmpfs -o size=8m tmpfs {folder}; exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", tmpfs, "-"]
    with serving(tiny_artifact.path, before=before, TMPDIR=folder, DEPTH_FRONT=front) as served:
        inside = ["nsenter", "--target", str(served.pid), "--mount"]
        subprocess.run([*inside, "sh", "-c", f"cat /dev/zero > {folder}/full"], capture_output=True)
        (worker,) = served.workers
        os.kill(worker, signal.SIGKILL)
        until(lambda: served.workers and worker not in served.workers)
        until(lambda: post(served.base, photo)[0] == 200)
        until(lambda: get(served.base, "/ping")[0] == 200, 2)
        text = get(served.base, "/metrics")[2]
        assert b"depth_worker_restarts_total 1.0" in text and b"depth_workers_ready 1.0" in text


def test_where_nothing_can_be_written_one_sentence_says_so(tiny_artifact, monkeypatch, capsys):
    from serve.__main__ import main

    monkeypatch.setenv("MODEL_DIR", str(tiny_artifact.path))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (ROOT / "no" / "such").mkdir())
    assert main([]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: nothing can be written here") and said.count("\n") == 0
    assert "set TMPDIR" in said


COUNTING = """
import os
from pathlib import Path
from serve.http import metrics

folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

def blocks():
    return {file.name: file.stat().st_blocks for file in folder.iterdir()}

def has(line):
    return line in metrics.render().decode().splitlines()

metrics.make_room(1)
before = blocks()
for number in range(3):
    if os.fork() == 0:
        metrics.enter(0)
        metrics.begin()
        metrics.READY.set(1)
        metrics.REQUESTS.labels("/", "200").inc()
        os._exit(0)
    os.wait()
    assert has("depth_workers_ready 1.0")
    metrics.forget(0)
assert not has("depth_workers_ready 1.0")
assert has('depth_requests_total{route="/",status="200"} 3.0')
assert blocks() == before
"""


def test_a_worker_goes_on_in_the_room_that_was_taken_at_the_start(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COUNTING]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_worker_without_signs_of_life_is_not_ready(monkeypatch):
    states = WorkerStates()
    states.enter(3)
    assert (states.states(), states.any_ready()) == ({os.getpid(): "loading"}, False)
    states.set(READY)
    assert states.any_ready() and states.count_ready() == 1
    monkeypatch.setattr("serve.http.worker_states.STALE_S", 0.0)
    assert not states.any_ready()
    states.forget(os.getpid())
    assert states.states() == {}
