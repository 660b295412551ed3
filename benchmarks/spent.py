"""What a command takes: seconds and peak memory of its process. Its words in, both out."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runtime.errors import DepthError

# Between this process and the command stands a small one: Linux counts what a process held before
# it became another program as that program's peak, and this process may hold a lot.
BETWEEN = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
print()
took = [time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
print(json.dumps([*took, code]))
"""


@dataclass(frozen=True)
class Spent:
    """Of one process, its children left out; ``stdout`` is what it printed."""

    seconds: float
    processor_s: float
    peak_mib: float
    stdout: str


def run(
    words: Sequence[str],
    env: Optional[dict[str, str]] = None,
    folder: Optional[Path] = None,
) -> Spent:
    """Run a command to its end.

    Args:
        env: all of its environment variables; None: this process's.
        folder: where it runs; None: here.
    Raises:
        DepthError: it failed.
    """
    between = [sys.executable, "-E", "-S", "-c", BETWEEN, *words]
    done = subprocess.run(
        between, stdout=subprocess.PIPE, text=True, check=True, env=env, cwd=folder
    )
    stdout, _, last = done.stdout.rstrip("\n").rpartition("\n")
    seconds, processor_s, peak_mib, code = json.loads(last)
    if code:
        raise DepthError(f"{' '.join(words[1:4])}: ended with {code}; see the lines above")
    return Spent(seconds, processor_s, peak_mib, stdout.strip())
