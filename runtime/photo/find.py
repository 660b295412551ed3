"""Which photos a folder, a pattern or a file holds: one rule for every door.

A place on disk in; paths of photos by name out. Photos are known by their suffix; hidden files are
left out, and so is whatever lies below a folder that results go to.
"""

import glob
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
    inside = Inside(leave_out)
    if source.is_dir():
        if source.resolve() in inside.folders:
            raise InputError(f"{source}: is both input and output; name another folder")
        # Results in a folder above the photos are no reason to leave the photos out
        inside = Inside([one for one in inside.folders if one not in source.resolve().parents])
        files: Iterator[Path] = walk(source, recursive, _refused)
    elif glob.has_magic(str(source)):
        found = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207 absolute ones, too
        files = (Path(name) for name in found if Path(name).is_file())
    else:
        raise InputError(f"{source}: no such file, folder or pattern")
    for file in files:
        if is_photo(file.name) and not inside.holds(file):
            yield file


def is_photo(name: str) -> bool:
    """Whether a file of this name is taken for a photo."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


class Inside:
    """Whether files lie below some folders, however either is spelt."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = {folder.resolve() for folder in folders}

    def holds(self, file: Path) -> bool:
        """True if the file's real place is below one of the folders."""
        return bool(self.folders) and not self.folders.isdisjoint(file.resolve().parents)


def _refused(error: OSError) -> None:
    log.warning("%s: cannot be read (%s); left out", error.filename, error.strerror)
