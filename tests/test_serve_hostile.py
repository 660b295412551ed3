"""What the service does with requests that mean harm: a 4xx, and nothing else happens."""

import base64
import fnmatch
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import pytest
from hostile import (
    BODY_MB,
    FORM,
    JSON,
    NPY,
    NPZ,
    Hostile,
    Raw,
    corpus,
    encode,
    npy,
    part,
    raws,
    zipped,
)
from served import Answer, Served, connect, get, needs_nginx, post, rss_mb, serving

from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor
from serve.http.problems import CODES, MEDIA_TYPE

GROWTH_MB = 20
ENDLESS_BYTES = 40 << 20  # after which an endless sender gives up
READ_TIMEOUT_S = 1


@dataclass(frozen=True)
class Attack:
    """What came of the whole corpus, sent twice."""

    answers: list[tuple[Hostile, Answer]]
    raw_answers: list[tuple[Raw, bytes]]
    pids: list[list[int]]
    rss_mb: list[float]
    executed: bool
    served: Served


@pytest.fixture(scope="module")
def png() -> bytes:
    """A photo that does not compress to nothing."""
    rng = np.random.default_rng(0)
    return encode(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), "PNG")


@pytest.fixture(scope="module")
def attack(tiny_artifact, png, tmp_path_factory) -> Iterator[Attack]:
    marker = tmp_path_factory.mktemp("executed") / "executed"
    hostile, broken = corpus(read_photo(png), marker), raws(png)
    settings = {
        "DEPTH_MAX_BODY_MB": str(BODY_MB),
        "DEPTH_MAX_PIXELS": "4000000",
        "DEPTH_S3_BUCKETS": "allowed",
    }
    with serving(tiny_artifact.path, **settings) as served:
        pids = [served.workers]
        answers = [(one, send(served, one)) for one in hostile]
        raw_answers = [(one, send_raw(served, one)) for one in broken]
        pids.append(served.workers)
        memory = [rss_mb(served.workers[0])]
        for again in hostile[::2]:
            send(served, again)
        pids.append(served.workers)
        memory.append(rss_mb(served.workers[0]))
        yield Attack(answers, raw_answers, pids, memory, marker.exists(), served)


def send(served: Served, one: Hostile) -> Answer:
    path = f"/v1/depth?{one.query}" if one.query else "/v1/depth"
    return post(served.base, one.body, {"Content-Type": one.kind, **one.headers}, path)


