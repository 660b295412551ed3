"""What a command takes: seconds and peak memory of its process. Its words in, both out."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from runtime.errors import DepthError


@dataclass(frozen=True)
class Spent:
    """Of one process, its children left out; ``stdout`` is what it printed."""

    seconds: float
    peak_mib: float
    stdout: str


def run(words: Sequence[str], env: Optional[Mapping[str, str]] = None) -> Spent:
    """Run a command to its end.

    Raises:
        DepthError: it failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(list(words), stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if process.returncode:
        raise DepthError(f"{words[1:4]}: ended with {process.returncode}; see the lines above")
    return Spent(seconds, usage.ru_maxrss / 1024, stdout)
