"""``start_app.sh``: it stops only what it started, and leaves other programs' ports alone."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "start_app.sh"
# In the place of Python: what would be the app is a page that answers at once
STAND_IN = """#!/bin/sh
if [ "$1" = app.py ]; then exec "{python}" -m http.server "$3" --bind 127.0.0.1; fi
exec "{python}" "$@"
"""

pytestmark = pytest.mark.skipif(
    shutil.which("ps") is None, reason="ps is not installed: nobody can say when a process began"
)


@pytest.fixture
def run(tmp_path):
    """Run the script; exit status, stdout, stderr. What it started is stopped in the end."""
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "DA3_WORKSPACE_DIR": str(tmp_path / "w")}

    def script(*words):
        done = subprocess.run(
            [str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout.strip(), done.stderr

    yield script
    script("--stop")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(address):
    host, port = address.strip("/").rpartition("/")[2].split(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) == 0


def test_it_starts_starts_anew_and_stops(run, tmp_path):
    port = str(free_port())
    assert run("--status")[:2] == (1, "does not run")
    status, address, said = run("--port", port)
    assert (status, address) == (0, f"http://127.0.0.1:{port}/"), said
    assert answers(address)
    first = (tmp_path / "w" / "app.pid").read_text()
    assert address in run("--status")[1]
    status, again, said = run("--port", port)
    assert (status, again) == (0, address) and "stopped the app" in said
    assert (tmp_path / "w" / "app.pid").read_text() != first
    assert "stopped the app" in run("--stop")[2] and not answers(address)
    assert run("--stop")[0] == 0


def test_a_port_of_another_program_stays_its(run):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, out, said = run("--port", str(port))
        assert (status, out) == (1, "") and f"port {port} is taken" in said
        assert answers(f"http://127.0.0.1:{port}/")


def test_a_process_that_has_the_number_of_an_old_one_is_not_stopped(run, tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            (tmp_path / "w").mkdir()
            (tmp_path / "w" / "app.pid").write_text(f"{other.pid}\n7860\nMon Jan 1 00:00:00 2001\n")
            assert run("--status")[0] == 1
            assert "no app" in run("--stop")[2]
            assert other.poll() is None
        finally:
            other.kill()


def test_an_app_that_does_not_start_says_why(run, tmp_path):
    broken = '[ "$1" = app.py ] && { echo broken >&2; exit 1; }'
    (tmp_path / "python").write_text(f'#!/bin/sh\n{broken}\nexec {sys.executable} "$@"\n')
    status, _, said = run("--port", str(free_port()))
    assert status == 1 and "broken" in said and "did not start" in said