def send_raw(served: Served, one: Raw) -> bytes:
    """Send, and read all that is answered until the server closes or one answer is whole."""
    with connect(served.base) as connection:
        try:
            connection.sendall(one.sent)
            for _ in range(ENDLESS_BYTES // len(one.endless) if one.endless else 0):
                connection.sendall(one.endless)
            if one.ends:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # it has answered and closed
        return read_answer(connection)


def read_answer(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while part := connection.recv(65536):
            answer = (answer + part).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
            head, end, body = answer.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            if end and len(body) >= int(length or 0):
                break
    except ConnectionError:
        pass
    return answer


# Sound after all, however odd: these must be answered with depth
SOUND = (
    "zip as *",
    "PNG: a zTXt bomb",
    "PNG: an iTXt bomb",
    "PNG: an iCCP bomb",
    "PNG: an EXIF bomb*",
    "JPEG: an EXIF bomb",
    "JPEG: EXIF in a thousand pieces",
    "JPEG: an MPF bomb",
    "JPEG: a megabyte of *filling",
    "TIFF: sixty thousand tags",
    "WebP: a length of four gigabytes",
    "WebP: an EXIF bomb",
    *(f"np[yz]: *{what}" for what in ("four channels", "grey", "signed", "floats")),
    "JSON: base64 with lines",
    "JSON: a data address",
    *(f"attributes: {value!r}" for value in ("size", "=", "a=b", "\xff=\xfe", "x" * 20, "a;b;c")),
    "kind: *",
    "coding: gzip",
)


def fault_of(one: Hostile, answer: Answer) -> Optional[str]:
    """What is wrong with the answer to a hostile request."""
    status, headers, body = answer
    if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in SOUND):
        return None if status == 200 else f"{one.name}: {status}, but it is sound: {body[:200]!r}"
    if one.harmless and status == 200:
        return None
    if not 400 <= status < 500 or headers["Content-Type"] != MEDIA_TYPE:
        return f"{one.name}: {status} {headers['Content-Type']}"
    facts = json.loads(body)
    if CODES[facts["code"]] != (status, facts["title"]) or facts["status"] != status:
        return f"{one.name}: {facts}"
    if len(body) > 3000 or b"Traceback" in body or b"site-packages" in body:
        return f"{one.name}: {body[:500]!r}"
    return None


def test_every_hostile_body_is_answered_with_a_problem_of_4xx(attack):
    assert len({one.body for one, _ in attack.answers}) > 200
    faults = [fault_of(one, answer) for one, answer in attack.answers]
    assert [fault for fault in faults if fault] == []


def test_broken_http_is_answered_with_a_4xx(attack):
    wrong = [
        (one.name, answer[:200])
        for one, answer in attack.raw_answers
        if (
            not answer.startswith((b"HTTP/1.1 40", b"HTTP/1.1 41", b"HTTP/1.1 43"))
            and not (one.name in UNANSWERED and one.ends and not answer)
            and not (one.name in UNANSWERED and b'"status": 400' in answer)
            and not (one.name in HARMLESS and answer.startswith(b"HTTP/1.1 200 "))
        )
        or b"Traceback" in answer
    ]
    assert wrong == []


# nginx closes on who has closed, and gives HTTP/0.9 a body alone, as its standard has it; what an
# outsider says of the scheme it does not hand on
UNANSWERED = (
    "a body that ends early", "no body", "a chunk that ends early", "chunks without end",
    "a form that ends early", "no version",
)  # fmt: skip
HARMLESS = ("a scheme from outside",)


def test_broken_http_is_answered_with_a_4xx_without_nginx_too(tiny_artifact, png):
    names = {
        "a body that ends early": b"body_incomplete",
        "a chunk that ends early": b"body_incomplete",
        "a form that ends early": b"body_incomplete",
        "a broken trailer": b"bad_request",
        "a body over the limit": b"too_large",
        "a chunk of zz bytes": b'"status": 400',  # its code depends on gunicorn's version
    }
    settings = {"DEPTH_FRONT": "none", "DEPTH_MAX_BODY_MB": str(BODY_MB)}
    with serving(tiny_artifact.path, **settings) as served:
        answers = {one.name: send_raw(served, one) for one in raws(png) if one.name in names}
        assert post(served.base, png)[0] == 200
        for broken in (b"zz\r\n", b"-1\r\n", b"3\r\nabcdef\r\n"):
            with connect(served.base) as connection:
                connection.sendall(CHUNKED + broken + b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                answers_of_one = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answers_of_one.count(b"HTTP/1.1") == 1, "what is behind it is no request"
    assert "no nginx in front (DEPTH_FRONT=none)" in served.log
    for name, code in names.items():
        assert answers[name].startswith(b"HTTP/1.1 4") and code in answers[name], name


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("a body over the limit", 413, "too_large"),
        ("chunks for ever", 413, "too_large"),
        ("a chunk of zz bytes", 400, "bad_request"),
        ("a head of ten kilobytes", 400, "bad_request"),
        pytest.param("an address of ten kilobytes", 414, "uri_too_long", marks=needs_nginx),
        ("TRACE", 405, "method_not_allowed"),
    ],
)
def test_broken_http_is_called_by_its_name(name, status, code, attack):
    (answer,) = [answer for one, answer in attack.raw_answers if one.name == name]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("PNG: 60000 x 60000", 413, "60000 x 60000 = 3,600,000,000 pixels, limit 4,000,000"),
        ("PNG: 120,000,000 real pixels", 413, "20000 x 6000"),
        ("PNG: a hundred thousand chunks", 413, "over 100,000 chunks in a PNG"),
        ("JPEG: a thousand scans", 413, "over 100 scans in a JPEG of"),
        ("JPEG: 12 bits", 400, "a JPEG of 12 bits a channel, expected 8"),
        ("TIFF: one huge tile", 413, "tiles of 400,000,000 pixels"),
        ("BMP: packed, one long row", 413, "limit 65,500 on a side"),
        ("npy: a terabyte", 413, "limit 65,500 on a side"),
        ("npy: a header of four gigabytes", 400, "its header claims over 10,000 bytes"),
        ("npy: objects", 400, "send plain numbers"),
        ("npz: a header that unpacks to 64 MB", 400, "its header claims over 10,000 bytes"),
        ("npz: cameras that unpack to 33 MB", 413, "over 4,096 bytes"),
        ("npz: ten thousand members", 413, "over 1,000 members"),
        ("npz: encrypted", 400, "packed as NumPy never does"),
        ("JSON: empty lists", 413, "over 100,000 values"),
        ("JSON: nested a hundred thousand deep", 400, "nested too deeply"),
        ("JSON: a name twice", 400, "a name twice"),
        ("JSON: NaN", 400, "NaN is no number"),
        ("JSON: intrinsics of texts", 400, "no array of numbers"),
        ("JSON: a forbidden bucket", 403, "DEPTH_S3_BUCKETS"),
        ("JSON: the metadata service", 400, "neither base64 nor s3://"),
        ("form: ten thousand parts", 413, "a form of over 80 parts"),
        ("query: colour=red", 400, "unknown; there are size"),
        ("timeout: 'nan'", 400, "give seconds, above 0"),
        ("accept: text/html", 406, "use one of application/x-npz"),
        ("no photo as 'text/plain'", 415, "use one of image/jpeg"),
        ("no photo as 'application/octet-stream'", 400, "not an image in a known format"),
        ("coding: br", 415, "use one of gzip, deflate, identity"),
        ("coding: four of them", 415, "use one of gzip, deflate, identity"),
        ("coding: a bomb", 413, "over 2,097,152 bytes once it is unpacked"),
        ("coding: a bomb in a bomb", 413, "over 2,097,152 bytes once it is unpacked"),
        ("coding: a photo as it is", 400, "the body is not gzip, as Content-Encoding says"),
        ("coding: cut off", 400, "ends early"),
        ("coding: a wrong sum", 400, "incorrect data check"),
        ("coding: more behind it", 400, "the body is not gzip"),
        ("coding: ninety thousand empty ones", 413, "over 1,000 gzip members"),
        ("form: a part in base64 that is none", 400, "form field 'image' is neither base64"),
        ("form: a part in a coding that is none", 415, "Content-Transfer-Encoding 'x'"),
        ("form: an archive among files", 400, "send it alone"),
    ],
)
def test_what_was_wrong_is_said(name, status, words, attack):
    (answer,) = [answer for one, answer in attack.answers if one.name == name]
    assert answer[0] == status
    assert words in json.loads(answer[2])["detail"]


