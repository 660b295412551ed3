"""The ways of asking a compiler, tried in turn, until one gives a graph; each is written down.

A source, its attempts and what makes a graph of one, in; the graph's file and what is said of it,
out. What an earlier compile that was cut has done is not done again.
"""

import contextlib
import logging
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from torch.jit._script import ScriptModule

from compile.targets.attempts import Attempt, word_of
from compile.targets.journal import FAILED, Entry, log_tails
from compile.targets.options import NeuronOptions
from compile.targets.source import Built, GraphSource
from compile.targets.watch import Watch
from runtime.errors import CompileError, first_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A graph that the compiler gave, that was not refused, and what the manifest says of it."""

    graph: ScriptModule
    facts: dict[str, str]


Maker = Callable[[Attempt, Path], Taken]  # the folder is for the compiler


def first_taken(
    source: GraphSource,
    ways: Sequence[Attempt],
    make: Maker,
    precision: str,
    folder: Path,
    compiler: str,
) -> Built:
    """The graph of the first attempt that gives one, saved into ``folder``.

    A compiler that took too long is asked no other form of the whole, as it would take as long; it
    is asked for smaller parts.

    Args:
        make: raises whatever the compiler raises if it refuses.
        precision: of what comes.
        compiler: its name, for people.
    Raises:
        CompileError: none gave one; it says what each said, and where its logs are.
    """
    failures: list[str] = []
    slow: Optional[str] = None
    for number, attempt in enumerate(ways, start=1):
        if slow and not attempt.off_chip:
            log.info("attempt %d, %s: left out, it would take as long", number, attempt.name)
            continue
        log.info("attempt %d, %s: %s %s", number, attempt.name, compiler, attempt.compiler_args)
        key = source.journal.key(source.stage.name, attempt, _of_the_graph(source.neuron))
        entry = source.journal.known(source.stage.name, attempt.name, key)
        if entry is None:
            entry = _try(source, attempt, key, make, folder, compiler)
        elif entry.status == FAILED:
            log.info("attempt %d, %s: failed before the cut; not again", number, attempt.name)
        else:
            log.info("attempt %d, %s: taken from the compile that was cut", number, attempt.name)
            source.journal.take(entry, folder)
        if entry.status != FAILED:
            return Built(entry.graph, precision, attempt.rewrites, entry.facts)
        workdir = source.workdir_of(word_of(attempt.name))
        log.warning("attempt %d, %s: %s (log in %s)", number, attempt.name, entry.reason, workdir)
        failures.append(f"{attempt.name}: {entry.reason} ({workdir})")
        if entry.timed_out:
            slow = entry.reason
    advice = "; give it longer with --timeout, or a smaller size" if slow else ""
    raise CompileError(
        f"{compiler} took none of {len(failures)} forms of {source.name}: "
        + "; ".join(failures)
        + advice
    )


def _try(
    source: GraphSource, attempt: Attempt, key: str, make: Maker, folder: Path, compiler: str
) -> Entry:
    """One attempt, made and written down."""
    workdir = source.make_workdir(word_of(attempt.name))
    arguments = list(attempt.compiler_args)
    entry = source.journal.begin(source.stage.name, attempt.name, key, arguments)
    taken = None
    try:
        with Watch() as watch:
            taken = make(attempt, workdir)
    except subprocess.TimeoutExpired as error:
        entry.reason = f"{compiler} took more than {error.timeout:.0f} s"
        entry.timed_out = True
    except Exception as error:  # compilers and TensorFlow raise a dozen kinds; all mean "no"
        entry.reason = first_line(error)
        log.debug("%s", attempt.name, exc_info=True)
    entry.seconds, entry.peak_mib = round(watch.seconds, 3), watch.peak_mib
    entry.logs = log_tails(workdir)
    if taken is None:
        entry.status = FAILED
        source.journal.write()
        return entry
    discard(workdir)
    file = folder / source.file_name(".pt")
    taken.graph.save(str(file))
    entry.facts = {"attempt": attempt.name, **taken.facts}
    source.journal.keep(entry, file)
    return entry


def _of_the_graph(options: NeuronOptions) -> NeuronOptions:
    """Options without those that say only what is tried."""
    return replace(options, attempts=(), retries=True, fresh=False)


def plain_options(options: dict[str, Any]) -> dict[str, str]:
    """A compiler's options for the manifest: all but a path of this machine, so that the same
    compile gives the same manifest.
    """
    return {name: _plain(value) for name, value in options.items() if name != "compiler_workdir"}


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def discard(workdir: Path) -> None:
    """Remove a compiler's folder, and the one around it once that is empty."""
    shutil.rmtree(workdir, ignore_errors=True)
    with contextlib.suppress(OSError):
        workdir.parent.rmdir()
