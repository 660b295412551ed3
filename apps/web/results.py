"""The files of a task or a scene as a client gets them: one by one, or all in one archive.

A folder and plain names in; responses out, with ranges and tags.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

from flask import Response, send_file

from runtime.errors import InputError
from runtime.names import below
from runtime.storage import media_type
from serve.http.problems import Problem

STEP = 1 << 20
# What others wrote is shown, never run
FILE_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
)
EPOCH = (1980, 1, 1, 0, 0, 0)  # of an archive's entries: the same files, the same bytes


def json_response(facts: Any, status: int = 200) -> Response:
    """Facts as JSON."""
    text = json.dumps(facts, allow_nan=False) + "\n"
    return Response(text, status, content_type="application/json")


def find_file(folder: Path, name: str) -> Path:
    """A file below a folder; links that lead out of it are none.

    Raises:
        Problem: there is none of that name.
    """
    try:
        file = below(folder, name).resolve()
        inside = folder.resolve() in file.parents
        if inside and file.is_file():
            return file
    except (InputError, OSError, ValueError):
        pass
    raise Problem("not_found", "there is no such file")


def file_response(file: Path) -> Response:
    """A file, whole or a range of it; it is asked for anew each time, and sent if it has changed.

    Raises:
        Problem: it cannot be read.
    """
    try:
        response = send_file(file, media_type(file.name), conditional=True, etag=True, max_age=0)
    except OSError:
        raise Problem("not_found", "that file has gone") from None
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = FILE_POLICY
    return response


def archive(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """The blocks of a zip of some files, which are not compressed: most are already."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:  # type: ignore[call-overload]
        for name in names:
            file = find_file(folder, name)
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
