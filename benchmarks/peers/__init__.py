"""Other people's packages, each in a folder of its own that no environment of ours sees."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import MissingDependency

FOLDER = Path("benchmarks/.peers")


def install(name: str, *steps: Sequence[str]) -> Path:
    """Put packages into ``benchmarks/.peers/name``, once.

    Args:
        steps: what is asked of pip, one call after the other.
    Raises:
        MissingDependency: they cannot be installed.
    """
    folder = FOLDER / name
    if folder.exists():
        return folder.resolve()
    uv = shutil.which("uv") or (".uv/bin/uv" if Path(".uv/bin/uv").exists() else None)
    tool = [uv, "pip", "install", "--python", sys.executable] if uv else None
    tool = tool or [sys.executable, "-m", "pip", "install"]
    partial = folder.with_name(folder.name + ".partial")
    for packages in steps:
        done = subprocess.run([*tool, "--quiet", "--target", str(partial), *packages])
        if done.returncode:
            raise MissingDependency(f"{packages[-1]} cannot be installed; see the lines above")
    partial.rename(folder)
    return folder.resolve()
