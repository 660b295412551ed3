"""The files below a folder, each once, and what was not taken.

A folder in; paths by name out, streamed. Hidden files and folders are left out. Links to folders
are followed once: not into what is walked anyway, so every walk ends, and no file comes twice.
"""

import collections
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

HIDDEN, FOLDERS, LINKS, NO_FILES = "hidden", "in folders", "links to the same", "no files"
NO_SUFFIX, OTHERS = "without suffix", "others"
MOST_KINDS, SHOWN_KINDS, LONGEST_SUFFIX = 100, 6, 12
UNREAD = "unreadable"

log = logging.getLogger(__name__)

Parts = tuple[str, ...]


class LeftOut:
    """What a listing did not take: how many of each kind, and folders that it could not read."""

    def __init__(self) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.unread = 0

    def add(self, kind: str) -> None:
        """Count one: of a suffix, or of the kinds above."""
        self.kinds[kind if kind in self.kinds or len(self.kinds) < MOST_KINDS else OTHERS] += 1

    def add_file(self, name: str) -> None:
        """Count a file that is none of those wanted, by its suffix."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 of keys, too
        short = suffix.isprintable() and len(suffix) <= LONGEST_SUFFIX
        self.add(HIDDEN if name.startswith(".") else suffix if short and suffix else NO_SUFFIX)

    def refuse(self, error: OSError) -> None:
        """Count a folder that cannot be read, and say so."""
        self.unread += 1
        log.warning("%s: cannot be read (%s); left out", error.filename, error.strerror)

    def facts(self) -> dict[str, int]:
        """The counts, the most frequent first, for a file."""
        found = dict(self.kinds.most_common())
        return {**found, UNREAD: self.unread} if self.unread else found

    def __str__(self) -> str:
        return told(self.facts())


def told(facts: dict[str, int]) -> str:
    """Counts of what was left out, as a sentence; empty if nothing was."""
    kinds = [(kind, count) for kind, count in facts.items() if kind != UNREAD]
    total, rest = sum(count for _, count in kinds), kinds[SHOWN_KINDS:]
    words = [f"{count:,} {kind}" for kind, count in kinds[:SHOWN_KINDS]]
    words += [f"{sum(count for _, count in rest):,} others"] if rest else []
    sentences = [f"{total:,} {'file' if total == 1 else 'files'}: {', '.join(words)}"] * bool(kinds)
    unread = facts.get(UNREAD, 0)
    sentences += [f"{unread:,} {'folder' if unread == 1 else 'folders'} unread"] * bool(unread)
    return "left out " + "; ".join(sentences) if sentences else ""


def walk(
    folder: Path,
    enters: Callable[[Parts], bool] = lambda parts: True,
    refused: Optional[Callable[[OSError], None]] = None,
    skipped: Callable[[str], None] = lambda kind: None,
    broken_links: bool = False,
) -> Iterator[Path]:
    """The files below a folder, by name.

    Args:
        enters: whether a folder below is wanted, by its parts below ``folder``.
        refused: called with the error if a folder may not be read, which is then left out; None
            raises it.
        skipped: called with the kind of what else is left out.
        broken_links: links to nothing count as files, since something was meant to be there.
    Raises:
        OSError: a folder may not be read.
    """
    root = os.path.realpath(folder)
    taken: dict[str, Parts] = {root: ()}  # real folders that are walked, by their parts
    stack = [_Level((), root, folder, _entries(folder, refused))]
    while stack:
        level = stack[-1]
        one = next(level.left, None)
        if one is None:
            stack.pop()
            continue
        place = level.place / one.name
        if one.name.startswith("."):
            skipped(HIDDEN)
        elif _is(one.is_dir):
            parts, linked = (*level.parts, one.name), one.is_symlink()
            real = os.path.realpath(one.path) if linked else f"{level.real.rstrip('/')}/{one.name}"
            if not enters(parts):
                skipped(FOLDERS)
            elif linked and _is_taken(real, taken, enters):
                skipped(LINKS)
            elif linked or real not in taken:
                if linked:
                    taken[real] = parts
                stack.append(_Level(parts, real, place, _entries(place, refused)))
        elif _is(one.is_file) or (broken_links and _is_broken(one)):
            yield place
        else:
            skipped(NO_FILES)


class _Level(NamedTuple):
    """A folder that is being walked; a stack, since folders lie deeper than Python's calls go."""

    parts: Parts
    real: str
    place: Path
    left: Iterator[Any]


def _entries(
    folder: Path, refused: Optional[Callable[[OSError], None]]
) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda one: one.name))
    except OSError as error:
        if refused is None:
            raise
        refused(error)
        return iter(())


def _is_taken(real: str, taken: dict[str, Parts], enters: Callable[[Parts], bool]) -> bool:
    """Whether a real folder is one of those walked, or will be met below one of them."""
    inner: Parts = ()
    while True:
        if real in taken:
            hidden = any(part.startswith(".") for part in inner)
            return not hidden and (not inner or enters((*taken[real], *inner)))
        real, slash, last = real.rpartition("/")
        if not slash:
            return False
        inner, real = (last, *inner), real or "/"
        if real == "/" and not last:
            return False


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:  # a link to itself, or into a folder that may not be entered
        return False


def _is_broken(one: "os.DirEntry[str]") -> bool:
    """True for a link at whose end nothing can be seen; what is neither is a device or a pipe."""
    return one.is_symlink() and not os.path.exists(one.path)  # noqa: PTH110 it raises nothing
