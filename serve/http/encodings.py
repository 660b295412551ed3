"""What clients wrap bytes in on their way: content encodings, and base64 in all its spellings.

Wrapped bytes or text in, plain bytes out, never more than a limit.
"""

import base64
import binascii
import re
import zlib

from runtime.errors import InputError, LimitError
from serve.http.problems import Problem, shown

# As zlib calls their frames; deflate is told from bare deflate, which some clients send, by trying
GZIP, ZLIB, BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
ENCODINGS = {"gzip": (GZIP,), "x-gzip": (GZIP,), "deflate": (ZLIB, BARE)}
MAX_MEMBERS = 16  # of a gzip file; programs write one
ACCEPTED = "gzip, deflate, identity"

DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
URL_SAFE = str.maketrans("-_", "+/")


def decode_body(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """Undo what ``Content-Encoding`` names: one encoding, or none.

    Raises:
        Problem: an encoding that is not known here, or several.
        InputError: the body is not encoded so, or ends early.
        LimitError: it is larger than the limit once it is unpacked.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in ENCODINGS:
        raise Problem(
            "unsupported_media_type",
            f"Content-Encoding {shown(encodings)}: use one of {ACCEPTED}",
            headers={"Accept-Encoding": ACCEPTED},
        )
    error = "no data"
    for frame in ENCODINGS[names[0]]:
        try:
            return _inflate(body, frame, limit_bytes)
        except zlib.error as failed:
            error = str(failed)
    raise InputError(f"the body is not {names[0]}, as Content-Encoding says ({error})")


def _inflate(body: bytes, frame: int, limit_bytes: int) -> bytes:
    """All members of a gzip file, or one stream of deflate."""
    found, left = 0, body
    parts: list[bytes] = []
    while left:
        if len(parts) == MAX_MEMBERS:  # each costs a copy of all that is behind it
            raise LimitError(f"over {MAX_MEMBERS} gzip members in one body")
        stream = zlib.decompressobj(frame)
        parts.append(stream.decompress(left, limit_bytes - found + 1))
        found += len(parts[-1])
        if found > limit_bytes:
            raise LimitError(f"over {limit_bytes:,} bytes once it is unpacked")
        if not stream.eof:
            raise Problem("body_incomplete", "its Content-Encoding ends early")
        left = stream.unused_data if frame == GZIP else b""
    return b"".join(parts)


def decode_base64(text: str) -> bytes:
    """Base64 as clients send it: as a data URI, in lines, URL-safe, without its padding.

    Raises:
        InputError: it is none of these.
    """
    start = DATA_URI.match(text)
    packed = "".join((text[start.end() :] if start else text).split()).translate(URL_SAFE)
    packed = packed.rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"image is neither base64 nor s3://bucket/key ({error})") from None
