"""What a command takes: seconds and peak memory of its process. Its words in, both out."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

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
print(json.dumps([time.perf_counter() - start, usage.ru_maxrss / 1024, code]))
"""


@dataclass(frozen=True)
class Spent:
    """Of one process, its children left out; ``stdout`` is what it printed."""

    seconds: float
    peak_mib: float
    stdout: str


def run(words: Sequence[str]) -> Spent:
    """Run a command to its end.

    Raises:
        DepthError: it failed.
    """
    between = [sys.executable, "-E", "-S", "-c", BETWEEN, *words]
    done = subprocess.run(between, stdout=subprocess.PIPE, text=True, check=True)
    stdout, _, last = done.stdout.rstrip("\n").rpartition("\n")
    seconds, peak_mib, code = json.loads(last)
    if code:
        raise DepthError(f"{' '.join(words[1:4])}: ended with {code}; see the lines above")
    return Spent(seconds, peak_mib, stdout.strip())
