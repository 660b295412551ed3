"""Photos that come with a request: from a form onto the disk, under their own names.

Werkzeug's files in; names below a folder out. Nothing in them is read here.
"""

from collections.abc import Iterable
from pathlib import Path

from werkzeug.datastructures import FileStorage

from runtime.errors import InputError, LimitError
from runtime.files import writing_whole
from runtime.names import below, check_plain, folded, name_of_path

STEP = 1 << 20


def keep_uploads(files: Iterable[FileStorage], folder: Path, most: int) -> list[str]:
    """Write files into a folder, in their order.

    Returns:
        their names there: what they were called, without folders; if two had one name, with their
        number.
    Raises:
        InputError: one has no name or no bytes. LimitError: they are too many.
        OSError: the disk refuses.
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, file in enumerate(files):
        if number >= most:
            raise LimitError(f"over {most:,} photos; send fewer")
        name = _name_of(file.filename or "", number)
        if folded(name) in taken:
            name = f"{number:04d}-{name}"
        taken.add(folded(name))
        size = 0
        with writing_whole(below(folder, name)) as out:
            while block := file.stream.read(STEP):
                out.write(block)
                size += len(block)
        if not size:
            raise InputError(f"{name}: empty, 0 bytes")
        names.append(name)
    return names


def _name_of(sent: str, number: int) -> str:
    """A plain name: the last part of what a client says, or the number."""
    last = sent.replace("\\", "/").rpartition("/")[2]
    try:
        name = name_of_path(last)
        check_plain(name)
        return name
    except InputError:
        return f"{number:04d}"
