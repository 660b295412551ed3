"""A journal's lines as a sequence, of which one at a time is in memory.

A file of JSON lines in; mappings out, read when they are asked for. Eight bytes a line are held,
however long a sequence is.
"""

import itertools
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Optional, Union, overload

import numpy as np

from runtime.errors import InputError, LimitError

Line = dict[str, Any]
LINE_BYTES = 64 << 20
DAMAGED = (ValueError, KeyError, TypeError, RecursionError)


class JournalLines(Sequence[Line]):
    """Lines of windows, in their order.

    Args:
        file: the journal; it may grow, and lines that are there stay as they are.
        starts: where each line begins, and where the last one ends.
        first, last: which of them; None: to the last one that there will be.
    """

    def __init__(
        self, file: Path, starts: "array[int]", first: int = 0, last: Optional[int] = None
    ) -> None:
        self._file, self._starts, self._first, self._last = file, starts, first, last
        self._in: Optional[BinaryIO] = None

    def __len__(self) -> int:
        last = len(self._starts) - 1 if self._last is None else self._last
        return max(0, last - self._first)

    @overload
    def __getitem__(self, at: int) -> Line: ...

    @overload
    def __getitem__(self, at: slice) -> "JournalLines": ...

    def __getitem__(self, at: Union[int, slice]) -> Union[Line, "JournalLines"]:
        if isinstance(at, slice):
            first, last, step = at.indices(len(self))
            assert step == 1
            start = self._first
            return JournalLines(self._file, self._starts, start + first, start + max(first, last))
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(at)
        begin, end = self._starts[self._first + number], self._starts[self._first + number + 1]
        if self._in is None:
            self._in = self._file.open("rb")
        line: Line = parsed(os.pread(self._in.fileno(), end - begin, begin), self._file)
        return line

    def __iter__(self) -> Iterator[Line]:
        return (self[at] for at in range(len(self)))

    def __del__(self) -> None:
        if self._in is not None:
            self._in.close()

    def appended(self, size: int) -> None:
        """A line of so many bytes was written behind the last one."""
        self._starts.append(self._starts[-1] + size)

    def only(self, count: int) -> "JournalLines":
        """The first of them, to be gone on with."""
        return JournalLines(self._file, self._starts[self._first : self._first + count + 1])

    @property
    def end(self) -> int:
        """Where the last of them ends in the file."""
        return self._starts[self._first + len(self)]


class Spans:
    """Which windows hold a frame, of which two numbers a window are held."""

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self._lines = lines
        ends = ((line["frames"][0], line["frames"][-1]) for line in lines)
        self._ends = np.fromiter(itertools.chain.from_iterable(ends), np.int64).reshape(-1, 2)

    def holding(self, number: int) -> list[Mapping[str, Any]]:
        """The lines of the windows that have a frame, in their order."""
        near = (self._ends[:, 0] <= number) & (number <= self._ends[:, 1])
        lines = (self._lines[at] for at in np.flatnonzero(near).tolist())
        return [line for line in lines if number in line["frames"]]

    def around(self, number: int, half: int) -> tuple[int, tuple[int, ...]]:
        """The window that a frame is most in the middle of, and so many of its frames around it."""

        def off_middle(line: Mapping[str, Any]) -> float:
            return abs(line["frames"].index(number) - (len(line["frames"]) - 1) / 2)

        line = min(self.holding(number), key=off_middle)
        frames = line["frames"]
        start = min(max(0, frames.index(number) - half // 2), max(0, len(frames) - half))
        return line["window"], tuple(frames[start : start + half])


def parsed(row: bytes, file: Path) -> Line:
    """A line of a journal.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(row)
        if isinstance(found, dict):
            return found
    except DAMAGED:
        pass
    raise InputError(f"{file}: damaged; --from-start begins anew") from None


def whole_rows(file: Path) -> Iterator[bytes]:
    """Lines of a file that end as lines do; a torn one at its end does not count.

    Raises:
        LimitError: one is too long.
    """
    with file.open("rb") as rows:
        while row := rows.readline(LINE_BYTES):
            if not row.endswith(b"\n"):
                if len(row) == LINE_BYTES:
                    raise LimitError(f"{file}: a line of over {LINE_BYTES >> 20} MiB")
                return
            yield row
