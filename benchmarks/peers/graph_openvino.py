"""Runs an ONNX graph in OpenVINO on the CPU, in the precision it is told.

Started by ``benchmarks.latency`` in an environment of its own; no code of ours. OpenVINO's
telemetry stays out, as in ``runtime.engines.openvino``.
"""

import sys

sys.modules["openvino_telemetry"] = None

import numpy as np
import openvino
from answer import answer


def main(graph: str, image: str, threads: str, precision: str, depth: str) -> None:
    """Load, then answer."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    given = np.load(image, allow_pickle=False)
    used = {name: compiled.get_property(name) for name in settings}
    facts = {
        "versions": {"openvino": openvino.__version__.partition("-")[0]},
        "threads": int(used["INFERENCE_NUM_THREADS"]),
        "precision": used["INFERENCE_PRECISION_HINT"].to_string(),
    }
    answer(facts, lambda: compiled(given)[0].copy(), depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
