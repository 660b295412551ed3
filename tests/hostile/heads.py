"""Addresses and headers that mean harm, and what is not HTTP at all."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from hostile.request import BODY_MB, Hostile


def queries(png: bytes) -> Iterator[Hostile]:
    for query in (
        "colour=red",
        "size=huge",
        "size=",
        "size=model&size=huge",
        "SIZE=model",
        "png=8",
        "png=16%00",
        "colormap=../../etc/passwd",
        "colormap=hot",
        "encoding=pickle",
        "focal_px=nan",
        "focal_px=-1",
        "focal_px=0",
        "focal_px=1e999",
        "focal_px=many",
        "focal_px=" + "9" * 3000,
        "use_ray_pose=yes",
        "ref_view_strategy=best",
        "%ff%fe=%80",
        "%00=%00",
        "a" * 3000,
        "&".join(f"a{index}=1" for index in range(500)),
        "size[]=model",
        "size=%25%32%35",
        "__class__=1",
    ):
        yield Hostile(f"query: {query[:40]}", png, "image/png", query=query)


def headers(png: bytes) -> Iterator[Hostile]:
    for value in (
        "nan",
        "-1",
        "0",
        "-0.0",
        "abc",
        "1e999",
        "inf",
        "",
        "1,2",
        "9" * 4000 + "x",
        "0x10",
    ):
        yield Hostile(f"timeout: {value[:20]!r}", png, "image/png", {"X-Request-Timeout": value})
    for value in (
        "text/html",
        "image/jpeg",
        "image/png;q=0",
        "application/*;q=0, text/*",
        "a/b/c/d",
    ):
        yield Hostile(f"accept: {value}", png, "image/png", {"Accept": value})
    for value in ("", ",,,,", ";q=1", "*", "*/*;q=nan", "\xff\xfe", "a" * 6000, "*/*;q=1" * 900):
        silly = {"Accept": value}
        yield Hostile(f"accept: {value[:20]!r}", png, "image/png", silly, harmless=True)
    for value in (
        "size",
        "size=huge",
        "=",
        "a=b",
        "\xff=\xfe",
        "x" * 6000,
        "size=model;size=",
        "a;b;c",
    ):
        attributes = {"X-Amzn-SageMaker-Custom-Attributes": value}
        harmless = "size" not in value  # somebody else's
        yield Hostile(f"attributes: {value[:20]!r}", png, "image/png", attributes, "", harmless)
    for value in (
        "\x01\x7f",
        "a b",
        "a\tb",
        "é",
        "{}",
        "a" * 129,
        "a" * 6000,
        "%0d%0aX: y",
        "'\"<",
    ):
        asked = {"X-Request-Id": value}
        yield Hostile(
            f"id: {value[:20]!r}, {len(value)} long", png, "image/png", asked, harmless=True
        )
    for kind in (
        "",
        "image/gif",
        "text/plain",
        "application/octet-stream",
        "image/*",
        "image/svg+xml",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=b",
        "application/x-npy, image/png",
        "é",
        "/",
        "a" * 6000,
    ):
        yield Hostile(f"kind: {kind[:40]!r}", png, kind, harmless=True)  # the bytes say it
        yield Hostile(f"no photo as {kind[:40]!r}", b"hello", kind)
    yield from codings(png)


def codings(png: bytes) -> Iterator[Hostile]:
    packed = gzip.compress(png, mtime=0)
    bomb = gzip.compress(bytes(64 << 20), mtime=0)
    bodies = {
        "br": ("br", packed),
        "gzip within deflate": ("deflate, gzip", packed),
        "br around gzip": ("gzip, br", packed),
        "a long name": ("x" * 3000, packed),
        "four of them": ("gzip, gzip, gzip, gzip", packed),
        "none, and it is gzip": ("identity", packed),
        "deflate, and it is gzip": ("deflate", packed),
        "a bomb": ("gzip", bomb),
        "a bomb in a bomb": ("gzip,gzip", gzip.compress(bomb, mtime=0)),
        "nothing": ("gzip", b""),
        "a photo as it is": ("gzip", png),
        "cut off": ("gzip", packed[:-9]),
        "a wrong sum": ("gzip", packed[:-8] + b"\0" * 8),
        "more behind it": ("gzip", packed + b"more"),
        "ninety thousand empty ones": ("gzip", gzip.compress(b"", mtime=0) * 90_000),
        "deflate, and more behind it": ("deflate", zlib.compress(png) + b"more"),
    }
    for name, (coding, body) in bodies.items():
        yield Hostile(f"coding: {name}", body, "image/png", {"Content-Encoding": coding})
    headers = {"Content-Encoding": "gzip"}
    yield Hostile("coding: gzip", packed, "image/png", headers, harmless=True)


@dataclass(frozen=True)
class Raw:
    """Bytes that no HTTP client would send; ``ends`` where the sender then closes its side.

    An ``endless`` one is sent again and again after the first bytes.
    """

    name: str
    sent: bytes
    ends: bool = False
    endless: bytes = b""


def raws(png: bytes) -> list[Raw]:
    """Broken HTTP."""
    head = b"POST /v1/depth HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    chunked, length = head + b"Transfer-Encoding: chunked\r\n", b"Content-Length: %d\r\n"
    whole = length % len(png)
    get = b"GET /info HTTP/1.1\r\nHost: a\r\n"
    over = length % ((BODY_MB << 20) + 1)
    early = {
        "a body that ends early": head + length % (2 * len(png)) + b"\r\n" + png,
        "no body": head + whole + b"\r\n",
        "a chunk that ends early": chunked + b"\r\n" + b"%x\r\n" % len(png) + png[:-9],
        "chunks without end": chunked + b"\r\n" + b"%x\r\n" % len(png) + png + b"\r\n0",
        "a form that ends early": head.replace(b"image/png", b"multipart/form-data; boundary=b")
        + b"Content-Length: 999\r\n\r\n--b\r\n",
    }
    broken = {
        "a body longer than its length": head + length % 9 + b"\r\n" + png,
        "a body over the limit": head + over + b"\r\n" + bytes((BODY_MB << 20) + 1),
        "a body over the limit, announced": head + over + b"Expect: 100-continue\r\n\r\n",
        "a body of 30 digits": head + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        "a body of 5000 digits": head + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        "a negative length": head + b"Content-Length: -5\r\n\r\n" + png,
        "a length with a sign": head + b"Content-Length: +5\r\n\r\n" + png,
        "a length with an underscore": head + b"Content-Length: 1_0\r\n\r\n" + png,
        "a length in words": head + b"Content-Length: many\r\n\r\n" + png,
        "a length that is two": head + b"Content-Length: 5, 5\r\n\r\n" + png,
        "two lengths": head + whole + b"Content-Length: 5\r\n\r\n" + png,
        "a length and chunks": chunked + whole + b"\r\n" + png,
        "gzip in chunks that is none": head
        + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "chunks of chunks": chunked + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk of zz bytes": chunked + b"\r\nzz\r\n" + png,
        "a chunk of minus one": chunked + b"\r\n-1\r\n" + png,
        "a chunk of 1_0 bytes": chunked + b"\r\n1_0\r\n" + png,
        "a chunk of no bytes said": chunked + b"\r\n\r\n" + png,
        "a chunk without its line": chunked + b"\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "a broken trailer": chunked + b"\r\n3\r\nabc\r\n0\r\nno colon\r\n\r\n",
        "a hostile trailer": chunked + b"\r\n3\r\nabc\r\n0\r\nA\0: b\r\n\r\n",
        "many trailers": chunked + b"\r\n3\r\nabc\r\n0\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        "a head without colon": head + b"no colon\r\n\r\n",
        "a head with nul": head + b"A: \0\r\n\r\n",
        "a head that is folded": head + b"A: b\r\n c\r\n\r\n",
        "a space before the colon": head + b"A : b\r\n\r\n",
        "two hundred heads": head + b"a: b\r\n" * 200 + b"\r\n",
        "a head of ten kilobytes": head + b"X-Request-Id: " + b"a" * 10_000 + b"\r\n\r\n",
        "an id with a line": head + b"X-Request-Id: a\rX-Evil: b\r\n\r\n",
        "an address of ten kilobytes": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
        "no version": b"GET /info\r\n\r\n",
        "version 9": b"GET /info HTTP/9.9\r\nHost: a\r\n\r\n",
        "a small method": b"get /info HTTP/1.1\r\nHost: a\r\n\r\n",
        "a method of symbols": b"G{T /info HTTP/1.1\r\nHost: a\r\n\r\n",
        "an unknown method": get.replace(b"GET", b"BREW") + b"\r\n",
        "TRACE": get.replace(b"GET", b"TRACE") + b"\r\n",
        "CONNECT": b"CONNECT somewhere:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "another host's address": get.replace(b"/info", b"http://somewhere/nothing") + b"\r\n",
        "a star": get.replace(b"/info", b"*") + b"\r\n",
        "a path upwards": get.replace(b"/info", b"/../../etc/passwd") + b"\r\n",
        "a path upwards, hidden": get.replace(b"/info", b"/%2e%2e/%2fetc%2fpasswd") + b"\r\n",
        "a path of no letters": get.replace(b"/info", b"/\xff%ff%00") + b"\r\n",
        "TLS": b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(200) + b"\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a proxy's line": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get + b"\r\n",
        "a scheme from outside": get + b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
    }
    block = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    return [
        *(Raw(name, sent, ends=True) for name, sent in early.items()),
        *(Raw(name, sent) for name, sent in broken.items()),
        Raw("chunks for ever", chunked + b"\r\n", endless=block),
        Raw("a head for ever", b"GET / HTTP/1.1\r\n", endless=b"a: b\r\n" * 4000),
        Raw("an address for ever", b"GET /", endless=b"a" * 30_000),
    ]