def test_bombs_around_sound_pixels_are_passed_over(attack):
    passed = [
        (answer[0], one.name)
        for one, answer in attack.answers
        if one.harmless and one.name.startswith(("PNG", "JPEG", "WebP", "TIFF"))
    ]
    assert len(passed) > 10 and {status for status, _ in passed} == {200}


def test_nothing_in_a_body_is_executed(attack):
    assert any(b"touch" in one.body for one, _ in attack.answers)
    assert not attack.executed


def test_a_strange_request_id_is_replaced(attack):
    for one, (_, headers, _) in attack.answers:
        asked = one.headers.get("X-Request-Id")
        if asked is not None:
            assert headers["X-Request-Id"] != asked
            assert headers["X-Request-Id"].isalnum()


def test_no_hostile_request_ends_the_worker(attack):
    assert attack.pids[0] == attack.pids[1] == attack.pids[2] == attack.served.workers


def test_hostile_requests_leave_no_memory_behind(attack):
    assert attack.rss_mb[1] - attack.rss_mb[0] < GROWTH_MB


def test_hostile_requests_are_not_the_services_errors(attack):
    assert "Traceback" not in attack.served.log
    assert "request failed" not in attack.served.log


@pytest.mark.parametrize("kind", ["image/png", "npy", "npz", "form", "base64"])
def test_after_all_that_a_good_photo_is_answered_exactly(kind, attack, tiny_artifact, png):
    rgb = read_photo(png)
    body, media_type = {
        "image/png": (png, "image/png"),
        "npy": (npy(rgb), NPY),
        "npz": (zipped({"image.npy": npy(rgb)}), NPZ),
        "form": (
            part('form-data; name="image"; filename="a.png"', png)
            + part('form-data; name="size"', b"input")
            + b"--b--\r\n",
            f"{FORM}; boundary=b",
        ),
        "base64": (json.dumps({"image": base64.b64encode(png).decode()}), JSON),
    }[kind]
    status, _, body = post(attack.served.base, body, {"Content-Type": media_type, "Accept": NPY})
    assert status == 200
    expected = Predictor([tiny_artifact])(rgb).depth
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), expected)


