"""Runs an artifact of a scene's model in a process like those of the others.

Started by ``benchmarks.da3`` with this interpreter and this repository on its path.
"""

import sys
from pathlib import Path

import numpy as np
from answer import answer

from runtime.artifact.folder import read_artifact
from runtime.predict.scenes import SceneEngine


def main(folder: str, images: str, threads: str, depth: str) -> None:
    """Load, then answer."""
    engine = SceneEngine(read_artifact(Path(folder)), "cpu", int(threads))
    given = np.load(images, allow_pickle=False)
    answer({"threads": int(threads)}, lambda: engine(given).depth, depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
