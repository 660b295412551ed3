"""Rows to Parquet bytes and back, a batch in memory at a time.

Without pyarrow's reading threads: those of 21.0 can abort the process when it ends.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any

from runtime.optional import require

BATCH = 10_000


def to_bytes(rows: Sequence[dict[str, Any]], columns: dict[str, type]) -> bytes:
    """Rows with these columns, in this order; ``list`` is a list of texts."""
    arrow, parquet = require("pyarrow", "batch"), require("pyarrow.parquet", "batch")
    kinds = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        list: arrow.list_(arrow.string()),
    }
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), buffer)
    return buffer.getvalue()


def to_rows(source: Any) -> Iterator[dict[str, Any]]:
    """Rows of a file's path, or of bytes."""
    parquet = require("pyarrow.parquet", "batch")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    for batch in parquet.ParquetFile(file).iter_batches(BATCH, use_threads=False):
        yield from batch.to_pylist()
