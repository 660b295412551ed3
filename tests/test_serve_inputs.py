"""What clients send by default: media types, base64, encodings, attributes; all mean one photo."""

import base64
import contextlib
import gzip
import io
import json
import socket
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from served import get, post

from runtime.errors import InputError, LimitError
from serve.http.arrays import read_npz
from serve.http.encodings import MAX_MEMBERS, decode_base64, decode_body, encodings_of
from serve.http.listener import listening_address
from serve.http.options import CUSTOM_ATTRIBUTES
from serve.http.problems import Problem
from serve.http.request_body import JSON, MULTIPART, NPY, NPZ, PHOTO, kind_of
from serve.http.routes import transform_parameters
from serve.http.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(9)
LIMIT = 1000


@pytest.fixture
def png(make_photo):
    """A photo, encoded."""
    buffer = io.BytesIO()
    Image.fromarray(make_photo(37, 53, seed=4)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def expected(tiny_served, png):
    """The body that the photo is answered with, as NumPy's array."""
    return depth_of(post(tiny_served.base, png, {"Content-Type": "image/png"}))


def depth_of(answer):
    status, _, body = answer
    assert status == 200, body[:300]
    with np.load(io.BytesIO(body)) as found:
        return found["disparity"] if "disparity" in found else found[found.files[0]]


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-www-form-urlencoded",
        "image/jpg",
        "image/pjpeg",
        "image/*",
        "text/plain",
        "application/json",
        "application/x-npy",
        "IMAGE/PNG; charset=binary",
    ],
)
def test_a_photo_is_a_photo_whatever_it_is_called(kind, tiny_served, png, expected):
    headers = {} if kind is None else {"Content-Type": kind}
    np.testing.assert_array_equal(depth_of(post(tiny_served.base, png, headers)), expected)


def test_every_body_is_known_by_its_first_bytes_or_by_its_type():
    archive, array = b"PK\x03\x04...", b"\x93NUMPY..."
    for kind in ("", "image/png", "application/octet-stream", JSON, "video/mp4"):
        assert kind_of(kind, PNG) == PHOTO
        assert kind_of(kind, archive) == NPZ and kind_of(kind, array) == NPY
    assert kind_of("", b' \n{"image": ""}') == JSON
    assert kind_of("application/vnd.api+json", b"[1]") == JSON
    assert kind_of(MULTIPART, PNG) == MULTIPART
    assert kind_of("image/jpeg", b"{}") == PHOTO  # refused as no image
    with pytest.raises(Problem, match="Content-Type 'text/html': use one of image/jpeg"):
        kind_of("text/html", b"<html>")


BYTES = bytes(range(256)) * 4 + b"\xfb\xff\xfe"
PLAIN = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "data:image/jpeg;base64," + PLAIN,
        "data:;base64," + PLAIN,
        "DATA:image/png;BASE64," + PLAIN,
        "image/png;base64," + PLAIN,
        "data:image/png;base64," + PLAIN.replace("+", "%2B").replace("/", "%2f"),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in BYTES),
        "data:image/png;name=a.png;charset=x;base64," + PLAIN,
        base64.encodebytes(BYTES).decode(),
        base64.encodebytes(BYTES).decode().replace("\n", "\r\n"),
        PLAIN + "\n",
        base64.urlsafe_b64encode(BYTES).decode(),
        base64.urlsafe_b64encode(BYTES).decode().rstrip("="),
        PLAIN.rstrip("="),
        "  " + PLAIN,
    ],
)
def test_base64_in_all_its_spellings_is_the_same_bytes(text):
    assert decode_base64(text) == BYTES


@pytest.mark.parametrize("text", ["a photo!", "AAAAA", "/etc/passwd?", "==="])
def test_text_that_is_no_base64_is_refused_or_no_photo(text):
    try:
        assert decode_base64(text) == b""
    except InputError as error:
        assert "neither base64 nor s3://" in str(error)


