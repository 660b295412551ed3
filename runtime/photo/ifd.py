"""Directories of tags, as TIFF and EXIF have them, read within bounds.

A TIFF file or an EXIF block in; the tags of one directory out. Values are looked at only when they
are asked for, as many as the caller allows, so that tags which name the same bytes again and again
cost nothing. A directory that breaks off gives the tags that were whole.
"""

import struct
from typing import Optional

import numpy as np

MAX_TAGS = 65_536  # of a directory: as many as a TIFF below 4 GB can count
# How TIFF, and BigTIFF, begin
CLASSIC, BIG = (b"II*\0", b"MM\0*"), (b"II+\0", b"MM\0+")
# As lenient as libtiff's friends are: the 42 in the other order
SWAPPED = (b"MM*\0", b"II\0*")
MAGICS = (*CLASSIC, *BIG, *SWAPPED)

# Types of values: bytes of each, and what numpy calls those that are whole numbers
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
BYTES.update({16: 8, 17: 8, 18: 8})
WHOLE = {
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}


class Directory:
    """The tags of one directory of a block, by number; of a tag that comes twice, the first.

    ``order``: ``<`` or ``>``, of all numbers in the block.
    """

    def __init__(self, block: bytes, start: int, order: str, big: bool) -> None:
        self.order, self._block, self._big = order, block, big
        counted, entry = (8, "HHQ") if big else (2, "HHL")
        self._inline = 8 if big else 4
        self._tags: dict[int, tuple[int, int, int]] = {}  # type, how many, where
        if not 0 < start <= len(block) - counted:
            return
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), block, start)
        one = struct.calcsize(order + entry) + self._inline
        there = (len(block) - start - counted) // one
        for index in range(min(count, there, MAX_TAGS)):
            here = start + counted + index * one
            number, kind, values = struct.unpack_from(order + entry, block, here)
            if kind in BYTES:
                self._tags.setdefault(number, (kind, values, here + one - self._inline))

    def __len__(self) -> int:
        return len(self._tags)

    def numbers(self, tag: int, most: int) -> Optional[np.ndarray]:
        """A tag's whole numbers, ``most`` of them at most: int64; None if it has none."""
        kind, values, _ = self._tags.get(tag, (0, 0, 0))
        if kind not in WHOLE or not values:
            return None
        raw = self.raw(tag, most * BYTES[kind])
        whole = len(raw) // BYTES[kind]
        if not whole:
            return None
        return np.frombuffer(raw, self.order + WHOLE[kind], whole).astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """The first of a tag's whole numbers."""
        found = self.numbers(tag, 1)
        return default if found is None else int(found[0])

    def raw(self, tag: int, most: int) -> bytes:
        """The first bytes of a tag's value; empty if it lies outside of the block."""
        if tag not in self._tags:
            return b""
        kind, values, where = self._tags[tag]
        size = values * BYTES[kind]
        if size > self._inline:
            (where,) = struct.unpack_from(
                self.order + ("Q" if self._big else "L"), self._block, where
            )
            if where + size > len(self._block):
                return b""
        return self._block[where : where + min(size, most)]

    def inner(self, tag: int) -> "Directory":
        """The directory whose place a tag holds; an empty one if it holds none."""
        return Directory(self._block, self.number(tag, 0), self.order, self._big)


def first_directory(block: bytes) -> Optional[Directory]:
    """The first directory of a TIFF file or an EXIF block; None if this is neither."""
    if len(block) < 16 or not block.startswith(MAGICS):
        return None
    order = ">" if block.startswith(b"MM") else "<"
    big = block.startswith(BIG)
    (start,) = struct.unpack_from(order + ("Q" if big else "L"), block, 8 if big else 4)
    return Directory(block, start, order, big)
