"""Rows to Parquet bytes and back, a batch in memory at a time.

Without pyarrow's reading threads: those of 21.0 can abort the process when it ends.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from runtime.errors import InputError
from runtime.optional import require

BATCH = 10_000


def to_bytes(rows: Sequence[dict[str, Any]], columns: Mapping[str, type]) -> bytes:
    """Rows with these columns, in this order; ``list`` is a list of texts."""
    arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema=_schema(columns)), buffer)
    return buffer.getvalue()


def to_rows(
    source: Union[bytes, Path],
    what: str,
    columns: Optional[Mapping[str, type]] = None,
    may_lack: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Rows of a file, or of its bytes.

    Args:
        what: the file's name, for the error.
        columns: that must be there, of these types, and are all that is read; None for any.
        may_lack: those of them that need not be there.
    Raises:
        InputError: it is damaged, or has other columns.
    """
    arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
    try:
        file = parquet.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source)
        if columns is not None:
            lacks = set(may_lack).difference(file.schema_arrow.names)
            columns = {name: kind for name, kind in columns.items() if name not in lacks}
            _check(file.schema_arrow, columns, what)
        names = None if columns is None else list(columns)
        for batch in file.iter_batches(BATCH, columns=names, use_threads=False):
            yield from batch.to_pylist()
    except InputError:
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(f"{what}: damaged, or no Parquet file ({reason})") from None


def _schema(columns: Mapping[str, type]) -> Any:
    arrow = require("pyarrow", "batch")
    types = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        list: arrow.list_(arrow.string()),
    }
    return arrow.schema([(name, types[kind]) for name, kind in columns.items()])


def _check(found: Any, columns: Mapping[str, type], what: str) -> None:
    for field in _schema(columns):
        if field.name not in found.names or not _same(found.field(field.name).type, field.type):
            raise InputError(f"{what}: has no column {field.name} of {field.type}")


def _same(found: Any, expected: Any) -> bool:
    if hasattr(expected, "value_type"):  # what a list's values are called differs by version
        return hasattr(found, "value_type") and bool(found.value_type == expected.value_type)
    return bool(found == expected)
