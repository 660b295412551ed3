"""nginx before gunicorn: one process that starts both, watches both, and ends both in order.

Settings and artifacts in; an exit status out. Clients speak to nginx alone, which hands whole
requests to gunicorn over a Unix socket. If either ends, all ends, with its reason in the log.
"""

import contextlib
import ctypes
import logging
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Optional

from runtime.errors import InputError
from runtime.predict.choose import Choice
from serve.http.extension import Door
from serve.http.listener import listening_address, open_listener, turn_away
from serve.http.nginx import Place, places_of, render
from serve.http.server import NO_RELOAD, Server
from serve.http.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.1  # between two looks at the workers
ANNOUNCE_S = 1.0  # while who is connected is told to go elsewhere
HANDSHAKE_S = 0.3  # those that were coming in arrive
REST_S = 4.0  # of the time to drain, kept for gunicorn's end
MOST_LINES = 1 << 16  # bytes read of nginx's log at once
PR_SET_PDEATHSIG = 1  # linux/prctl.h
FAILED = 1  # exit status
QUIET = ("[notice]", "initgroups(")  # the second: root without rights, who stays who he is


class Front:
    """The whole service behind one address.

    Args:
        nginx: the program.
        scratch: a folder of this service alone.
        door: as for ``Server``.
    Raises:
        InputError: a host that is none, a port that is taken, or what ``Server`` refuses.
    """

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        scratch: Path,
        nginx: str,
        door: Optional[Door] = None,
    ) -> None:
        self.settings, self._nginx = settings, nginx
        folder = scratch / "nginx"
        folder.mkdir()
        sockets = folder / "gunicorn"
        self._listener = open_listener(settings)
        self._server = Server(settings, choice, scratch, sockets, door)
        port = self._listener.getsockname()[1]
        address = listening_address(settings).rpartition(":")[0]
        self.place = Place(
            folder=folder,
            socket=sockets,
            address=f"{address}:{port}",
            files=_files(settings),
            room_bytes=shutil.disk_usage(folder).free,
            workers=self._server.workers,
        )
        self._told: set[int] = set()  # signals that came
        self._all_were_ready = False
        self._outputs = selectors.DefaultSelector()

    def run(self) -> int:
        """Serve until told to stop, or until a part of it ends; returns the exit status."""
        configuration = self.place.folder / "nginx.conf"
        configuration.write_text(render(self.settings, self.place))
        command = [self._nginx, "-e", "stderr", "-p", str(self.place.folder), "-c", "nginx.conf"]
        self._check(command)
        gunicorn = _fork(self._server.run)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._told.add(number))
        nginx = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            env={**os.environ, "NGINX": f"{self._listener.fileno()};"},  # sockets that it has
            preexec_fn=_alone_but_with_parent,
        )
        self._copy(nginx.stdout, _write_out)
        self._copy(nginx.stderr, _log_line)
        try:
            return self._watch(gunicorn, nginx)
        finally:
            _end_group(nginx.pid)
            _end_group(gunicorn.pid)

    def _check(self, command: list[str]) -> None:
        done = subprocess.run([*command, "-t"], capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise InputError(f"nginx does not take its configuration: {done.stderr.strip()[-500:]}")

    def _watch(self, gunicorn: "Child", nginx: "subprocess.Popen[bytes]") -> int:
        """Until a signal, or the end of either."""
        while not self._told & {signal.SIGTERM, signal.SIGINT}:
            self._wait(TICK_S)
            if signal.SIGHUP in self._told:
                self._told.discard(signal.SIGHUP)
                log.warning(NO_RELOAD)
            self._open_or_close()
            for name, child in (("gunicorn", gunicorn), ("nginx", nginx)):
                status = child.poll()
                if status is not None:
                    self._wait(TICK_S)  # its last words
                    log.critical("%s ended (%s): the service ends", name, _how(status))
                    self._drain(gunicorn, nginx)
                    return status if status > 0 else FAILED
        return self._drain(gunicorn, nginx)

    def _open_or_close(self) -> None:
        """Let requests through while workers answer: at first all of them, then any."""
        states = self._server.states
        self._all_were_ready |= states.count_ready() >= self._server.workers
        if self._all_were_ready and states.any_ready():
            self.place.ready.touch()
        else:
            self.place.ready.unlink(missing_ok=True)

    def _drain(self, gunicorn: "Child", nginx: "subprocess.Popen[bytes]") -> int:
        """nginx stops listening and finishes what it holds; then gunicorn has nothing left."""
        end = time.monotonic() + max(REST_S, self.settings.drain_s - 1) - REST_S
        self._server.states.stop()
        with contextlib.suppress(OSError):  # a full disk: then the workers say it
            self.place.draining.touch()
        if nginx.poll() is None:
            if self._connected():
                self._wait(ANNOUNCE_S)
            turn_away(self._listener)
            self._wait(HANDSHAKE_S)
            self._listener.close()
            nginx.send_signal(signal.SIGQUIT)
            self._wait_for(nginx, end)
        gunicorn.send_signal(signal.SIGTERM)
        self._wait_for(gunicorn, time.monotonic() + REST_S)
        self._wait(0)
        status = gunicorn.poll()
        return FAILED if status is None else max(0, status)

    def _connected(self) -> bool:
        """True if a client is connected."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(0.5)
            asking.connect(str(self.place.status_socket))
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: asking.recv(4096), b""))
            return b"Active connections: 1 " not in answer  # that one asks
        return True

    def _copy(self, pipe: Any, write: Callable[[bytes], None]) -> None:
        """From now on, hand over each whole line of a pipe."""
        rest = bytearray()

        def read() -> None:
            data = os.read(pipe.fileno(), MOST_LINES)
            rest.extend(data)
            end = rest.rfind(b"\n") + 1
            if end:
                write(bytes(rest[:end]))
                del rest[:end]
            if not data:
                self._outputs.unregister(pipe)

        self._outputs.register(pipe, selectors.EVENT_READ, read)

    def _wait(self, seconds: float) -> None:
        """Copy what comes in the meantime."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            ready = self._outputs.select(max(0.0, left)) if self._outputs.get_map() else []
            for key, _ in ready:
                key.data()
            if left <= 0 and not ready:
                return
            if not self._outputs.get_map():
                time.sleep(max(0.0, left))

    def _wait_for(self, child: Any, end: float) -> None:
        while child.poll() is None and time.monotonic() < end:
            self._wait(TICK_S / 2)


class Child:
    """A fork of this process, asked like a ``subprocess.Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: Optional[int] = None

    def poll(self) -> Optional[int]:
        """Its exit status, or a signal's number below zero; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                killed = os.WIFSIGNALED(status)
                self._status = -os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
        return self._status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _fork(run: Callable[[], None]) -> Child:
    pid = os.fork()
    return Child(pid) if pid else _run_and_exit(run)


def _run_and_exit(run: Callable[[], None]) -> NoReturn:
    """In the fork: run, and end without what its parent would do at its end."""
    status = FAILED
    try:
        _alone_but_with_parent()
        run()
        status = 0
    except SystemExit as stopped:  # gunicorn's way to return, in its workers too
        status = stopped.code if isinstance(stopped.code, int) else FAILED if stopped.code else 0
    except BaseException:
        log.critical("gunicorn failed", exc_info=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _alone_but_with_parent() -> None:
    """A group of its own, so that Ctrl-C reaches the first process only; its end is told."""
    os.setpgid(0, 0)
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _files(settings: Settings) -> int:
    """How many files nginx may open: as many as it needs, if this process may allow it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    needed = 2 * places_of(settings, sys.maxsize)[0] + 64
    return needed if unlimited else min(hard, needed)


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _write_out(lines: bytes) -> None:
    sys.stdout.flush()
    with contextlib.suppress(BrokenPipeError):
        while lines:
            lines = lines[os.write(1, lines) :]


def _log_line(lines: bytes) -> None:
    for line in lines.decode("utf-8", "replace").splitlines():
        quiet = any(word in line for word in QUIET)
        log.log(logging.DEBUG if quiet else logging.WARNING, "nginx: %s", line)
