"""Files as one zip, while they are read: no archive lies on the disk, and none in memory.

Names and files in; blocks of bytes out. Nothing is compressed: most of it is already.
"""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

STEP = 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: the same files are the same bytes


def archive(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """The blocks of a zip of files by their names in it."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:  # type: ignore[call-overload]
        for name, file in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            large = file.stat().st_size >= 1 << 31
            with file.open("rb") as data, packed.open(entry, "w", force_zip64=large) as out:
                while block := data.read(STEP):
                    out.write(block)
                    yield sink.take()
    yield sink.take()


class _Sink:
    """What zipfile writes to: it cannot go back in it."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, data: Union[bytes, bytearray, memoryview]) -> int:
        """Keep some bytes."""
        self._blocks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def take(self) -> bytes:
        """What has been written since."""
        taken, self._blocks = b"".join(self._blocks), []
        return taken
