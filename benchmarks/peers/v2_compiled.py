"""Upstream's network by torch.compile with frozen weights: float32, bfloat16, or int8 by torchao.

Started by ``benchmarks.latency`` in an environment of its own; no code of ours.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from answer import answer
from v2_upstream import load


def lowered(network, precision):
    """The network in this precision, and the versions that it takes."""
    versions = {"torch": torch.__version__}
    if precision == "bf16":
        return network.to(torch.bfloat16), versions
    if precision == "int8":
        import torchao
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(network, Int8DynamicActivationInt8WeightConfig())
        versions["torchao"] = torchao.__version__
    return network, versions


def main(folder, threads, precision, depth_file):
    """Load and compile, then answer."""
    torch.set_num_threads(int(threads))
    torch._inductor.config.freezing = True
    network, versions = lowered(load(Path(folder)), precision)
    image = torch.from_numpy(np.load(Path(folder) / "image.npy", allow_pickle=False))
    image = image.to(next(network.parameters()).dtype)
    compiled = torch.compile(network)

    def call():
        with torch.no_grad():
            return compiled(image).float().numpy()

    answer({"versions": versions, "threads": torch.get_num_threads()}, call, depth_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