@pytest.mark.parametrize("letter", [" \n", "a", "%", ";base64"])
def test_a_long_text_without_a_comma_is_looked_at_once(letter):
    started = time.process_time()
    with contextlib.suppress(InputError):
        assert decode_base64(letter * (8_000_000 // len(letter))) is not None
    assert time.process_time() - started < 5  # a place tried again at every place takes minutes


def test_every_spelling_works_on_every_field(tiny_served, png, expected):
    for text in ("data:image/png;base64," + base64.b64encode(png).decode(), *[
        base64.encodebytes(png).decode(), base64.urlsafe_b64encode(png).decode().rstrip("="),
    ]):  # fmt: skip
        for facts in ({"image": text}, {"images": [text]}):
            answer = post(tiny_served.base, json.dumps(facts).encode(), {"Content-Type": JSON})
            np.testing.assert_array_equal(depth_of(answer), expected)


def packed(data):
    return gzip.compress(data, mtime=0)


def raw_deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda data: packed(data[:400]) + packed(data[400:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("deflate, gzip", lambda data: packed(zlib.compress(data))),
        ("gzip", lambda data: packed(data) + bytes(512)),
    ],
)
def test_a_declared_encoding_is_undone(encoding, pack):
    assert decode_body(pack(BYTES[:LIMIT]), encodings_of(encoding), LIMIT) == BYTES[:LIMIT]


@pytest.mark.parametrize(
    ("encoding", "body", "error", "message"),
    [
        ("br", b"x", Problem, "use one of gzip, deflate, identity"),
        ("gzip, br", b"x", Problem, "use one of"),
        ("gzip,gzip,gzip,gzip", b"x", Problem, "use one of"),
        ("gzip", packed(b"") + b"more", InputError, "the body is not gzip"),
        ("deflate", zlib.compress(b"") + b"more", InputError, "there is more behind it"),
        ("gzip", b"no gzip", InputError, "the body is not gzip, as Content-Encoding says"),
        ("deflate", b"\xff" * 9, InputError, "the body is not deflate"),
        ("gzip", packed(BYTES[:900])[:-9], Problem, "ends early"),
        ("gzip", packed(bytes(LIMIT + 1)), LimitError, "over 1,000 bytes once"),
        ("gzip", packed(bytes(10 << 20)), LimitError, "over 1,000 bytes once"),
        ("gzip", packed(b"") * (MAX_MEMBERS + 1), LimitError, "gzip members"),
    ],
    ids=range(11),
)
def test_an_encoding_that_cannot_be_undone_is_refused(encoding, body, error, message):
    with pytest.raises(error, match=message):
        decode_body(body, encodings_of(encoding), LIMIT)


def test_encodings_are_honoured_and_refusals_name_those_that_are(tiny_served, png, expected):
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    answer = post(tiny_served.base, gzip.compress(png), headers)
    np.testing.assert_array_equal(depth_of(answer), expected)
    status, headers, _ = post(tiny_served.base, png, {**headers, "Content-Encoding": "zstd"})
    assert status == 415 and headers["Accept-Encoding"] == "gzip, deflate, identity"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("c000b4f9-df62-4c85-a0bf-7c525f9104a4", "c000b4f9-df62-4c85-a0bf-7c525f9104a4"),
        ("trace_id=abc;size=model", "trace_id=abc"),
        ("size=model; trace = a b ;x", " trace = a b ;x"),
        ("accept_eula=true", "accept_eula=true"),
        ("size=model", ""),
    ],
)
def test_foreign_attributes_come_back_as_they_were(given, left, tiny_served, png):
    headers = {"Content-Type": "image/png", CUSTOM_ATTRIBUTES: given}
    status, answered, _ = post(tiny_served.base, png, headers)
    assert status == 200
    grid = "model" if "size=model" in given else "photo"
    assert answered["X-Depth-Grid"] == grid
    passed = answered[CUSTOM_ATTRIBUTES]
    assert passed.endswith(f";{left}" if left else f"request_id={answered['X-Request-Id']}")


def test_ours_with_a_wrong_value_is_still_refused(tiny_served, png):
    headers = {"Content-Type": "image/png", CUSTOM_ATTRIBUTES: "trace=1;size=neither"}
    status, _, body = post(tiny_served.base, png, headers)
    assert status == 400 and b"use one of input, model" in body


