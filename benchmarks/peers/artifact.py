"""Runs an artifact of ours, in a process like those of the others.

Started by ``benchmarks.latency`` with this interpreter and this repository on its path.
"""

import sys
from pathlib import Path

import numpy as np
from answer import answer

from runtime.artifact.folder import read_artifact
from runtime.engines import load_engine
from runtime.optional import version_of

PACKAGES = {"torchscript": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


def main(folder: str, image: str, threads: str, depth: str) -> None:
    """Load, then answer."""
    artifact = read_artifact(Path(folder))
    engine = load_engine(artifact.path, artifact.manifest, "cpu", int(threads))
    (output,) = artifact.manifest.stages[0].outputs
    given = {"image": np.load(image, allow_pickle=False)}
    package = PACKAGES[artifact.manifest.target]
    facts = {"versions": {package: version_of(package)}, "threads": int(threads)}
    answer(facts, lambda: engine(given)[output.name], depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
