"""The most memory that a call adds to what this process holds. Linux only."""

from collections.abc import Callable
from pathlib import Path

RESET_PEAK = "5"  # what /proc/PID/clear_refs takes to forget the peak so far


def peak_mib(run: Callable[[], None]) -> float:
    """Run it; MiB at its peak above those before."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = _status_mib("VmRSS")
    run()
    return _status_mib("VmHWM") - before


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