@pytest.mark.parametrize("threads", [4, 64, 1024])
@pytest.mark.parametrize("body_mb", [0.5, 1, 6, 25, 99.5, 100, 1000])
def test_batch_transform_is_told_what_aws_allows(threads, body_mb):
    told = transform_parameters(Settings(threads=threads, max_body_mb=body_mb))
    assert 1 <= told["MaxConcurrentTransforms"] <= Settings(threads=threads).in_flight
    assert 1 <= told["MaxPayloadInMB"] <= 100
    assert told["MaxConcurrentTransforms"] * told["MaxPayloadInMB"] <= 100


def test_times_of_depth_are_counted_apart_from_probes(tiny_served, png):
    def count(route):
        text = get(tiny_served.base, "/metrics")[2].decode()
        line = f'depth_request_seconds_count{{outcome="answered",route="{route}"}} '
        found = [one for one in text.splitlines() if one.startswith(line)]
        return float(found[0][len(line) :]) if found else 0.0

    depth, alive = count("/v1/depth"), count("/livez")
    post(tiny_served.base, png, {"Content-Type": "image/png"})
    for _ in range(5):
        get(tiny_served.base, "/livez")
    assert (count("/v1/depth") - depth, count("/livez") - alive) == (1, 5)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:80"),
        ("0.0.0.0", "0.0.0.0:80"),
        ("localhost", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("[::1]", "[::1]:80"),
        ("::", "[::]:80"),
    ],
)
def test_hosts_of_this_machine_can_be_listened_on(host, address):
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert listening_address(Settings(host=host, port=80)) == address


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7", "::zz", "a" * 300, "http://x"])
def test_a_host_that_is_none_is_refused_by_name(host):
    with pytest.raises(InputError, match=r"DEPTH_HOST=.*nothing can listen there"):
        listening_address(Settings(host=host))


def archive_of(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_pixels_of_an_archive_are_unpacked_when_they_are_wanted_and_given_back():
    rgb = np.random.RandomState(0).randint(0, 256, (300, 200, 3)).astype(np.uint8)
    ((photo,), _) = read_npz(archive_of(image=rgb), Settings())
    assert photo.size_hw == (300, 200) and photo.packed._array is None
    np.testing.assert_array_equal(photo.rgb(), rgb)
    photo.packed.forget()
    assert photo.packed._array is None


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["u1", ">u2", "<f4", ">f8", "?"])
def test_arrays_of_any_layout_are_the_photo_that_they_show(kind, order, tiny_served):
    grey = np.tile(np.linspace(0, 255, 30).round().astype(np.uint8), (20, 1))
    grey = np.where(grey > 127, 255, 0).astype(np.uint8) if kind == "?" else grey
    shown = {"u1": grey, ">u2": grey.astype(">u2") * 257, "?": grey > 0}.get(kind, grey / 255.0)
    array = np.asarray(shown.astype(kind), order=order)
    answers = []
    for one in (array, np.dstack([array] * 3), np.repeat(grey[..., None], 3, 2)):
        buffer = io.BytesIO()
        np.save(buffer, one)
        answer = post(tiny_served.base, buffer.getvalue(), {"Content-Type": NPY})
        answers.append(depth_of(answer))
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[1], answers[2])


def test_damage_in_an_archive_is_found(tiny_served):
    noise = np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)
    body = bytearray(archive_of(image=noise))
    body[len(body) // 2] ^= 255
    status, _, text = post(tiny_served.base, bytes(body), {"Content-Type": NPZ})
    assert status == 400 and b"damaged" in text


@pytest.mark.parametrize(
    ("limit", "statuses", "words"),
    [
        ("0.000001", (429, 504), ""),
        ("soon", (400,), "timeout_s 'soon': give seconds, above 0"),
        ("-1", (400,), "timeout_s '-1'"),
        ("30", (200,), ""),
    ],
)
def test_a_time_limit_comes_as_an_attribute_too(tiny_served, png, limit, statuses, words):
    attributes = {CUSTOM_ATTRIBUTES: f"trace;timeout_s={limit};size=model"}
    status, headers, body = post(tiny_served.base, png, {"Content-Type": "image/png", **attributes})
    assert status in statuses and words in body.decode("latin-1")
    if status == 200:
        assert headers[CUSTOM_ATTRIBUTES].endswith(";trace")
