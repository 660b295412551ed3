"""Other people's packages, where no environment of ours sees them.

``install`` lays packages over this interpreter's own, ``environment`` makes one of their own, with
current torch where they need it. Both put them under ``benchmarks/.peers`` once, as pinned.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import MissingDependency
from runtime.files import partial_folder, write_whole

FOLDER = Path("benchmarks/.peers")
PYTHONS = ((3, 11), (3, 12), (3, 13))  # what current wheels of all peers are made for
PINS = "pins.txt"  # in an environment, once it is whole


def install(name: str, *steps: Sequence[str]) -> Path:
    """Put packages into ``benchmarks/.peers/name``, for this interpreter's path.

    Args:
        steps: what is asked of pip, one call after the other.
    Raises:
        MissingDependency: they cannot be installed.
    """
    folder = FOLDER / name
    if folder.exists():
        return folder.resolve()
    with partial_folder(FOLDER) as scratch:
        for packages in steps:
            _pip(Path(sys.executable), ["--target", str(scratch / name), *packages])
        (scratch / name).rename(folder)
    return folder.resolve()


def environment(name: str, *steps: Sequence[str]) -> Path:
    """Make ``benchmarks/.peers/name`` an environment with these packages; its interpreter.

    It is made anew when the pins change.

    Raises:
        MissingDependency: no suitable Python, or the packages cannot be installed.
    """
    folder = FOLDER.resolve() / name
    python, done = folder / "bin" / "python", folder / PINS
    pins = "\n".join(" ".join(packages) for packages in steps)
    if done.exists() and done.read_text() == pins:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([find_python(), "-m", "venv", str(folder)], check=True)
    for packages in steps:
        _pip(python, packages)
    write_whole(done, pins.encode())
    return python


def find_python() -> str:
    """An interpreter that current torch has wheels for: this one, ``$PYTHON``, or one on the path.

    Raises:
        MissingDependency: there is none.
    """
    named = [f"python{major}.{minor}" for major, minor in PYTHONS]
    for candidate in (sys.executable, os.environ.get("PYTHON", ""), *named, "python3"):
        found = shutil.which(candidate)
        script = f"import sys; sys.exit(sys.version_info[:2] not in {PYTHONS})"
        if found and not subprocess.run([found, "-c", script], capture_output=True).returncode:
            return found
    raise MissingDependency(
        f"no {', '.join(named)} here, and the peers need current torch; set PYTHON=/path/to/python"
    )


def _pip(python: Path, words: Sequence[str]) -> None:
    """Install with uv where it is, else with pip."""
    uv = shutil.which("uv") or (".uv/bin/uv" if Path(".uv/bin/uv").exists() else None)
    tool = [uv, "pip", "install", "--python", str(python)] if uv else None
    tool = tool or [str(python), "-m", "pip", "install"]
    links = os.environ.get("PIP_FIND_LINKS")  # uv does not read pip's setting; it means it, too
    env = {**os.environ, **({"UV_FIND_LINKS": links} if links else {})}
    if subprocess.run([*tool, "--quiet", *words], env=env).returncode:
        raise MissingDependency(f"{words[-1]} cannot be installed; see the lines above")
