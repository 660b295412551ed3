"""A backend's client over HTTP: what it sends, and what it says of what it is answered."""

import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from apps.web.client import Client, ServerError


class Answers(BaseHTTPRequestHandler):
    """Says how much it was sent; refuses at /full before it has read any of it."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        if self.path == "/full":
            return self.answer(413, b'{"detail": "too many photos"}')
        body = self.rfile.read(length)
        files = body.count(b'filename="')
        return self.answer(200, b'{"bytes": %d, "files": %d}' % (len(body), files))

    def do_GET(self):
        texts = {"/list": b'{"detail": [{"loc": "x"}]}', "/page": b"<html>", "/none": b""}
        self.answer(200 if self.path == "/page" else 400, texts[self.path])

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_many_photos_are_sent_with_few_files_open(address, tmp_path):
    photos = []
    for index in range(200):
        file = tmp_path / f"{index}.jpg"
        file.write_bytes(bytes([index]) * 1000)
        photos.append((file.name, file))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        said = Client(address, "").post_form("/", {"a": 1}, photos)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said["files"] == 200 and said["bytes"] > 200 * 1000


def test_a_refusal_before_all_was_read_is_told(address, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(32 << 20))
    with pytest.raises(ServerError, match="too many photos") as refused:
        Client(address, "").post_form("/full", {}, [(large.name, large)])
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("path", "said"),
    [("/list", '"loc": "x"'), ("/none", "/none: 400 Bad Request"), ("/page", "no JSON")],
)
def test_what_it_is_answered_is_told(path, said, address):
    with pytest.raises(ServerError, match=said):
        Client(address, "").get(path)


def test_a_server_that_is_not_there_is_told_and_no_proxy_is_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:9: no answer .*da3 backend"):
        Client("http://127.0.0.1:9", "").get("/status")
