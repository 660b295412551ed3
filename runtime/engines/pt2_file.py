"""The archive of a ``.pt2`` graph: a zip of JSON and raw weights, read without torch.export.

A file in; its program, as plain JSON values, and its weights as flat tensors out. ``torch.export``
would unpickle some of what such a file may hold and evaluate its expressions. This reads only what
``compile`` writes: these entries and no others, stored as they are, nothing pickled, no code.
"""

import json
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.errors import ArtifactError

ROOT = "pt2/"
MODEL, WEIGHTS = "models/model.json", "data/weights/"
CONFIG = f"{WEIGHTS}model_weights_config.json"
WEIGHT = "weight_{}"
# Entries that say the same in every file; torch's own reader wants them
FIXED = {
    "archive_format": b"pt2",
    "archive_version": b"0",
    "byteorder": b"little",
    ".data/version": b"6\n",
    ".data/serialization_id": b"0" * 40,
    "data/constants/model_constants_config.json": b'{"config": {}}',
    "data/sample_inputs/model.pt": b"",
}
JSON_BYTES = 64 << 20
# Numbers of types in torch's schema of programs, and their sizes
DTYPES = {1: "uint8", 5: "int64", 6: "float16", 7: "float32", 12: "bool", 13: "bfloat16"}
STRIDED = 7  # a layout
NO_ZIP = (zipfile.BadZipFile, EOFError, struct.error, LookupError, ValueError, RuntimeError)


class Refused(Exception):
    """What is wrong with a file, in words that follow its name."""


@contextmanager
def refusals_named(file: Path) -> Iterator[None]:
    """Turn what is wrong with a file into an ArtifactError that names it."""
    try:
        yield
    except Refused as error:
        raise ArtifactError(
            f"{file}: {error}; this is no graph that `compile` wrote, and nothing in it was run: "
            "compile it again with --target pt2"
        ) from None


def read_archive(torch: ModuleType, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The program of a file and its weights by name.

    Raises:
        Refused: not an archive as ``compile`` writes it.
    """
    size = file.stat().st_size
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive, size)
            for name, expected in FIXED.items():
                if entries[name].file_size != len(expected) or _read(archive, name) != expected:
                    raise Refused(f"{name} in it is not what is expected")
            program, config = (_json(archive, entries, name) for name in (MODEL, CONFIG))
            return program, _weights(torch, archive, entries, config)
    except (*NO_ZIP, OSError) as error:
        raise Refused(f"no zip that can be read ({type(error).__name__})") from None


def exact(value: Any, *names: str) -> list[Any]:
    """The values of an object that has these fields and no others.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, dict) or set(value) != set(names):
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise Refused(f"{shown(found)} where the fields {', '.join(names)} are expected")
    return [value[name] for name in names]


def shown(value: Any) -> str:
    """Something out of a file, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def sizes_of(value: Any) -> tuple[int, ...]:
    """A list of whole numbers; a symbol or an expression is none.

    Raises:
        Refused: anything else.
    """
    if not isinstance(value, list) or len(value) > 16:
        raise Refused(f"{shown(value)} where sizes are expected")
    found = []
    for one in value:
        (number,) = exact(one, "as_int")
        if type(number) is not int or not 0 <= number < 1 << 40:
            raise Refused(f"{shown(number)} where a size is expected")
        found.append(number)
    return tuple(found)


def tensor_facts(meta: Any) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Type, sizes and strides of a tensor as the file describes it.

    Raises:
        Refused: a type, a layout or a place that no tensor of ours has.
    """
    fields = ("dtype", "sizes", "strides", "storage_offset", "layout", "device", "requires_grad")
    dtype, sizes, strides, offset, layout, device, _ = exact(meta, *fields)
    if type(dtype) is not int or dtype not in DTYPES:
        raise Refused(f"{shown(dtype)} where the number of a type is expected")
    if layout != STRIDED or device != {"type": "cpu", "index": None}:
        raise Refused(f"a tensor of layout {shown(layout)}, or on {shown(device)}")
    shape, steps, _ = sizes_of(sizes), sizes_of(strides), sizes_of([offset])
    if len(shape) != len(steps):
        raise Refused(f"{len(shape)} sizes and {len(steps)} strides of one tensor")
    return DTYPES[dtype], shape, steps


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, none of them packed; together no larger than the file."""
    found: dict[str, zipfile.ZipInfo] = {}
    for one in archive.infolist():
        name = one.filename[len(ROOT) :]
        if not one.filename.startswith(ROOT) or name in found:
            raise Refused(f"{shown(one.filename)} in it, or twice")
        if one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size:
            raise Refused(f"{name} in it is packed")
        found[name] = one
    if sum(one.file_size for one in found.values()) > size:
        raise Refused("its entries claim more bytes than it has")
    count = sum(name.startswith(WEIGHTS) and name != CONFIG for name in found)
    expected = {*FIXED, MODEL, CONFIG, *(WEIGHTS + WEIGHT.format(i) for i in range(count))}
    if set(found) != expected:
        odd = sorted(set(found) ^ expected)[0]
        raise Refused(f"{shown(odd)} is {'in it' if odd in found else 'missing'}")
    return found


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    return archive.read(ROOT + name)


def _json(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str) -> Any:
    if entries[name].file_size > JSON_BYTES:
        raise Refused(f"{name} has over {JSON_BYTES >> 20} MiB")
    try:
        return json.loads(_read(archive, name).decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused(f"{name} is not JSON") from None


def _weights(
    torch: ModuleType,
    archive: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    config: Any,
) -> dict[str, Any]:
    (rows,) = exact(config, "config")
    if not isinstance(rows, dict):
        raise Refused("no weights by name")
    raw: dict[str, Any] = {}
    found = {}
    for name, row in rows.items():
        path, _, pickled, meta = exact(row, "path_name", "is_param", "use_pickle", "tensor_meta")
        entry = entries.get(f"{WEIGHTS}{path}") if isinstance(path, str) else None
        if pickled is not False or entry is None or path == CONFIG[len(WEIGHTS) :]:
            raise Refused(f"the weight {shown(name)} is pickled, or not there")
        dtype, sizes, strides = tensor_facts(meta)
        kind = getattr(torch, dtype)
        count = math.prod(sizes)
        if not is_dense(sizes, strides) or count * kind.itemsize != entry.file_size:
            raise Refused(f"the weight {shown(name)} has not as many bytes as its sizes say")
        if path not in raw:
            raw[path] = bytearray(_read(archive, WEIGHTS + path))
        flat = torch.frombuffer(raw[path], dtype=kind) if count else torch.empty(0, dtype=kind)
        found[name] = flat.as_strided(sizes, strides)
    if len(raw) != sum(name.startswith(WEIGHTS) for name in entries) - 1:
        raise Refused("it holds weights that nothing names")
    return found


def is_dense(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """True if the elements lie one after the other in some order of the axes, none twice."""
    expected = 1
    for step, size in sorted((step, size) for size, step in zip(sizes, strides) if size > 1):
        if step != expected:
            return False
        expected *= size
    return True
