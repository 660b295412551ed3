"""What a peer's process does: say what it is, then run as often as each line asks.

A function without arguments in. One JSON object a line out: facts first, then seconds and peak
memory of what was asked. What it found in its first call, the warm-up, goes to a file. No code of
ours but this; it is started on its own.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def answer(facts, call, depth_file):
    """Serve lines until they end.

    Args:
        facts: what to say about itself.
        call: runs the network once; a NumPy array.
        depth_file: where the first call's result goes.
    """
    np.save(depth_file, call())
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            call()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}), flush=True)


def peak_mib():
    """The most that this program held. Not ru_maxrss, which begins with what started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