def test_a_motion_photo_with_its_film_behind_it_is_a_photo(attack, png):
    film = b"\xff\xda" * 500 + bytes(1000)
    photo = encode(read_photo(png), "JPEG") + film
    assert post(attack.served.base, photo, {"Content-Type": "image/jpeg"})[0] == 200


@pytest.fixture(scope="module")
def patient(make_artifact) -> Iterator[Served]:
    """A server that cuts slow clients off soon, has few threads, and waits for full batches."""
    settings = {
        "DEPTH_READ_TIMEOUT_S": str(READ_TIMEOUT_S),
        "DEPTH_THREADS": "4",
        "DEPTH_BATCH_WINDOW_MS": "800",
    }
    with serving(make_artifact(batch=2).path, **settings) as served:
        yield served


HEAD = (
    b"POST /v1/depth HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
)


CHUNKED = HEAD.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"


def trickle(connection: socket.socket, data: bytes) -> tuple[float, bytes]:
    """Send a byte each fifth of a second until the other side has enough; how long that took."""
    begun = time.monotonic()
    connection.settimeout(0.2)
    for at in range(len(data)):
        try:
            connection.send(data[at : at + 1])
            answer = connection.recv(65536)
            return time.monotonic() - begun, answer
        except socket.timeout:
            continue
        except ConnectionError:
            return time.monotonic() - begun, b""
    raise AssertionError("it never had enough")


@needs_nginx
def test_a_body_that_pauses_is_cut_off_and_logged_as_such(patient):
    with connect(patient.base) as connection:
        begun = time.monotonic()
        connection.sendall(HEAD.replace(b"Host: a", b"Host: a\r\nX-Request-Id: pauses") + b"half")
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
        assert time.monotonic() - begun < 3
    found = line_of(patient, "pauses")
    assert (found["status"], found["code"]) == (408, "read_timeout")


def line_of(served: Served, request_id: str) -> "dict[str, Any]":
    """The access log's one line about a request."""
    deadline = time.monotonic() + 5
    while f'"{request_id}"' not in served.log and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = [json.loads(line) for line in served.log.splitlines() if line.startswith("{")]
    (found,) = [line for line in lines if line.get("request_id") == request_id]
    return found


@needs_nginx
def test_a_head_that_trickles_is_cut_off(patient):
    with connect(patient.base) as connection:
        took, answer = trickle(connection, HEAD)
    assert took < 3
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


@needs_nginx
def test_a_connection_that_says_nothing_takes_no_thread(patient, png):
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(patient.base))
        begun = time.monotonic()
        assert post(patient.base, png)[0] == 200
        assert time.monotonic() - begun < 3


@needs_nginx
def test_others_are_answered_while_a_client_is_slow(patient, png):
    with connect(patient.base) as connection:
        connection.sendall(HEAD + b"slow")
        begun = time.monotonic()
        assert post(patient.base, png)[0] == 200
        assert time.monotonic() - begun < 3


@needs_nginx
def test_more_slow_clients_than_threads_delay_others_by_little(patient, png):
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(patient.base)).sendall(HEAD + b"slow")
        begun = time.monotonic()
        assert post(patient.base, png)[0] == 200
        assert time.monotonic() - begun < 8 * (READ_TIMEOUT_S + 1) / 4 + 3


@needs_nginx
def test_a_client_that_leaves_while_it_waits_is_forgotten(patient, png):
    with connect(patient.base) as connection:
        length = b"Content-Length: %d\r\nX-Request-Id: leaves-early\r\n\r\n" % len(png)
        connection.sendall(HEAD.partition(b"Content-Length")[0] + length + png)
        time.sleep(0.2)  # read by now, and waiting for a second photo
    found = line_of(patient, "leaves-early")
    assert (found["status"], found["code"]) == (499, "client_left")
    time.sleep(1)  # the batch's window closes
    assert b"depth_in_flight 0.0" in get(patient.base, "/metrics")[2]
    assert post(patient.base, png)[0] == 200
