"""Runs the network of the PyPI package ``depth-anything-3`` when told to; no model code of ours.

Started by ``benchmarks.da3`` with the package on its path: ours has the same name.
"""

import sys

import numpy as np
import torch
from answer import answer
from safetensors.torch import load_file

from depth_anything_3.cfg import create_object, load_config
from depth_anything_3.registry import MODEL_REGISTRY


def main(name: str, weights: str, images: str, threads: str, depth: str) -> None:
    """Load, then answer."""
    torch.set_num_threads(int(threads))
    network = create_object(load_config(MODEL_REGISTRY[name])).eval()
    state = {key.partition(".")[2]: value for key, value in load_file(weights).items()}
    network.load_state_dict(state)
    given = torch.from_numpy(np.load(images, allow_pickle=False))[None]

    def call() -> np.ndarray:
        with torch.no_grad():
            return network(given, None, None, []).depth[0].numpy()

    answer({"torch": torch.__version__, "threads": torch.get_num_threads()}, call, depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
