"""A device that is only waited for: to see what the rest of a machine can feed it.

A predictor whose host work is the real one, on a real artifact's shapes; the graph is never loaded.
Each call takes a fixed time, and its map is a ramp with grain, which no reader can take for depth.
"""

import time
from collections.abc import Sequence
from typing import Optional

import numpy as np

from runtime.artifact.folder import Artifact
from runtime.engines import Engine
from runtime.predict.predictor import Predictor

GRAIN = 0.005  # of the range: so 16-bit PNG costs what it costs for depth; without, a tenth


def simulated_predictor(artifacts: Sequence[Artifact], service_ms: float) -> Predictor:
    """As many calls at once as there are threads that call: one object stands for any number.

    Args:
        service_ms: of one call, whatever its batch.
    """

    def load(artifact: Artifact, device: str, threads: Optional[int]) -> Engine:
        manifest = artifact.manifest
        maps = ramps((manifest.input.batch, *manifest.input.size_hw))
        found = {manifest.output.kind: maps}
        if any(tensor.name == "sky" for tensor in manifest.stages[-1].outputs):
            found["sky"] = np.zeros_like(maps)

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            time.sleep(service_ms / 1e3)
            return {name: array.copy() for name, array in found.items()}

        return run

    return Predictor(artifacts, load=load, simulated=True)


def ramps(shape: tuple[int, int, int]) -> np.ndarray:
    """float32 (B, H, W), from 1 at the left to about 2 at the right; always the same."""
    grain = np.random.default_rng(0).random(shape, dtype=np.float32)
    return np.linspace(1, 2, shape[2], dtype=np.float32) + np.float32(GRAIN) * grain
