"""Which photos a folder holds.

A folder or a file in; paths out, by name. Nothing is opened.
"""

from collections.abc import Sequence
from pathlib import Path

from runtime.errors import InputError
from runtime.photo.decode import SUFFIXES


def find_photos(
    source: Path, recursive: bool = False, leave_out: Sequence[Path] = ()
) -> list[Path]:
    """Photos of a folder, by name; a file given as the source is the only one.

    Args:
        recursive: look into folders within it too.
        leave_out: folders whose photos do not count, such as an output inside the input.
    Raises:
        InputError: no such file or folder, or no photo in it.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder")
    hidden = [folder.resolve() for folder in leave_out]
    found = source.rglob("*") if recursive else source.glob("*")
    photos = sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
        and not any(folder in path.resolve().parents for folder in hidden)
    )
    if not photos:
        raise InputError(f"{source}: no photo there ({', '.join(SUFFIXES)})")
    return photos
