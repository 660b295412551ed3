"""depth-anything.cpp, built once from sources that somebody has fetched, and weights for it.

Sources in; its shared library and a GGUF file out, by the project's own build and script. Nothing
is fetched: ``third_party/ggml`` must be there, too (``git clone --recursive``).
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import FOLDER
from benchmarks.peers.process import variables
from runtime.errors import MissingDependency

LIBRARY = "libdepthanything.so"
CONVERTER = "scripts/convert_da2_to_gguf.py"
CONVERTS_WITH = ("gguf==0.19.0",)


def built(sources: Path) -> Path:
    """The library, built as far as it is not there.

    Raises:
        MissingDependency: these are not its sources, there is no CMake, or the build fails.
    """
    if not (sources / "CMakeLists.txt").is_file() or not (sources / CONVERTER).is_file():
        raise MissingDependency(
            f"{sources}: not the sources of depth-anything.cpp; expected CMakeLists.txt and "
            f"{CONVERTER} (git clone --recursive)"
        )
    cmake = shutil.which("cmake")
    place = hashlib.sha256(str(sources.resolve()).encode()).hexdigest()[:12]
    build = (FOLDER / f"ggml-build-{place}").resolve()
    if cmake is None:
        raise MissingDependency("no cmake here, which builds depth-anything.cpp; install it")
    for words in (
        ["-S", str(sources.resolve()), "-B", str(build), "-DDA_SHARED=ON", "-DDA_BUILD_CLI=OFF"],
        ["--build", str(build), "--parallel"],
    ):
        _run([cmake, *words], "depth-anything.cpp cannot be built")
    found = next(build.rglob(LIBRARY), None)
    if found is None:
        raise MissingDependency(f"{build}: the build made no {LIBRARY}")
    return found


def converted(sources: Path, python: Path, encoder: str, weights: Path, scratch: Path) -> Path:
    """Weights in official names as a GGUF file.

    Raises:
        MissingDependency: the script fails.
    """
    output = scratch / "weights.gguf"
    words = ["--encoder", encoder, "--ckpt", str(weights), "--output", str(output)]
    converter = [str(python), str(sources / CONVERTER), *words]
    _run(converter, "the weights cannot be converted", sources)
    return output


def _run(words: list[str], otherwise: str, path: Path = Path()) -> None:
    if subprocess.run(words, stdout=sys.stderr, env=variables(path.resolve())).returncode:
        raise MissingDependency(f"{otherwise}; see the lines above")
