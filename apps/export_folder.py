"""The folder that a scene's files go to: it holds the old export or the new one, whole.

A path and what is written below it in; the folder, with a marker that lists what was made, out.
Nothing is removed but what an earlier run's marker lists, and nothing before the new files are all
there.
"""

import contextlib
import datetime
import errno
import itertools
import json
import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runtime.errors import InputError
from runtime.files import (
    PARTIAL,
    check_output_folder,
    partial_folder,
    read_whole,
    replace_folder,
    write_whole,
)
from runtime.names import below

MARKER = ".da3-export"
MARKER_BYTES = 64 << 20
OUTPUTS = Path("outputs")  # of runs that name no folder
PINNED = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)  # a folder that is mounted
KEPT = ".kept"  # at the end of the name of somebody's file whose place an export takes

log = logging.getLogger(__name__)


def new_folder(now: datetime.datetime) -> Path:
    """The folder of a run that names none: ``outputs/outputs_20260131235959``, or with ``_2``."""
    first = OUTPUTS / now.strftime("outputs_%Y%m%d%H%M%S")
    others = (first.with_name(f"{first.name}_{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not os.path.lexists(path))


def check_export_folder(folder: Path, inputs: Iterable[Path], cleanup: bool) -> None:
    """Refuse, before any work, a folder that cannot be written to or must not be cleaned.

    Args:
        inputs: what is read; none of it may lie in the folder.
        cleanup: replace what an earlier run made there; otherwise a person is asked, if there is a
            terminal.
    Raises:
        InputError: says why, and what to do.
    """
    check_output_folder(folder)
    real = folder.resolve()
    for place in inputs:
        if real in (place.resolve(), *place.resolve().parents):
            raise InputError(f"--export-dir {folder}: {place}, which is read, lies in it")
    if not folder.is_dir() or not _entries(folder):
        return
    if made_in(folder) is None:
        raise InputError(
            f"--export-dir {folder}: holds files that no run of da3 made ({MARKER} is not there), "
            "so they stay; name another folder, or empty it yourself"
        )
    if not cleanup and not _agreed(folder):
        raise InputError(
            f"--export-dir {folder}: holds an earlier export; --auto-cleanup replaces it, or name "
            "another folder"
        )


def made_in(folder: Path) -> Optional[set[str]]:
    """The names of the files that a run of da3 made there; None if none did.

    Raises:
        InputError: the marker cannot be read.
    """
    file = folder / MARKER
    if not os.path.lexists(file):
        return None
    try:
        return {str(name) for name in json.loads(read_whole(file, MARKER_BYTES))["files"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: damaged; empty {folder} yourself, or name another") from None


@dataclass
class Export:
    """An export that is being written: its files so far, and where it will be."""

    scratch: Path
    folder: Path


@contextlib.contextmanager
def writing_export(folder: Optional[Path], now: datetime.datetime) -> Iterator[Export]:
    """A scratch folder that becomes the export when all is written; an error leaves nothing.

    Args:
        folder: checked by ``check_export_folder``. Files in it that no marker lists stay. None:
            a new one, as of ``new_folder``.
    Yields:
        the export; afterwards its ``folder`` is where it is.
    """
    if folder is None:
        with partial_folder(OUTPUTS) as scratch:
            export = Export(scratch / "export", new_folder(now))
            export.scratch.mkdir()
            yield export
            _mark(export.scratch)
            while True:
                export.folder = new_folder(now)
                try:
                    export.scratch.rename(export.folder)
                    return
                except OSError:
                    if not os.path.lexists(export.folder):  # no other run has taken it
                        raise
    target = folder.resolve()
    swaps = not target.exists() or _can_be_swapped(target)
    with partial_folder(target.parent if swaps else target) as scratch:
        fresh = scratch / "export"
        fresh.mkdir()
        yield Export(fresh, folder)
        made = _mark(fresh)
        if not target.exists():
            fresh.rename(target)
        elif not (swaps and _swapped(fresh, target)):
            _replace_one_by_one(fresh, target, made)


def _mark(fresh: Path) -> list[str]:
    """Write the marker; what it lists."""
    files = (file for file in fresh.rglob("*") if file.is_symlink() or not file.is_dir())
    made = [*sorted(file.relative_to(fresh).as_posix() for file in files), MARKER]
    _write_marker(fresh, made)
    return made


def _write_marker(folder: Path, made: Sequence[str]) -> None:
    facts = {"made_by": "da3", "files": made}
    write_whole(folder / MARKER, (json.dumps(facts, indent=1) + "\n").encode())


def _agreed(folder: Path) -> bool:
    """Ask on a terminal whether an earlier export may go."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"replace the export in {folder}? [y/N]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _entries(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if not file.name.startswith(PARTIAL)]


def _can_be_swapped(folder: Path) -> bool:
    """Whether another folder may take its place: nobody stands in it, and it is no disk's root."""
    here = Path.cwd().resolve()
    inside = folder in (here, *here.parents)
    return not (inside or os.path.ismount(folder)) and os.access(folder.parent, os.W_OK | os.X_OK)


def _swapped(fresh: Path, target: Path) -> bool:
    """Put the new folder in the old one's place; False if the old one cannot be moved."""
    _carry(target, fresh, made_in(target) or ())
    try:
        replace_folder(fresh, target)
    except OSError as error:
        if error.errno not in PINNED:
            raise
        return False
    return True


def _carry(old: Path, fresh: Path, made: Collection[str]) -> None:
    """Give somebody's own files a second name in the folder that takes the old one's place."""
    for place, folders, files in os.walk(old):
        inner = Path(place).relative_to(old)
        folders[:] = [name for name in folders if not name.startswith(PARTIAL)]
        linked = [name for name in folders if (old / inner / name).is_symlink()]
        for name in (*files, *linked):
            path = inner / name
            if path.as_posix() in made or name.startswith(PARTIAL):
                continue
            target = _free(fresh / path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _second_name(old / path, target)
        if not folders and not files:
            (fresh / inner).mkdir(parents=True, exist_ok=True)


def _second_name(file: Path, target: Path) -> None:
    if file.is_symlink():
        target.symlink_to(file.readlink())
        return
    try:
        os.link(file, target)
    except OSError:  # a disk without links
        shutil.copy2(file, target)


def _free(place: Path) -> Path:
    """The place, or beside it one that no file of the export has."""
    free = place
    while os.path.lexists(free):
        free = free.with_name(free.name + KEPT)
    if free != place:
        log.warning("%s: was not made by da3, and is called %s now", place.name, free.name)
    return free


def _replace_one_by_one(fresh: Path, target: Path, made: Sequence[str]) -> None:
    """The same if the folder itself has to stay: file by file, each whole."""
    before = made_in(target) or set()
    for name in made:
        if name not in before and os.path.lexists(below(target, name)):
            below(target, name).rename(_free(below(target, name)))
    _write_marker(target, sorted({*before, *made}))
    for name in made:
        if name != MARKER:
            below(target, name).parent.mkdir(parents=True, exist_ok=True)
            _move(below(fresh, name), below(target, name))
    for name in before - set(made):
        with contextlib.suppress(OSError):
            below(target, name).unlink()
    _move(below(fresh, MARKER), below(target, MARKER))
    for folder in sorted({below(target, name).parent for name in before}, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _move(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with file.open("rb") as data:
            write_whole(target, iter(lambda: data.read(1 << 20), b""))
