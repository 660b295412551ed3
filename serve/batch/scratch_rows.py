"""Rows on disk while a command runs: memory does not grow with the job.

SQL in, rows out, of a table in the system's folder for temporary files; gone when it is closed.
"""

import sqlite3
import tempfile
from collections.abc import Iterable
from typing import Any

from runtime.errors import StorageGone


class ScratchRows:
    """A table, or several.

    Args:
        name: of its file, for people who look into the folder.
        table: its ``CREATE TABLE``.
    Raises:
        StorageGone: here and in all that it does: the folder is full, or cannot be written to.
    """

    def __init__(self, name: str, table: str) -> None:
        try:
            self._file = tempfile.NamedTemporaryFile(prefix=f"depth-{name}-")  # noqa: SIM115
        except OSError as error:
            raise _full(error) from None
        self.rows = sqlite3.connect(self._file.name)
        for words in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", table):
            self.execute(words)

    def execute(self, words: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """One statement."""
        try:
            return self.rows.execute(words, tuple(values))
        except sqlite3.OperationalError as error:
            raise _full(error) from None

    def executemany(self, words: str, many: Iterable[tuple[Any, ...]]) -> None:
        """One statement, with each of these values."""
        try:
            self.rows.executemany(words, many)
        except sqlite3.OperationalError as error:
            raise _full(error) from None

    def close(self) -> None:
        """Remove it."""
        self.rows.close()
        self._file.close()


def _full(error: Exception) -> StorageGone:
    where = tempfile.tempdir or "the folder for temporary files"
    return StorageGone(
        f"{where}: cannot hold a job's rows ({error}); make room, or name another in TMPDIR"
    )
