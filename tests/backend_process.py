"""``da3 backend`` in a process of its own, on the tiny artifact, in a folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from served import OURS, ROOT, Served, wait_until_ready


@contextmanager
def backend(
    models: Path,
    here: Path,
    *words: str,
    status: int = 0,
    program: Sequence[str] = ("-m", "apps.da3"),
    **environment: str,
) -> Iterator[Served]:
    """Start it in ``here`` on a free port, wait until it is ready, and stop it in the end."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    inherited = {
        name: text for name, text in os.environ.items() if not name.startswith((*OURS, "DA3_"))
    }
    scratch = Path(tempfile.mkdtemp(prefix="backend-"))
    log_file = scratch / "log"
    more = {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "DEPTH_ENGINE_THREADS": "1"}
    command = [*program, "backend", "--model-dir", str(models), "--port", str(port)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, *words],
            cwd=here,
            env={**inherited, **more, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(f"http://127.0.0.1:{port}", process, log_file)
    try:
        wait_until_ready(served)
        yield served
        if status == 0:
            assert served.stop() == 0, served.log
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        served.last_words = served.log
        shutil.rmtree(scratch, ignore_errors=True)
