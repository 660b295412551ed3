"""Which photos a folder, a pattern or a file holds: one rule for every door.

A place on disk in; paths of photos by name out. Photos are known by their suffix; hidden files are
left out, and so is whatever lies below a folder that results go to. What else is left out is
counted.
"""

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from runtime.errors import InputError
from runtime.photo.pattern import split
from runtime.walk import LeftOut, walk

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".jfif", ".jpe", ".mpo", ".dib", ".apng"),  # the same formats under other names
)
WITH_EXTRA = (".heic", ".heif", ".avif")  # the extra ``heif`` decodes them

log = logging.getLogger(__name__)


def find_photos(
    source: Path,
    recursive: bool = False,
    leave_out: Sequence[Path] = (),
    left_out: Optional[LeftOut] = None,
) -> list[Path]:
    """The photos of a folder or a pattern, by name; a file is taken whatever it is called.

    Args:
        recursive: folders in folders, too.
        leave_out: folders whose files are results, not photos.
        left_out: counts what else is left out; None logs it.
    Raises:
        InputError: no such place, no photo there, or the source is itself to be left out.
    """
    counts = LeftOut() if left_out is None else left_out
    photos = list(iter_photos(source, recursive, leave_out, counts))
    if not photos:
        but = f"; {counts}" if str(counts) else ""
        raise InputError(f"{source}: no photo there ({', '.join(SUFFIXES)}){but}")
    if left_out is None and str(counts):
        log.info("%s: %s", source, counts)
    return photos


def iter_photos(
    source: Path,
    recursive: bool = False,
    leave_out: Sequence[Path] = (),
    left_out: Optional[LeftOut] = None,
) -> Iterator[Path]:
    """The same, streamed; nothing is no error."""
    counts = LeftOut() if left_out is None else left_out
    if source.is_file():
        yield source
        return
    if not source.is_dir() and not glob.has_magic(str(source)):
        there = source.exists()
        what = "neither a file nor a folder" if there else "no such file, folder or pattern"
        raise InputError(f"{source}: {what}")
    root, results = root_of(source), [folder.resolve() for folder in leave_out]
    real = root.resolve()
    if real in results:
        raise InputError(f"{source}: is both input and output; name another folder")
    # Results in a folder above the photos are no reason to leave the photos out
    inside = Inside([folder for folder in results if folder not in real.parents])
    if source.is_dir():
        files = walk(root, lambda _: recursive, counts.refuse, counts.add, broken_links=True)
    else:  # what a pattern does not match is not missed
        pattern = split(source)[1]
        every = walk(root, pattern.enters, counts.refuse, broken_links=True)
        files = (file for file in every if pattern.matches(file.relative_to(root).parts))
    for file in files:
        if inside.holds(file):
            continue
        if is_photo(file.name):
            yield file
        else:
            counts.add_file(file.name)


def root_of(source: Path) -> Path:
    """The folder that photos' names begin below: of a pattern, its part without wildcards."""
    return source if source.is_dir() else split(source)[0]


def is_photo(name: str) -> bool:
    """Whether a file of this name is taken for a photo."""
    suffix = Path(name).suffix.lower()
    return suffix in (*SUFFIXES, *WITH_EXTRA) and not name.startswith(".")


class Inside:
    """Whether files lie below some folders, however either is spelt."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = {folder.resolve() for folder in folders}
        self._last = Path(), Path()  # files come folder by folder: resolve each folder once

    def holds(self, file: Path) -> bool:
        """True if the file's real place is below one of the folders."""
        if not self.folders:
            return False
        if os.path.islink(file):  # noqa: PTH114 unlike Path it raises nothing
            return not self.folders.isdisjoint(_resolved(file).parents)
        if file.parent != self._last[0]:
            self._last = file.parent, _resolved(file.parent)
        real = self._last[1]
        return real in self.folders or not self.folders.isdisjoint(real.parents)


def _resolved(path: Path) -> Path:
    """The real place; of a link that leads to itself, the link."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()
