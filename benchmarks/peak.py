"""The most memory that a call adds to what this process holds. Linux only."""

from collections.abc import Callable
from pathlib import Path

RESET_PEAK = "5"  # what /proc/PID/clear_refs takes to forget the peak so far


def peak_mib(run: Callable[[], None]) -> float:
    """Run it; MiB at its peak above those before."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = status_mib("VmRSS")
    run()
    return status_mib("VmHWM") - before


def status_mib(name: str) -> float:
    """A line of /proc/self/status, such as VmRSS, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
