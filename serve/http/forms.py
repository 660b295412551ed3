"""Forms to fields: multipart, as browsers and curl send it, and the short form of plain fields.

A body in, one ``Field`` for each part out, as bytes. Nothing is put on the disk, and no file's name
is used.
"""

import binascii
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional, Union
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder, NeedData
from werkzeug.sansio.multipart import Field as TextPart

from runtime.errors import InputError, LimitError
from serve.http.encodings import decode_base64
from serve.http.problems import Problem, shown

Part = Union[TextPart, File]

STEP = 1 << 16  # bytes that the parser is given at a time
FIRST_LINE = re.compile(rb"(?:\r?\n)?--([^\r\n]{1,70})\r?\n")


@dataclass(frozen=True)
class Field:
    """One field of a form; ``is_file`` if it came with a file's name."""

    name: str
    data: bytes
    is_file: bool

    def text(self) -> str:
        """As text."""
        return self.data.decode("utf-8", "replace")


def read_multipart(body: bytes, parameters: Mapping[str, str], most: int) -> Iterator[Field]:
    """The parts of a form.

    Args:
        parameters: of its media type. A border that they do not name is read from the body, whose
            first line it is: many clients set the type by hand, and leave it out.
        most: parts.
    Raises:
        Problem: it is no form, or ends early.
        LimitError: it has more parts.
    """
    border = _border(body, parameters)
    try:
        yield from _parts(body, border, most)
    except InputError:
        raise
    except ValueError as error:
        raise Problem("bad_request", f"not a form that can be read ({error})") from None
    except RequestEntityTooLarge:
        raise LimitError(f"a form of over {most:,} parts") from None


def read_urlencoded(body: bytes, most: int) -> Iterator[Field]:
    """The fields of a form without files.

    Raises:
        Problem: it is none.
        LimitError: it has more fields.
    """
    if body.count(b"&") >= most:
        raise LimitError(f"a form of over {most:,} fields")
    for name, value in parse_qsl(body.decode("latin-1"), keep_blank_values=True):
        yield Field(name, value.encode(), False)


def _border(body: bytes, parameters: Mapping[str, str]) -> bytes:
    named = parameters.get("boundary", "")
    if named:
        return named.encode("latin-1", "replace")
    found = FIRST_LINE.match(body)
    if found is None:
        raise Problem(
            "bad_request", "not a form that can be read (no boundary in its Content-Type)"
        )
    return found[1].rstrip(b" \t")


def _parts(body: bytes, border: bytes, most: int) -> Iterator[Field]:
    decoder = MultipartDecoder(border, max_parts=most)
    head: Optional[Part] = None
    pieces: list[bytes] = []
    here = 0
    while True:
        event = decoder.next_event()
        if isinstance(event, NeedData):
            decoder.receive_data(body[here : here + STEP] if here < len(body) else None)
            here += STEP
        elif isinstance(event, (TextPart, File)):
            head, pieces = event, []
        elif isinstance(event, Data) and head is not None:
            pieces.append(event.data)
            if not event.more_data:
                data = _decoded(b"".join(pieces), head)
                yield Field(head.name or "", data, isinstance(head, File))
        elif isinstance(event, Epilogue):
            return


def _decoded(data: bytes, head: Part) -> bytes:
    """A part without the coding that it says it has."""
    coding = head.headers.get("Content-Transfer-Encoding", "binary").strip().lower()
    if coding in ("binary", "8bit", "7bit", ""):
        return data
    if coding == "base64":
        return decode_base64(data.decode("latin-1"), f"form field {shown(head.name)}")
    if coding == "quoted-printable":
        try:
            return quopri.decodestring(data)
        except (ValueError, binascii.Error) as error:
            raise InputError(f"form field {shown(head.name)}: {error}") from None
    raise Problem(
        "unsupported_media_type",
        f"Content-Transfer-Encoding {shown(coding)} in a form; send binary, or base64",
    )
