"""Which photos a folder, a pattern or a file holds: one rule for every door.

A place on disk in; paths of photos by name out. Photos are known by their suffix; hidden files are
left out, and so is whatever lies below a folder that results go to.
"""

import glob
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.errors import InputError
from runtime.files import walk
from runtime.photo.decode import SUFFIXES

log = logging.getLogger(__name__)


def find_photos(
    source: Path, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> list[Path]:
    """The photos of a folder or a pattern, by name; a file is taken whatever it is called.

    Args:
        recursive: folders in folders, too.
        leave_out: folders whose files are results, not photos.
    Raises:
        InputError: no such place, no photo there, or the source is itself to be left out.
    """
    photos = list(iter_photos(source, recursive, leave_out))
    if not photos:
        raise InputError(f"{source}: no photo there ({', '.join(SUFFIXES)})")
    return photos


def iter_photos(
    source: Path, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> Iterator[Path]:
    """The same, streamed; nothing is no error."""
    if source.is_file():
        yield source
        return
    if not source.is_dir() and not glob.has_magic(str(source)):
        raise InputError(f"{source}: no such file, folder or pattern")
    root, results = root_of(source).resolve(), [folder.resolve() for folder in leave_out]
    if root in results:
        raise InputError(f"{source}: is both input and output; name another folder")
    # Results in a folder above the photos are no reason to leave the photos out
    inside = Inside([folder for folder in results if folder not in root.parents])
    if source.is_dir():
        files: Iterator[Path] = walk(source, recursive, _refused)
    else:
        found = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207 absolute ones, too
        files = (Path(name) for name in found if Path(name).is_file())
    for file in files:
        if is_photo(file.name) and not inside.holds(file):
            yield file


def root_of(source: Path) -> Path:
    """The folder that photos' names begin below: of a pattern, its part without wildcards."""
    if source.is_dir():
        return source
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), source.parts[:-1])
    return Path(*fixed)


def is_photo(name: str) -> bool:
    """Whether a file of this name is taken for a photo."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


class Inside:
    """Whether files lie below some folders, however either is spelt."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = {folder.resolve() for folder in folders}
        self._last = Path(), Path()  # files come folder by folder: resolve each folder once

    def holds(self, file: Path) -> bool:
        """True if the file's real place is below one of the folders."""
        if not self.folders:
            return False
        if file.is_symlink():
            return not self.folders.isdisjoint(file.resolve().parents)
        if file.parent != self._last[0]:
            self._last = file.parent, file.parent.resolve()
        real = self._last[1]
        return real in self.folders or not self.folders.isdisjoint(real.parents)


def _refused(error: OSError) -> None:
    log.warning("%s: cannot be read (%s); left out", error.filename, error.strerror)
