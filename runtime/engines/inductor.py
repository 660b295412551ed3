"""What inductor makes of a ``.pt2`` graph: a program for this machine, proven against the graph.

Compiled in a process of its own, so that its memory is gone afterwards and nothing of it is left in
ours; kept by ``made_here``. The program has no weights in it: they are those of the graph's file.
"""

import contextlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from runtime.artifact.manifest import Manifest, StageSpec, TensorSpec, from_json, to_json
from runtime.engines.cuda import attention_by
from runtime.engines.made_here import made_here
from runtime.engines.where import exact_float32
from runtime.errors import CompileError, InputError
from runtime.files import sha256_of
from runtime.optional import require
from runtime.processor import fingerprint

log = logging.getLogger(__name__)

SWITCH = "DEPTH_INDUCTOR"  # 1: on processors, too; 0: nowhere; unset, or the next: on CUDA
AUTOTUNE = "max-autotune"  # inductor tries many kernels for each product: minutes, once
LIMIT_S = 1800.0
# How a line that says why begins: a traceback's last, or our own
ERROR = re.compile(r"[\w.]*(Error|Exception)\b|it is off by ")
SUFFIX = ".pt2"  # which inductor wants
ROOT = Path(__file__).parents[2]
CHILD = (
    f"import sys; sys.path[0] = {str(ROOT)!r}; from runtime.engines.inductor import main; "
    "sys.exit(main(sys.argv[1:]))"
)


def is_wanted(device: str) -> bool:
    """Whether graphs are compiled for a device, cpu or cuda: on the CPU it gains a twentieth.

    Raises:
        InputError: the switch in the environment is none of these.
    """
    given = os.environ.get(SWITCH, "")
    if given not in ("", "0", "1", AUTOTUNE):
        raise InputError(f"{SWITCH}={given!r}: use 0, 1 or {AUTOTUNE}, or leave it out")
    return given == "1" or (given in ("", AUTOTUNE) and device == "cuda")


def program_of(
    torch: ModuleType, folder: Path, manifest: Manifest, stage: StageSpec, device: str
) -> Optional[Path]:
    """The program for a stage on this device, made if it is not there; None if it cannot be made.

    Why it cannot is logged in one sentence, and the graph is then run as it is.
    """
    file = folder / stage.graph
    by = f"inductor {AUTOTUNE}" if _autotunes() else "inductor"
    facts = program_facts(torch, by, folder, manifest, stage, device)

    def make(program: Path) -> None:
        log.info("%s: inductor compiles %s for this machine, once", manifest.name, stage.name)
        _compile(file, manifest, stage, device, program)

    try:
        return made_here(folder, facts, SUFFIX, make)
    except (CompileError, OSError) as error:
        log.warning(
            "%s: %s is run as it is, since inductor could not compile it here: %s",
            manifest.name,
            stage.name,
            error,
        )
        return None


def _autotunes() -> bool:
    """Whether inductor is to search for kernels at length."""
    return os.environ.get(SWITCH) == AUTOTUNE


def program_facts(
    torch: ModuleType, by: str, folder: Path, manifest: Manifest, stage: StageSpec, device: str
) -> dict[str, str]:
    """All that a program of a stage depends on, for ``made_here``; ``by``: what makes it."""
    known = {spec.name: spec.sha256 for spec in manifest.files}  # of files that were verified
    return {
        "by": by,
        "graph": known.get(stage.graph) or sha256_of(folder / stage.graph),
        "weights": manifest.weights.sha256,  # large ones may lie beside the graph
        "precision": manifest.precision,
        "stage": stage.name,
        **_machine_facts(torch, device),
    }


def _machine_facts(torch: ModuleType, device: str) -> dict[str, str]:
    facts = {"torch": torch.__version__, "device": device}
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        name = torch.cuda.get_device_name()
        return {**facts, "name": name, "arch": f"{major}.{minor}", "cuda": str(torch.version.cuda)}
    return {**facts, "name": fingerprint()}


class Program:
    """A program with its weights, from tensors on its device to a tuple of them.

    Args:
        file: as ``program_of`` gives it; it is executed.
        weights: on the device, by the names that the graph's module has for them.
    """

    def __init__(self, torch: ModuleType, file: Path, weights: dict[str, Any], device: str) -> None:
        # A CUDA graph cannot record the events by which a program shares itself among threads
        self._model = _loaded(torch, file, single_threaded=device == "cuda")
        named = {name: weights[name] for name in self._model.get_constant_fqns()}
        self._model.load_constants(named, False, True, True)  # all of them, and they stay ours
        self._weights = weights  # the program knows their addresses only

    def __call__(self, *tensors: Any) -> tuple[Any, ...]:
        """Run once."""
        return tuple(self._model.boxed_run(list(tensors)))


