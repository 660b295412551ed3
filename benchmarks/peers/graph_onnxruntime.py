"""Runs an ONNX graph in ONNX Runtime as its documentation has it, on the CPU.

Started by ``benchmarks.latency`` in an environment of its own; no code of ours.
"""

import sys

import numpy as np
import onnxruntime
from answer import answer


def main(graph: str, image: str, threads: str, depth: str) -> None:
    """Load, then answer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: np.load(image, allow_pickle=False)}
    facts = {"versions": {"onnxruntime": onnxruntime.__version__}, "threads": int(threads)}
    answer(facts, lambda: session.run(None, given)[0], depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
