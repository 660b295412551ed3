"""Equal engines as one that several threads may call: each call takes one that is free.

On a GPU two of them have two streams, so that one copies while the other computes.
"""

import queue
from collections.abc import Sequence

import numpy as np

from runtime.engines import Engine


def side_by_side(engines: Sequence[Engine]) -> Engine:
    """One engine of several; as many calls as there are engines run at once, others wait."""
    if len(engines) == 1:
        return engines[0]
    free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    for engine in engines:
        free.put(engine)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        engine = free.get()
        try:
            return engine(inputs)
        finally:
            free.put(engine)

    return run