def _loaded(torch: ModuleType, file: Path, single_threaded: bool) -> Any:
    """What ``aoti_load_package`` wraps: that imports inductor and tries the compiler, for 10 s."""
    loader = torch._C._aoti.AOTIModelPackageLoader
    with contextlib.suppress(TypeError):
        return loader(str(file), "model", single_threaded, 1, -1)
    return loader(str(file), "model", single_threaded)  # torch before 2.8


def _compile(file: Path, manifest: Manifest, stage: StageSpec, device: str, program: Path) -> None:
    """Have another process compile a graph and compare both.

    Raises:
        CompileError: it cannot, or the program does not equal the graph.
    """
    names = (os.environ.get("CXX", "g++"), "clang++")
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise CompileError("there is no C++ compiler, neither CXX nor g++; install one")
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="inductor-") as scratch:
        places = {
            "TORCHINDUCTOR_CACHE_DIR": scratch,
            "TRITON_CACHE_DIR": f"{scratch}/triton",
            "CXX": _linking_as_we_do(Path(scratch), compiler),
        }
        command = [sys.executable, "-c", CHILD, str(file), stage.name, device, str(program)]
        try:
            done = subprocess.run(
                command,
                input=to_json(manifest).encode(),
                capture_output=True,
                env={**os.environ, **places},
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise CompileError(f"it took over {LIMIT_S:.0f} s") from None
    if done.returncode or not program.is_file():
        said = done.stderr.decode(errors="replace").strip()
        log.debug("inductor's process said:\n%s", said)
        raise CompileError(_why(done.returncode, said.splitlines()))


def _linking_as_we_do(folder: Path, compiler: str) -> str:
    """A compiler that links the libstdc++ which this process has; where none is known, itself.

    One that finds its static libstdc++ alone puts a second into the program, and two of them in a
    process do not live together: on an H200's machine ``std::regex`` ended it as it was loaded.
    """
    try:
        mapped = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines())
        ours = next(file for file in mapped if Path(file).name.startswith("libstdc++.so"))
        (folder / "libstdc++.so").symlink_to(ours)
    except (OSError, StopIteration):
        return compiler
    wrapped = folder / Path(compiler).name  # inductor tells gcc from clang by the name
    wrapped.write_text(
        f'#!/bin/sh\nexec {shlex.quote(compiler)} -L{shlex.quote(str(folder))} "$@"\n'
    )
    wrapped.chmod(0o700)
    return str(wrapped)


def _why(code: int, said: Sequence[str]) -> str:
    """What a process says of its end: its error, not the warnings around it."""
    if code < 0:
        return f"its process was ended by signal {-code}"
    errors = [line for line in said if ERROR.match(line)]
    return (errors or said or [f"it ended with {code}"])[-1][:300]


def main(argv: Sequence[str]) -> int:
    """The other process: a graph's file, a stage's name, a device and the program's file."""
    file, name, device, program = argv
    manifest = from_json(sys.stdin.read())
    stage = manifest.stage(name)
    torch = require("torch", "torch")
    from runtime.engines.pt2 import read_module

    exact_float32(torch)
    module = read_module(torch, Path(file), stage).to(device)
    given = tuple(probe(torch, tensor).to(device) for tensor in stage.inputs)
    with torch.no_grad(), attention_by(torch):
        exported = torch.export.export(module, given, strict=False)
        torch._inductor.aoti_compile_and_package(
            exported,
            package_path=program,
            inductor_configs={
                "aot_inductor.package_constants_in_so": False,
                "max_autotune": _autotunes(),
            },
        )
        expected = module(*given)
        found = Program(torch, Path(program), dict(module.named_buffers()), device)(*given)
    off = max(map(off_by, found, expected))
    limit = manifest.parity.tolerance_rel_range
    if not off <= limit:
        Path(program).unlink()
        print(f"it is off by {off:.1e} of the range, tolerance {limit:.0e}", file=sys.stderr)
        return 1
    return 0


def probe(torch: ModuleType, tensor: TensorSpec) -> Any:
    """Noise as a graph takes it, always the same."""
    random = torch.Generator().manual_seed(0)
    if tensor.dtype == "uint8":
        return torch.randint(0, 256, tensor.shape, dtype=torch.uint8, generator=random)
    return torch.randn(tensor.shape, generator=random)


def off_by(found: Any, expected: Any) -> float:
    """Largest difference over the range of what is expected; infinite if anything is not finite."""
    found, expected = found.float(), expected.float()
    if not (found.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    span = float(expected.max() - expected.min())
    off = float((found - expected).abs().max())
    return off / span if span else (float("inf") if off else 0.0)
