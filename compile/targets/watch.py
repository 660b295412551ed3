"""What a compiler in processes of its own takes: seconds, and the most memory that they held.

A block of work in; two numbers out. Memory is read from /proc, four times a second.
"""

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

PERIOD_S = 0.25


class Watch:
    """A context: ``seconds`` and ``peak_mib`` of this process's children are known at its end.

    ``peak_mib`` is None where there is no /proc, or if no child was seen.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_mib: Optional[float] = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._start

    def _look(self) -> None:
        while True:
            held = resident_mib(os.getpid())
            if held:
                self.peak_mib = max(held, self.peak_mib or 0.0)
            if self._over.wait(PERIOD_S):
                return


def resident_mib(pid: int) -> float:
    """Memory that the programs which a process runs hold now, in MiB; shared pages count twice.

    A child that is not yet another program is the process itself once more, and does not count.
    """
    own = _words(pid)
    return sum(_held_mib(child) for child in _children(pid) if _words(child) != own)


def _held_mib(pid: int) -> float:
    """A process and its descendants."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended just now
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(map(_held_mib, _children(pid)))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # that thread has ended just now
            continue
    return found


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
