"""What a photo's header says, before a pixel is decoded, and the bounds on reading it.

The modules of the formats read the headers themselves, part by part, and hand the libraries that
decode only what these need: a header of a few kilobytes can otherwise make a library unpack
gigabytes, or take a million parts one by one. Parts that say nothing about pixels are passed over,
sound or not.
"""

import bisect
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Union

from runtime.errors import LimitError
from runtime.photo.exif import Exif

# Segments of a JPEG, chunks of a PNG or a WebP. The largest file in chunks of 4 kB has fewer
MAX_PARTS = 100_000


@dataclass(frozen=True)
class Header:
    """What is known of a photo; the formats' own headers add to it.

    ``size_hw``: of the picture as it is stored. ``block_pixels``: as many are decoded at once,
    however small the photo is.
    """

    size_hw: tuple[int, int]
    exif: Exif = field(default_factory=Exif)
    block_pixels: int = 0

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width of the photo once it is turned upright."""
        return self.size_hw[::-1] if self.exif.lies else self.size_hw


def count_part(parts: int, what: str) -> None:
    """Refuse more parts than a header may have.

    Raises:
        LimitError: there are too many.
    """
    if parts > MAX_PARTS:
        raise LimitError(f"over {MAX_PARTS:,} {what}; save it again")


Piece = Union[bytes, memoryview]


class Joined(io.RawIOBase):
    """Pieces of bytes as one file to read, without a copy of all."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = [memoryview(piece) for piece in pieces]
        self._ends = list(itertools.accumulate(len(piece) for piece in self._pieces))
        self._here = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._here

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._here, io.SEEK_END: self._ends[-1]}[whence]
        self._here = max(0, base + offset)
        return self._here

    def read(self, size: int = -1) -> bytes:
        """As a file of one piece: short only at the end."""
        left = max(0, self._ends[-1] - self._here)
        left = left if size is None or size < 0 else min(size, left)
        found = []
        index = bisect.bisect_right(self._ends, self._here)
        while left:
            start = self._here - (self._ends[index] - len(self._pieces[index]))
            some = self._pieces[index][start : start + left]
            found.append(some)
            self._here += len(some)
            left -= len(some)
            index += 1
        return b"".join(found)
