"""Runs the network of the PyPI package ``depth-anything-3`` when told to; no code of ours.

Started by ``benchmarks.da3`` in a process of its own, with the package on its path: ours has the
same name. Weights and image come as files. A line in is a number of calls, a line out the seconds
they took; at the end the depth is written.
"""

import json
import sys
import time

import numpy as np
import torch
from depth_anything_3.cfg import create_object, load_config
from depth_anything_3.registry import MODEL_REGISTRY
from safetensors.torch import load_file


def main(name: str, weights: str, image: str, depth: str) -> None:
    """Load, then answer lines until they end."""
    network = create_object(load_config(MODEL_REGISTRY[name])).eval()
    state = {key.partition(".")[2]: value for key, value in load_file(weights).items()}
    network.load_state_dict(state)
    given = torch.from_numpy(np.load(image, allow_pickle=False))
    found = None
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(int(line)):
                found = network(given, None, None, [])
        print(time.perf_counter() - start, flush=True)
    if found is not None:
        np.save(depth, found.depth.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
