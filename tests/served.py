"""The real server in a process of its own, and requests to it over real sockets.

A folder of artifacts and environment variables in; an address that answers, the processes behind
it and their log out. It is told to stop at the end, and has to end well.
"""

import dataclasses
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from runtime.artifact.folder import Artifact, read_artifact
from runtime.artifact.manifest import OutputSpec, to_json
from serve.http.nginx import find_nginx
from serve.http.problems import CODES, MEDIA_TYPE
from serve.http.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
READY_S, STOPPED_S, ANSWER_S = 60.0, 60.0, 30.0
OURS = ("DEPTH_", "SAGEMAKER_", "AWS_", "MODEL_DIR", "COMMERCIAL_ONLY")

NGINX = "nginx"
needs_nginx = pytest.mark.skipif(
    not find_nginx(Settings(), Path("/tmp"))[0], reason="nginx is not installed"
)

Answer = tuple[int, http.client.HTTPMessage, bytes]


@dataclass
class Served:
    """A running server."""

    base: str  # http://127.0.0.1:PORT
    process: "subprocess.Popen[bytes]"
    log_file: Path
    last_words: str = ""

    @property
    def pid(self) -> int:
        """The master process."""
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """gunicorn's worker processes, oldest first."""
        parts = children(self.pid)
        if NGINX not in map(name_of, parts):
            return parts
        return [pid for part in parts if name_of(part) != NGINX for pid in children(part)]

    @property
    def nginx(self) -> list[int]:
        """nginx's first process, if there is a front."""
        return [pid for pid in children(self.pid) if name_of(pid) == NGINX]

    @property
    def log(self) -> str:
        """What all its processes have written so far."""
        return self.last_words or self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPPED_S)


def children(pid: int) -> list[int]:
    """Numbers of a process's children, oldest first; none if it has gone."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def name_of(pid: int) -> str:
    """What a process is called."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextmanager
def serving(
    models: Path,
    status: int = 0,
    wait: bool = True,
    before: Sequence[str] = (),
    **environment: str,
) -> Iterator[Served]:
    """Start ``python -m serve``, wait until it is ready, and stop it in the end.

    Args:
        models: folder of artifacts, or one archive.
        status: that it has to end with.
        wait: False: do not wait for /ping.
        before: words of a command that becomes the service.
        environment: settings; what is set outside the tests does not count.
    """
    with tempfile.TemporaryDirectory(prefix="served-") as folder:
        served = _start(models, Path(folder), environment, before)
        try:
            if wait:
                wait_until_ready(served)
            yield served
            found = served.stop()
        finally:
            if served.process.poll() is None:
                os.killpg(served.pid, signal.SIGKILL)  # the group that it began
                served.process.wait()
            served.last_words = served.log
        assert found == status, f"it ended with {found}:\n{served.log}"


def _start(
    models: Path, folder: Path, environment: Mapping[str, str], before: Sequence[str]
) -> Served:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    settings = {
        "MODEL_DIR": str(models),
        "DEPTH_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "DEPTH_ENGINE_THREADS": "1",
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "serve"],
            cwd=ROOT,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Served(f"http://127.0.0.1:{settings['SAGEMAKER_BIND_TO_PORT']}", process, log_file)


def wait_until_ready(served: Served, seconds: float = READY_S) -> None:
    """Return when /ping answers 200.

    Raises:
        AssertionError: it ended, or it did not in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert served.process.poll() is None, f"it ended:\n{served.log}"
        try:
            if get(served.base, "/ping")[0] == 200:
                return
        except OSError:  # it does not listen yet
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready within {seconds:g} s:\n{served.log}")


def ask(
    base: str,
    method: str,
    path: str,
    body: Any = None,
    headers: Optional[Mapping[str, str]] = None,
    timeout_s: float = ANSWER_S,
) -> Answer:
    """One request on a connection of its own."""
    address = urlsplit(base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout_s)
    try:
        connection.connect()
        with suppress(ConnectionError):  # it may answer, and close, before it has read all
            connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def get(base: str, path: str, headers: Optional[Mapping[str, str]] = None) -> Answer:
    """GET."""
    return ask(base, "GET", path, None, headers)


def post(
    base: str, body: Any, headers: Optional[Mapping[str, str]] = None, path: str = "/v1/depth"
) -> Answer:
    """POST; the body is a photo in PNG unless the headers say otherwise."""
    return ask(base, "POST", path, body, {"Content-Type": "image/png", **(headers or {})})


def problem(answer: Answer) -> "dict[str, Any]":
    """The facts of a refusal, which has to be one of those that are documented."""
    status, headers, body = answer
    facts: dict[str, Any] = json.loads(body)
    assert headers["Content-Type"] == MEDIA_TYPE
    assert facts["status"] == status == CODES[facts["code"]][0]
    assert facts["detail"] and "Traceback" not in facts["detail"]
    assert facts["request_id"] == headers["X-Request-Id"]
    return facts


def encoded(rgb: np.ndarray, kind: str = "png", **options: Any) -> bytes:
    """A photo as bytes of this format."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def needing_focal(artifact: Artifact) -> Artifact:
    """The same, of kind depth, as a model whose metres depend on the focal length; on disk too."""
    output = OutputSpec("depth", metric_focal_px=300.0)
    manifest = dataclasses.replace(artifact.manifest, output=output)
    (artifact.path / "manifest.json").write_text(to_json(manifest))
    return read_artifact(artifact.path)


def connect(base: str, timeout_s: float = ANSWER_S) -> socket.socket:
    """A socket, for what no HTTP client would send."""
    address = urlsplit(base)
    return socket.create_connection((address.hostname, address.port), timeout_s)


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")


@pytest.fixture(scope="session")
def tiny_served(tiny_artifact: Any) -> Iterator[Served]:
    """One server of the tiny artifact, with the settings as they come. Shared: do not stop it."""
    with serving(tiny_artifact.path) as served:
        yield served
