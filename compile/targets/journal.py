"""What was tried for one artifact: written as it happens, for the next compile and for issues.

``compile-report.json`` in a folder of the compiler's own. A compile that was cut goes on from it:
what failed is not tried again, what was made is taken as it is. Nothing of it is in the artifact.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from runtime.files import write_whole
from runtime.machine import describe_machine

log = logging.getLogger(__name__)

REPORT = "compile-report.json"
VERSION = 1
RUNNING, DONE, FAILED = "running", "done", "failed"
TAIL = 30  # lines of each of the compiler's logs
TAIL_BYTES = 16 * 1024
LOGS = ("*log*", "*.txt")


@dataclass
class Entry:
    """One attempt at one stage. ``peak_mib`` is of the compiler's processes; None: not known."""

    stage: str
    attempt: str
    key: str  # of all that it depends on
    compiler_args: list[str]
    status: str = RUNNING
    reason: str = ""
    timed_out: bool = False
    seconds: float = 0.0
    peak_mib: Optional[float] = None
    graph: str = ""
    graph_bytes: int = 0
    graph_sha256: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)


class Journal:
    """The report of one artifact's compile; a context, whose end says how that ended.

    Args:
        folder: for it and for what the compiler leaves; None keeps nothing.
        facts: what is compiled and with what; another compile's results are not taken.
        fresh: whether to forget an earlier compile.
    """

    def __init__(
        self, folder: Optional[Path], facts: Optional[dict[str, Any]] = None, fresh: bool = False
    ) -> None:
        self.folder, self.facts, self.status = folder, facts or {}, RUNNING
        self.notes: dict[str, Any] = {}  # about the compiler, beside the attempts
        self.entries: list[Entry] = []
        if folder is not None and not fresh:
            self.entries = _earlier(folder / REPORT)

    def key(self, stage: str, attempt: Any, options: Any) -> str:
        """What an attempt depends on, as one word: dataclasses of how it is made."""
        facts = {name: value for name, value in self.facts.items() if name != "options"}
        parts = [facts, stage, asdict(attempt), asdict(options)]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def begin(self, stage: str, attempt: str, key: str, compiler_args: list[str]) -> Entry:
        """Write down that an attempt begins."""
        self.entries = [e for e in self.entries if (e.stage, e.attempt) != (stage, attempt)]
        entry = Entry(stage=stage, attempt=attempt, key=key, compiler_args=compiler_args)
        self.entries.append(entry)
        self.write()
        return entry

    def known(self, stage: str, attempt: str, key: str) -> Optional[Entry]:
        """An earlier compile's result of the very same attempt; None if there is none to take."""
        for entry in self.entries:
            if (entry.stage, entry.attempt, entry.key) != (stage, attempt, key):
                continue
            if entry.status == FAILED:
                return entry
            if entry.status == DONE and self._whole(entry):
                return entry
        return None

    def keep(self, entry: Entry, graph: Path) -> None:
        """Keep a stage's graph until the artifact is written."""
        content = graph.read_bytes()
        entry.status, entry.graph = DONE, graph.name
        entry.graph_bytes, entry.graph_sha256 = len(content), hashlib.sha256(content).hexdigest()
        if self.folder is not None:
            shutil.copy2(graph, self.folder / graph.name)
        self.write()

    def take(self, entry: Entry, folder: Path) -> None:
        """Put a kept graph into the artifact's folder."""
        assert self.folder is not None
        shutil.copy2(self.folder / entry.graph, folder / entry.graph)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self.entries or (error is not None and not isinstance(error, Exception)):
            return  # nothing was tried, or it was cut: the next compile goes on
        self.status = DONE if error is None else FAILED
        if error is not None:
            self.notes["ended"] = str(error)
        self.write()
        if error is None and self.folder is not None:  # the artifact has the graphs
            for entry in self.entries:
                if entry.graph:
                    (self.folder / entry.graph).unlink(missing_ok=True)

    def write(self) -> None:
        """Write the report."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        report = {
            "version": VERSION,
            "status": self.status,
            **self.facts,
            **self.notes,
            "machine": describe_machine(),
            "attempts": [asdict(entry) for entry in self.entries],
        }
        write_whole(self.folder / REPORT, (json.dumps(report, indent=2) + "\n").encode())

    def _whole(self, entry: Entry) -> bool:
        file = (self.folder or Path()) / entry.graph
        return file.is_file() and _sha256(file) == entry.graph_sha256


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _earlier(report: Path) -> list[Entry]:
    """What an earlier compile did, if it was cut; of one that ended in failure, what it made."""
    try:
        facts = json.loads(report.read_text(encoding="utf-8"))
        names = {one.name for one in dataclasses.fields(Entry)}
        found = [
            Entry(**{name: value for name, value in one.items() if name in names})
            for one in facts["attempts"]
        ]
        cut = facts["status"] == RUNNING
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s: cannot be read (%s); beginning anew", report, error)
        return []
    for entry in found:
        if cut and entry.status == RUNNING:
            log.warning("an earlier compile was cut in %r; trying that again", entry.attempt)
    return [e for e in found if e.status == DONE or (cut and e.status == FAILED)]


def log_tails(workdir: Path) -> dict[str, list[str]]:
    """The ends of a compiler's logs, by their names below its folder."""
    files = {file for pattern in LOGS for file in workdir.rglob(pattern) if file.is_file()}
    tails = {}
    for file in sorted(files):
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
        tails[str(file.relative_to(workdir))] = lines[-TAIL:]
    return tails
