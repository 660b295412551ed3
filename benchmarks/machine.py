"""What a measurement ran on: processor, versions, settings, date. Reads, never changes."""

import datetime
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from runtime.optional import version_of

PACKAGES = ("torch", "openvino", "numpy", "opencv-python-headless")
# x86's products of bfloat16 and of int8; one with none of them computes in float32 instead.
INSTRUCTIONS = ("avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
# Environment variables that change how fast the same code runs.
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")


def describe_machine() -> dict[str, Any]:
    """Facts for the JSON beside each table; ``load_1min`` is the load average just now."""
    import torch

    flags = _cpuinfo("flags").split()
    return {
        "cpu": cpu_name(_cpuinfo("model name") or platform.processor() or platform.machine()),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "date": datetime.date.today().isoformat(),
    }


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


def cpu_name(model: str) -> str:
    """What a processor calls itself, without marks, clock and filler: ``Intel Xeon``."""
    return " ".join(re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*|\d+-Core", "", model).split())


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


def _cpuinfo(key: str) -> str:
    """The first processor's entry; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
