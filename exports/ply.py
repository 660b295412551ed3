"""Rows of numbers to a binary PLY file.

Little endian; a field of the rows becomes a property of ``vertex``. What the file means is in
comments. Blocks of rows in, blocks of bytes out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from runtime.errors import InputError

TYPES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int", "u4": "uint"}
POINT = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]


def ply_header(dtype: np.dtype, count: int, comments: Mapping[str, Any]) -> bytes:
    """The text in front of ``count`` rows of this type.

    Raises:
        InputError: a field of a type that PLY has not.
    """
    lines = ["ply", "format binary_little_endian 1.0"]
    for name, value in comments.items():
        lines.append(f"comment {name}: {_one_line(value)}")
    lines.append(f"element vertex {count}")
    for field in dtype.names or ():
        kind = dtype[field].str[1:]
        if kind not in TYPES:
            raise InputError(f"PLY field {field}: {dtype[field]}; use {', '.join(TYPES)}")
        lines.append(f"property {TYPES[kind]} {field}")
    return "\n".join([*lines, "end_header", ""]).encode("ascii")


def encode_ply(
    blocks: Iterable[np.ndarray], dtype: np.dtype, count: int, comments: Mapping[str, Any]
) -> Iterator[bytes]:
    """A whole file, block by block.

    Args:
        blocks: rows of ``dtype``, ``count`` in all; little endian.
    """
    yield ply_header(dtype, count, comments)
    for block in blocks:
        yield np.ascontiguousarray(block, dtype).tobytes()


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text.encode("ascii", "backslashreplace").decode("ascii")
