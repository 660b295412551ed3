"""What a peer's process does: say what it is, then run as often as each line asks.

A function without arguments in. One JSON object a line out: facts first, then seconds and peak
memory of what was asked. What it found in its first call, the warm-up, goes to a file. No code of
ours but this; it is started on its own.
"""

import json
import resource
import sys
import time

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
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib}), flush=True)
