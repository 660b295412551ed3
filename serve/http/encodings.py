"""What clients wrap bytes in on their way: content encodings, and base64 in all its spellings.

Wrapped bytes or text in, plain bytes out, never more than a limit.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from runtime.errors import InputError, LimitError
from serve.http.problems import Problem, shown

# As zlib calls their frames; bare deflate, which some clients send, is told by what it lacks
GZIP, ZLIB, BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
ENCODINGS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}
NONE = ("", "identity", "chunked")  # the last one is undone before
MOST = 3  # encodings, one around the other
MAX_MEMBERS = 1000  # of a gzip file; programs write one, or one for each 64 kB
ACCEPTED = "gzip, deflate, identity"
STEP = 1 << 16  # bytes that are packed, and unpacked, at a time
ZEROS = re.compile(rb"\0*")  # as tape drives leave behind a gzip file

# `data:image/png;base64,`, or what is left of it; nothing in it may be tried again at every place
DATA_URI = re.compile(r"(?P<data>data:)?[^,]{0,200}?(?P<base64>;?base64)?,", re.IGNORECASE)
# What JPEG, PNG, WEBP and TIFF begin with
TEXT_OF_PHOTO = re.compile(
    rb"\s*(?:[/_]9j[/_]|iVBORw0KGgo|UklGR|SUkqA|TU0AK|data:[^,]{0,200},)", re.IGNORECASE
)
URL_SAFE = str.maketrans("-_", "+/")


def encodings_of(content: str, transfer: str = "") -> tuple[str, ...]:
    """Encodings of a body, in the order in which they were applied.

    Args:
        content, transfer: the headers Content-Encoding and Transfer-Encoding.
    Raises:
        Problem: one is not known here, or there are too many.
    """
    names = [name.strip().lower() for name in f"{content},{transfer}".split(",")]
    names = [name for name in names if name not in NONE]
    if len(names) > MOST or not all(name in ENCODINGS for name in names):
        raise Problem(
            "unsupported_media_type",
            f"Content-Encoding {shown(content or transfer)}: use one of {ACCEPTED}",
            headers={"Accept-Encoding": ACCEPTED},
        )
    return tuple(names)


def decode_body(
    body: bytes,
    encodings: tuple[str, ...],
    limit_bytes: int,
    claim: Callable[[int], None] = lambda count: None,
) -> bytes:
    """Undo encodings, the last one first.

    Args:
        claim: called with each number of bytes that are unpacked, before they are kept.
    Raises:
        Problem: the body ends early, or ``claim`` refuses.
        InputError: the body is not encoded so.
        LimitError: it is larger than the limit once it is unpacked.
    """
    for name in reversed(encodings):
        frame = ENCODINGS[name]
        if frame == ZLIB and not _has_zlib_header(body):
            frame = BARE
        try:
            body = b"".join(_inflated(body, frame, limit_bytes, claim))
        except zlib.error as error:
            told = f"the body is not {name}, as Content-Encoding says ({error})"
            raise InputError(told) from None
    return body


def _inflated(
    body: bytes, frame: int, limit_bytes: int, claim: Callable[[int], None]
) -> Iterator[bytes]:
    """All members of a gzip file, or one stream of deflate, in pieces."""
    here = found = 0
    for _ in range(MAX_MEMBERS):
        stream, left = zlib.decompressobj(frame), b""
        while not stream.eof:
            if not left:
                left, here = body[here : here + STEP], min(len(body), here + STEP)
            data = stream.decompress(left, STEP)
            left, found = stream.unconsumed_tail, found + len(data)
            if not (data or left or stream.eof) and here == len(body):
                raise Problem("body_incomplete", "its Content-Encoding ends early")
            if found > limit_bytes:
                raise LimitError(f"over {limit_bytes:,} bytes once it is unpacked")
            claim(len(data))
            yield data
        here = _end_of_zeros(body, here - len(stream.unused_data))
        if here == len(body):
            return
        if frame != GZIP:
            raise zlib.error("there is more behind it")
    raise LimitError(f"over {MAX_MEMBERS:,} gzip members in one body")


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _end_of_zeros(body: bytes, here: int) -> int:
    found = ZEROS.match(body, here)
    return found.end() if found else here


def decode_base64(text: str, what: str = "image") -> bytes:
    """Base64 as clients send it: as a data URI, in lines, URL-safe, without its padding.

    Args:
        what: the field that held it, for the sentence.
    Raises:
        InputError: it is none of these.
    """
    text = text.lstrip()
    uri = DATA_URI.match(text)
    if uri and (uri["data"] or uri["base64"]):
        text = text[uri.end() :]
        if not uri["base64"]:
            return unquote_to_bytes(text)
        if "%" in text:
            text = unquote_to_bytes(text).decode("latin-1")
    packed = "".join(text.split()).translate(URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{what} is neither base64 nor s3://bucket/key ({error})") from None


def is_base64_of_photo(body: bytes) -> bool:
    """Whether bytes are the text of a photo, by its first letters, or a data URI."""
    return bool(TEXT_OF_PHOTO.match(body))
