"""Patterns of paths, as shells have them: ``photos/2024-*/**/*.png``.

A pattern in; whether a path matches it, and whether a folder on the way can. ``*``, ``?`` and
``[...]`` stay within a part, ``**`` is any number of folders. No disk is looked at.
"""

import fnmatch
import glob
import itertools
from dataclasses import dataclass
from pathlib import Path

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Pattern:
    """What follows the folder that a pattern begins at, by its parts."""

    parts: Parts

    def matches(self, parts: Parts) -> bool:
        """Whether a path is one of those meant."""
        return any(not left for left in self._after(parts))

    def enters(self, parts: Parts) -> bool:
        """Whether a path below this folder can be one of those meant."""
        return any(left for left in self._after(parts))

    def _after(self, parts: Parts) -> set[Parts]:
        """All that can be left of the pattern behind a path."""
        states = _without_folders(self.parts)
        for part in parts:
            found: set[Parts] = set()
            for head, *rest in filter(None, states):
                if head == "**":
                    found |= _without_folders((head, *rest)) | _without_folders(tuple(rest))
                elif fnmatch.fnmatchcase(part, head):
                    found |= _without_folders(tuple(rest))
            states = found
        return states


def split(source: Path) -> tuple[Path, Pattern]:
    """The folder that a pattern begins at, its part without wildcards, and the rest."""
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), source.parts[:-1]))
    return Path(*fixed), Pattern(source.parts[len(fixed) :])


def _without_folders(parts: Parts) -> set[Parts]:
    """A pattern, and what it is if ``**`` at its beginning stands for no folder."""
    found = {parts}
    while parts[:1] == ("**",) and len(parts) > 1:
        parts = parts[1:]
        found.add(parts)
    return found
