"""The service where nothing can be written but /tmp, without root and without capabilities."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "deploy" / "hardened.sh"
TOOLS = ("unshare", "setpriv", "findmnt", "chroot")


def may_be_tried() -> bool:
    if os.name != "posix" or os.geteuid() or not all(map(shutil.which, TOOLS)):
        return False
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    # another user must reach the interpreter and the project
    reach = ["setpriv", "--reuid", "1000", "--clear-groups", sys.executable, "-c", "import numpy"]
    return tried.returncode == 0 and not subprocess.run(reach, capture_output=True).returncode


pytestmark = pytest.mark.skipif(
    not may_be_tried(), reason="needs root, Linux's unshare, and a Python that others may read"
)


def hardened(*command: object, **more) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(SCRIPT), *map(str, command)], capture_output=True, text=True, timeout=60, **more
    )


def test_nothing_can_be_written_but_tmp_which_runs_no_programs(tmp_path):
    probe = "touch x; touch /var/tmp/x; touch /tmp/x && echo kept; cp /bin/true /tmp/t && /tmp/t"
    done = hardened("sh", "-c", f"id -u; {probe}; grep CapEff /proc/self/status", cwd=ROOT)
    said = done.stdout.split()
    assert said[:2] == ["1000", "kept"] and said[-1].strip("0") == ""
    assert done.stderr.count("Read-only file system") == 2
    assert "/tmp/t: Permission denied" in done.stderr
    assert not Path("/var/tmp/x").exists()


def test_the_service_answers_there(tiny_artifact):
    model = Path("/var/tmp") / f"depth-hardened-{os.getpid()}"  # /tmp is another one there
    shutil.copytree(tiny_artifact.path, model / tiny_artifact.path.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"MODEL_DIR": str(model), "DEPTH_HOST": "127.0.0.1"}
    settings |= {"SAGEMAKER_BIND_TO_PORT": str(port), "PYTHONPATH": str(ROOT)}
    log = subprocess.PIPE
    server = subprocess.Popen(
        [str(SCRIPT), sys.executable, "-m", "serve"],
        env={**os.environ, **settings}, cwd=ROOT, stdout=log, stderr=log, text=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            time.sleep(0.2)
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, server.communicate()
        photo = (ROOT / "input_images" / "rocket.jpg").read_bytes()
        asked = urllib.request.Request(f"{address}/v1/depth", photo, {"Content-Type": "image/jpeg"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 200 and answer.read(2) == b"PK"
    finally:
        server.terminate()
        _, said = server.communicate(timeout=40)
        shutil.rmtree(model)
    assert server.returncode == 0 and "Traceback" not in said, said
