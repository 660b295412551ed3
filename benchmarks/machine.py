"""What a measurement ran on, for people; how busy others kept it; what a process holds.

Reads, never changes. The facts themselves are ``runtime.machine``'s.
"""

import os
import time
from pathlib import Path
from typing import Any


def machine_line(machine: dict[str, Any], command: str) -> str:
    """The same for people: one paragraph under a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    settings = "".join(f"{name}={value} " for name, value in machine["settings"].items())
    known = " ".join(machine["instructions"])
    cpu = f"{machine['cpu']} ({known})" if known else machine["cpu"]
    return (
        f"{cpu}, {machine['cores']} cores, torch uses {machine['torch_threads']} threads; "
        f"load average {machine['load_1min']} at the start; "
        f"Python {machine['python']}, {versions}; {machine['date']}.\n"
        f"Command: `{settings}{command}`"
    )


def slug(machine: dict[str, Any]) -> str:
    """A short name for versions, settings and processor: ``torch 1.13 on AMD EPYC``."""
    version = ".".join(machine["versions"]["torch"].split(".")[:2])
    settings = [f"{name}={value}" for name, value in machine["settings"].items()]
    return " ".join([f"torch {version}", *settings, "on", machine["cpu"]])


class OthersMeter:
    """How much of the processor everybody else took, since it was made: 0 to 1, steal included.

    A busy neighbour slows two sides of a comparison by different amounts, so it must be seen.
    Processes that this one started are not others. 0 where the system has no /proc/stat.
    """

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Other processes' processor time over all that there was."""
        busy, total, own = (now - then for now, then in zip(self._now(), self._start))
        return max(0.0, busy - own) / total if total > 0 else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        own = time.process_time() + seconds_of_children()
        try:
            ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except OSError:
            return 0.0, 0.0, own
        idle, waiting = ticks[3], ticks[4]
        second = os.sysconf("SC_CLK_TCK")
        return (sum(ticks) - idle - waiting) / second, sum(ticks) / second, own


def seconds_of_children() -> float:
    """Processor time of all processes started by this one: those that ended, and those that run."""
    ended, second = os.times(), os.sysconf("SC_CLK_TCK")
    return ended.children_user + ended.children_system + _running_ticks(os.getpid()) / second


def _running_ticks(pid: int) -> int:
    """Clock ticks of a process's descendants that run now, and of theirs that have ended."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # that thread has ended just now
            continue
        for child in map(int, children):
            try:
                after_name = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # that process has
                continue
            ticks += sum(map(int, after_name[11:15])) + _running_ticks(child)
    return ticks


def wait_until_quiet(share: float, limit_s: float) -> None:
    """Sleep until other processes take less than this share of the processor for two seconds."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        meter = OthersMeter()
        time.sleep(2)
        if meter.share() < share:
            return


def resident_mib(pid: int) -> float:
    """What a process holds in memory just now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
