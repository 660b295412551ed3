"""A peer in a process of its own, asked for runs over a pipe.

``benchmarks/peers/<script>`` and its words in; what it says, one JSON object at a time, out.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from runtime.errors import DepthError

SCRIPTS = Path(__file__).parent
ENDS_WITHIN_S = 60.0


def variables(path: Optional[Path] = None) -> dict[str, str]:
    """This process's environment variables for a peer: it imports its own packages, and ``path``'s.

    It is told to ask nobody and to report to nobody.
    """
    made = {**os.environ, "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    made.pop("PYTHONPATH", None)
    return made if path is None else {**made, "PYTHONPATH": str(path)}


class Peer:
    """A running script; ``facts`` is what it said first.

    Args:
        python: the interpreter.
        script: name of a file beside this one.
        words: its arguments.
        depth_file: where it writes what it found, its last argument; None for one that finds none.
        path: folder for its PYTHONPATH.
    Raises:
        DepthError: it ended before it was ready.
    """

    def __init__(
        self,
        python: Path,
        script: str,
        words: Sequence[str],
        depth_file: Optional[Path],
        path: Optional[Path] = None,
    ) -> None:
        self.script, self.depth_file = script, depth_file
        last = [] if depth_file is None else [str(depth_file)]
        self.process = subprocess.Popen(
            [str(python), str(SCRIPTS / script), *words, *last],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables(path),
        )
        self.said: list[dict[str, Any]] = []
        self.facts = self._listen()

    def run(self, calls: int) -> dict[str, Any]:
        """This many calls; what it says about them, which is kept in ``said``, too."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        self.said.append(self._listen())
        return self.said[-1]

    def depth(self) -> np.ndarray:
        """What its first call found."""
        assert self.depth_file is not None
        return np.load(self.depth_file, allow_pickle=False)

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # packages print and log as well
                return json.loads(line)
        raise DepthError(f"{self.script} ended early; see the lines above")
